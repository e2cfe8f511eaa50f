"""A process's repeated work beside serving."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from contracts.errors import Retryable

log = structlog.get_logger("serving")

Step = Callable[[], Awaitable[Any]]


async def repeat(step: Step, interval_s: float) -> None:
    """Do something again and again; what goes wrong is logged, and tried again."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            await step()
        except Retryable as error:
            log.warning("background_step_failed", error=str(error))
        except Exception:
            log.exception("background_step_failed")


@asynccontextmanager
async def running(*works: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Run coroutines beside the block; cancel them, and wait for that, when the block ends."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
