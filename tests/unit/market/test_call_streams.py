"""A streamed answer between an API and its consumer, whoever leaves, breaks off or is slow."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import cast

import pytest

from market.resale.api_streams import ApiStream
from market.resale.call_streams import PIECES_MAX, CallStream
from serving.http.answers import AnswerCut
from serving.models.failures import Cause, UpstreamFailure
from tests.support.waiting import LIMIT_S


class Api:
    """An answer in pieces, which may break off; notes what becomes of the call."""

    def __init__(self, pieces: Sequence[bytes], *, breaks: bool = False) -> None:
        self._pieces = pieces
        self._breaks = breaks
        self.is_closed = False
        self.ends: list[BaseException | None] = []

    async def chunks(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._breaks:
            raise UpstreamFailure(Cause.DISCONNECTED)

    async def close(self) -> None:
        self.is_closed = True

    async def end(self, failure: BaseException | None) -> None:
        assert self.is_closed
        self.ends.append(failure)

    def open(self, *, slow_s: float = LIMIT_S) -> CallStream:
        return CallStream(cast(ApiStream, self), self.end, slow_s=slow_s)


async def read(stream: CallStream) -> list[bytes]:
    return [piece async for piece in stream.events()]


async def test_stream__to_its_end__is_passed_on_and_settled_once() -> None:
    api = Api([b"a", b"b"])
    stream = api.open()

    async with asyncio.timeout(LIMIT_S):
        _, pieces = await asyncio.gather(stream.run(), read(stream))

    assert pieces == [b"a", b"b"]
    assert api.ends == [None]


async def test_stream__api_breaks_off__is_cut_after_what_came() -> None:
    api = Api([b"a"], breaks=True)
    stream = api.open()
    await stream.run()

    events = stream.events()
    assert await anext(events) == b"a"
    with pytest.raises(AnswerCut):
        await anext(events)

    assert isinstance(api.ends[0], UpstreamFailure)


async def test_stream__consumer_leaves__ends_for_it_and_is_read_on() -> None:
    api = Api([b"x"] * (3 * PIECES_MAX))
    stream = api.open()
    running = asyncio.create_task(stream.run())
    events = stream.events()
    await anext(events)

    stream.leave()
    stream.leave()

    async with asyncio.timeout(LIMIT_S):
        await running
        assert [piece async for piece in events] in ([], [b"x"])
    assert api.ends == [None]


async def test_stream__consumer_reads_too_slowly__counts_as_gone_and_sees_the_cut() -> None:
    api = Api([b"x"] * (3 * PIECES_MAX))
    stream = api.open(slow_s=0.01)

    async with asyncio.timeout(LIMIT_S):
        await stream.run()
        with pytest.raises(AnswerCut):
            await read(stream)

    assert api.ends == [None]


async def test_stream__process_stops__is_settled_as_a_failure() -> None:
    api = Api([b"x"] * (3 * PIECES_MAX))
    stream = api.open()
    running = asyncio.create_task(stream.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert isinstance(api.ends[0], asyncio.CancelledError)
