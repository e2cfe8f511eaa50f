"""``current mcp``: the tools of a proxy for an agent, over standard input and output."""

from collections.abc import Mapping
from typing import Any

import anyio
import httpx
from mcp.server.mcpserver.exceptions import ToolError

from proxy.mcp_tools import build_server

TIMEOUT_S = 300.0


async def ask_api(
    http: httpx.AsyncClient, method: str, path: str, key: str, body: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """Ask the API; ``http`` has its base URL. Raises ``ToolError`` with the API's own words."""
    try:
        headers = {"authorization": f"Bearer {key}"}
        answer = await http.request(method, path.lstrip("/"), json=body, headers=headers)
        told = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ToolError(f"The proxy does not answer: {type(error).__name__}.") from None
    if not isinstance(told, dict):
        raise ToolError("The proxy's answer is not one of its API.")
    if not answer.is_success:
        said = told.get("error")
        raise ToolError(str(said.get("message")) if isinstance(said, dict) else "It failed.")
    return told


def serve_stdio(api_url: str, key: str) -> None:
    """Serve one agent until it closes its end."""

    async def run() -> None:
        async with httpx.AsyncClient(base_url=f"{api_url}/", timeout=TIMEOUT_S) as http:
            server = build_server(
                lambda method, path, own, body: ask_api(http, method, path, own, body), key=key
            )
            await server.run_stdio_async()

    anyio.run(run)
