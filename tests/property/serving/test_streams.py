"""Streams of any shape: any split of bytes, any order of legal events, any truncation.

A provider sends a legal stream, or the beginning of one. It arrives in any pieces, and the client
stays or leaves. Both servers' bookings see the same:

::

    bounded    the charge is never above the ceiling, nor above what can be true
    nothing    where nothing was delivered, nothing is charged
    honest     an unfinished answer never looks whole: no [DONE], and an error ends it
    innocent   a seller that sent a whole answer never rests, whatever the client did
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from market.text.metering import SaleBooking, SaleEndings
from serving.models.counting import SLACK_TOKENS, Sent
from serving.models.failures import Cause, UpstreamFailure
from serving.models.prices import Price, Tokens, get_ceiling_usdc, get_charge_usdc
from serving.stream.live import LiveStream, StreamRules
from serving.stream.reading import Reading
from serving.stream.tally import ChatTally
from tests.support.examples import examples

PRICE: Final = Price(5_000_000, 20_000_000)
OUTPUT_BOUND: Final = 200
SENT: Final = Sent(prompt_estimate=40, prompt_bound=300, output_bound=OUTPUT_BOUND)
CEILING_USDC: Final = get_ceiling_usdc(
    prompt_bound=SENT.prompt_bound, max_tokens=OUTPUT_BOUND, choices=1, price=PRICE
)
RULES: Final = StreamRules(timeout_s=60.0, drain_s=60.0)


class Charge:
    """A sale that is written nowhere. Amounts in 1e-6 USDC."""

    sale_id = "sale"
    lease_s = 900.0

    def __init__(self) -> None:
        self.cost_usdc: int | None = None
        self.tokens = Tokens(0, 0)
        self.voided = False

    async def post(self, tokens: Tokens, *, also: Any = None, is_cut: bool = False) -> int:
        assert also is None
        assert isinstance(is_cut, bool)
        assert self.cost_usdc is None, "charged once"
        assert not self.voided
        self.tokens = tokens
        self.cost_usdc = get_charge_usdc(tokens, PRICE, ceiling_usdc=CEILING_USDC)
        return self.cost_usdc

    async def void(self, reason: str, *, is_seller_failure: bool) -> None:
        assert isinstance(is_seller_failure, bool)
        assert reason
        assert self.cost_usdc is None
        self.voided = True

    async def renew(self) -> None:
        raise AssertionError("no stream here lasts")


class Seller:
    """Who learns how the attempt ended."""

    def __init__(self) -> None:
        self.rests_for: Cause | None = None

    def end(self, cause: Cause | None = None, *, well: bool = True) -> None:
        assert not (well and cause is not None)
        self.rests_for = cause


class Pieces:
    """A source of these pieces, which then ends or dies."""

    def __init__(self, pieces: Sequence[bytes], *, dies: bool) -> None:
        self._pieces = pieces
        self._dies = dies

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
            await asyncio.sleep(0)
        if self._dies:
            raise UpstreamFailure(Cause.DISCONNECTED)

    async def close(self) -> None:
        pass


def build_chunk(delta: dict[str, Any] | None, **more: Any) -> bytes:
    finish = more.pop("finish", None)
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    chunk = {"id": "c", "object": "chat.completion.chunk", "choices": choices, **more}
    return b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n"


_REASONING: Final = re.compile(rb'"reasoning_tokens": ([0-9]+)')

DONE: Final = b"data: [DONE]\n\n"
FINISH: Final = build_chunk({}, finish="stop")
texts = st.text(st.characters(codec="utf-8"), max_size=10)
deltas = st.one_of(
    st.builds(lambda text: {"content": text}, texts),
    st.builds(lambda text: {"reasoning": text, "reasoning_content": text}, texts),
    st.builds(lambda text: {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}, texts),
    st.just({"role": "assistant"}),
)
honest = st.integers(0, OUTPUT_BOUND)
reports = st.builds(
    lambda prompt, output, hidden: {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "completion_tokens_details": {"reasoning_tokens": min(hidden, output)},
    },
    st.integers(0, 10_000),
    honest,
    honest,
) | st.builds(
    lambda prompt, output: {"prompt_tokens": prompt, "total_tokens": prompt + output},
    st.integers(0, 400),
    honest,
)
events = st.one_of(
    deltas.map(build_chunk),
    reports.map(lambda usage: build_chunk(None, usage=usage)),
    st.tuples(deltas, reports).map(lambda both: build_chunk(both[0], usage=both[1])),
    st.sampled_from([b": still here\n\n", b"event: ping\ndata: {}\n\n", b"data: ping\n\n"]),
)


@dataclass(frozen=True)
class Play:
    """A stream, and what becomes of it."""

    body: list[bytes]
    tail: list[bytes]
    keep: float
    """The part of all bytes that arrives."""
    cuts: list[int]
    dies: bool
    leaves_after: int | None
    """After how many reads the client leaves; None: it stays."""

    @property
    def whole(self) -> bytes:
        return b"".join([*self.body, *self.tail])

    @property
    def arrived(self) -> bytes:
        return self.whole if self.keep >= 1 else self.whole[: int(len(self.whole) * self.keep)]

    @property
    def pieces(self) -> list[bytes]:
        raw = self.arrived
        at = sorted({min(cut, len(raw)) for cut in self.cuts} | {0, len(raw)})
        return [raw[start:end] for start, end in pairwise(at)]

    @property
    def is_finished(self) -> bool:
        """Whether the seller has said all that makes an answer whole."""
        raw = self.arrived.rstrip(b"\n") + b"\n\n"
        return FINISH in raw or DONE in raw

    @property
    def delivered_bytes(self) -> int:
        """The text in what arrived, each field by itself: more than any count of it."""
        total = 0
        for event in self.arrived.split(b"\n\n"):
            try:
                chunk = json.loads(event.removeprefix(b"data: "))
            except ValueError:
                continue
            for choice in chunk.get("choices", ()) if isinstance(chunk, dict) else ():
                total += len(json.dumps(choice["delta"], ensure_ascii=False).encode())
        return total


tails = st.permutations(
    [FINISH, build_chunk(None, usage={"prompt_tokens": 30, "completion_tokens": 9})]
)
plays = st.builds(
    Play,
    st.lists(events, max_size=8),
    tails.map(lambda tail: [*tail, DONE]) | st.just([FINISH]) | st.just([FINISH, DONE]),
    st.floats(0, 1) | st.just(1.0),
    st.lists(st.integers(0, 2_000), max_size=12),
    st.booleans(),
    st.none() | st.integers(0, 3),
)


async def run(play: Play) -> tuple[str, bytes, Charge, Seller]:
    """Return how the stream ended, what the client has read, and what the seller is told."""
    charge, seller = Charge(), Seller()
    stream = LiveStream(
        reading=Reading(Pieces(play.pieces, dies=play.dies), ChatTally(SENT)),
        booking=SaleBooking(charge, seller),
        endings=SaleEndings(()),
        charge_name="cost_usdc",
        asks_for_usage=True,
        rules=RULES,
    )
    running = asyncio.create_task(stream.run())
    read, times = b"", 0
    if play.leaves_after == 0:
        stream.leave()
    async for piece in stream.events():
        read += piece
        times += 1
        if times == play.leaves_after:
            stream.leave()
            break
    return await running, read, charge, seller


def check(play: Play, outcome: str, read: bytes, charge: Charge, seller: Seller) -> None:
    cost_usdc, tokens = charge.cost_usdc or 0, charge.tokens
    assert charge.voided != (charge.cost_usdc is not None), "charged, or given back"
    assert cost_usdc <= CEILING_USDC
    assert tokens.prompt <= SENT.prompt_bound
    assert tokens.completion <= OUTPUT_BOUND
    # Reports state at most so much reasoning; what they do not state must have been shown.
    stated = max(map(int, _REASONING.findall(play.arrived)), default=0)
    unexplained = b'"total_tokens"' in play.arrived
    if not unexplained:
        assert tokens.completion <= play.delivered_bytes + SLACK_TOKENS + stated
    if not play.is_finished:
        assert outcome != "ok"
        assert b"[DONE]" not in read
        if play.leaves_after is None:
            assert b'"error"' in read.rstrip().split(b"\n\n")[-1]
        if play.delivered_bytes == 0:
            assert cost_usdc == 0
    elif play.keep >= 1:
        assert seller.rests_for is None, "it has sent a whole answer"
    if play.leaves_after is None and charge.cost_usdc is not None:
        said = [json.loads(event[6:]) for event in read.split(b"\n\n") if event[:7] == b"data: {"]
        used = [chunk["usage"] for chunk in said if chunk.get("usage")]
        assert [usage["cost_usdc"] for usage in used] == [cost_usdc]
        assert used[0]["prompt_tokens"] == tokens.prompt
        assert used[0]["completion_tokens"] == tokens.completion


@settings(max_examples=examples(400), deadline=None)
@given(plays)
def test_stream__of_any_shape__charged_and_ended_truly(play: Play) -> None:
    check(play, *asyncio.run(run(play)))
