"""The lean way in: inference bypasses the framework, everything else goes through it.

Paths are ``/v1/<endpoint>`` and, where the reference mirrors them, ``/min{N}/v1/<endpoint>``.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Final

import structlog
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from ledger.errors import LedgerUnavailable
from market.dialects import MINIMUM_DISCOUNT_ENDPOINTS, Endpoint
from market.errors import (
    ApiError,
    RequestRejected,
    internal_error,
    invalid_minimum_discount,
    ledger_unavailable,
    not_found,
)
from market.ids import new_id
from market.keys import Role
from market.services import Services
from market.serving import Answer, StreamAnswer

log = structlog.get_logger("market")

DISCARD_FACTOR: Final = 4
"""How many times the limit is read and thrown away, so that a client that is still sending gets to
read why it is refused; beyond that the connection is closed on it."""

_ENDPOINTS: Final[Mapping[str, Endpoint]] = {f"/v1/{one}": one for one in Endpoint}
_MIRRORED: Final = re.compile(r"/(min[^/]*)(/v1/.*)")
_SEGMENT: Final = re.compile(r"min(0|[1-9][0-9]?|100)")


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


def read_minimum(segment: str) -> int | None:
    """Return N of ``min{N}``, or None where the segment is not by the grammar."""
    match = _SEGMENT.fullmatch(segment)
    return None if match is None else int(match[1])


class Front:
    """The ASGI application: gives every request its id, and serves inference itself."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = new_id()
        path, segment = scope["path"], None
        if path.startswith("/min"):
            mirrored = _MIRRORED.fullmatch(path)
            if mirrored is not None:
                segment, path = mirrored[1], mirrored[2]
        endpoint = _ENDPOINTS.get(path)
        if segment is not None:
            await self._serve_mirrored(scope, receive, send, segment, endpoint, request_id)
        elif endpoint is not None and scope["method"] == "POST":
            await self._serve(scope, receive, send, endpoint, None, request_id)
        else:
            await self.app(scope, receive, _with_id(send, request_id))

    async def _serve_mirrored(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        segment: str,
        endpoint: Endpoint | None,
        request_id: str,
    ) -> None:
        minimum_pct = read_minimum(segment)
        if minimum_pct is None:
            error: ApiError = invalid_minimum_discount(segment)
        elif endpoint not in MINIMUM_DISCOUNT_ENDPOINTS:
            error = not_found("path")
        elif scope["method"] != "POST":
            headers = {"allow": "POST"}
            error = RequestRejected(405, "method_not_allowed", "Use POST.", headers=headers)
        else:
            await self._serve(scope, receive, send, endpoint, minimum_pct, request_id)
            return
        await _send_answer(send, build_error_answer(error), request_id)

    async def _serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        endpoint: Endpoint,
        minimum_pct: int | None,
        request_id: str,
    ) -> None:
        try:
            answer = await answer_call(
                scope,
                receive,
                self.app.state.services,
                endpoint=endpoint,
                minimum_pct=minimum_pct,
                request_id=request_id,
            )
        except ClientGone:
            return
        if isinstance(answer, StreamAnswer):
            await send_stream(receive, send, answer, request_id)
        else:
            await _send_answer(send, answer, request_id)


async def answer_call(
    scope: Scope,
    receive: Receive,
    services: Services,
    *,
    endpoint: Endpoint,
    minimum_pct: int | None,
    request_id: str,
) -> Answer | StreamAnswer:
    """Authenticate, read and answer one request. Raises ``ClientGone`` only."""
    try:
        header = find_header(scope, b"authorization")
        buyer = await services.authenticator.authenticate(header, Role.BUYER)
        raw = await read_body(scope, receive, services)
        return await services.serving.serve(
            buyer, endpoint, raw, minimum_pct=minimum_pct, request_id=request_id
        )
    except ApiError as error:
        return build_error_answer(error)
    except LedgerUnavailable as error:
        log.error("ledger_unavailable", request_id=request_id, error=str(error))
        return build_error_answer(ledger_unavailable())
    except ClientGone:
        raise
    except Exception:
        log.exception("internal_error", request_id=request_id)
        return build_error_answer(internal_error())


def build_error_answer(error: ApiError) -> Answer:
    """Return the answer for an error."""
    headers = {"content-type": "application/json", **error.headers}
    if error.status in (408, 413):
        headers["connection"] = "close"  # the rest of the body may not be read
    return Answer(error.status, headers, error.body())


async def read_body(scope: Scope, receive: Receive, services: Services) -> bytes:
    """Return the whole body. Raises 408, 413 or 415 as ``ApiError``, and ``ClientGone``."""
    bytes_max = services.body_bytes_max
    if find_header(scope, b"content-encoding") not in (None, "identity"):
        raise RequestRejected(415, "unsupported_encoding", "Send the body without an encoding.")
    length = find_header(scope, b"content-length")
    if length is not None and length.isdigit() and int(length) > DISCARD_FACTOR * bytes_max:
        raise _too_large(bytes_max)
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
        message_text = "The body did not arrive in time."
        raise RequestRejected(408, "request_timeout", message_text) from None
    if size > bytes_max:
        raise _too_large(bytes_max)
    return b"".join(chunks)


def _too_large(bytes_max: int) -> RequestRejected:
    return RequestRejected(413, "body_too_large", f"The body is longer than {bytes_max} bytes.")


def find_header(scope: Scope, name: bytes) -> str | None:
    """Return a header's value, or None."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


async def send_stream(receive: Receive, send: Send, answer: StreamAnswer, request_id: str) -> None:
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


def _with_id(send: Send, request_id: str) -> Send:
    async def send_with_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            id_header = (b"x-request-id", request_id.encode())
            message["headers"] = [*message.get("headers", ()), id_header]
        await send(message)

    return send_with_id
