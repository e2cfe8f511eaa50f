"""An API's answer that is passed on while it arrives: bounded, and searched for the credential.

So much of its end is held back that no credential passes in two pieces. It is searched once as much
again has come, so that the work grows with the answer's bytes and not with their packets. Where a
credential is found, or the API breaks off, the answer is cut: whoever reads it sees that it has no
end.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from pyreqwest.response import Response

from market.resale.leaks import LeakSearch
from serving.models.failures import Cause, UpstreamFailure
from serving.models.upstream import heed_cancel, translated

STREAMED: Final = frozenset(
    {"text/event-stream", "application/x-ndjson", "application/jsonl", "application/json-seq"}
)
"""The media types of answers that are made of pieces."""
ASIDE_MIN_BYTES: Final = 16 * 1024
"""From this length on an answer is searched in a thread: the event loop serves others meanwhile."""


class CredentialLeaked(UpstreamFailure):
    """The API's answer has its own credential in it: nobody may see it."""

    def __init__(self) -> None:
        super().__init__(Cause.AUTH)


def is_streamed(content_type: str | None) -> bool:
    """Tell whether an answer of this media type is passed on piece by piece."""
    return (content_type or "").partition(";")[0].strip().lower() in STREAMED


async def check_leaks(search: LeakSearch, data: bytes) -> None:
    """Search an answer's bytes. Raises ``CredentialLeaked``."""
    is_large = len(data) >= ASIDE_MIN_BYTES
    if await asyncio.to_thread(search.is_in, data) if is_large else search.is_in(data):
        raise CredentialLeaked


@dataclass(slots=True)
class ApiStream:
    """An answer that has begun. To be closed."""

    status: int
    headers: dict[str, str]
    remaining_units: int | None
    stated: Mapping[str, str]
    """The headers that the market reads and does not pass on."""
    response: Response
    search: LeakSearch
    bytes_max: int
    opened: AsyncExitStack

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the answer as it may be seen. Raises ``UpstreamFailure``."""
        overlap = self.search.overlap
        held, size, unsearched = bytearray(), 0, 0
        while (chunk := await self._read()) is not None:
            size += len(chunk)
            if size > self.bytes_max:
                raise UpstreamFailure(Cause.BAD_FORMAT)
            held += chunk
            unsearched += len(chunk)
            if unsearched < overlap:
                continue
            await check_leaks(self.search, bytes(held))
            unsearched = 0
            ready = bytes(held[: len(held) - overlap])
            del held[: len(ready)]
            if ready:
                yield ready
        if unsearched:
            await check_leaks(self.search, bytes(held))
        if held:
            yield bytes(held)

    async def _read(self) -> bytes | None:
        with translated():
            chunk = await heed_cancel(self.response.body_reader.read_chunk())
        return None if chunk is None else bytes(chunk)

    async def close(self) -> None:
        """Give the connection and its place back."""
        with translated():
            await self.opened.aclose()
