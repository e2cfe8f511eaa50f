"""Reading a provider's stream piece by piece, through its tally.

A ``Reading`` can be begun before anything is promised to the client: until the provider has said
something, another provider may still be asked instead.
"""

import asyncio
from collections.abc import AsyncIterator
from enum import Enum, auto
from typing import Final, Protocol

from serving.stream.sse import EventSplitter
from serving.stream.tally import Move, Tally

EVENT_BYTES_MAX: Final = 4 * 1024**2


class Source(Protocol):
    """An answer that is still arriving."""

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield what arrives, cut anywhere. Raises ``CurrentError`` where the provider breaks
        off."""
        ...

    async def close(self) -> None:
        """Stop receiving; the provider notices. Idempotent."""
        ...


class StreamState(Enum):
    """The state of a stream after a piece was read."""

    GOES_ON = auto()
    DONE = auto()
    FAILED = auto()
    OVER = auto()
    CLOSED = auto()
    """The provider has closed the connection."""


_VERDICTS: Final = {
    Move.DONE: StreamState.DONE,
    Move.FAILED: StreamState.FAILED,
    Move.OVER: StreamState.OVER,
}


class NoAnswer(Exception):
    """A provider's stream began with nothing that is an answer. ``verdict`` is how it ended."""

    def __init__(self, verdict: StreamState) -> None:
        super().__init__(verdict.name)
        self.verdict = verdict


class Reading:
    """A provider's stream, read in turn."""

    def __init__(self, source: Source, tally: Tally) -> None:
        self.tally = tally
        self._source = source
        self._pieces = source.pieces()
        self._splitter = EventSplitter(event_bytes_max=EVENT_BYTES_MAX)
        self._begun: tuple[bytes, StreamState] | None = None
        self._has_spoken = False

    @property
    def has_answer(self) -> bool:
        """Whether something of an answer has come, be it that the answer is empty."""
        return self.tally.weight.extent > 0 or self.tally.is_finished

    async def begin(self, *, timeout_s: float) -> None:
        """Read until the provider has said something; ``read`` returns it again.

        Raises ``NoAnswer`` where the stream ends without anything of an answer, ``EventTooLong``,
        ``TimeoutError``, and what the source raises.
        """
        passed = b""
        async with asyncio.timeout(timeout_s):
            while not self._has_spoken:
                piece, verdict = await self.read()
                passed += piece
                if verdict is StreamState.GOES_ON:
                    continue
                if verdict is StreamState.DONE and self.has_answer:
                    break
                raise NoAnswer(verdict)
            else:
                verdict = StreamState.GOES_ON
        self._begun = (passed, verdict)

    async def read(self) -> tuple[bytes, StreamState]:
        """Return the next events for the client, and how the stream stands after them.

        Raises ``EventTooLong``, and what the source raises.
        """
        if self._begun is not None:
            begun, self._begun = self._begun, None
            return begun
        async for piece in self._pieces:
            return self._take(self._splitter.feed(piece))
        last = self._splitter.finish()
        if last is None:
            return b"", StreamState.CLOSED
        passed, verdict = self._take([last])
        # An event that was cut off in its middle is no failure that the provider reports.
        is_told = verdict in (StreamState.DONE, StreamState.OVER) or self.tally.failure is not None
        return passed, verdict if is_told else StreamState.CLOSED

    def _take(self, events: list[bytes]) -> tuple[bytes, StreamState]:
        """Read events through the tally. What follows the end is not read, nor counted."""
        passed = []
        for event in events:
            move, shown = self.tally.read(event)
            if move is Move.PASS:
                passed.append(shown)
                self._has_spoken = True
            elif move is Move.COMMENT:
                passed.append(shown)
            elif move is not Move.DROP:
                return b"".join(passed), _VERDICTS[move]
        return b"".join(passed), StreamState.GOES_ON

    async def close(self) -> None:
        """Stop receiving. Idempotent."""
        await self._source.close()
