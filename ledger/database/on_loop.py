"""The ledger as an event loop sees it: writes through the grouping writer, reads in threads.

The outcomes of a whole group come over to the loop in one piece: waking it up costs more than
most of what is delivered.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import Connection, Engine

from ledger.database.clock import LedgerClock
from ledger.database.engine import read
from ledger.database.heartbeat import Heartbeat
from ledger.database.writer import GroupWriter
from ledger.errors import LedgerUnavailable

log = structlog.get_logger("ledger")

T = TypeVar("T")

RETRY_DELAYS_S: Final = (0.1, 0.5, 2.0)
"""Pauses between the tries to write what can be repeated without harm."""
PROBE_TIMEOUT_S: Final = 2.0
"""A ledger that takes longer is not ready: a monitor must hear so while a database hangs."""
READERS_MAX: Final = 10
"""How many queries run at a time. Threads of their own: a database that hangs stops nothing else.
"""


class LoopLedger:
    """Runs ledger functions and queries for one event loop, in which it must be made.

    A caller that waits longer than ``timeout_s`` gets ``LedgerUnavailable``; what was begun by then
    may be written all the same.
    """

    def __init__(
        self,
        engine: Engine,
        writer: GroupWriter,
        *,
        timeout_s: float,
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
        clock: LedgerClock | None = None,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        """``clock`` None: the database's own. ``heartbeat`` None: leases end by time only."""
        self.clock = LedgerClock(engine) if clock is None else clock
        self.holder_id = None if heartbeat is None else heartbeat.holder_id
        self.now_s = self.clock.now_s
        self._engine = engine
        self._writer = writer
        self._timeout_s = timeout_s
        self._retry_delays_s = retry_delays_s
        self._loop = asyncio.get_running_loop()
        self._readers = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="ledger-reader")
        # One timer for all callers: they began in this order, so they run out in it.
        self._waiting: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    def close(self) -> None:
        """End reading. Blocks until the queries that are under way have ended.

        A reader that outlives the engine's pool would leave its connection open.
        """
        self._readers.shutdown(cancel_futures=True)

    async def read(self, query: Callable[[Connection], T], *, timeout_s: float | None = None) -> T:
        """Run ``query`` on a read-only snapshot in a thread. Raises ``LedgerUnavailable``.

        ``timeout_s`` replaces the ledger's own for this query.
        """
        patience_s = self._timeout_s if timeout_s is None else timeout_s

        def run() -> T:
            with read(self._engine) as connection:
                return query(connection)

        try:
            async with asyncio.timeout(patience_s):
                return await self._loop.run_in_executor(self._readers, run)
        except TimeoutError:
            raise _too_late(patience_s) from None

    async def measure_clock(self) -> None:
        """Look at the database's clock, in a thread. Without an answer, what is known stands."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._loop.run_in_executor(self._readers, self.clock.try_measure)
        except TimeoutError:
            log.warning("clock_not_measured", error=str(_too_late(self._timeout_s)))

    async def probe(self) -> None:
        """Raise ``LedgerUnavailable`` unless the database answers within ``PROBE_TIMEOUT_S``."""
        await self.read(
            lambda connection: connection.exec_driver_sql("SELECT 1").close(),
            timeout_s=PROBE_TIMEOUT_S,
        )

    async def write(
        self,
        call: Callable[[Connection], T],
        *,
        on_abandoned: Callable[[T], None] | None = None,
    ) -> T:
        """Run ``call`` in the writer's next group. Raises ``LedgerUnavailable``, and its own.

        ``on_abandoned`` is called with the result where it was written after its caller had been
        cancelled or told that it took too long.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._writer.submit_for(self, _Pending(future, on_abandoned), call)
        waiting = self._waiting
        while waiting and waiting[0][1].done():
            waiting.popleft()
        deadline_s = self._loop.time() + self._timeout_s
        waiting.append((deadline_s, future))
        if self._alarm is None:
            self._alarm = self._loop.call_at(deadline_s, self._expire)
        return await future

    async def persist(self, call: Callable[[Connection], T]) -> T:
        """Run what can be repeated, several times where the ledger is unavailable."""
        for delay_s in self._retry_delays_s:
            try:
                return await self.write(call)
            except LedgerUnavailable as error:
                log.warning("ledger_write_retried", error=str(error), delay_s=delay_s)
            await asyncio.sleep(delay_s)
        return await self.write(call)

    def submit_and_forget(self, call: Callable[[Connection], Any]) -> None:
        """Run ``call`` in the writer's next group; a failure is only logged."""
        try:
            future = self._writer.submit(call)
        except LedgerUnavailable as error:
            log.warning("ledger_write_lost", error=str(error))
            return
        future.add_done_callback(_log_loss)

    def deliver(self, outcomes: Sequence[tuple[Any, Any, Exception | None]]) -> None:
        """Take a group's outcomes from the writer's thread."""
        try:
            self._loop.call_soon_threadsafe(_settle, outcomes)
        except RuntimeError:  # the loop is closed: no caller waits
            log.warning("ledger_answers_lost", answers=len(outcomes))

    def _expire(self) -> None:
        self._alarm = None
        waiting, now_s = self._waiting, self._loop.time()
        while waiting and (waiting[0][0] <= now_s or waiting[0][1].done()):
            _, future = waiting.popleft()
            if not future.done():
                future.set_exception(_too_late(self._timeout_s))
        if waiting:
            self._alarm = self._loop.call_at(waiting[0][0], self._expire)


def _too_late(timeout_s: float) -> LedgerUnavailable:
    return LedgerUnavailable(f"no answer within {timeout_s} s")


class _Pending:
    """The future of a call's caller, and what is done where the caller has gone."""

    __slots__ = ("future", "on_abandoned")

    def __init__(
        self, future: "asyncio.Future[Any]", on_abandoned: Callable[[Any], None] | None
    ) -> None:
        self.future = future
        self.on_abandoned = on_abandoned

    def done(self) -> bool:
        return self.future.done()


def _settle(outcomes: Sequence[tuple[_Pending, Any, Exception | None]]) -> None:
    for pending, result, failure in outcomes:
        future = pending.future
        try:
            if future.done():
                if failure is None and pending.on_abandoned is not None:
                    pending.on_abandoned(result)
            elif failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)
        except Exception:
            # The others of the group must hear of theirs all the same.
            log.exception("ledger_answer_lost")


def _log_loss(done: "Future[Any]") -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.warning("ledger_write_lost", error=str(error))
