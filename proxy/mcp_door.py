"""``POST /mcp``: the tools for agents over HTTP, by the official SDK, in both of its generations.

Nothing is kept between two requests, so any process answers any of them; there are no sessions to
resume, and so no ``GET``. The SDK is loaded with the first request: who has no agents does not
carry it. Every tool asks this server's own API, as if its caller had, under the same limits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import httpx
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.answers import build_error_answer, send_answer
from serving.http.bodies import ClientGone, find_header, read_body
from serving.http.errors import ApiError, RequestRejected, method_not_allowed
from serving.http.front import get_request_id

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from proxy.mcp_apis import MarketAnswer
    from proxy.services import Services

MCP_PATH: Final = "/mcp"
API_PREFIX: Final = "/api/current/"
TIMEOUT_S: Final = 600.0
MARKET_BYTES_MAX: Final = 4 * 1024**2

_caller: ContextVar[tuple[str, int] | None] = ContextVar("caller", default=None)
"""The address of whoever called the tool: the limits of addresses are theirs."""


class McpDoor:
    """An ASGI application at ``MCP_PATH``. ``close`` ends what it has begun."""

    def __init__(
        self,
        get_api: Callable[[], ASGIApp],
        get_services: Callable[[], "Services"],
        *,
        origins: frozenset[str],
        market_url: str,
        creates_keys: bool,
    ) -> None:
        """``origins``: the web pages that may call, beside programs. ``market_url``: where APIs are
        on sale; empty: their tools are left out. ``creates_keys``: see ``mcp_tools``."""
        self._get_api = get_api
        self._get_services = get_services
        self._origins = origins
        self._market_url = market_url.rstrip("/")
        self._creates_keys = creates_keys
        self._lock = asyncio.Lock()
        self._manager: StreamableHTTPSessionManager | None = None
        self._running: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
            services = self._get_services()
            raw = await read_body(scope, receive, services, keep_open=services.limits.keep_open)
        except ClientGone:
            return
        except ApiError as error:
            answer = build_error_answer(error, {})
            await send_answer(send, answer, get_request_id(scope))
            return
        manager = await self._start()
        client = scope.get("client")
        _caller.set(tuple(client) if client else None)
        await manager.handle_request(scope, _replay(raw, receive), send)

    def _check(self, scope: Scope) -> None:
        """Refuse what the SDK would not, or in words of its own. Raises ``ApiError``."""
        if scope["method"] != "POST":
            raise method_not_allowed(scope["method"], "POST")
        origin = find_header(scope, b"origin")
        if origin is not None and origin not in self._origins and "*" not in self._origins:
            message = "This page may not call the tools: its origin is not one of the operator's."
            raise RequestRejected(403, "wrong_origin", message)

    async def _start(self) -> "StreamableHTTPSessionManager":
        """Return the SDK's part, which runs until ``close``."""
        async with self._lock:
            if self._manager is None:
                # Loading takes a second, in which others are served.
                build = await asyncio.to_thread(_load_sdk)
                ready: asyncio.Future[StreamableHTTPSessionManager]
                ready = asyncio.get_running_loop().create_future()
                self._running = asyncio.create_task(self._run(build, ready))
                self._manager = await ready
            return self._manager

    async def _run(self, build: Any, ready: "asyncio.Future[Any]") -> None:
        async with AsyncExitStack() as closing:
            try:
                ask_market = None
                if self._market_url:
                    client = httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False)
                    http = await closing.enter_async_context(client)
                    ask_market = build_ask_market(http, self._market_url)
                manager = build(self._ask, ask_market, self._creates_keys)
                await closing.enter_async_context(manager.run())
            except BaseException as error:
                ready.set_exception(error)
                raise
            ready.set_result(manager)
            await self._closing.wait()

    async def _ask(
        self, method: str, path: str, key: str, body: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        from proxy.mcp_asking import ask_api

        client = _caller.get() or ("127.0.0.1", 0)
        transport = httpx.ASGITransport(self._get_api(), client=client)
        base_url = f"http://proxy.internal{API_PREFIX}"
        async with httpx.AsyncClient(
            transport=transport, base_url=base_url, timeout=TIMEOUT_S
        ) as http:
            return await ask_api(http, method, path, key, body)

    async def close(self) -> None:
        """End the SDK's part, if it was begun."""
        self._closing.set()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)


def build_ask_market(
    http: httpx.AsyncClient, market_url: str
) -> Callable[[str, str, Mapping[str, str], bytes | None], Awaitable["MarketAnswer"]]:
    """Return what asks the market at its root URL. No redirect is followed."""

    async def ask(
        method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> "MarketAnswer":
        from mcp.server.mcpserver.exceptions import ToolError

        from proxy.mcp_apis import MarketAnswer

        request = http.build_request(
            method, f"{market_url}{path}", headers=dict(headers), content=body
        )
        try:
            answer = await http.send(request, stream=True)
            try:
                chunks, size = [], 0
                async for chunk in answer.aiter_bytes():
                    size += len(chunk)
                    chunks.append(chunk)
                    if size > MARKET_BYTES_MAX:
                        break
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            raise ToolError(f"The market does not answer: {type(error).__name__}.") from None
        text = b"".join(chunks)[:MARKET_BYTES_MAX].decode("utf-8", "replace")
        told = {name.lower(): value for name, value in answer.headers.items()}
        return MarketAnswer(answer.status_code, told, text)

    return ask


def _load_sdk() -> Any:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from proxy.mcp_tools import build_server

    def build(ask: Any, ask_market: Any, creates_keys: bool) -> StreamableHTTPSessionManager:
        server = build_server(ask, ask_market=ask_market, creates_keys=creates_keys)
        return StreamableHTTPSessionManager(app=server._lowlevel_server, stateless=True)

    return build


def _replay(raw: bytes, receive: Receive) -> Receive:
    """Return what receives a body that was read already, then whatever else comes."""
    is_told = False

    async def replayed() -> Message:
        nonlocal is_told
        if is_told:
            return await receive()
        is_told = True
        return {"type": "http.request", "body": raw, "more_body": False}

    return replayed
