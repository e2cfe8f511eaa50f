"""A host's clock that a test sets, and a ledger's clock that time passes for at once."""

import time
from collections import deque
from collections.abc import Callable

from sqlalchemy import Engine

from ledger.database.clock import LedgerClock
from ledger.database.on_loop import LoopLedger
from serving.http.limits import Limits


class HostClock:
    """The wall clock, ``ahead_s`` seconds ahead of the real one."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s

    def __call__(self) -> float:
        return time.time() + self.ahead_s


def stand_still(limits: Limits) -> None:
    """Let no time pass for a server's limits from now on, however long its requests take."""
    at_s = time.monotonic()
    for buckets in (limits._by_key, limits._by_address, limits._nonces, limits._keys):
        buckets._clock = lambda: at_s


def let_time_run_out(ledger: LoopLedger) -> None:
    """Tell all who wait for the ledger that it took too long, however long it took."""
    ledger._waiting = deque((0.0, future) for _, future in ledger._waiting)
    ledger._expire()


class LaterClock(LedgerClock):
    """The ledger's clock so many seconds later, on either database: for waiting without waiting."""

    def __init__(self, engine: Engine, *, later_s: Callable[[], float]) -> None:
        super().__init__(engine)
        self._later_s = later_s

    def now(self) -> float:
        return super().now() + self._later_s()
