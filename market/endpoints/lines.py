"""Connections to sellers' endpoints, shared fairly by those whose endpoints they are.

Several sellers may be customers of one provider: its connections are shared by seller, or by the
buyer whose own provider it is. So are all calls of this process. A call that gets no place raises
``NoPlace``: the shortage is ours, and nothing is learned of the seller.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pyreqwest.client import Client

from serving.models.dialing import Dialer, Origin, UrlRefused
from serving.models.failures import Cause, UpstreamFailure
from serving.models.upstream import Access, translated
from serving.process.turns import Turns


@dataclass(eq=False, slots=True)
class Line:
    """A place for one call, with the client that makes it."""

    client: Client
    url: str
    origin: Origin
    tenant: str
    lines: "Lines"
    _is_left: bool = False

    def leave(self) -> None:
        """Give the place back. Idempotent."""
        if not self._is_left:
            self._is_left = True
            self.lines.leave(self.origin, self.tenant)


class Lines:
    """Hands out places for calls. To be made inside an event loop.

    Where the address must not be called, ``UpstreamFailure`` is raised.
    """

    def __init__(self, dialer: Dialer, *, calls_max: int) -> None:
        self._dialer = dialer
        self._calls = Turns(calls_max)
        self._by_origin: dict[Origin, Turns] = {}

    @asynccontextmanager
    async def hold(self, access: Access) -> AsyncIterator[tuple[Client, str]]:
        """Hold a place for one call; yield the client and the base URL. Raises ``NoPlace``."""
        line = await self.open(access)
        try:
            yield line.client, line.url
        finally:
            line.leave()

    async def open(self, access: Access) -> Line:
        """Take a place for a call, to be left. Raises ``NoPlace``."""
        with translated():
            try:
                client, url = await self._dialer.dial(access.base_url)
                origin = self._dialer.get_origin(access.base_url)
            except UrlRefused:
                raise UpstreamFailure(Cause.UNREACHABLE) from None
        return await self._take(client, url, origin, access.tenant)

    async def open_artifact(self, url: str, tenant: str) -> Line:
        """Take a place for fetching something. Raises ``NoPlace``."""
        client, called, origin = await self._dial_artifact(url)
        return await self._take(client, called, origin, tenant)

    async def check_artifact(self, url: str) -> None:
        """Refuse a URL that could not be fetched."""
        await self._dial_artifact(url)

    async def _dial_artifact(self, url: str) -> tuple[Client, str, Origin]:
        with translated():
            try:
                return await self._dialer.dial_artifact(url)
            except UrlRefused:
                raise UpstreamFailure(Cause.UNREACHABLE) from None

    async def _take(self, client: Client, url: str, origin: Origin, tenant: str) -> Line:
        # Whoever has too many calls open waits for none of them: the next seller is asked.
        await self._calls.take(tenant, wait_s=0)
        rules = self._dialer.rules
        turns = self._by_origin.setdefault(origin, Turns(rules.connections_max))
        try:
            await turns.take(tenant, wait_s=rules.connect_timeout_s)
        except BaseException:
            self._calls.give_back(tenant)
            self._forget_idle(origin)
            raise
        return Line(client, url, origin, tenant, self)

    def leave(self, origin: Origin, tenant: str) -> None:
        """Give a place back."""
        self._by_origin[origin].give_back(tenant)
        self._calls.give_back(tenant)
        self._forget_idle(origin)

    def _forget_idle(self, origin: Origin) -> None:
        turns = self._by_origin.get(origin)
        if turns is not None and turns.is_idle:
            del self._by_origin[origin]
