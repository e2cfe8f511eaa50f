"""Waiting for one of a bounded number of places that many tenants share fairly.

Who may have a place: ``serving.process.shares``. Of those who wait, the tenant that holds least
comes first, of one tenant's the one that came first.
"""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass

from contracts.errors import Retryable
from serving.process.shares import Shares


class NoPlace(Retryable):
    """No place came free to the tenant in time: a shortage of ours, not of who is to be called."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    tenant: Hashable
    granted: asyncio.Future[None]


class Turns:
    """Hands out the places of one event loop."""

    def __init__(self, total: int) -> None:
        self._shares = Shares(total)
        self._waiting: list[_Waiting] = []

    @property
    def is_idle(self) -> bool:
        """Whether nobody holds a place or waits for one."""
        return self._shares.free == self._shares.total and not self._waiting

    async def take(self, tenant: Hashable, *, wait_s: float) -> None:
        """Take a place, to be given back. Raises ``NoPlace`` after ``wait_s`` seconds."""
        if self._shares.take(tenant):
            return
        if wait_s <= 0:
            raise NoPlace("no place is free")
        one = _Waiting(tenant, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        try:
            async with asyncio.timeout(wait_s):
                await one.granted
        except BaseException as error:
            if one in self._waiting:
                self._waiting.remove(one)
            elif one.granted.done() and not one.granted.cancelled():
                self.give_back(tenant)  # it was granted in the same moment
            if isinstance(error, TimeoutError):
                raise NoPlace("no place came free in time") from None
            raise

    def give_back(self, tenant: Hashable) -> None:
        """Give a place back, and let the next ones have theirs."""
        self._shares.give_back(tenant)
        while True:
            able = [one for one in self._waiting if self._shares.may_take(one.tenant)]
            if not able:
                return
            one = min(able, key=lambda waiting: self._shares.get_held(waiting.tenant))
            self._waiting.remove(one)
            if not one.granted.done():
                self._shares.take(one.tenant)
                one.granted.set_result(None)
