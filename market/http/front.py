"""The lean way in: inference bypasses the framework, everything else goes through it.

Paths are ``/v1/<endpoint>`` and, where the reference mirrors them, ``/min{N}/v1/<endpoint>``.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

import structlog
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from ledger.errors import LedgerUnavailable
from market.errors import (
    ApiError,
    RequestRejected,
    internal_error,
    invalid_minimum_discount,
    ledger_unavailable,
    not_found,
)
from market.http.answers import Answer, StreamAnswer
from market.http.mirrors import MIRRORED, is_medium, mirror, read_minimum
from market.identity.keys import Role
from market.metrics import ANSWERED, Metrics
from market.payments.paywall import PaidCall
from market.records.store import KeyHolder
from market.routing.filters import INPUT_CEILING, OUTPUT_CEILING, Ceilings, parse_ceilings
from market.services import Services
from market.text.dialects import MINIMUM_DISCOUNT_ENDPOINTS, Endpoint, parse_call
from serving.process.ids import new_id

log = structlog.get_logger("market")

T = TypeVar("T")

REQUEST_ID: Final = "current.request_id"
"""Where a request's scope says its id."""

DISCARD_FACTOR: Final = 4
"""How many times the limit is read and thrown away, so that a client that is still sending gets to
read why it is refused; beyond that the connection is closed on it."""

_ENDPOINTS: Final[Mapping[str, Endpoint]] = {f"/v1/{one}": one for one in Endpoint}


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


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
            mirrored = MIRRORED.fullmatch(path)
            if mirrored is not None:
                segment, path = mirrored[1], mirrored[2]
        endpoint = _ENDPOINTS.get(path)
        if segment is not None:
            await self._serve_mirrored(scope, receive, send, segment, path, request_id)
        elif endpoint is not None and scope["method"] == "POST":
            await self._serve(scope, receive, send, endpoint, None, request_id)
        else:
            await self._pass_on(scope, receive, send, request_id)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        scope = {**scope, REQUEST_ID: request_id}
        await self.app(scope, receive, _with_id(send, request_id))

    async def _serve_mirrored(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        segment: str,
        path: str,
        request_id: str,
    ) -> None:
        minimum_pct, endpoint = read_minimum(segment), _ENDPOINTS.get(path)
        if minimum_pct is None:
            error: ApiError = invalid_minimum_discount(segment)
        elif is_medium(path):
            mirrored = mirror(scope, path, segment, minimum_pct)
            await self._pass_on(mirrored, receive, send, request_id)
            return
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

    async def serve() -> Answer | StreamAnswer:
        header, payment = find_header(scope, b"authorization"), find_payment(scope)
        ceilings = parse_ceilings(
            find_header(scope, INPUT_CEILING), find_header(scope, OUTPUT_CEILING)
        )
        paywall = services.paywall
        if paywall is not None and (header is None or payment is not None):
            raw = await read_body(scope, receive, services)
            ask = services.serving.build_ask(parse_call(endpoint, raw), minimum_pct, ceilings)
            call = PaidCall(scope["path"], raw, [ask], lambda payer: serve_to(payer, raw, ceilings))
            return await paywall.sell(payment, call, request_id=request_id)
        buyer = await services.authenticator.authenticate(header, Role.BUYER)
        return await serve_to(buyer, await read_body(scope, receive, services), ceilings)

    async def serve_to(buyer: KeyHolder, raw: bytes, ceilings: Ceilings) -> Answer | StreamAnswer:
        return await services.serving.serve(
            buyer,
            endpoint,
            raw,
            minimum_pct=minimum_pct,
            request_id=request_id,
            ceilings=ceilings,
        )

    return await answer_by(serve, services.metrics, request_id)


async def answer_by(
    serve: Callable[[], Awaitable[T]], metrics: Metrics, request_id: str
) -> T | Answer:
    """Return what ``serve`` does, errors as answers too, and count it. Raises ``ClientGone``."""
    started = time.perf_counter()
    outcome = ANSWERED
    try:
        return await serve()
    except ApiError as error:
        outcome = error.code
        return build_error_answer(error)
    except LedgerUnavailable as error:
        log.error("ledger_unavailable", request_id=request_id, error=str(error))
        outcome = "ledger_unavailable"
        return build_error_answer(ledger_unavailable())
    except (ClientGone, asyncio.CancelledError):
        outcome = "client_gone"
        raise
    except Exception:
        log.exception("internal_error", request_id=request_id)
        outcome = "internal_error"
        return build_error_answer(internal_error())
    finally:
        metrics.observe_request(outcome, time.perf_counter() - started)


def build_error_answer(error: ApiError) -> Answer:
    """Return the answer for an error."""
    headers = {"content-type": "application/json", **error.headers}
    if error.status in (408, 413):
        headers["connection"] = "close"  # the rest of the body may not be read
    return Answer(error.status, headers, error.body())


async def read_body(
    scope: Scope, receive: Receive, services: Services, *, bytes_max: int | None = None
) -> bytes:
    """Return the whole body, of ``bytes_max`` at most where that is given. Raises 408, 413 or 415
    as ``ApiError``, and ``ClientGone``."""
    if bytes_max is None:
        bytes_max = services.body_bytes_max
    if find_header(scope, b"content-encoding") not in (None, "identity"):
        raise RequestRejected(415, "unsupported_encoding", "Send the body without an encoding.")
    length = find_header(scope, b"content-length")
    if length is not None and length.isdecimal() and int(length) > DISCARD_FACTOR * bytes_max:
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


def find_payment(scope: Scope) -> str | None:
    """Return the payment that came with a request, of either version, or None."""
    header = find_header(scope, b"payment-signature")
    return find_header(scope, b"x-payment") if header is None else header


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
