"""Asks a proxy's API for a tool, over any transport of the HTTP client."""

from collections.abc import Mapping
from typing import Any

import httpx
from mcp.server.mcpserver.exceptions import ToolError


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
