"""Telling other processes at once that a position's key epoch or hold has changed.

A notification is a hint: its receiver reads the ledger. It is sent by the transaction that made
the change, so it arrives after the change can be read, and not at all if that is rolled back.

SQLite announces nothing. There a listener looks at the file's version, a number that each commit
moves, every ``LOOK_S``: a look is a few microseconds and reads no page.
"""

import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Self

import psycopg
from sqlalchemy import Connection, Engine

from ledger.database.engine import is_postgres, open_file, open_session
from ledger.errors import LedgerUnavailable

CHANNEL: Final = "current_position"
_LISTEN: Final = "LISTEN current_position"
RECONNECT_PAUSE_S: Final = 0.5
LOOK_S: Final = 0.005
"""Pause between two looks at a SQLite file, in seconds."""
_VERSION: Final = "PRAGMA data_version"
_BLOCK: Final = "SELECT block_hash FROM mirror"


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed since the last answer."""

    token_ids: frozenset[int]
    may_have_missed: bool
    """Others may have changed unnoticed: forget whatever was remembered of any position."""


def notify_positions(connection: Connection, token_ids: Iterable[int]) -> None:
    """Announce positions, when and if the caller's transaction commits. Nothing on SQLite."""
    wanted = sorted(set(token_ids))
    if not is_postgres(connection) or not wanted:
        return
    connection.exec_driver_sql(
        "SELECT pg_notify(%s, id::text) FROM unnest(%s::bigint[]) AS id", (CHANNEL, wanted)
    )


class Listener:
    """Hears what ``notify_positions`` announces, on a connection of its own that it renews.

    Not to be shared between threads.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._session: psycopg.Connection[Any] | None = None
        self._file: sqlite3.Connection | None = None
        self._version: int | None = None
        self._block: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, timeout_s: float) -> Changes:
        """Return what was announced, at the latest after ``timeout_s`` seconds.

        The first answer on a new connection comes at once and says that something may have been
        missed before it. While the server cannot be reached, every answer says so; on SQLite, each
        after another block was mirrored.
        """
        if not is_postgres(self._engine):
            return self._watch_file(timeout_s)
        if self._session is None:
            return self._connect(timeout_s)
        try:
            return self._hear(self._session, timeout_s)
        except psycopg.Error:
            self.close()
            return Changes(frozenset(), may_have_missed=True)

    def _watch_file(self, timeout_s: float) -> Changes:
        deadline_s = time.monotonic() + timeout_s
        try:
            while not self._has_moved():
                if time.monotonic() >= deadline_s:
                    return Changes(frozenset(), may_have_missed=False)
                time.sleep(LOOK_S)
        except (LedgerUnavailable, sqlite3.Error):
            self.close()
            time.sleep(min(timeout_s, RECONNECT_PAUSE_S))
        return Changes(frozenset(), may_have_missed=True)

    def _has_moved(self) -> bool:
        """Tell whether another block was mirrored since the last call, or none was looked at."""
        if self._file is None:
            self._file = open_file(self._engine)
        (version,) = self._file.execute(_VERSION).fetchone()
        if version == self._version:
            return False
        is_first, self._version = self._version is None, version
        before, self._block = self._block, self._file.execute(_BLOCK).fetchone()
        return is_first or self._block != before

    def _connect(self, timeout_s: float) -> Changes:
        try:
            session = open_session(self._engine)
            self._session = session
            session.execute(_LISTEN)
        except (LedgerUnavailable, psycopg.Error):
            self.close()
            time.sleep(min(timeout_s, RECONNECT_PAUSE_S))
        return Changes(frozenset(), may_have_missed=True)

    def _hear(self, session: psycopg.Connection[Any], timeout_s: float) -> Changes:
        # Whatever came in one packet is handed over together.
        heard = frozenset(int(n.payload) for n in session.notifies(timeout=timeout_s, stop_after=1))
        if not heard:
            # Silence may also be a connection that is dead without knowing it.
            session.execute("SELECT 1")
        return Changes(heard, may_have_missed=False)

    def close(self) -> None:
        """Stop listening. Idempotent; the next ``wait`` listens again."""
        if self._session is not None:
            self._session.close()
            self._session = None
        if self._file is not None:
            self._file.close()
            self._file = self._version = None
