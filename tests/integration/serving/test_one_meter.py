"""A proxy before a market: whatever way a request ends, the buyer is charged what the market
charged.

::

    whole answer
    ├── reported, not reported, reported beyond what can be true, reported as nonsense
    ├── a cheaper seller serves than the list says
    └── served by the account's own provider: by the proxy's own meter
    stream
    ├── to its end
    ├── broken off by the seller: the market's last event says usage and cost
    ├── ended before anything was delivered: 0
    ├── the client leaves: the rest is read, or the market is asked
    └── the proxy stops, the stream takes too long: the market is asked
    the market says more than can be true: no more than that is charged
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.answers import DONE, MODEL, make_chunk, make_completion, make_event
from tests.support.chain import Chain, run_chain
from tests.support.market import OUTSIDER, bearer
from tests.support.waiting import until


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    async with run_chain(tmp_path) as chain:
        await chain.list_model(MODEL, (5, 20))
        await chain.refresh()
        yield chain


def read_events(answer: httpx.Response) -> list[Any]:
    datas = [part.removeprefix("data: ") for part in answer.text.split("\n\n") if part]
    return [data if data == "[DONE]" else json.loads(data) for data in datas]


USAGES: list[tuple[Any, int]] = [
    ({"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}, 300),
    ({"prompt_tokens": 20, "completion_tokens": 4_000}, 5 * 20 + 20 * (2 + 64)),
]


@pytest.mark.parametrize(("usage", "cost_usdc"), USAGES)
async def test_whole__reported__one_figure(chain: Chain, usage: Any, cost_usdc: int) -> None:
    chain.provider.body = json.dumps(make_completion("Hi", usage)).encode()
    answer = await chain.ask(max_tokens=4_000)
    settled = await chain.settle()
    assert answer.headers["x-current-cost-usdc"] == str(cost_usdc)
    assert (settled.buyer_usdc, settled.market_usdc) == (cost_usdc, cost_usdc)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        "much",
        {"prompt_tokens": "20", "completion_tokens": 10},
        {"prompt_tokens": -5, "completion_tokens": 10**30},
        {"prompt_tokens": float("nan"), "completion_tokens": 3},
        {"prompt_tokens": 10**6, "completion_tokens": 10**6, "total_tokens": 2 * 10**6},
    ],
)
@pytest.mark.sampled(2)
async def test_whole__no_sensible_report__the_client_is_told_what_is_charged(
    chain: Chain, usage: Any
) -> None:
    chain.provider.body = json.dumps(make_completion("x" * 30, usage)).encode()
    answer = await chain.ask()
    settled = await chain.settle()
    told = answer.json()["usage"]
    row = settled.proxy
    assert settled.buyer_usdc == settled.market_usdc > 0
    assert answer.headers["x-current-cost-usdc"] == str(settled.buyer_usdc)
    assert (told["prompt_tokens"], told["completion_tokens"]) == (
        row["prompt_tokens"],
        row["completion_tokens"],
    )
    assert told["total_tokens"] == told["prompt_tokens"] + told["completion_tokens"]
    assert 5 * told["prompt_tokens"] + 20 * told["completion_tokens"] == settled.buyer_usdc


async def test_whole__a_cheaper_seller_serves__its_price_is_what_the_buyer_pays(
    chain: Chain,
) -> None:
    # Listed last, so the proxy's list still has the old price.
    await chain.list_model(MODEL, (1, 2))
    answer = await chain.ask()
    settled = await chain.settle()
    assert answer.headers["x-current-cost-usdc"] == "40"
    assert (settled.buyer_usdc, settled.market_usdc) == (40, 40)


async def test_stream__broken_off_by_the_seller__both_say_usage_and_cost(chain: Chain) -> None:
    chain.provider.behaviour = "stream_dies"
    answer = await chain.ask(stream=True, stream_options={"include_usage": True})
    settled = await chain.settle()
    *_, used, failed = read_events(answer)
    assert used["usage"]["cost"] == settled.buyer_usdc == settled.market_usdc > 0
    assert failed["error"]["cost_usdc"] == settled.buyer_usdc
    assert settled.proxy["completion_tokens"] == used["usage"]["completion_tokens"]


async def test_stream__reported_as_nonsense__the_client_is_told_what_is_charged(
    chain: Chain,
) -> None:
    bad = {"prompt_tokens": "many", "completion_tokens": -1}
    chain.provider.events = [
        make_chunk("Hello"),
        make_chunk("", finish="stop"),
        make_chunk(None, usage=bad),
        DONE,
    ]
    answer = await chain.ask(stream=True, stream_options={"include_usage": True})
    settled = await chain.settle()
    *_, used, done = read_events(answer)
    assert done == "[DONE]"
    assert used["usage"]["cost"] == settled.buyer_usdc == settled.market_usdc > 0
    assert used["usage"]["completion_tokens"] == 2
    assert used["usage"]["prompt_tokens"] == settled.proxy["prompt_tokens"]


@pytest.mark.parametrize("ends", [[DONE], [], [make_event({"error": {"message": "no"}})]])
async def test_stream__nothing_delivered__nothing_charged(chain: Chain, ends: list[bytes]) -> None:
    chain.provider.events = [make_chunk(""), *ends]
    answer = await chain.ask(stream=True)
    settled = await chain.settle()
    assert (settled.buyer_usdc, settled.market_usdc) == (0, 0)
    assert settled.proxy["state"] == "voided"
    assert "[DONE]" not in answer.text


async def test_stream__the_client_leaves__the_rest_is_read_and_charged(chain: Chain) -> None:
    chain.provider.behaviour = "slow"
    await chain.ask_and_leave(after_bytes=1)
    chain.provider.release.set()
    settled = await chain.settle()
    assert (settled.buyer_usdc, settled.market_usdc) == (300, 300)


async def test_stream__the_client_leaves_for_good__the_market_is_asked(chain: Chain) -> None:
    chain.provider.behaviour = "stream_stalls"
    await chain.ask_and_leave(after_bytes=1)
    settled = await chain.settle()
    assert settled.buyer_usdc == settled.market_usdc > 0
    assert settled.proxy["completion_tokens"] == settled.sales[0]["completion_tokens"]


async def test_stream__the_seller_says_a_cost__the_markets_own_word_counts(chain: Chain) -> None:
    chain.provider.behaviour = "stream_stalls"
    lie = {"prompt_tokens": 20, "completion_tokens": 10, "cost_usdc": 0}
    chain.provider.events = [make_chunk("Hello", usage=lie)] * 2
    running = {"include_usage": True, "continuous_usage_stats": True}
    await chain.ask_and_leave(after_bytes=1, stream_options=running)
    settled = await chain.settle()
    assert settled.buyer_usdc == settled.market_usdc > 0


@pytest.mark.parametrize("field", ["usage", "usage_metadata"])
async def test_whole__the_seller_says_a_cost__it_does_not_leave_the_market(
    chain: Chain, field: str
) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    body = make_completion("Hi", usage) | {field: {**usage, "cost_usdc": 0}}
    chain.provider.body = json.dumps(body).encode()
    answer = await chain.market.chat(await chain.market.get_buyer_key())
    assert answer.json()["usage"] == usage
    assert "cost_usdc" not in answer.text
    assert answer.headers["x-market-cost-usdc"] == "300"


async def test_stream__takes_too_long__the_client_is_told_what_the_market_charged(
    tmp_path: Path,
) -> None:
    async with run_chain(tmp_path, proxy_changes={"stream_timeout_s": 1.0}) as chain:
        await chain.list_model(MODEL, (5, 20))
        await chain.refresh()
        chain.provider.behaviour = "stream_stalls"
        answer = await chain.ask(stream=True)
        settled = await chain.settle()
        last = read_events(answer)[-1]["error"]
        assert last["code"] == "stream_timeout"
        assert last["cost_usdc"] == settled.buyer_usdc == settled.market_usdc > 0


async def test_stream__the_proxy_stops__both_have_charged_the_same(tmp_path: Path) -> None:
    async with run_chain(tmp_path, proxy_changes={"drain_timeout_s": 1}) as chain:
        await chain.list_model(MODEL, (5, 20))
        await chain.refresh()
        chain.provider.behaviour = "stream_stalls"
        services = chain.proxy.front.app.state.services
        await chain.ask_and_leave(after_bytes=1)
        await until(lambda: services.completions.in_flight.count == 1)
        await services.completions.in_flight.drain(0.0)
        settled = await chain.settle()
        assert settled.buyer_usdc == settled.market_usdc > 0


async def test_record__of_a_request__by_its_buyer_alone(chain: Chain) -> None:
    market = chain.market
    key = await market.get_buyer_key()
    answer = await market.chat(key)
    path = f"/v1/buyer/sales/{answer.headers['x-request-id']}"
    record = (await market.client.get(path, headers=bearer(key))).json()
    assert (record["state"], record["cost_usdc"], record["attempts"]) == ("posted", 300, 1)
    assert (record["prompt_tokens"], record["completion_tokens"]) == (20, 10)
    other = await market.get_key(OUTSIDER, "buyer")
    assert (await market.client.get(path, headers=bearer(other))).status_code == 404
    chain.provider.behaviour = "status_500"
    failed = await market.chat(key)
    path = f"/v1/buyer/sales/{failed.headers['x-request-id']}"
    record = (await market.client.get(path, headers=bearer(key))).json()
    assert (record["state"], record["cost_usdc"]) == ("voided", 0)
