"""Requests that are open: as many as the operator allows, each run to its end.

A request that has reserved must post or void, so it goes on without its client; a server that stops
waits for all of them. Places are shared fairly by account, and by key within an account: see
``serving.process.shares``.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Hashable
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import structlog

from serving.http.errors import overloaded
from serving.process.shares import Shares

log = structlog.get_logger("serving")

T = TypeVar("T")

PROVEN_WEIGHT: Final = 4
"""How much more of the reserve a proven account may hold."""


@dataclass(eq=False, slots=True)
class OpenPlace:
    """A request's place, held until all of its work is done."""

    account: Hashable
    key: Hashable
    is_proven: bool
    works: int = field(default=0)
    """Works of the request that are not done yet."""


_current: ContextVar[OpenPlace | None] = ContextVar("current_place", default=None)
"""The place of the request that runs in this context."""


class InFlight:
    """The open requests, and what they have left to do in the background."""

    def __init__(self, count_max: int) -> None:
        self._accounts = Shares(count_max)
        self._keys: Counter[tuple[Hashable, Hashable]] = Counter()
        """How many places each key of an account holds."""
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._tasks)

    def enter(self, account: Hashable, key: Hashable, *, is_proven: bool) -> OpenPlace:
        """Take a place for a request of an account's key, for ``run``.

        ``is_proven``: the ledger says that the account has paid. Raises 503 ``overloaded`` where no
        place is free to it.
        """
        if not self._accounts.take(
            account,
            weight=PROVEN_WEIGHT if is_proven else 1,
            is_proven=is_proven,
            held_by_part=self._keys[account, key],
        ):
            raise overloaded()
        self._keys[account, key] += 1
        return OpenPlace(account, key, is_proven)

    def leave(self, place: OpenPlace) -> None:
        """Give a place back."""
        self._accounts.give_back(place.account, is_proven=place.is_proven)
        part = (place.account, place.key)
        self._keys[part] -= 1
        if not self._keys[part]:
            del self._keys[part]

    async def run(self, work: Coroutine[Any, Any, T], place: OpenPlace | None = None) -> T:
        """Do the work to its end, whether or not its caller stays; return and raise as it does.

        ``place`` is given back once the work is done, and all that it has kept.
        """
        return await asyncio.shield(self._start(work, place))

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do the work beside its caller; it is part of the caller's request."""
        return self._start(work, _current.get())

    def _start(self, work: Coroutine[Any, Any, T], place: OpenPlace | None) -> asyncio.Task[T]:
        context = copy_context()
        context.run(_current.set, place)
        task = asyncio.create_task(work, context=context)
        self._tasks.add(task)
        if place is not None:
            place.works += 1
        task.add_done_callback(lambda done: self._forget(done, place))
        return task

    def _forget(self, task: asyncio.Task[Any], place: OpenPlace | None) -> None:
        self._tasks.discard(task)
        if place is not None:
            place.works -= 1
            if not place.works:
                self.leave(place)
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
