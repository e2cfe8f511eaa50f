"""Opening the database, and the two kinds of transaction."""

import random
import re
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from contracts.errors import CurrentError
from ledger.errors import LedgerContended, LedgerUnavailable, LedgerUnreadable, LedgerUrlInvalid

T = TypeVar("T")

SQLITE_BUSY_TIMEOUT_MS: Final = 10_000
CONTENTION_TRIES: Final = 5
"""How often a transaction is run that others' locks keep taking back."""
CONTENTION_PAUSE_S: Final = 0.01

# PostgreSQL's codes. An error with any other code is a bug in this package and propagates.
_CONTENTION: Final = ("40001", "40P01")
_OUT_OF_SERVICE: Final = (
    "08",  # the connection
    "25006",  # a standby, which takes no writes
    "25P03",  # idle in a transaction for too long
    "53",  # full disk, no memory, too many connections
    "55P03",  # a lock was not to be had in time
    "57",  # shut down, starting, or the statement took too long
    "58",  # the operating system
)


_DRIVERS: Final = (("sqlite", "pysqlite"), ("postgresql", "psycopg"))

_SILENT_PROBES: Final = 3
"""After so many intervals without a word a peer is given up."""


@dataclass(frozen=True, slots=True)
class PostgresLimits:
    """How many connections a process opens, and how long anything on them may take."""

    connections_max: int = 10
    checkout_timeout_s: float = 5.0
    """How long to wait for one of our own connections to come free."""
    connect_timeout_s: int = 5
    statement_timeout_ms: int = 30_000
    lock_timeout_ms: int = 5_000
    idle_in_transaction_timeout_ms: int = 60_000
    """After this the server ends a transaction whose process hangs, and frees its locks."""
    keepalive_s: int = 5
    """How long a connection is idle before the peer is asked whether it lives, and how often."""

    @property
    def silence_s(self) -> int:
        """After this a peer that vanished in silence is noticed, whether or not we wait for it."""
        return _SILENT_PROBES * self.keepalive_s

    @property
    def session_settings(self) -> dict[str, str]:
        """What the server is told on each new connection; times in ms, of keepalives in s.

        Told once connected and not in the startup packet, which poolers refuse or drop.
        """
        return {
            "statement_timeout": str(self.statement_timeout_ms),
            "lock_timeout": str(self.lock_timeout_ms),
            "idle_in_transaction_session_timeout": str(self.idle_in_transaction_timeout_ms),
            # Compiling a query takes longer than any of ours runs.
            "jit": "off",
            # So that the server frees the locks of a machine that is gone.
            "tcp_keepalives_idle": str(self.keepalive_s),
            "tcp_keepalives_interval": str(self.keepalive_s),
            "tcp_keepalives_count": str(_SILENT_PROBES - 1),
            "tcp_user_timeout": str(1_000 * self.silence_s),
        }


def open_engine(
    url: str,
    *,
    limits: PostgresLimits | None = None,
    sqlite_busy_timeout_ms: int = SQLITE_BUSY_TIMEOUT_MS,
) -> Engine:
    """Open the database at an SQLAlchemy ``url`` (``sqlite:///…`` or ``postgresql+psycopg://…``).

    Connects to nothing yet. A transaction that was answered for survives a power cut: SQLite runs
    in WAL mode with ``synchronous=FULL``, PostgreSQL never without ``synchronous_commit``. Its
    transactions are READ COMMITTED and take the locks that ``ledger.database.locks`` lists.
    ``limits`` are for PostgreSQL only; ``sqlite_busy_timeout_ms`` is how long a writer of SQLite
    waits for another one. Raises ``LedgerUrlInvalid``, which shows nothing of the URL.
    """
    try:
        parsed = make_url(url)
        driver = parsed.get_backend_name(), parsed.get_driver_name()
    except (ArgumentError, ValueError):
        driver = None
    if driver not in _DRIVERS:
        raise LedgerUrlInvalid(
            "the ledger's URL must begin with sqlite:/// and a path, or with postgresql+psycopg://"
        )
    if parsed.get_backend_name() == "postgresql":
        return _open_postgres(parsed, limits or PostgresLimits())
    engine = create_engine(parsed)
    event.listen(
        engine, "connect", partial(_prepare_sqlite, busy_timeout_ms=sqlite_busy_timeout_ms)
    )
    event.listen(engine, "begin", _begin_sqlite)
    return engine


class _ClosingPool(QueuePool):
    """A pool that, once it was disposed of, closes what others hand back to it.

    ``Engine.dispose`` goes on with another pool: what was out by then would stay open in this one.
    """

    _is_over = False

    def dispose(self) -> None:
        self._is_over = True
        super().dispose()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        super()._do_return_conn(record)
        # Only now: whoever disposes meanwhile finds it among the others.
        if self._is_over:
            super().dispose()


def _open_postgres(url: URL, limits: PostgresLimits) -> Engine:
    engine = create_engine(
        url,
        poolclass=_ClosingPool,
        pool_size=limits.connections_max,
        max_overflow=0,
        pool_timeout=limits.checkout_timeout_s,
        isolation_level="READ COMMITTED",
        connect_args={
            "connect_timeout": limits.connect_timeout_s,
            # Keepalives notice a silent peer while we wait for it, the user timeout while it has
            # not acknowledged what we sent.
            "keepalives_idle": limits.keepalive_s,
            "keepalives_interval": limits.keepalive_s,
            "keepalives_count": _SILENT_PROBES - 1,
            "tcp_user_timeout": 1_000 * limits.silence_s,
        },
    )
    told = url.query.get("options", "")
    of_url = re.findall(r"(?:-c\s*|--)([\w.]+)=", told if isinstance(told, str) else " ".join(told))
    # A setting that the URL names stays as the URL has it.
    settings = {k: v for k, v in limits.session_settings.items() if k not in of_url}

    def prepare(dbapi_connection: Any, _record: object) -> None:
        try:
            _prepare_postgres(dbapi_connection, settings)
        except BaseException:
            dbapi_connection.close()  # the pool does not have it yet
            raise

    event.listen(engine, "connect", prepare)
    return engine


def _prepare_postgres(dbapi_connection: Any, settings: Mapping[str, str]) -> None:
    """Tell the server the session's settings, in one round trip."""
    names = list(settings)
    dbapi_connection.execute(
        "SELECT set_config(name, value, false)"
        " FROM unnest(%s::text[], %s::text[]) AS told (name, value)"
        # A server may be set up to answer before a commit is on disk; stricter settings stay.
        " UNION ALL SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') = 'off'",
        (names, [settings[name] for name in names]),
    )
    dbapi_connection.commit()


def _prepare_sqlite(dbapi_connection: Any, _record: object, *, busy_timeout_ms: int) -> None:
    # The driver's own BEGIN handling would start transactions too late to serialise writers.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {busy_timeout_ms:d}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: upgrading a read lock later could fail on a stale snapshot.
    read_only = connection.get_execution_options().get("current_read_only", False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def is_postgres(connection: Connection | Engine) -> bool:
    """Tell PostgreSQL from SQLite."""
    return connection.dialect.name == "postgresql"


@contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """Open one write transaction; commit at the end, roll back on any exception.

    Raises ``LedgerUnavailable`` where the database refuses or loses it, ``LedgerContended`` where
    it was taken back for the sake of another transaction.
    """
    with translated(), engine.begin() as connection:
        yield connection


def write_until_through(engine: Engine, call: Callable[[Connection], T]) -> T:
    """Run ``call`` in a write transaction, again while others' locks take it back.

    ``call`` must have no effect but on its connection: what was taken back never happened, so a
    transaction need not be idempotent to be run again. Raises what ``write`` and ``call`` raise.
    """
    for number in range(CONTENTION_TRIES - 1):
        try:
            with write(engine) as connection:
                return call(connection)
        except LedgerContended:
            # At once, it could meet the same one in the same way again.
            time.sleep(random.uniform(0, CONTENTION_PAUSE_S * 2**number))
    with write(engine) as connection:
        return call(connection)


@contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """Open one read-only snapshot. Raises ``LedgerUnavailable`` like ``write``."""
    options: dict[str, Any] = {"current_read_only": True}
    if is_postgres(engine):
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with translated(), engine.connect() as connection:
        yield connection.execution_options(**options)


def open_session(engine: Engine) -> psycopg.Connection[Any]:
    """Open a PostgreSQL connection beside the pool, in autocommit; the caller closes it.

    For what lasts as long as a session does. Raises ``LedgerUnavailable``.
    """
    with translated():
        pooled = engine.raw_connection()
        session: psycopg.Connection[Any] = pooled.driver_connection  # type: ignore[assignment]
        pooled.detach()
        try:
            session.autocommit = True
        except BaseException:
            session.close()
            raise
    return session


def open_file(engine: Engine) -> sqlite3.Connection:
    """Open a connection to SQLite's file beside the pool; the caller closes it.

    Each statement is a transaction of its own. Raises ``LedgerUnavailable``.
    """
    with translated():
        pooled = engine.raw_connection()
        file: sqlite3.Connection = pooled.driver_connection  # type: ignore[assignment]
        pooled.detach()
    return file


@contextmanager
def translated() -> Iterator[None]:
    """Turn what a driver raises into the ledger's errors."""
    try:
        yield
    except (PoolTimeout, sqlite3.OperationalError) as error:
        raise LedgerUnavailable(f"the ledger: {_first_line(error)}") from error
    except (DBAPIError, psycopg.Error) as error:
        refused = _as_refusal(error)
        if refused is None:
            raise
        raise refused from error


def _as_refusal(error: DBAPIError | psycopg.Error) -> CurrentError | None:
    """Return what a database's error means, or None where it is a mistake in here."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
        return LedgerUnreadable("the ledger's file is not an SQLite database")
    code = getattr(cause, "sqlstate", None)
    if code in _CONTENTION:
        return LedgerContended(f"the ledger: {_first_line(error)}")
    if code is not None:
        is_lost = code.startswith(_OUT_OF_SERVICE)
    else:
        # SQLite, or a server that was not reached.
        is_lost = isinstance(error, (OperationalError, psycopg.OperationalError))
    if is_lost or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return LedgerUnavailable(f"the ledger: {_first_line(error)}")
    return None


def _first_line(error: Exception) -> str:
    # Without the statement and its parameters, which SQLAlchemy appends.
    cause = getattr(error, "orig", None)
    return (str(error if cause is None else cause).splitlines() or [type(error).__name__])[0]
