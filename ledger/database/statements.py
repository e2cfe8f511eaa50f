"""What several wings say to the database in the same words."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

import psycopg
from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

from ledger.database.engine import is_postgres

T = TypeVar("T")

LOOKUP_SIZE: Final = 500
"""How many keys one query names."""


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Return ``items`` in pieces of at most ``size``."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def insert_or_ignore(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert one row unless its primary key is taken; tell whether it was inserted."""
    dialect = postgresql if is_postgres(connection) else sqlite
    statement = dialect.insert(table).values(values).on_conflict_do_nothing()
    # SQLAlchemy keeps the count of an INSERT only where it is asked to.
    inserted = connection.execute(statement, execution_options={"preserve_rowcount": True})
    return inserted.rowcount == 1


def get_postgres_driver(connection: Connection) -> psycopg.Connection[Any]:
    """Return the driver's own connection, for its pipelines."""
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    return driver


def open_sqlite_cursor(connection: Connection) -> Any:
    """Return the driver's own cursor: SQLAlchemy's costs more than most statements do."""
    driver_connection = connection.connection.driver_connection
    assert driver_connection is not None
    # The transaction begins with SQLAlchemy's first statement on it.
    if not connection.in_transaction():
        connection.begin()
    return driver_connection.cursor()


def as_columns(rows: Sequence[Sequence[Any]]) -> tuple[list[Any], ...]:
    """Return a set of rows as one list for each column."""
    return tuple(list(column) for column in zip(*rows, strict=True))
