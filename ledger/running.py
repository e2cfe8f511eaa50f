"""The ledger of a server: what it needs to write, to know the time and to show that it lives."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from sqlalchemy import Engine

from ledger.database.clock import LedgerClock
from ledger.database.on_loop import RETRY_DELAYS_S, LoopLedger
from ledger.database.writer import GroupWriter
from ledger.dead_holders import build_heartbeat

LedgerT = TypeVar("LedgerT", bound=LoopLedger)


@asynccontextmanager
async def running_ledger(
    kind: type[LedgerT],
    engine: Engine,
    *,
    role: str,
    timeout_s: float,
    retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
    host_clock: Callable[[], float] = time.time,
) -> AsyncIterator[LedgerT]:
    """Lend a ledger to the running event loop: its clock measured, its process's heart beating.

    ``role`` names the process in the ledger; ``host_clock`` is this host's. At the end what was
    submitted is still written, and what this process held is freed.
    """
    writer = GroupWriter(engine)
    clock = LedgerClock(engine, host_clock=host_clock)
    heartbeat = build_heartbeat(engine, role=role, clock=clock)
    ledger = kind(
        engine,
        writer,
        timeout_s=timeout_s,
        retry_delays_s=retry_delays_s,
        clock=clock,
        heartbeat=heartbeat,
    )
    async with AsyncExitStack() as closing:
        # In threads: what was submitted may take a while to be written. The last one comes first.
        closing.push_async_callback(asyncio.to_thread, ledger.close)
        closing.push_async_callback(asyncio.to_thread, heartbeat.close)
        closing.push_async_callback(asyncio.to_thread, writer.close)
        await ledger.measure_clock()
        await asyncio.to_thread(heartbeat.start)
        yield ledger
