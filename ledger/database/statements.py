"""What several wings say to the database in the same words."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

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
