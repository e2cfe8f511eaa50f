"""The one clock that decides: leases, windows, days and expiries of a ledger are judged by it.

Processes of one ledger run on several hosts, whose clocks differ. On PostgreSQL the server's clock
decides: it is asked now and then, and this process's steady clock carries on in between, so that a
host's clock that is wrong, or is set while the process runs, moves nothing. On SQLite all processes
share a host and its clock decides; the indexer's stamps tell whether this process sees the same.

A process whose host is far off decides rightly on PostgreSQL all the same. Yet it says so, is not
ready and sweeps nothing: who reads its logs, its payments and its certificates goes by that clock.
"""

import time
from collections.abc import Callable
from typing import Final

import structlog
from sqlalchemy import Connection, Engine, select

from contracts.errors import Retryable
from ledger.database.engine import is_postgres, read
from ledger.errors import LedgerUnavailable
from ledger.tables import Mirror, table_of

log = structlog.get_logger("ledger")

MEASURE_S: Final = 5.0
"""Pause between two looks at the database's clock, in seconds."""
FAR_OFF_S: Final = 5.0
"""From here on a host's clock is far off, in seconds."""
ROUND_TRIP_MAX_S: Final = 1.0
"""An answer that took longer says too little: a better one replaces it, it replaces none."""

_mirror = table_of(Mirror)


class LedgerClock:
    """The ledger's clock, as one process knows it. May be shared between threads."""

    def __init__(
        self,
        engine: Engine,
        *,
        host_clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``host_clock`` is the host's wall clock, ``steady_clock`` a monotonic one."""
        self._engine = engine
        self._is_asked = is_postgres(engine)
        self._host_clock = host_clock
        self._steady_clock = steady_clock
        self._lead_s: float | None = None
        """How far the database's clock is ahead of the steady one; None: not known, or SQLite."""
        self._ahead_s: float | None = None
        self._measured_at_s: float | None = None
        """When it was measured last, by the steady clock."""
        self._stamp_s: int | None = None
        self._was_far_off = False

    def now(self) -> float:
        """Return the time in Unix seconds, without a query."""
        lead_s = self._lead_s
        return self._host_clock() if lead_s is None else self._steady_clock() + lead_s

    def now_s(self) -> int:
        """Return the time in whole Unix seconds, rounded down, without a query."""
        return int(self.now())

    def measured_now(self) -> float:
        """Return the time, after a new look at the database's clock where the last one is old.

        For processes that may wait for an answer. A database that does not answer changes nothing;
        raises ``LedgerUnavailable`` where it never did.
        """
        measured_at_s = self._measured_at_s
        if measured_at_s is None or self._steady_clock() - measured_at_s >= MEASURE_S:
            self.try_measure()
        self.check_known()
        return self.now()

    def try_measure(self) -> None:
        """Look at the database's clock; without an answer, what is known stands."""
        try:
            self.measure()
        except Retryable as error:
            log.warning("clock_not_measured", error=str(error))

    @property
    def ahead_s(self) -> int:
        """How far the host's clock is ahead of the ledger's, below zero: behind; as last measured.

        In whole seconds, rounded to the nearest; 0 also where it is not known.
        """
        return 0 if self._ahead_s is None else round(self._ahead_s)

    @property
    def is_far_off(self) -> bool:
        """Whether the host's clock is so wrong that a person must set it."""
        return self._ahead_s is not None and abs(self._ahead_s) > FAR_OFF_S

    def check_known(self) -> None:
        """Raise ``LedgerUnavailable`` while the database has not said yet what time it is."""
        if self._lead_s is None and self._is_asked:
            raise LedgerUnavailable("the database has not been asked for the time yet")

    @property
    def may_sweep(self) -> bool:
        """Whether this process may end what others' leases cover."""
        is_known = self._lead_s is not None or not self._is_asked
        return is_known and not self.is_far_off

    def measure(self) -> None:
        """Look at the database's clock. Blocks. Raises ``LedgerUnavailable``."""
        before_s = self._steady_clock()
        with read(self._engine) as connection:
            if is_postgres(connection):
                self._ask(connection)
            else:
                self._compare(connection)
        self._measured_at_s = before_s
        if self.is_far_off != self._was_far_off:
            self._was_far_off = self.is_far_off
            name = "clock_far_off" if self.is_far_off else "clock_right_again"
            log.error(name, ahead_s=self.ahead_s)

    def _ask(self, connection: Connection) -> None:
        before_s = self._steady_clock()
        answer = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())::float8")
        database_s = float(answer.scalar_one())
        after_s = self._steady_clock()
        if self._lead_s is None or after_s - before_s <= ROUND_TRIP_MAX_S:
            self._lead_s = database_s - (before_s + after_s) / 2
        self._ahead_s = self._host_clock() - self.now()

    def _compare(self, connection: Connection) -> None:
        """Compare the host's clock with the indexer's newest stamp, if it is a new one.

        The stamp was written since the last look, which bounds its age.
        """
        stamp_s = connection.execute(select(_mirror.c.observed_at_s)).scalar_one_or_none()
        before_s, self._stamp_s = self._stamp_s, stamp_s
        if self._measured_at_s is None or stamp_s in (None, 0) or stamp_s == before_s:
            return
        age_s = self._host_clock() - stamp_s
        # Stamps are in whole seconds, rounded down.
        oldest_s = self._steady_clock() - self._measured_at_s + 1
        self._ahead_s = min(age_s, 0.0) + max(age_s - oldest_s, 0.0)


def ask_now_s(engine: Engine) -> int:
    """Return the ledger's time in whole Unix seconds, for a command that needs it once.

    Raises ``LedgerUnavailable``.
    """
    clock = LedgerClock(engine)
    clock.measure()
    return clock.now_s()
