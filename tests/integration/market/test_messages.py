"""Anthropic's messages at the market: passed on where the seller speaks them, else translated.

::

    seller speaks      its fields, but for what costs; key and headers where its kind looks for them
    seller does not    asked by chat at once, remembered; the buyer sees no difference
    charges            the same both ways, and as a chat's; streams in every ending
    errors, keys       in the dialect's own shape
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from anthropic import AsyncAnthropic

from serving.models.counting import SLACK_TOKENS
from tests.support.answers import MODEL, PROVIDER_KEY, TEXT, make_event
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import RunningMarket, bearer, make_settings, run_market

PATH = "/v1/messages"
COUNTED = {"input_tokens": 20, "output_tokens": 10}
ASKED: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "Say hello."}],
}


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_market(make_settings(tmp_path), engine) as running:
        yield running
    engine.dispose()


@pytest.fixture
async def speaker() -> AsyncIterator[FakeEndpoint]:
    """A seller's endpoint that speaks messages."""
    async with FakeEndpoint(usage=COUNTED, speaks_messages=True) as endpoint:
        yield endpoint


@pytest.fixture
async def other() -> AsyncIterator[FakeEndpoint]:
    """A seller's endpoint that does not."""
    async with FakeEndpoint() as endpoint:
        yield endpoint


async def list_and_ask(
    market: RunningMarket,
    seller: FakeEndpoint,
    *,
    headers: dict[str, str] | None = None,
    **changes: Any,
) -> httpx.Response:
    await market.list_offer(await market.get_key(), seller.url)
    key = await market.get_buyer_key()
    told = {"x-api-key": key, **(headers or {})}
    return await market.client.post(PATH, json={**ASKED, **changes}, headers=told)


def read_events(answer: httpx.Response) -> list[dict[str, Any]]:
    datas = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    return [json.loads(data) for data in datas]


async def test_seller_speaks__body_and_headers_pass_but_for_what_costs(
    market: RunningMarket, speaker: FakeEndpoint
) -> None:
    wish = {"type": "ephemeral", "ttl": "1h"}
    system = [{"type": "text", "text": "Short.", "cache_control": wish}]
    told = "never-heard-of-2031-01-01,compact-2026-01-12"
    betas = {"anthropic-beta": told, "anthropic-version": "2023-06-01"}
    clear = {"type": "clear_tool_uses_20250919"}
    edits = {"edits": [{"type": "compact_20260112"}, clear]}

    answer = await list_and_ask(
        market,
        speaker,
        headers=betas,
        system=system,
        context_management=edits,
        novelty={"costs": 1},
        speed="fast",
    )

    assert answer.json()["content"] == [{"type": "text", "text": TEXT}]
    cached = [{"type": "text", "text": "Short.", "cache_control": {"type": "ephemeral"}}]
    kept = {"system": cached, "context_management": {"edits": [clear]}}
    assert speaker.requests == [{**ASKED, **kept}]
    (headers,) = speaker.headers
    assert headers["x-api-key"] == PROVIDER_KEY
    assert headers["anthropic-beta"] == "never-heard-of-2031-01-01"
    assert answer.headers["x-market-cost-usdc"] == "300"
    (sale,) = market.sales()
    assert (sale["endpoint"], sale["cost_usdc"]) == ("messages", 300)


async def test_seller_does_not_speak__asked_by_chat_and_remembered(
    market: RunningMarket, other: FakeEndpoint
) -> None:
    first = await list_and_ask(market, other)
    asked = other.asked
    second = await market.client.post(
        PATH, json=ASKED, headers=bearer(await market.get_buyer_key())
    )

    assert first.json()["content"] == second.json()["content"] == [{"type": "text", "text": TEXT}]
    assert first.json()["usage"]["input_tokens"] == 20
    assert [request["messages"] for request in other.requests] == [ASKED["messages"]] * 2
    assert other.asked == asked + 1, "the second request is not tried by messages first"
    assert [sale["cost_usdc"] for sale in market.sales()] == [300, 300]


@pytest.mark.parametrize("speaks", [True, False])
async def test_stream__official_sdk_takes_it_and_the_last_usage_says_the_cost(
    market: RunningMarket, speaker: FakeEndpoint, other: FakeEndpoint, speaks: bool
) -> None:
    await market.list_offer(await market.get_key(), (speaker if speaks else other).url)
    key = await market.get_buyer_key()
    url = str(market.client.base_url).rstrip("/")
    client = AsyncAnthropic(base_url=url, api_key=key, max_retries=0)
    costs_usdc = []
    async with client, client.messages.stream(**ASKED) as stream:
        async for event in stream:
            if event.type == "message_delta":
                costs_usdc.append((event.usage.model_extra or {}).get("cost_usdc"))
        message = await stream.get_final_message()
    (block,) = message.content
    said = block.text if block.type == "text" else None

    assert said == TEXT
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (20, 10)
    (sale,) = await market.settled_sales()
    assert [sale["cost_usdc"]] == costs_usdc == [300]


@pytest.mark.parametrize("speaks", [True, False])
@pytest.mark.parametrize("behaviour", ["stream_dies", "stream_error", "stream_bad_event"])
async def test_stream__broken_off__the_delivered_part_is_charged(
    market: RunningMarket, speaker: FakeEndpoint, other: FakeEndpoint, speaks: bool, behaviour: str
) -> None:
    seller = speaker if speaks else other
    seller.behaviour, seller.piece_delay_s = behaviour, 0.01

    events = read_events(await list_and_ask(market, seller, stream=True))

    (sale,) = await market.settled_sales()
    assert events[-1]["type"] == "error"
    assert events[-1]["error"]["cost_usdc"] == sale["cost_usdc"]
    assert 0 < sale["cost_usdc"] <= sale["ceiling_usdc"]
    said = "".join(event.get("delta", {}).get("text", "") for event in events)
    assert said == TEXT


async def test_stream__nothing_said__next_seller_serves_and_the_first_is_not_paid(
    market: RunningMarket, speaker: FakeEndpoint, other: FakeEndpoint
) -> None:
    speaker.behaviour = "stream_error_first"
    await market.list_offer(await market.get_key(), other.url, price_output_per_1m=21)

    events = read_events(await list_and_ask(market, speaker, stream=True))

    assert [event["type"] for event in events].count("message_start") == 1
    assert [event["type"] for event in events][-1] == "message_stop"
    assert [sale["state"] for sale in await market.settled_sales()].count("posted") == 1


async def test_stream__seller_answers_whole__told_as_a_stream(
    market: RunningMarket, speaker: FakeEndpoint
) -> None:
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "x"}}
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    message = {"id": "m", "type": "message", "role": "assistant", "model": MODEL}
    ended = {"stop_reason": "tool_use", "stop_sequence": None, "usage": COUNTED}
    speaker.whole = json.dumps({**message, "content": [thought, use], **ended}).encode()
    tools = [{"name": "look", "input_schema": {"type": "object"}}]

    events = read_events(await list_and_ask(market, speaker, stream=True, tools=tools))

    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert [delta["type"] for delta in deltas] == [
        "thinking_delta",
        "signature_delta",
        "input_json_delta",
    ]
    assert json.loads(deltas[-1]["partial_json"]) == {"at": "x"}
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


async def test_untrue_usage__believed_as_far_as_it_can_be_true(
    market: RunningMarket, speaker: FakeEndpoint
) -> None:
    speaker.usage = {"input_tokens": 10**6, "output_tokens": 10**6}
    answer = await list_and_ask(market, speaker)
    usage = answer.json()["usage"]
    assert usage["output_tokens"] == len(TEXT) + SLACK_TOKENS
    assert 0 < usage["input_tokens"] < 2_000
    (sale,) = market.sales()
    assert sale["cost_usdc"] == int(answer.headers["x-market-cost-usdc"]) <= sale["ceiling_usdc"]


async def test_thinking__fits_into_a_limit_that_the_key_lowers(
    market: RunningMarket, speaker: FakeEndpoint
) -> None:
    thinking = {"type": "enabled", "budget_tokens": 300_000}
    await list_and_ask(market, speaker, max_tokens=200_000, thinking=thinking)
    (sent,) = speaker.requests
    assert 1_024 <= sent["thinking"]["budget_tokens"] < sent["max_tokens"]


async def test_reasoning_sealed_here__no_maker_is_sent_it(
    market: RunningMarket, speaker: FakeEndpoint
) -> None:
    seal = "current1.eyJmIjoicmVhc29uaW5nIn0="
    sealed = {"type": "thinking", "thinking": "Hm.", "signature": seal}
    theirs = {"type": "thinking", "thinking": "Hm.", "signature": "theirs"}
    said = {"type": "text", "text": "Hi."}
    turns = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": [sealed, theirs, said]},
        {"role": "user", "content": "Again."},
    ]
    answer = await list_and_ask(market, speaker, messages=turns)
    assert answer.status_code == 200, answer.text
    assert speaker.requests[0]["messages"][1]["content"] == [theirs, said]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "unsupported_tool"),
        ({"mcp_servers": [{"url": "https://x.example"}]}, "unsupported_parameter"),
        ({"service_tier": "priority"}, "unsupported_parameter"),
        ({"max_tokens": 0}, "invalid_type"),
        ({"messages": []}, "invalid_type"),
    ],
)
async def test_request__that_cannot_be_bounded__refused_in_the_dialects_shape(
    market: RunningMarket, speaker: FakeEndpoint, changes: dict[str, Any], code: str
) -> None:
    answer = await list_and_ask(market, speaker, **changes)
    assert answer.status_code == 400
    told = answer.json()
    assert (told["type"], told["error"]["type"]) == ("error", "invalid_request_error")
    assert told["error"]["code"] == code
    assert (speaker.requests, market.sales()) == ([], [])


async def test_keys__both_and_different__401(market: RunningMarket, speaker: FakeEndpoint) -> None:
    answer = await list_and_ask(market, speaker, headers=bearer("inf_another"))
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "two_api_keys"


async def test_seller_that_speaks__has_no_such_path_any_more__is_asked_by_chat(
    market: RunningMarket, speaker: FakeEndpoint
) -> None:
    assert (await list_and_ask(market, speaker)).status_code == 200
    speaker.script.append("status_404")
    key = bearer(await market.get_buyer_key())
    asked = speaker.asked
    answers = [await market.client.post(PATH, json=ASKED, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert speaker.asked == asked + 3, "the second request is not tried by messages first"
    assert [sale["cost_usdc"] for sale in market.sales()] == [300] * 3


async def test_rejection_of_a_seller_that_speaks__is_not_asked_again_by_chat(
    market: RunningMarket, speaker: FakeEndpoint
) -> None:
    key = await market.get_buyer_key()
    assert (await list_and_ask(market, speaker)).status_code == 200
    asked = speaker.asked
    speaker.behaviour = "status_400"
    answer = await market.client.post(PATH, json=ASKED, headers=bearer(key))
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert answer.json()["error"]["message"].startswith("prompt is too long: ")
    assert speaker.asked == asked + 1


async def test_count_tokens__free(market: RunningMarket, speaker: FakeEndpoint) -> None:
    key = await market.get_buyer_key()
    tools = [{"type": "web_search_20250305", "name": "web_search"}]
    answer = await market.client.post(
        f"{PATH}/count_tokens", json={**ASKED, "tools": tools}, headers={"x-api-key": key}
    )
    assert answer.json()["input_tokens"] > 0
    assert (speaker.requests, market.sales()) == ([], [])


async def test_cost_in_a_sellers_usage__is_not_the_markets_word(
    market: RunningMarket, speaker: FakeEndpoint
) -> None:
    cheap = {**COUNTED, "cost_usdc": 1}
    start = {"type": "message", "role": "assistant", "model": MODEL, "content": [], "usage": cheap}
    block = {"type": "text", "text": "Hello."}
    delta = {"stop_reason": "end_turn"}
    speaker.events = [
        make_event({"type": "message_start", "message": start}),
        make_event({"type": "content_block_start", "index": 0, "content_block": block}),
        make_event({"type": "content_block_stop", "index": 0}),
        make_event({"type": "message_delta", "delta": delta, "usage": cheap}),
        make_event({"type": "message_stop"}),
    ]
    events = read_events(await list_and_ask(market, speaker, stream=True))
    (sale,) = await market.settled_sales()
    assert "cost_usdc" not in events[0]["message"]["usage"]
    assert events[-2]["usage"]["cost_usdc"] == sale["cost_usdc"] > 1
