"""What a request brings: its headers, and its body within bounds of size and time."""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from starlette.types import Receive, Scope

from serving.http.errors import body_timeout, body_too_large, unsupported_encoding

DISCARD_FACTOR: Final = 4
"""How many times the limit is read and thrown away, so that a client that is still sending gets to
read why it is refused; beyond that the connection is closed on it."""

_PLAIN: Final = frozenset({"", "identity"})
_BEARER: Final = "bearer "


KeepOpen = Callable[[Scope, int], None]
"""Counts what is kept of a body, in bytes so far. Raises ``ApiError``."""


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class BodyRules(Protocol):
    """How much and how long a body may be."""

    @property
    def body_bytes_max(self) -> int:
        """Longest body, bytes."""
        ...

    @property
    def body_timeout_s(self) -> float:
        """Longest wait for a whole body, seconds."""
        ...


def find_header(scope: Scope, name: bytes) -> str | None:
    """Return the first header of this name (lower case), or None."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def parse_bearer(authorization: str) -> str | None:
    """Return the token of an Authorization header, None where its scheme is another."""
    if authorization[: len(_BEARER)].lower() != _BEARER:
        return None
    return authorization[len(_BEARER) :].strip(" ")


async def read_body(
    scope: Scope,
    receive: Receive,
    rules: BodyRules,
    *,
    bytes_max: int | None = None,
    keep_open: KeepOpen,
) -> bytes:
    """Return the whole body.

    ``bytes_max`` takes the place of the rules' own bound. ``keep_open`` counts the bytes, and
    refuses what is too much: ``Limits.keep_open`` for a request that nobody has authenticated; one
    with a key is read by ``Limits.read_body``. Raises 408, 413 or 415 as ``ApiError``, and
    ``ClientGone``.
    """
    if bytes_max is None:
        bytes_max = rules.body_bytes_max
    encoding = find_header(scope, b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in _PLAIN:
        raise unsupported_encoding()
    length = find_header(scope, b"content-length")
    if length is not None and length.isdecimal() and int(length) > DISCARD_FACTOR * bytes_max:
        raise body_too_large(bytes_max)
    try:
        async with asyncio.timeout(rules.body_timeout_s):
            keep_open(scope, 0)
            return await _receive(scope, receive, bytes_max, keep_open)
    except TimeoutError:
        raise body_timeout() from None


async def _receive(scope: Scope, receive: Receive, bytes_max: int, keep_open: KeepOpen) -> bytes:
    message = await receive()
    body = message.get("body", b"")
    keep_open(scope, min(len(body), bytes_max))
    if message["type"] == "http.request" and not message.get("more_body"):
        # The usual case: the body came with the headers.
        if len(body) > bytes_max:
            raise body_too_large(bytes_max)
        return bytes(body)
    chunks, size = [body], len(body)
    while message.get("more_body") and size <= DISCARD_FACTOR * bytes_max:
        message = await receive()
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= bytes_max:
            keep_open(scope, size)
            chunks.append(chunk)
    if message["type"] == "http.disconnect":
        raise ClientGone
    if size > bytes_max:
        raise body_too_large(bytes_max)
    return b"".join(chunks)
