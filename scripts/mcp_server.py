"""``current mcp``: the tools of a proxy for an agent, over standard input and output."""

from dataclasses import dataclass

import anyio
import httpx

from proxy.mcp_asking import ask_api
from proxy.mcp_door import TIMEOUT_S, build_ask_market
from proxy.mcp_tools import build_server


@dataclass(frozen=True, slots=True)
class StdioRules:
    """Whom the tools ask, and what they may do."""

    api_url: str
    key: str
    market_url: str = ""
    """Where APIs are on sale; empty: their tools are left out."""
    market_key: str | None = None
    creates_keys: bool = False

    def __repr__(self) -> str:
        return f"StdioRules({self.api_url!r})"


def serve_stdio(rules: StdioRules) -> None:
    """Serve one agent until it closes its end."""

    async def run() -> None:
        api = httpx.AsyncClient(base_url=f"{rules.api_url}/", timeout=TIMEOUT_S)
        market = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False)
        async with api as http, market as other:
            market_url = rules.market_url.rstrip("/")
            server = build_server(
                lambda method, path, own, body: ask_api(http, method, path, own, body),
                key=rules.key,
                ask_market=build_ask_market(other, market_url) if market_url else None,
                market_key=rules.market_key,
                creates_keys=rules.creates_keys,
            )
            await server.run_stdio_async()

    anyio.run(run)
