"""A real proxy on loopback: uvicorn in the test's own loop, over a real ledger file."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import uvicorn
from sqlalchemy import Engine, select

from contracts.deployment import Deployment
from ledger.chain.drawn import load_drawn_mismatches
from ledger.database.engine import read
from ledger.database.on_loop import RETRY_DELAYS_S
from ledger.tables import Demand, Position, Usage, table_of
from proxy.app import create_app
from proxy.keys.tokens import KeyClaims, KeyRing
from proxy.settings import ProxySettings
from serving.http.front import Front
from serving.http.run import build_config
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import DEPLOYMENT
from tests.support.openapi import METRICS_TOKEN, CheckedClient, Document, get_proxy_document
from tests.support.waiting import LIMIT_S

KEY_SECRET: Final = "7f3a9c1e5b8d2046f7a1c3e5097b6d8e"
PRICES: Final = """
[models."SmolLM2-135M-Instruct"]
input_usd_per_mtok = "0.20"
output_usd_per_mtok = "0.80"
context_tokens = 2048
"""
CHAT: Final = "/api/current/v1/chat/completions"


def make_settings(**changes: Any) -> ProxySettings:
    """Return settings for a test; pass whatever differs."""
    values: dict[str, Any] = {
        "rpc_url": "http://127.0.0.1:9",
        "ledger_url": "sqlite:///unused.sqlite3",
        "deployment_file": "unused.json",
        "key_secret": KEY_SECRET,
        "upstream_url": "http://127.0.0.1:9/v1",
        "minimum_grade": "D",
        "ledger_timeout_s": 60.0,
        "drain_timeout_s": 5,
        "metrics_token": METRICS_TOKEN,
        **changes,
    }
    return ProxySettings(**values)


def settings_for(provider: FakeEndpoint, directory: Path, **changes: Any) -> ProxySettings:
    """Return settings for a proxy before ``provider``, with the operator's prices."""
    return make_settings(upstream_url=provider.url, prices_file=write_prices(directory), **changes)


def make_key(token_id: int = 0, key_epoch: int = 0, key_id: str = "00" * 8) -> str:
    """Return a valid API key of the test deployment."""
    ring = KeyRing([KEY_SECRET.encode()], DEPLOYMENT.chain_id, DEPLOYMENT.position)
    return ring.build_key(KeyClaims(token_id, key_epoch, key_id))


def make_body(**changes: Any) -> dict[str, Any]:
    """Return a small chat request."""
    return {
        "model": "SmolLM2-135M-Instruct",
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 100,
        **changes,
    }


@dataclass(frozen=True, slots=True)
class RunningProxy:
    """A proxy that serves, and what a test looks at from outside and from below."""

    front: Front
    client: CheckedClient
    engine: Engine

    async def chat(self, key: str | None = None, **changes: Any) -> httpx.Response:
        """Ask for a completion with a valid key or the given one."""
        headers = {"authorization": f"Bearer {make_key() if key is None else key}"}
        return await self.client.post(CHAT, json=make_body(**changes), headers=headers)

    def usage(self) -> list[dict[str, Any]]:
        """Return all usage rows, oldest first."""
        usage = table_of(Usage)
        with read(self.engine) as connection:
            rows = connection.execute(select(usage).order_by(usage.c.request_id)).mappings()
            return [dict(row) for row in rows]

    def drawn_usdc(self, token_id: int = 0) -> int:
        """Return what is promised against a position's hold, after checking L1 and L2."""
        position = table_of(Position)
        with read(self.engine) as connection:
            assert load_drawn_mismatches(connection) == []
            drawn_usdc, hold_usdc = connection.execute(
                select(position.c.drawn_usdc, position.c.hold_usdc).where(
                    position.c.token_id == token_id
                )
            ).one()
        assert drawn_usdc <= hold_usdc
        return int(drawn_usdc)

    def demands(self) -> dict[int, int]:
        """Return what the keeper was asked for: token id -> required (1e-6 USDC)."""
        demand = table_of(Demand)
        with read(self.engine) as connection:
            rows = connection.execute(select(demand.c.token_id, demand.c.required_usdc)).all()
        return {int(token_id): int(required) for token_id, required in rows}


@asynccontextmanager
async def run_proxy(
    settings: ProxySettings,
    engine: Engine,
    *,
    deployment: Deployment = DEPLOYMENT,
    document: Document | None = None,
    retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
    host_clock: Callable[[], float] = time.time,
    port: int = 0,
) -> AsyncIterator[RunningProxy]:
    """Serve a proxy over ``engine`` until the block ends, then stop it as SIGTERM would.

    All answers are held against ``document``, by default the proxy's own. ``port``: where a browser
    is to find it; 0: any that is free.
    """
    front = create_app(
        settings, deployment, engine, retry_delays_s=retry_delays_s, host_clock=host_clock
    )
    config = build_config(front, settings, host="127.0.0.1", port=port, log_level="critical")
    config.load()
    server = uvicorn.Server(config)
    # `serve` would also take over the signals of the test run.
    serving = asyncio.create_task(server._serve())
    while not server.started:
        assert not serving.done(), "the proxy did not start"
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    limits = httpx.Limits(max_connections=None)
    try:
        async with CheckedClient(
            document or get_proxy_document(), base_url=url, timeout=LIMIT_S, limits=limits
        ) as client:
            yield RunningProxy(front, client, engine)
    finally:
        server.should_exit = True
        await serving


def write_prices(directory: Path, text: str = PRICES) -> Path:
    """Write an operator's price file."""
    path = directory / "prices.toml"
    path.write_text(text)
    return path


def now_s() -> int:
    """Return the wall clock."""
    return int(time.time())
