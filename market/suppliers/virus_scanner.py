"""A virus scanner: none, or ClamAV's daemon by its socket. What does not answer refuses."""

import asyncio
from typing import Final, Protocol

from serving.http.errors import TryLater, unavailable

TIMEOUT_S: Final = 30.0
_CHUNK: Final = 64 * 1024
_ANSWER_MAX: Final = 4_096


class Scanner(Protocol):
    """Looks for viruses."""

    async def is_clean(self, data: bytes) -> bool:
        """Tell whether nothing was found. Raises 503 where the scanner does not answer."""
        ...


class ClamdScanner:
    """``clamd`` by its UNIX socket, command INSTREAM."""

    def __init__(self, path: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s

    async def is_clean(self, data: bytes) -> bool:
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._ask(data)
        except (OSError, TimeoutError, EOFError, asyncio.LimitOverrunError):
            raise scanner_silent() from None
        if answer.endswith(b": OK"):
            return True
        if answer.endswith(b" FOUND"):
            return False
        raise scanner_silent()

    async def _ask(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=_ANSWER_MAX)
        try:
            writer.write(b"zINSTREAM\0")
            for start in range(0, len(data), _CHUNK):
                piece = data[start : start + _CHUNK]
                writer.write(len(piece).to_bytes(4, "big") + piece)
                await writer.drain()
            writer.write(bytes(4))
            await writer.drain()
            return (await reader.readuntil(b"\0")).rstrip(b"\0\r\n")
        finally:
            # Not closed in peace: a daemon that reads no more would keep the rest of the document.
            writer.transport.abort()


def open_scanner(location: str) -> Scanner | None:
    """Return the scanner of ``off`` or ``clamd:<socket>``. Raises ``ValueError``."""
    if location == "off":
        return None
    kind, _, path = location.partition(":")
    if kind != "clamd" or not path.startswith("/"):
        raise ValueError("must be off, or clamd:/path/of/the/socket")
    return ClamdScanner(path)


def scanner_silent() -> TryLater:
    """503: the virus scanner does not answer, so nothing is taken."""
    message = "The virus scanner does not answer: no document is taken now. Try again."
    return unavailable("scanner_unavailable", message)
