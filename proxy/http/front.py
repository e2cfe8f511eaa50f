"""The lean way in: chat completions bypass the framework, everything else goes through it.

The same answer is reachable as a FastAPI route (``routes.py``), which is also what documents it.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Final

import structlog
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from proxy.chat.completions import Answer, StreamAnswer
from proxy.errors import (
    ApiError,
    body_timeout,
    body_too_large,
    headers_too_large,
    internal_error,
    unsupported_encoding,
)
from proxy.http.limits import get_address
from proxy.keys.authentication import authenticate
from proxy.services import Services
from serving.process.ids import new_id

log = structlog.get_logger("proxy")

COMPLETIONS_PATH: Final = "/api/current/v1/chat/completions"
WATCHED_PATHS: Final = frozenset(
    f"/api/current/{name}" for name in ("healthz", "readyz", "metrics")
)
"""What monitors ask again and again: without limits, and without a line in the log."""

DISCARD_FACTOR: Final = 4
"""How many times the limit is read and thrown away, so that a client that is still sending gets to
read why it is refused; beyond that the connection is closed on it."""


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class Front:
    """The ASGI application: gives every request its id, and serves completions itself."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = new_id()
        if scope["path"] == COMPLETIONS_PATH and scope["method"] == "POST":
            try:
                answer = await answer_completion(
                    scope, receive, self.app.state.services, request_id
                )
            except ClientGone:
                return
            if isinstance(answer, StreamAnswer):
                await _send_stream(receive, send, answer, request_id)
            else:
                await _send_answer(send, answer, request_id)
            return
        await self._pass_on(scope, receive, send, request_id)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        """Let the framework answer; every line that is logged meanwhile has the request's id."""
        started_s, status = time.monotonic(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                id_header = (b"x-request-id", request_id.encode())
                message["headers"] = [*message.get("headers", ()), id_header]
            await send(message)

        is_watched = scope["path"] in WATCHED_PATHS
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                if not is_watched:
                    check_limits(scope, self.app.state.services)
            except ApiError as error:
                status = error.status
                await _send_answer(send, _build_refusal(error), request_id)
            else:
                await self.app(scope, receive, send_with_id)
            if not is_watched:
                elapsed_ms = int((time.monotonic() - started_s) * 1_000)
                log.info(
                    "request_served",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    elapsed_ms=elapsed_ms,
                )


async def answer_completion(
    scope: Scope, receive: Receive, services: Services, request_id: str
) -> Answer | StreamAnswer:
    """Authenticate, read and answer one completion request. Raises ``ClientGone`` only."""
    started_s = time.monotonic()
    try:
        try:
            check_limits(scope, services)
            claims = authenticate(_find_header(scope, b"authorization"), services.known_keys)
            services.key_requests.take((claims.token_id, claims.key_id))
            raw = await read_body(scope, receive, services)
        except ApiError as error:
            services.metrics.observe_request(error.code, time.monotonic() - started_s)
            raise
        return await services.completions.complete(claims, raw, request_id)
    except ApiError as error:
        return build_error_answer(error)
    except ClientGone:
        raise
    except Exception:
        log.exception("internal_error", request_id=request_id)
        return build_error_answer(internal_error())


def check_limits(scope: Scope, services: Services) -> None:
    """Raise 431 for headers that are too long, 429 for an address that comes too often."""
    size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    for name, value in scope["headers"]:
        size += len(name) + len(value)
    if size > services.headers_bytes_max:
        raise headers_too_large(services.headers_bytes_max)
    if services.address_requests.is_limiting:
        services.address_requests.take(get_address(scope, services.trusted))


def _build_refusal(error: ApiError) -> Answer:
    headers = {"content-type": "application/json", **error.headers}
    return Answer(error.status, headers, error.body())


def build_error_answer(error: ApiError) -> Answer:
    """Return the answer for an error of a completion: it costs nothing."""
    headers = {"content-type": "application/json", "x-current-cost-usdc": "0", **error.headers}
    if error.status in (408, 413):
        headers["connection"] = "close"  # the rest of the body may not be read
    return Answer(error.status, headers, error.body())


async def read_body(scope: Scope, receive: Receive, services: Services) -> bytes:
    """Return the whole body. Raises 408, 413 or 415 as ``ApiError``, and ``ClientGone``."""
    bytes_max = services.body_bytes_max
    if _find_header(scope, b"content-encoding") not in (None, b"identity"):
        raise unsupported_encoding()
    length = _find_header(scope, b"content-length")
    if length is not None and length.isdigit() and int(length) > DISCARD_FACTOR * bytes_max:
        raise body_too_large(bytes_max)
    chunks, size, more = [], 0, True
    try:
        async with asyncio.timeout(services.body_timeout_s):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunk = message.get("body", b"")
                size += len(chunk)
                if size <= bytes_max:
                    chunks.append(chunk)
                elif size > DISCARD_FACTOR * bytes_max:
                    break
                more = message.get("more_body", False)
    except TimeoutError:
        raise body_timeout() from None
    if size > bytes_max:
        raise body_too_large(bytes_max)
    return b"".join(chunks)


def _find_header(scope: Scope, name: bytes) -> bytes | None:
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def _send_stream(receive: Receive, send: Send, answer: StreamAnswer, request_id: str) -> None:
    """Send events as they arrive; a client that has left is noticed at once."""
    stream = answer.stream
    leaving = asyncio.create_task(_wait_until_gone(receive))
    leaving.add_done_callback(lambda done: None if done.cancelled() else stream.leave())
    try:
        await send(_build_start(200, answer.headers, request_id))
        async for event in stream.events():
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        leaving.cancel()
        stream.leave()


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_answer(send: Send, answer: Answer, request_id: str) -> None:
    length = {"content-length": str(len(answer.body))}
    await send(_build_start(answer.status, {**answer.headers, **length}, request_id))
    await send({"type": "http.response.body", "body": answer.body})


def _build_start(status: int, headers: Mapping[str, str], request_id: str) -> Message:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    encoded.append((b"x-request-id", request_id.encode()))
    return {"type": "http.response.start", "status": status, "headers": encoded}
