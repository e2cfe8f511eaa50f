"""Opening the database, and the two kinds of transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ledger.errors import LedgerUnavailable

SQLITE_BUSY_TIMEOUT_MS: Final = 10_000


def open_engine(url: str) -> Engine:
    """Open the database at an SQLAlchemy ``url`` (``sqlite:///…`` or ``postgresql+psycopg://…``).

    Connects to nothing yet. SQLite runs in WAL mode with ``synchronous=FULL``: a transaction that
    was answered for survives a power cut.
    """
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    # The driver's own BEGIN handling would start transactions too late to serialise writers.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS:d}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: upgrading a read lock later could fail on a stale snapshot.
    read_only = connection.get_execution_options().get("current_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """Open one write transaction; commit at the end, roll back on any exception.

    Raises ``LedgerUnavailable`` where the database refuses or loses it.
    """
    with _translated(), engine.begin() as connection:
        yield connection


@contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """Open one read-only snapshot. Raises ``LedgerUnavailable`` like ``write``."""
    with _translated(), engine.connect() as connection:
        yield connection.execution_options(current_read_only=True)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, PoolTimeout) as error:
        raise LedgerUnavailable(_first_line(error)) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise LedgerUnavailable(_first_line(error)) from error
        raise


def _first_line(error: Exception) -> str:
    # Without the statement and its parameters, which SQLAlchemy appends.
    cause = getattr(error, "orig", None)
    return str(error if cause is None else cause).splitlines()[0]
