"""The lean way in: what is asked often bypasses the framework, everything else goes through it.

The front gives every request its id, bounds it, and writes its access line. A server says by a
``Dispatch`` which requests it serves itself.
"""

import time
from collections.abc import Awaitable, Callable, Set
from typing import Any, Final

import structlog
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from serving.http.answers import (
    Answer,
    AnswerCut,
    ErrorsOf,
    StreamAnswer,
    add_safe_headers,
    plain_errors,
    send_answer,
    send_stream,
)
from serving.http.bodies import ClientGone, find_header
from serving.http.cors import Cors, mark
from serving.http.errors import ApiError, loop_detected
from serving.http.limits import Limits
from serving.process.hops import HOPS_HEADER, HOPS_MAX, note_hops, read_hops
from serving.process.ids import new_id

log = structlog.get_logger("serving")

Lean = Callable[[Scope, Receive, str], Awaitable[Answer | StreamAnswer]]
"""Answers a request, errors included, of scope, receive and request id. It checks the limits
itself, so that it can count what they refuse. Raises ``ClientGone`` only."""

Dispatch = Callable[[Scope], Lean | None]
"""Returns what serves a request; None leaves it to the framework. It may change the scope's path.
"""

REQUEST_ID: Final = "current.request_id"
HOPS: Final = HOPS_HEADER.encode()
WATCHED: Final = ("healthz", "readyz", "metrics")
"""What monitors ask again and again: without limits, and without a line in the log."""


def get_request_id(scope: Scope) -> str:
    """Return the id that the front has given a request; a new one where no front stands before."""
    request_id: str | None = scope.get(REQUEST_ID)
    if request_id is None:
        request_id = scope[REQUEST_ID] = new_id()
    return request_id


class Front:
    """The ASGI application around the framework's."""

    def __init__(
        self,
        app: FastAPI,
        *,
        dispatch: Dispatch,
        limits: Limits,
        watched: Set[str],
        cors: Cors | None = None,
        errors_of: ErrorsOf = plain_errors,
    ) -> None:
        self.app = app
        self._dispatch = dispatch
        self._limits = limits
        self._watched = watched
        self._cors = cors
        self._errors_of = errors_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started_s = time.monotonic()
        request_id = scope[REQUEST_ID] = new_id()
        path = scope["path"]
        # What monitors ask is the operator's alone: no page reads it.
        if self._cors is not None and path not in self._watched:
            marks = self._cors.find_marks(scope)
            preflight = self._cors.answer_preflight(scope, marks)
            if preflight is not None:
                await send_answer(send, preflight, request_id)
                return
            send = mark(send, marks)
        hops = read_hops(find_header(scope, HOPS))
        note_hops(hops)
        try:
            lean = None if hops >= HOPS_MAX else self._dispatch(scope)
            if hops >= HOPS_MAX:
                error = loop_detected()
                told = self._errors_of(path, request_id)(error, {})
                await send_answer(send, told, request_id)
                status = error.status
            elif lean is None:
                status = await self._pass_on(scope, receive, send, request_id, path)
            else:
                status = await _serve(lean, scope, receive, send, request_id)
        finally:
            self._limits.release(scope)
        if path not in self._watched:
            log.info(
                "request_served",
                request_id=request_id,
                method=scope["method"],
                path=path,
                status=status,
                elapsed_ms=int((time.monotonic() - started_s) * 1_000),
            )

    async def _pass_on(
        self, scope: Scope, receive: Receive, send: Send, request_id: str, path: str
    ) -> int:
        """Let the framework answer; return the status. Log lines meanwhile carry the request id."""
        if path not in self._watched:
            try:
                self._limits.check(scope)
            except ApiError as error:
                told = self._errors_of(path, request_id)(error, {})
                await send_answer(send, told, request_id)
                return error.status
        sender = _Sender(send, request_id)
        if scope["method"] == "HEAD":
            # As GET: the server leaves the body out.
            scope = {**scope, "method": "GET"}
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, sender.send)
            except Exception:
                # It is logged and answered already, unless the exception came during the answer.
                if not sender.is_complete:
                    raise
        return sender.status


class _Sender:
    """Sends the framework's answer, with the request's id; remembers how far it is."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._id_header = (b"x-request-id", request_id.encode())
        self.status = 0
        self.is_complete = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), self._id_header]
            add_safe_headers(headers)
            message["headers"] = headers
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            self.is_complete = True
        await self._send(message)


async def _serve(lean: Lean, scope: Scope, receive: Receive, send: Send, request_id: str) -> int:
    try:
        answer: Any = await lean(scope, receive, request_id)
    except ClientGone:
        return 499
    if isinstance(answer, StreamAnswer):
        try:
            await send_stream(receive, send, answer, request_id)
        except AnswerCut:
            # The server closes the connection of an answer that has not ended.
            return 502
    else:
        await send_answer(send, answer, request_id)
    return int(answer.status)
