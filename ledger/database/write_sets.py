"""Sets of rows written by the driver's own cursors, on both databases alike."""

from collections.abc import Sequence
from typing import Any

import psycopg
from sqlalchemy import Connection

from ledger.database.engine import is_postgres
from ledger.database.row_statements import RowInsert, RowUpdate
from ledger.database.statements import as_columns, get_postgres_driver, open_sqlite_cursor


class WriteSets:
    """Statements that follow each other in one transaction, each for a set of rows."""

    def __init__(self, *writes: RowInsert | RowUpdate) -> None:
        """``writes``: in the order in which they can follow each other for one row."""
        self.for_sqlite = tuple(write.for_sqlite() for write in writes)
        self.for_postgres = tuple(write.for_postgres() for write in writes)

    def run(self, connection: Connection, written: Sequence[Sequence[Sequence[Any]]]) -> list[int]:
        """Write a set of rows by each statement; return how many rows each has changed."""
        if not is_postgres(connection):
            cursor = open_sqlite_cursor(connection)
            return [
                cursor.executemany(text, rows).rowcount if rows else 0
                for text, rows in zip(self.for_sqlite, written, strict=True)
            ]
        driver = get_postgres_driver(connection)
        cursors: list[psycopg.Cursor[Any] | None] = []
        with driver.pipeline():
            for text, rows in zip(self.for_postgres, written, strict=True):
                cursors.append(driver.execute(text, as_columns(rows)) if rows else None)
        return [0 if cursor is None else cursor.rowcount for cursor in cursors]
