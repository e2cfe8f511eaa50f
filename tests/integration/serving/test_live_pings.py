"""A stream that says nothing for long: its client is told that it is alive, in its own dialect."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from serving.dialects.common_form import CommonForm
from serving.dialects.encoding import Served
from serving.dialects.messages_answer import MessageEncoder
from serving.dialects.responses_answer import ResponseEncoder
from serving.models.counting import Counted, Sent
from serving.stream.live import Ending, LiveStream, StreamRules, Why
from serving.stream.reading import Reading
from serving.stream.tally import ChatTally, Tally
from serving.stream.translated import TranslatedTally
from tests.support.answers import USAGE, make_chunk, make_last_events

SENT = Sent(prompt_estimate=14, prompt_bound=200, output_bound=100)
SERVED = Served("r-1", "m", 14, 1)


class SilentSource:
    """Says a word, and the rest only once it is let."""

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def pieces(self) -> AsyncIterator[bytes]:
        yield make_chunk("Hi")
        await self.release.wait()
        yield b"".join(make_last_events("chat/completions", USAGE))

    async def close(self) -> None:
        pass


class FreeBooking:
    """Charges a unit."""

    booking_id, lease_s = "r-1", 60.0

    async def post(self, counted: Counted) -> int:  # noqa: ARG002
        return 1

    async def void(self, ending: Ending) -> int | None:  # noqa: ARG002
        return None

    async def renew(self) -> bool:
        return True

    def note_end(self, ending: Ending | None) -> None:
        pass

    def note_stop(self) -> None:
        pass


class NoEndings:
    """Streams here end well."""

    def explain(self, why: Why, detail: Any = None) -> Ending:  # noqa: ARG002
        return Ending(why.name, lambda _: b'{"error": {}}')


@pytest.mark.parametrize(
    ("tally", "ping"),
    [
        (lambda: TranslatedTally(SENT, MessageEncoder(CommonForm({}), SERVED)), b"event: ping\n"),
        (lambda: TranslatedTally(SENT, ResponseEncoder(CommonForm({}), SERVED)), b": ping\n\n"),
        (lambda: ChatTally(SENT), None),
    ],
    ids=["messages", "responses", "chat"],
)
async def test_silence__for_long__is_filled_with_pings(tally: Any, ping: bytes | None) -> None:
    source = SilentSource()
    made: Tally = tally()
    stream = LiveStream(
        reading=Reading(source, made),
        booking=FreeBooking(),
        endings=NoEndings(),
        charge_name="cost",
        asks_for_usage=False,
        rules=StreamRules(timeout_s=60.0, drain_s=60.0, ping_s=0.001),
    )
    running = asyncio.create_task(stream.run())
    heard = b""

    async for events in stream.events():
        heard += events
        if ping is None or heard.count(ping) >= 3:
            source.release.set()

    assert await running == "ok"
    assert ping is None or heard.count(ping) >= 3
    assert heard.rstrip().endswith(b"}" if ping is not None else b"[DONE]")


class BrokenTally(ChatTally):
    """Cannot say how the stream ends."""

    def build_end(self, *_: Any, **__: Any) -> bytes:
        raise ValueError("a bug")


async def test_end__cannot_be_made__the_client_that_paid_is_told_so() -> None:
    source = SilentSource()
    source.release.set()
    stream = LiveStream(
        reading=Reading(source, BrokenTally(SENT)),
        booking=FreeBooking(),
        endings=NoEndings(),
        charge_name="cost",
        asks_for_usage=False,
        rules=StreamRules(timeout_s=60.0, drain_s=60.0),
    )
    running = asyncio.create_task(stream.run())

    heard = b"".join([events async for events in stream.events()])

    assert await running == "INTERNAL"
    assert heard.endswith(b'data: {"error": {}}\n\n')
