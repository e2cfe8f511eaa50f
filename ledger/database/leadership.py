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
        self._path: Path | None = None
        """Where the locked file is; None for a database in memory."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def acquire(self, *, creates: bool = True) -> bool:
        """Try to lead, without waiting; tell whether we do. Idempotent.

        ``creates`` False: on SQLite a lock file that is missing is not created; nobody holds it.
        Raises ``LedgerUnavailable`` where the database cannot be asked.
        """
        if self.is_leader():
            return True
        if is_postgres(self._engine):
            return self._acquire_session()
        return self._acquire_file(creates=creates)

    def is_leader(self) -> bool:
        """Tell whether we still lead: ask before each step.

        On PostgreSQL this asks the session that holds the lock; once it is lost, so is the role,
        until ``acquire`` wins it again. On SQLite the role is lost with the lock file's name: who
        comes next would lock a file of its own.
        """
        if self._session is None:
            return self._holds_file()
        try:
            self._session.execute("SELECT 1")
        except psycopg.Error:
            self.release()
            self._distrust_pool()
            return False
        return True

    def release(self) -> None:
        """Stand back. Idempotent."""
        if self._session is not None:
            self._session.close()  # the lock ends with it
            self._session = None
        if self._file is not None:
            self._file.close()
            self._file = self._path = None

    def _acquire_session(self) -> bool:
        try:
            session = open_session(self._engine)
        except LedgerUnavailable:
            self._distrust_pool()
            raise
        key = build_lock_key(f"current:leader:{self._role}")
        try:
            with translated():
                row = session.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()
        except BaseException as error:
            session.close()
            if isinstance(error, LedgerUnavailable):
                self._distrust_pool()
            raise
        assert row is not None
        if not row[0]:
            session.close()
            return False
        self._session = session
        return True

    def _distrust_pool(self) -> None:
        """Close idle connections: what cut one session has cut them too, mostly in silence.

        Each of them would keep its next user waiting until the silence is noticed.
        """
        self._engine.dispose()

    def _acquire_file(self, *, creates: bool) -> bool:
        path = self._lock_path()
        if path is None or (not creates and not path.exists()):
            # A database in memory has one process anyway; a file that is missing has no holder.
            self._file = open(os.devnull)  # noqa: SIM115 - held until release
            return True
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file, self._path = file, path
        return self._holds_file()

    def _holds_file(self) -> bool:
        """Tell whether our locked file is still the one that others find by its name."""
        if self._file is None or self._path is None:
            return self._file is not None
        try:
            is_it = os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except OSError:
            is_it = False
        if not is_it:
            self.release()
        return is_it

    def _lock_path(self) -> Path | None:
        database = self._engine.url.database
        return None if not database else find_lock_path(database, self._role)


def find_lock_path(database: str, role: str) -> Path | None:
    """Return the lock file of a role beside an SQLite database; None for one in memory.

    The same file however the database is named: relative, or through a symbolic link.
    """
    if database == ":memory:":
        return None
    real = Path(database).resolve()
    return real.with_name(f"{real.name}.{role}.lock")
