"""What goes back to a client, and how it is sent."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from fastapi import Response
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Send

from serving.http.errors import ApiError

JSON: Final = "application/json"
NO_CONTENT: Final = 204
ENDS_CONNECTION: Final = frozenset({408, 413})
"""Statuses after which the rest of the body is not read."""

_NO_HEADERS: Final[Mapping[str, str]] = {}


class AnswerCut(Exception):
    """A stream has no end: the connection is closed, so that its client sees it."""


class EventStream(Protocol):
    """A stream while it is live."""

    def events(self) -> AsyncIterator[bytes]:
        """Yield the events for the client until the stream has ended. May raise ``AnswerCut``."""
        ...

    def leave(self) -> None:
        """Note that the client has gone; called more than once."""
        ...


# Plain classes: freezing costs a call for each field of each request.
@dataclass(slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(slots=True)
class StreamAnswer:
    """A stream that goes back to the client while it arrives."""

    headers: Mapping[str, str]
    stream: EventStream
    status: int = field(default=200, init=False)


def build_error_answer(
    error: ApiError, headers: Mapping[str, str] = _NO_HEADERS, *, body: bytes | None = None
) -> Answer:
    """Return the answer for an error. ``headers`` go with every error of this kind of request.

    ``body``: the error in another shape than OpenAI's.
    """
    named = {"content-type": JSON, **headers, **error.headers}
    if error.status in ENDS_CONNECTION:
        named["connection"] = "close"
    return Answer(error.status, named, error.body() if body is None else body)


BuildError = Callable[[ApiError, Mapping[str, str]], Answer]
"""Makes the answer of an error, with further headers."""

ErrorsOf = Callable[[str, str], BuildError]
"""Returns what makes the errors of a path, for a request's id: clients know them by their shape."""


def plain_errors(_: str, __: str) -> BuildError:
    """Return what makes errors in OpenAI's shape, whatever the path."""
    return build_error_answer


_SAFE_HEADERS: Final = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


def to_response(answer: Answer | StreamAnswer) -> Response:
    """Return the framework's form of an answer."""
    if isinstance(answer, StreamAnswer):
        return StreamingResponse(answer.stream.events(), headers=dict(answer.headers))
    return Response(answer.body, answer.status, dict(answer.headers))


async def send_answer(send: Send, answer: Answer, request_id: str) -> None:
    """Send a whole answer."""
    start = build_start(answer.status, answer.headers.items(), request_id)
    if answer.status != NO_CONTENT:
        # RFC 9110, 8.6: a 204 must not say a length.
        start["headers"].append((b"content-length", b"%d" % len(answer.body)))
    await send(start)
    await send({"type": "http.response.body", "body": answer.body})


async def send_stream(receive: Receive, send: Send, answer: StreamAnswer, request_id: str) -> None:
    """Send events as they arrive; a client that has left is noticed at once."""
    stream = answer.stream
    leaving = asyncio.create_task(_wait_until_gone(receive))
    leaving.add_done_callback(lambda done: None if done.cancelled() else stream.leave())
    try:
        await send(build_start(answer.status, answer.headers.items(), request_id))
        async for event in stream.events():
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        leaving.cancel()
        stream.leave()


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def build_start(status: int, headers: Iterable[tuple[str, str]], request_id: str) -> Message:
    """Return the message that begins an answer, which says the request's id."""
    encoded = [(name.encode(), _encode(value)) for name, value in headers]
    encoded.append((b"x-request-id", request_id.encode()))
    add_safe_headers(encoded)
    return {"type": "http.response.start", "status": status, "headers": encoded}


def add_safe_headers(encoded: list[tuple[bytes, bytes]]) -> None:
    """Add what keeps an answer out of caches and from being taken for a page, unless it says so.

    An answer may hold a key or a prompt's answer; who wants it kept says it by its own header.
    """
    named = {name.lower() for name, _ in encoded}
    encoded.extend(header for header in _SAFE_HEADERS if header[0] not in named)


def _encode(value: str) -> bytes:
    """Return a header's value; what no header can hold is shown as a question mark."""
    if value.isascii() and value.isprintable():
        return value.encode()
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in value).encode()
