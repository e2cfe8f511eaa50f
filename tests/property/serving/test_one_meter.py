"""One meter over both servers: a proxy before a market before a provider that does as it likes.

Hypothesis draws what is asked, at which prices, what the provider says, in which pieces, how it
reports and how it ends, and whether the client stays. For every request:

::

    same       what the buyer is charged is what the market charged, to the unit
    bounded    neither is above what was reserved
    fee        what was delivered is charged with the fee of the request, however it ended
    nothing    where nothing was delivered, nothing is charged
    told       the client is told the cost that is charged, and no answer that is cut looks whole
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.answers import DONE, make_chunk, make_event
from tests.support.chain import Chain, Settled, run_chain

MODELS: Final[dict[str, list[tuple[float, ...]]]] = {
    "even": [(1.0, 1.0)],
    "dear": [(5.0, 20.0)],
    "odd": [(0.7, 3.333333)],
    "two-sellers": [(5.0, 20.0), (4.9, 19.999999)],
    "free-prompt": [(0.0, 7.0)],
    "with-fee": [(0.5, 2.0, 0.001)],
}
LATER: Final[dict[str, list[tuple[float, ...]]]] = {"dear": [(2.0, 9.5)]}
"""Offers of which the proxy's list knows nothing yet: another seller serves than it says."""

counts = st.integers(0, 5_000)
odd_counts = st.sampled_from([-1, "20", None, 1.5, float("nan"), float("inf"), 2**40, 10**30])
nonsense: st.SearchStrategy[Any] = st.sampled_from(
    [None, {}, "much", [], 7, {"prompt_tokens": None}]
)
reports = st.fixed_dictionaries(
    {},
    optional={
        "prompt_tokens": counts | odd_counts,
        "completion_tokens": counts | odd_counts,
        "total_tokens": counts | odd_counts,
        "input_tokens": counts,
        "output_tokens": counts,
        "cache_read_input_tokens": counts,
        "prompt_cache_hit_tokens": counts,
        "prompt_tokens_details": st.fixed_dictionaries({}, optional={"cached_tokens": counts}),
        "completion_tokens_details": st.fixed_dictionaries(
            {}, optional={"reasoning_tokens": counts | odd_counts}
        ),
        "cost_usdc": st.integers(-5, 10**9),
        "cost": st.floats(0, 1),
    },
)
usages = reports | nonsense
texts = st.text(st.characters(codec="utf-8"), max_size=12) | st.just("and so on " * 20)
fields = st.sampled_from(["content", "reasoning", "reasoning_content", "refusal"])
pieces = st.tuples(fields, texts)
"""The name of a field, and the text in it."""


@dataclass(frozen=True)
class Ask:
    """One request, and what becomes of it."""

    model: str
    max_tokens: int | None
    pieces: list[tuple[str, str]]
    usage: Any
    running_usage: Any
    """Said with the first piece of a stream; None: not said."""
    stream: bool
    asks_for_usage: bool
    ending: str

    @property
    def text_bytes(self) -> int:
        return sum(len(text.encode()) for _, text in self.pieces)


asks = st.builds(
    Ask,
    st.sampled_from(sorted(MODELS)),
    st.none() | st.sampled_from([1, 2, 10, 100, 4_000]),
    st.lists(pieces, max_size=5),
    usages,
    st.none() | reports,
    st.booleans() | st.just(True),
    st.booleans(),
    st.sampled_from(
        ["whole", "no finish", "error", "error field", "garbage", "closes", "no report", "leaves"]
    ),
)


def build_body(ask: Ask) -> bytes:
    message: dict[str, Any] = {"role": "assistant"}
    for name, text in ask.pieces:
        message[name] = message.get(name, "") + text
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "c-1", "object": "chat.completion", "created": 1, "model": ask.model}
    used = {} if ask.ending == "no report" else {"usage": ask.usage}
    return json.dumps({**body, "choices": [choice], **used}).encode()


def build_events(ask: Ask) -> list[bytes]:
    def chunk(delta: dict[str, Any], **more: Any) -> bytes:
        head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": ask.model}
        return make_event({**head, "choices": [{"index": 0, "delta": delta}], **more})

    first = {} if ask.running_usage is None else {"usage": ask.running_usage}
    events = [chunk({"role": "assistant"}, **first)]
    events += [chunk({name: text}) for name, text in ask.pieces]
    used = make_event({"id": "c-1", "choices": [], "usage": ask.usage})
    match ask.ending:
        case "no finish":
            return [*events, used, DONE]
        case "error":
            return [*events, make_event({"error": {"message": "no", "code": 500}})]
        case "error field":
            return [*events, used, b"error: it broke\n\n"]
        case "garbage":
            return [*events, b"data: {not json\n\n"]
        case "closes":
            return events
        case "no report":
            return [*events, make_chunk("", finish="stop"), DONE]
    return [*events, make_chunk("", finish="stop"), used, DONE]


class Stage:
    """A chain in an event loop of its own: hypothesis calls from outside."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self.chain: Chain = self._loop.run_until_complete(self._start(folder))

    async def _start(self, folder: Path) -> Chain:
        chain = await self._stack.enter_async_context(run_chain(folder))
        for model, offers in MODELS.items():
            await chain.list_model(model, *offers)
        await chain.refresh()
        for model, offers in LATER.items():
            await chain.list_model(model, *offers)
        # What the provider says is passed on as it is, so no schema holds.
        chain.proxy.client.is_checking = False
        return chain

    def close(self) -> None:
        self._loop.run_until_complete(self._stack.aclose())
        self._loop.close()

    def play(self, ask: Ask) -> tuple[str, dict[str, str], Settled]:
        """Return what the client has read, the headers, and what the request came to."""
        return self._loop.run_until_complete(self._play(ask))

    async def _play(self, ask: Ask) -> tuple[str, dict[str, str], Settled]:
        chain = self.chain
        chain.provider.body, chain.provider.events = build_body(ask), build_events(ask)
        body: dict[str, Any] = {"model": ask.model, "max_tokens": ask.max_tokens}
        if ask.stream:
            body["stream"] = True
        if ask.stream and ask.asks_for_usage:
            body["stream_options"] = {"include_usage": True}
        if ask.stream and ask.ending == "leaves":
            body.pop("stream")
            await chain.ask_and_leave(after_bytes=1, **body)
            return "", {}, await chain.settle()
        answer = await chain.ask(**body)
        return answer.text, dict(answer.headers), await chain.settle()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("chain"))
    yield stage
    stage.close()


def read_events(text: str) -> list[Any]:
    datas = [part.removeprefix("data: ") for part in text.split("\n\n") if part.startswith("data")]
    return [data if data == "[DONE]" else json.loads(data) for data in datas]


def check(ask: Ask, text: str, headers: dict[str, str], settled: Settled) -> None:
    row, cost_usdc = settled.proxy, settled.buyer_usdc
    assert cost_usdc == settled.market_usdc
    assert cost_usdc <= row["ceiling_usdc"]
    if ask.model == "with-fee":
        assert cost_usdc == 0 or cost_usdc >= 1_000, "what was served has its fee"
    assert all((sale["cost_usdc"] or 0) <= sale["ceiling_usdc"] for sale in settled.sales)
    if ask.stream:
        if ask.text_bytes == 0 and ask.ending in ("error", "error field", "garbage", "closes"):
            assert cost_usdc == 0
        check_stream(ask, text, cost_usdc)
    elif "x-current-cost-usdc" in headers:
        assert int(headers["x-current-cost-usdc"]) == cost_usdc
        used = json.loads(text).get("usage")
        if row["state"] == "posted":
            names = ("prompt_tokens", "completion_tokens", "total_tokens")
            assert all(
                type(used[name]) is int and used[name] >= 0 for name in names if name in used
            )


def check_stream(ask: Ask, text: str, cost_usdc: int) -> None:
    if ask.ending == "leaves" or not text.startswith("data"):
        return  # nobody was there to be told, or it was no stream but an error
    events = read_events(text)
    is_cut = ask.ending in ("error", "error field", "garbage", "closes")
    if is_cut:
        assert "[DONE]" not in events
        assert "error" in events[-1]
        assert events[-1]["error"].get("cost_usdc", 0) == cost_usdc
    said = [event["usage"] for event in events if event != "[DONE]" and event.get("usage")]
    if cost_usdc:
        assert [usage["cost"] for usage in said] == [cost_usdc], "usage is said once, with the cost"
        assert all(type(said[0][name]) is int for name in ("prompt_tokens", "completion_tokens"))


def play_and_check(stage: Stage, ask: Ask) -> None:
    check(ask, *stage.play(ask))


QUICK: Final = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
LONG: Final = settings(QUICK, max_examples=1_500)


@QUICK
@given(asks)
def test_charges__whatever_happens__one_figure(stage: Stage, ask: Ask) -> None:
    play_and_check(stage, ask)


@pytest.mark.slow
@LONG
@given(asks)
def test_charges__for_long__one_figure(stage: Stage, ask: Ask) -> None:
    play_and_check(stage, ask)
