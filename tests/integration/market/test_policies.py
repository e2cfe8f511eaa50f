"""``provider`` of a request at the market: who may serve, who is asked first, what is told of them.

::

    declared ── by an approved seller: counts; by a stranger: not; bounded by the host table
    demanded ── zdr, no collection, regions, weights, parameters: met or 503, nothing is asked
    prices ── max_price lets nothing dearer through
    first ── order, sort by latency and throughput, no fallbacks
    measured ── first token, throughput, uptime and calls of tools, in the public book
    bad input ── of a declaration and of a request
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from tests.support.answers import MODEL, USAGE, make_completion
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import RunningMarket, bearer, make_body, make_settings, run_market

NAMES = """
families = []
[providers.loopback]
hosts = ["127.0.0.1"]
data_collection = "allow"
"""
PRIVATE = {
    "zdr": True,
    "region": "eu",
    "quantization": "bf16",
    "parameters": ["tools", "seed"],
}
STRANGER = Account.from_key("0x" + "34" * 32)
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {}}, "required": ["city"]},
    },
}


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_market(make_settings(tmp_path, trusted_only=False), engine) as running:
        yield running
    engine.dispose()


@pytest.fixture
async def plain() -> AsyncIterator[FakeEndpoint]:
    """The endpoint of the cheapest offer, of which nothing is declared."""
    async with FakeEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def private() -> AsyncIterator[FakeEndpoint]:
    """The endpoint of a dearer offer that declares all that can be wished."""
    async with FakeEndpoint() as endpoint:
        yield endpoint


async def list_both(
    market: RunningMarket, plain: FakeEndpoint, private: FakeEndpoint
) -> tuple[str, str, str]:
    """List a cheap offer and a private one; return their ids and a buyer's key."""
    seller_key = await market.get_key()
    cheap = await market.list_offer(seller_key, plain.url, price_input_per_1m=1)
    dear = await market.list_offer(seller_key, private.url, declares=PRIVATE)
    return cheap["id"], dear["id"], await market.get_buyer_key()


# -------------------------------------------------------------------------------------- declared


@pytest.mark.parametrize(
    "demand",
    [
        {"zdr": True},
        {"data_collection": "deny"},
        {"regions": ["eu", "us"]},
        {"quantizations": ["bf16"]},
        {"require_parameters": True},
        [{"zdr": True}, {"regions": ["EU"]}],
    ],
)
async def test_demand__met_by_one__goes_to_it_though_dearer(
    market: RunningMarket, plain: FakeEndpoint, private: FakeEndpoint, demand: Any
) -> None:
    _, dear, key = await list_both(market, plain, private)
    asked: dict[str, Any] = {"tools": [TOOL], "seed": 1}
    answer = await market.chat(key, provider=demand, **asked)
    assert answer.headers["x-market-offer"] == dear
    assert "provider" not in private.requests[0]
    assert plain.requests == []


@pytest.mark.parametrize(
    "demand",
    [
        {"regions": ["us"]},
        {"quantizations": ["int4"]},
        {"zdr": True, "ignore": ["127.0.0.1"]},
        [{"regions": ["eu"]}, {"regions": ["us"]}],
    ],
)
async def test_demand__met_by_nobody__503_and_nobody_is_asked(
    market: RunningMarket, plain: FakeEndpoint, private: FakeEndpoint, demand: Any
) -> None:
    *_, key = await list_both(market, plain, private)
    answer = await market.chat(key, provider=demand)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "no_seller_meets_policy"
    assert plain.requests == private.requests == []
    assert market.sales() == []


async def test_parameters__one_that_is_not_obeyed__is_not_met(
    market: RunningMarket, plain: FakeEndpoint, private: FakeEndpoint
) -> None:
    *_, key = await list_both(market, plain, private)
    answer = await market.chat(key, provider={"require_parameters": True}, top_k=5, seed=1)
    assert answer.json()["error"]["code"] == "no_seller_meets_policy"
    # What everybody obeys is not asked about.
    await market.chat(key, provider={"require_parameters": True}, temperature=1)
    assert len(plain.requests) == 1


async def test_declared__by_a_stranger__counts_for_nothing_until_approved(
    market: RunningMarket, private: FakeEndpoint
) -> None:
    seller_key = await market.get_key(STRANGER, is_approved=False)
    offer = await market.list_offer(seller_key, private.url, declares=PRIVATE)
    assert offer["declares"]["zdr"] is True
    key = await market.get_buyer_key()

    refused = await market.chat(key, provider={"zdr": True})
    assert refused.json()["error"]["code"] == "no_seller_meets_policy"
    assert (await read_book(market))[offer["id"]]["facts"]["zdr"] is False

    await market.get_key(STRANGER)
    path = f"/v1/seller/offers/{offer['id']}"
    await market.client.patch(path, json={"label": "now"}, headers=bearer(seller_key))
    assert (await market.chat(key, provider={"zdr": True})).status_code == 200

    withdrawn = await market.client.patch(path, json={"declares": None}, headers=bearer(seller_key))
    assert withdrawn.json()["declares"] is None
    assert (await market.chat(key, provider={"zdr": True})).status_code == 503


async def test_declared__more_than_the_host_table_allows__is_cut(
    tmp_path: Path, private: FakeEndpoint
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    bounded = tmp_path / "bounded.toml"
    # An address has no name in the table, so the host is called by one that resolves to it.
    bounded.write_text(NAMES.replace("127.0.0.1", "seller.localhost.test"))
    settings = make_settings(tmp_path, names_file=bounded)

    async def resolve(host: str, port: int) -> list[str]:  # noqa: ARG001
        return ["127.0.0.1"]

    async with run_market(settings, engine, resolve=resolve) as market:
        seller_key = await market.get_key()
        url = private.url.replace("127.0.0.1", "seller.localhost.test").replace("http:", "https:")
        offer = await market.list_offer(seller_key, url, declares=PRIVATE)
        facts = (await read_book(market))[offer["id"]]["facts"]
        assert (facts["zdr"], facts["data_collection"], facts["region"]) == (False, "allow", "eu")
    engine.dispose()


@pytest.mark.parametrize(
    ("declares", "param"),
    [
        ({"zdr": "yes"}, "declares.zdr"),
        ({"zdr": True, "data_collection": "allow"}, "declares.data_collection"),
        ({"region": "the moon, far side"}, "declares.region"),
        ({"quantization": "int3"}, "declares.quantization"),
        ({"parameters": ["everything"]}, "declares.parameters"),
        ([], "declares"),
        ({"uptime": 100}, "uptime"),
    ],
)
async def test_declared__nonsense__refused_by_name(
    market: RunningMarket, declares: Any, param: str
) -> None:
    body = {
        "model": MODEL,
        "api_key": "k",
        "seller_base_url": "http://127.0.0.1:9/v1",
        "price_input_per_1m": 1,
        "price_output_per_1m": 1,
        "declares": declares,
    }
    key = await market.get_key()
    answer = await market.client.post("/v1/seller/offers", json=body, headers=bearer(key))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


# -------------------------------------------------------------------------- prices, who is first


async def test_max_price__lets_nothing_dearer_through(
    market: RunningMarket, plain: FakeEndpoint, private: FakeEndpoint
) -> None:
    cheap, _, key = await list_both(market, plain, private)
    answer = await market.chat(key, provider={"max_price": {"prompt": 4.999999}})
    assert answer.headers["x-market-offer"] == cheap
    answer = await market.chat(key, provider={"zdr": True, "max_price": {"prompt": "4.999999"}})
    assert answer.json()["error"]["code"] == "price_ceiling_not_met"


async def test_order__by_offer__comes_before_the_cheapest_and_falls_back(
    market: RunningMarket, plain: FakeEndpoint, private: FakeEndpoint
) -> None:
    cheap, dear, key = await list_both(market, plain, private)
    order = [f"offer:{dear}"]
    assert (await market.chat(key, provider={"order": order})).headers["x-market-offer"] == dear

    private.behaviour = "status_500"
    fallen = await market.chat(key, provider={"order": order})
    assert fallen.headers["x-market-offer"] == cheap
    alone = await market.chat(key, provider={"order": order, "allow_fallbacks": False})
    assert alone.json()["error"]["code"] == "sellers_failed"
    assert len(plain.requests) == 1


async def test_no_fallbacks__without_an_order__the_first_choice_alone(
    market: RunningMarket, plain: FakeEndpoint, private: FakeEndpoint
) -> None:
    seller_key, other_key = await market.get_key(), await market.get_key(STRANGER)
    await market.list_offer(seller_key, plain.url, price_input_per_1m=1)
    await market.list_offer(other_key, private.url)
    key = await market.get_buyer_key()
    plain.behaviour = "status_500"
    assert (await market.chat(key, provider={"allow_fallbacks": False})).status_code == 502
    assert private.requests == []
    assert (await market.chat(key)).status_code == 200


async def test_sort__by_what_was_measured__comes_before_the_cheapest(
    market: RunningMarket, plain: FakeEndpoint, private: FakeEndpoint
) -> None:
    cheap, dear, key = await list_both(market, plain, private)
    plain.delay_s = 0.05
    for _ in range(5):
        for offer in (cheap, dear):
            streamed = await market.chat(key, stream=True, provider={"only": [f"offer:{offer}"]})
            assert streamed.status_code == 200
    await market.settled_sales()

    by_price = await market.chat(key, provider={"sort": "price"})
    by_latency = await market.chat(key, provider={"sort": "latency"})
    assert by_price.headers["x-market-offer"] == cheap
    assert by_latency.headers["x-market-offer"] == dear

    params = {"model": MODEL, "provider": json.dumps({"sort": "latency"})}
    explained = await market.client.get("/v1/route/explain", params=params)
    assert [one["offer_id"] for one in explained.json()["ranked"]] == [dear, cheap]
    measured = {name: offer["measured"] for name, offer in (await read_book(market)).items()}
    assert measured[cheap]["first_token_ms_p50"] >= 50 > 0
    assert measured[dear]["first_token_ms_p50"] < measured[cheap]["first_token_ms_p50"]
    assert measured[dear]["throughput_tps_p50"] > 0


# -------------------------------------------------------------------------------------- measured


async def read_book(market: RunningMarket) -> dict[str, dict[str, Any]]:
    """Return the public book's offers, by their ids."""
    book = (await market.client.get(f"/api/markets/{MODEL}")).json()
    return {offer["offer_id"]: offer for offer in book["offers"]}


async def test_measured__failures_and_calls_of_tools__are_in_the_public_book(
    market: RunningMarket, plain: FakeEndpoint
) -> None:
    offer = await market.list_offer(await market.get_key(), plain.url)
    key = await market.get_buyer_key()
    before = (await read_book(market))[offer["id"]]["measured"]
    assert (before["requests"], before["uptime_pct"], before["tool_calls"]) == (0, None, 0)

    good = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    good["function"] = {"name": "weather", "arguments": '{"city": "Porto"}'}
    bad = {**good, "function": {"name": "weather", "arguments": '{"city": "Por'}}
    completion = make_completion("", USAGE)
    completion["choices"][0]["message"]["tool_calls"] = [good, bad]
    plain.body = json.dumps(completion).encode()
    await market.chat(key, tools=[TOOL])
    plain.body, plain.behaviour = None, "status_500"
    await market.chat(key)

    measured = (await read_book(market))[offer["id"]]["measured"]
    assert (measured["requests"], measured["uptime_pct"]) == (2, 50)
    assert (measured["tool_calls"], measured["tool_calls_valid_pct"]) == (2, 50)


async def test_measured__calls_in_a_stream__are_judged_too(
    market: RunningMarket, plain: FakeEndpoint
) -> None:
    offer = await market.list_offer(await market.get_key(), plain.url)
    key = await market.get_buyer_key()
    call = {"id": "a", "type": "function"}
    call |= {"function": {"name": "weather", "arguments": '{"city": "Porto"}'}}  # type: ignore[dict-item]
    completion = make_completion("", USAGE)
    completion["choices"][0]["message"]["tool_calls"] = [call]
    plain.whole = json.dumps(completion).encode()  # told as a stream by the market
    await market.chat(key, tools=[TOOL], stream=True)
    await market.settled_sales()
    measured = (await read_book(market))[offer["id"]]["measured"]
    assert (measured["tool_calls"], measured["tool_calls_valid_pct"]) == (1, 100)


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", make_body()),
        ("/v1/completions", {"model": MODEL, "prompt": "a"}),
        ("/v1/responses", {"model": MODEL, "input": "a"}),
        ("/v1/embeddings", {"model": MODEL, "input": "a"}),
    ],
)
async def test_policy__nonsense_on_any_endpoint__400_by_name(
    market: RunningMarket, plain: FakeEndpoint, path: str, body: dict[str, Any]
) -> None:
    await market.list_offer(await market.get_key(), plain.url)
    key = await market.get_buyer_key()
    asked = {**body, "provider": {"zdr": "yes"}}
    answer = await market.client.post(path, json=asked, headers=bearer(key))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "provider.zdr")
    assert plain.requests == []


@pytest.mark.parametrize("provider", ["{", "[1]", '{"zdr": 3}'])
async def test_explain__nonsense__400(market: RunningMarket, provider: str) -> None:
    params = {"model": MODEL, "provider": provider}
    answer = await market.client.get("/v1/route/explain", params=params)
    assert answer.status_code == 400
