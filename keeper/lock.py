"""One keeper at a time on one ledger, and the fence that stops a keeper without the lock.

The lock is ``ledger.database.leadership``: an advisory lock on PostgreSQL, a file beside a SQLite
database.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import Engine

from keeper.errors import LeadershipLost, LockHeld
from ledger.database.leadership import Leadership

ROLE: Final = "keeper"


@contextmanager
def hold_lock(engine: Engine) -> Iterator[Leadership]:
    """Hold the lock of a ledger. Raises ``LockHeld`` where another keeper has it."""
    with Leadership(engine, ROLE) as leadership:
        if not leadership.acquire():
            raise LockHeld("another keeper works on this ledger")
        yield leadership


def build_fence(leadership: Leadership) -> Callable[[], None]:
    """Return what raises ``LeadershipLost`` as soon as the lock is lost."""

    def fence() -> None:
        if not leadership.is_leader():
            raise LeadershipLost("the keeper's lock is lost; nothing is sent until it is won again")

    return fence
