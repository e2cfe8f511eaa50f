"""Requests that are open: as many as the operator allows, each run to its end.

A request that has reserved must post or void, so it goes on without its client; a server that stops
waits for all of them.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from serving.http.errors import overloaded

log = structlog.get_logger("serving")

T = TypeVar("T")


class InFlight:
    """The open requests, and what they have left to do in the background."""

    def __init__(self, count_max: int) -> None:
        self._count_max = count_max
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._tasks)

    def check(self) -> None:
        """Raise 503 ``overloaded`` where as many are open as the operator allows."""
        if len(self._tasks) >= self._count_max:
            raise overloaded()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work to its end, whether or not its caller stays; return and raise as it does."""
        return await asyncio.shield(self.keep(work))

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do the work beside its caller."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also where its caller has gone

    async def drain(self, timeout_s: float) -> None:
        """Let open requests finish; cancel, and so void, what is still open after the timeout."""
        if not self._tasks:
            return
        log.info("draining", requests=len(self._tasks), timeout_s=timeout_s)
        _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            log.warning("drain_cancelled", requests=len(late))
            await asyncio.wait(late)
