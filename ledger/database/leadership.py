"""One process at a time in a role (the indexer, the keeper), and hot standbys behind it.

On PostgreSQL the role is an advisory lock of a session of its own: the server frees it when the
session ends, however the process does, so a standby that asks every second takes over within
seconds. A machine that vanishes without a word is noticed by the keepalives that
``ledger.database.engine`` asks for. On SQLite it is a lock file beside the database, freed by the
kernel.

Leadership keeps work from being done twice; it is not what keeps it right. A leader that was frozen
between ``is_leader`` and its next write does not know that it has been replaced. What fences it:

- the indexer: ``mirror.save_cursor`` compares and sets the cursor's hash in the transaction that
  writes the rows, so of two indexers one gets ``CursorMoved`` and wrote nothing;
- the keeper: an intent leaves a state once (``intents``), a nonce belongs to one intent
  (``intent_nonce_taken``), a posted usage goes into one batch (row locks in ``plan_batch``), and
  on chain a nonce and a batch id are good for one transaction.
"""

import fcntl
import os
from pathlib import Path
from typing import IO, Any, Self

import psycopg
from sqlalchemy import Engine

from ledger.database.engine import is_postgres, open_session, translated
from ledger.database.locks import build_lock_key
from ledger.errors import LedgerUnavailable


class Leadership:
    """The claim of one process to a role on one ledger. Not to be shared between threads.

    As a context manager it releases at the end what was acquired meanwhile.
    """

    def __init__(self, engine: Engine, role: str) -> None:
        self._engine = engine
        self._role = role
        self._session: psycopg.Connection[Any] | None = None
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self) -> bool:
        """Try to lead, without waiting; tell whether we do. Idempotent.

        Raises ``LedgerUnavailable`` where the database cannot be asked.
        """
        if self.is_leader():
            return True
        if is_postgres(self._engine):
            return self._acquire_session()
        return self._acquire_file()

    def is_leader(self) -> bool:
        """Tell whether we still lead: ask before each step.

        On PostgreSQL this asks the session that holds the lock; once it is lost, so is the role,
        until ``acquire`` wins it again.
        """
        if self._session is None:
            return self._file is not None
        try:
            self._session.execute("SELECT 1")
        except psycopg.Error:
            self.release()
            return False
        return True

    def release(self) -> None:
        """Stand back. Idempotent."""
        if self._session is not None:
            self._session.close()  # the lock ends with it
            self._session = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _acquire_session(self) -> bool:
        session = open_session(self._engine)
        key = build_lock_key(f"current:leader:{self._role}")
        try:
            with translated():
                row = session.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
        except LedgerUnavailable:
            session.close()
            raise
        assert row is not None
        if not row[0]:
            session.close()
            return False
        self._session = session
        return True

    def _acquire_file(self) -> bool:
        path = self._lock_path()
        if path is None:
            # A database in memory has one process anyway.
            self._file = open(os.devnull)  # noqa: SIM115 - held until release
            return True
        file = path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def _lock_path(self) -> Path | None:
        database = self._engine.url.database
        if not database or database == ":memory:":
            return None
        return Path(f"{database}.{self._role}.lock")
