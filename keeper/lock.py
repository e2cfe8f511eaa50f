"""One keeper at a time on one ledger, so that overlapping runs are harmless."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from keeper.errors import LockHeld


@contextmanager
def hold_lock(engine: Engine) -> Iterator[None]:
    """Hold the lock of a ledger. Raises ``LockHeld`` where another keeper has it.

    SQLite: a file beside the database, locked by the kernel, so that a killed keeper frees it. A
    database in memory has one process anyway. On PostgreSQL two keepers are kept apart by nothing
    but the compare-and-set of the intents so far: run one.
    """
    path = _lock_path(engine)
    if path is None:
        yield
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockHeld(f"another keeper works on this ledger ({path})") from None
        yield


def _lock_path(engine: Engine) -> Path | None:
    database = engine.url.database
    if engine.dialect.name != "sqlite" or not database or database == ":memory:":
        return None
    return Path(f"{database}.keeper.lock")
