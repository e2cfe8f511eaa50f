"""A call's answer on its way to the consumer while it arrives, charged once it has ended.

It is read to its end whether or not the consumer stays: the API counts it all the same. It is
charged once, at its end; where the API breaks off, or its credential is found, nothing is.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from market.resale.api_streams import ApiStream
from serving.http.answers import AnswerCut
from serving.models.failures import UpstreamFailure

PIECES_MAX: Final = 64
"""How far an API may be ahead of a consumer who reads slowly."""
SLOW_S: Final = 30.0
"""How long a consumer may take to read one piece more, before it counts as gone."""

End = Callable[[BaseException | None], Awaitable[None]]
"""Settles the call: None where the answer came to its end."""


class CallStream:
    """A stream. ``run`` drives it to its end; ``events`` is the consumer's side."""

    def __init__(self, stream: ApiStream, end: End, *, slow_s: float = SLOW_S) -> None:
        self._stream = stream
        self._end = end
        self._slow_s = slow_s
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(PIECES_MAX)
        self._left = False
        self._is_cut = False

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the answer. Raises ``AnswerCut`` where it has no end."""
        while (piece := await self._queue.get()) is not None:
            yield piece
        if self._is_cut:
            raise AnswerCut

    def leave(self) -> None:
        """Note that the consumer has gone. The answer is read on."""
        if self._left:
            return
        self._left = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def run(self) -> None:
        """Read the answer, pass it on, settle the call."""
        failure: BaseException | None = None
        try:
            async for piece in self._stream.chunks():
                await self._pass_on(piece)
        except UpstreamFailure as error:
            failure = error
        except BaseException as error:
            failure = error
            raise
        finally:
            self._is_cut = self._is_cut or failure is not None
            try:
                await asyncio.shield(self._settle(failure))
            finally:
                if failure is None or isinstance(failure, UpstreamFailure):
                    await self._pass_on(None)
                else:
                    self.leave()  # the process stops: it waits for no slow consumer

    async def _settle(self, failure: BaseException | None) -> None:
        try:
            await self._stream.close()
        except UpstreamFailure:
            pass  # what has come counts
        finally:
            await self._end(failure)

    async def _pass_on(self, piece: bytes | None) -> None:
        if self._left:
            return
        try:
            async with asyncio.timeout(self._slow_s):
                await self._queue.put(piece)
        except TimeoutError:
            self._is_cut = True
            self.leave()
