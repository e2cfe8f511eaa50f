"""A usage row's columns: each is declared once, and the meter's statements follow.

Reservation, Charge
├── every field is a column of the table, NULL only where its type says so
├── every column is written by a statement of the meter or is set by a batch
└── every field is read back, and bound with its type on PostgreSQL
"""

import re
from dataclasses import fields

import pytest
from sqlalchemy import BigInteger, String

from ledger.database.row_statements import RowInsert, RowUpdate
from ledger.spending.book_statements import (
    INSERT_USAGE,
    POST_USAGE,
    RENEW_USAGE,
    USAGE_READ,
    VOID_USAGE,
)
from ledger.tables import Usage, table_of
from ledger.tables.usage import Charge, Reservation

USAGE = table_of(Usage)


def test_usage__fields__are_columns_of_their_type() -> None:
    types = {
        "str": String,
        "int": BigInteger,
        "int | None": BigInteger,
        "str | None": String,
    }
    for declared in (Reservation, Charge):
        for field in fields(declared):
            column = USAGE.c[field.name]
            written = getattr(field.type, "__name__", str(field.type))
            assert isinstance(column.type, types[written]), field.name
            assert column.nullable == (declared is Charge or "None" in written), field.name
    assert [column.name for column in USAGE.primary_key] == ["request_id"]


def test_usage__every_column__has_one_statement_that_writes_it_first() -> None:
    written = [*INSERT_USAGE.columns, *INSERT_USAGE.constants]
    written += [*POST_USAGE.columns, "void_reason"]
    # The only column that the meter never touches: planning a batch sets it.
    assert sorted([*written, "batch_id"]) == sorted(USAGE.columns.keys())
    assert set(VOID_USAGE.columns) | set(RENEW_USAGE.columns) <= set(written)
    assert {field.name for of in (Reservation, Charge) for field in fields(of)} <= set(USAGE_READ)


@pytest.mark.parametrize("write", [INSERT_USAGE, POST_USAGE, VOID_USAGE, RENEW_USAGE])
def test_usage__statements__bind_every_column_once_with_its_type(
    write: RowInsert | RowUpdate,
) -> None:
    key = [] if write is INSERT_USAGE else ["request_id"]
    columns = [*key, *write.columns]
    arrays = re.findall(r"%s::(\w+)\[\]", write.for_postgres())
    is_number = [isinstance(USAGE.c[name].type, BigInteger) for name in columns]
    assert arrays == ["bigint" if number else "text" for number in is_number]
    assert len(re.findall(r"\?", write.for_sqlite())) == len(columns)
