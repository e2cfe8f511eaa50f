"""A small, honest "blockchain analytics" API over the devnet's own chain, with a key and a quota.

It is what the devnet's operator resells: read-only, by an API key in the header ``x-api-key``, so
many calls a month. ``behave`` lets a test have it misbehave.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

KEY_HEADER: Final = "x-api-key"
REMAINING_HEADER: Final = "x-quota-remaining"
ADDRESS_LENGTH: Final = 42

Behave = Callable[[Request], Awaitable[Response | None]]
"""Answers a request in the API's place; None leaves it to the API."""


class ChainFacts(Protocol):
    """What the API tells of a chain. Each may block: it is asked in a thread."""

    def find_block(self, number: int | None) -> Mapping[str, Any] | None:
        """Return a block's number, hash, time and count of transactions; None: the newest."""
        ...

    def find_balances(self, address: str) -> Mapping[str, str]:
        """Return an address's balances in the smallest units, as decimal texts."""
        ...


@dataclass
class ApiQuota:
    """How many calls the subscription still has."""

    calls: int
    used: int = 0

    @property
    def remaining(self) -> int:
        """What remains of it."""
        return max(0, self.calls - self.used)


def create_analytics(
    facts: ChainFacts, *, api_key: str, quota: ApiQuota, behave: Behave | None = None
) -> Starlette:
    """Return the API. Each answer but 401 and 429 uses the quota up by one call."""

    async def latest(_: Request) -> Response:
        found = await asyncio.to_thread(facts.find_block, None)
        return _json({} if found is None else found)

    async def block(request: Request) -> Response:
        text = request.path_params["number"]
        is_number = text.isdecimal() and len(text) < 19
        found = await asyncio.to_thread(facts.find_block, int(text)) if is_number else None
        return JSONResponse({"error": "no such block"}, 404) if found is None else _json(found)

    async def balances(request: Request) -> Response:
        address = request.path_params["address"]
        if len(address) != ADDRESS_LENGTH or not address.startswith("0x"):
            return JSONResponse({"error": "not an address"}, 400)
        found = await asyncio.to_thread(facts.find_balances, address)
        return _json({"address": address, "balances": dict(found)})

    async def search(request: Request) -> Response:
        body = await request.json()
        found = [
            dict(await asyncio.to_thread(facts.find_balances, one))
            for one in body.get("addresses", [])[:100]
        ]
        return _json({"balances": found})

    def guarded(
        answer: Callable[[Request], Awaitable[Response]],
    ) -> Callable[[Request], Awaitable[Response]]:
        async def guard(request: Request) -> Response:
            if behave is not None and (other := await behave(request)) is not None:
                return other
            said = request.headers.get(KEY_HEADER, "")
            if not hmac.compare_digest(said.encode(), api_key.encode()):
                return JSONResponse({"error": "unknown key"}, 401)
            if quota.remaining == 0:
                return JSONResponse({"error": "quota exceeded"}, 429)
            quota.used += 1
            response = await answer(request)
            response.headers[REMAINING_HEADER] = str(quota.remaining)
            return response

        return guard

    return Starlette(
        routes=[
            Route("/healthz", _tell_alive),
            Route("/v1/blocks/latest", guarded(latest)),
            Route("/v1/blocks/{number}", guarded(block)),
            Route("/v1/addresses/{address}/balances", guarded(balances)),
            Route("/v1/balances/search", guarded(search), methods=["POST"]),
        ]
    )


async def _tell_alive(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


def _json(body: Mapping[str, Any]) -> Response:
    return JSONResponse(dict(body))
