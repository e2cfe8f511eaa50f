"""An API on loopback whose quota is resold, and connections to it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import uvicorn
from starlette.requests import Request
from starlette.responses import Response

from scripts.stack.analytics import KEY_HEADER, REMAINING_HEADER, ApiQuota, create_analytics
from tests.support.market import RunningMarket, bearer

API_KEY: Final = "ak-7Qx/42+secret=key"
API_NAME: Final = "chainstats"
OPERATIONS: Final = [
    "GET /v1/blocks/latest",
    "GET /v1/blocks/{number}",
    "GET /v1/addresses/{address}/balances",
    "POST /v1/balances/search",
]
LATEST: Final = "v1/blocks/latest"


class FixedFacts:
    """A chain of three blocks."""

    def find_block(self, number: int | None) -> Mapping[str, Any] | None:
        shown = 3 if number is None else number
        return {"number": shown, "hash": f"0x{shown:064x}"} if shown <= 3 else None

    def find_balances(self, address: str) -> Mapping[str, str]:
        return {"wei": "1", "usdc": str(len(address))}


@dataclass
class RunningApi:
    """The API, and how it is to misbehave."""

    url: str
    quota: ApiQuota
    behave: Callable[[Request], Awaitable[Response | None]] | None = None
    requests: list[Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def seen(self, credential: str) -> str | None:
        """Return the credential of the last request, as it was sent in some way."""
        request = self.requests[-1]
        kind, _, name = credential.partition(": ")
        if kind == "query":
            return request.query_params.get(name)
        return request.headers.get(name or "authorization")

    def answer_with(self, response: Callable[[], Response] | None) -> None:
        """Answer every request like this until told otherwise."""
        if response is None:
            self.behave = None
            return

        async def behave(_: Request) -> Response | None:
            return response()

        self.behave = behave


@asynccontextmanager
async def run_api(*, calls: int = 10_000, api_key: str = API_KEY) -> AsyncIterator[RunningApi]:
    """Serve the API on loopback until the block ends."""
    running = RunningApi("", ApiQuota(calls))

    async def behave(request: Request) -> Response | None:
        running.requests.append(request)
        running.bodies.append(await request.body())
        return None if running.behave is None else await running.behave(request)

    app = create_analytics(FixedFacts(), api_key=api_key, quota=running.quota, behave=behave)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical")
    server = uvicorn.Server(config)
    config.load()
    serving = asyncio.create_task(server._serve())
    while not server.started:
        assert not serving.done(), "the API did not start"
        await asyncio.sleep(0.005)
    running.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        server.should_exit = True
        await serving


def make_connection(url: str, **changes: Any) -> dict[str, Any]:
    """Return the body of a connection; pass whatever differs."""
    body = {
        "name": API_NAME,
        "api_key": API_KEY,
        "base_url": url,
        "credential": f"header: {KEY_HEADER}",
        "operations": OPERATIONS,
        "monthly_quota": 10_000,
        "reserved": 3_000,
        "base_cost_usd": "0.05",
        "markup": "3",
        "remaining_header": REMAINING_HEADER,
        "consumer_per_minute": 0,
        **changes,
    }
    return {name: value for name, value in body.items() if value is not ...}


async def connect(
    market: RunningMarket, seller_key: str, url: str, **changes: Any
) -> dict[str, Any]:
    """Connect an API to a market; return the connection as its owner sees it."""
    answer = await market.client.post(
        "/v1/seller/connections", json=make_connection(url, **changes), headers=bearer(seller_key)
    )
    assert answer.status_code == 201, answer.text
    described: dict[str, Any] = answer.json()
    return described
