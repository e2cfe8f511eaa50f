"""Sellers' own prices for longer prompts, on offers with fixed prices.

::

    charged      by the tokens that were used; the dearest within reach is set aside
    listed       with prices, as the proxy's parser reads them; in the book, in the feed
    changed      from then on; lifted by null, and by a multiplier
    refused      what makes no sense, by its place; what is far above the price of short prompts
    both servers a proxy charges what the market charges it, at every length
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from serving.models.prices import Price
from serving.models.references import References
from tests.integration.market.test_prices import PRICES, at_multiplier, run_proxy_before
from tests.support import proxy as proxies
from tests.support.answers import MODEL
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import RunningMarket, bearer, make_settings, run_market

OWN_TIERS: Final = {
    "price_input_per_1m": "5",
    "price_output_per_1m": "20",
    "price_cached_input_per_1m": "0.5",
    "tiers": [
        {
            "above_prompt_tokens": 16,
            "price_input_per_1m": "10",
            "price_output_per_1m": "30",
            "price_cached_input_per_1m": "1",
        },
        {"above_prompt_tokens": 18, "price_input_per_1m": 8, "price_output_per_1m": "25.5"},
    ],
}


def make_tier(**changes: Any) -> dict[str, Any]:
    """Return a tier of an offer; what is None is left out."""
    tier = {"above_prompt_tokens": 16, "price_input_per_1m": 6, "price_output_per_1m": 30}
    return {name: value for name, value in (tier | changes).items() if value is not None}


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market of its own, whose reference has one price for all prompts."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    (tmp_path / "prices.toml").write_text(PRICES)
    async with run_market(make_settings(tmp_path), engine) as running:
        yield running
    engine.dispose()


@pytest.fixture
async def seller() -> AsyncIterator[FakeEndpoint]:
    """A seller's endpoint."""
    async with FakeEndpoint() as seller:
        yield seller


@pytest.mark.parametrize(
    ("prompt", "cached", "cost_usdc"),
    [
        (16, 6, 10 * 5 + 3 + 10 * 20),
        (17, 7, 10 * 10 + 7 * 1 + 10 * 30),
        (18, 0, 18 * 10 + 10 * 30),
        # Of the last tier cached tokens cost what others do; all in all 152 + 255.
        (19, 7, 407),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.sampled(2)
async def test_own_tiers__cost_by_the_tokens_that_were_used(
    market: RunningMarket,
    seller: FakeEndpoint,
    prompt: int,
    cached: int,
    cost_usdc: int,
    stream: bool,
) -> None:
    seller_key, key = await market.get_key(), await market.get_buyer_key()
    await market.list_offer(seller_key, seller.url, **OWN_TIERS)
    details = {"cached_tokens": cached}
    usage = {"prompt_tokens": prompt, "completion_tokens": 10, "prompt_tokens_details": details}
    seller.usage = {**usage, "total_tokens": prompt + 10}

    answer = await market.chat(key, stream=stream)

    [sale] = await market.settled_sales()
    assert sale["cost_usdc"] == cost_usdc
    # Of 5 % of the charge, whole units are the market's; all else is the seller's.
    assert (sale["fee_usdc"], sale["earning_usdc"]) == (
        cost_usdc // 20,
        cost_usdc - cost_usdc // 20,
    )
    # Any length may come, so the dearest of the three is set aside: 100 tokens of output at 30.
    assert int(answer.headers["x-market-reserved-usdc"]) > 100 * 30 + 128 * 10


async def test_own_tiers__lists__show_them_and_the_proxys_parser_reads_them(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    offer = await market.list_offer(await market.get_key(), seller.url, **OWN_TIERS)

    first, last = offer["tiers"]
    assert (first["above_prompt_tokens"], first["price_cached_input_per_1m"]) == (16, 1)
    assert (last["price_output_per_1m"], last["price_cached_input_per_1m"]) == (25.5, None)
    entries = (await market.client.get("/v1/prices")).json()["data"]
    references, now_s = References(), proxies.now_s()
    references.note_upstream(entries, now_s=now_s)
    charged = references.find_terms(MODEL, now_s=now_s)
    assert charged is not None
    assert charged.tiers == (
        (0, Price(5_000_000, 20_000_000, 500_000)),
        (16, Price(10_000_000, 30_000_000, 1_000_000)),
        (18, Price(8_000_000, 25_500_000)),
    )
    [row] = (await market.client.get(f"/api/markets/{MODEL}")).json()["offers"]
    assert [tier["above_prompt_tokens"] for tier in row["tiers"]] == [16, 18]
    [event] = (await market.client.get("/feed")).json()["events"]
    assert [tier["price_input_per_1m"] for tier in event["tiers"]] == [10, 8]


async def test_own_tiers__changed__count_from_then_on_and_are_lifted_by_null(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key, key = await market.get_key(), await market.get_buyer_key()
    offer = await market.list_offer(seller_key, seller.url, **OWN_TIERS)
    path = f"/v1/seller/offers/{offer['id']}"

    async def change(**body: Any) -> Any:
        return await market.client.patch(path, json=body, headers=bearer(seller_key))

    tier = {"above_prompt_tokens": 10, "price_input_per_1m": 6, "price_output_per_1m": 20}
    changed = await change(tiers=[tier])
    assert [one["above_prompt_tokens"] for one in changed.json()["tiers"]] == [10]
    # The seller's usual answer: 20 tokens at 6, 10 at 20 USDC a million.
    assert (await market.chat(key)).headers["x-market-cost-usdc"] == "320"
    lifted = await change(tiers=None)
    assert lifted.json()["tiers"] == []
    assert (await market.chat(key)).headers["x-market-cost-usdc"] == "300"
    await change(tiers=[tier])
    by_multiplier = await change(cost_multiplier="0.5")
    assert by_multiplier.json()["tiers"] == []


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"tiers": []}, "tiers"),
        ({"tiers": [{}] * 17}, "tiers"),
        ({"tiers": {"above_prompt_tokens": 1}}, "tiers"),
        ({"tiers": [3]}, "tiers[0]"),
        ({"tiers": [{"price_input_per_1m": 1, "price_output_per_1m": 1}]}, "tiers[0].above_"),
        ({"tiers": [make_tier(above_prompt_tokens=0)]}, "tiers[0].above_"),
        ({"tiers": [make_tier(above_prompt_tokens=True)]}, "tiers[0].above_"),
        ({"tiers": [make_tier(), make_tier()]}, "tiers[1].above_"),
        ({"tiers": [make_tier(price_output_per_1m=None)]}, "tiers[0].price_output_per_1m"),
        ({"tiers": [make_tier(price_input_per_1m="0.0000001")]}, "tiers[0].price_input_per_1m"),
        ({"tiers": [make_tier(price_cached_input_per_1m=7)]}, "tiers[0].price_cached_input"),
        ({"tiers": [make_tier(price_per_request=1)]}, "tiers[0].price_per_request"),
        ({"tiers": [make_tier(price_input_per_1m=101)]}, "tiers[0].price_input_per_1m"),
        ({"tiers": [make_tier()], **at_multiplier("0.5")}, "tiers"),
    ],
)
@pytest.mark.sampled(3)
async def test_own_tiers__that_make_no_sense__are_400_and_named(
    market: RunningMarket, seller: FakeEndpoint, changes: dict[str, Any], param: str
) -> None:
    prices = {"price_input_per_1m": 5, "price_output_per_1m": 20}
    body = {"model": MODEL, "api_key": "sk-1", "seller_base_url": seller.url, **prices, **changes}
    body = {name: value for name, value in body.items() if value is not ...}

    answer = await market.client.post(
        "/v1/seller/offers", json=body, headers=bearer(await market.get_key())
    )

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"].startswith(param)


async def test_own_tiers__short_price_lowered_below_a_twentieth__is_refused(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key = await market.get_key()
    offer = await market.list_offer(seller_key, seller.url, **OWN_TIERS)

    refused = await market.client.patch(
        f"/v1/seller/offers/{offer['id']}",
        json={"price_input_per_1m": "0.499999", "price_cached_input_per_1m": None},
        headers=bearer(seller_key),
    )

    assert refused.json()["error"]["code"] == "invalid_price"


async def test_own_tiers__through_the_proxy__both_charge_the_same_at_each_length(
    market: RunningMarket, seller: FakeEndpoint, tmp_path: Path
) -> None:
    seller_key = await market.get_key()
    key = await market.get_buyer_key()
    await market.list_offer(seller_key, seller.url, **OWN_TIERS)
    # The cheapest for a long prompt; for a short one too dear by the list of the proxy.
    await market.list_offer(seller_key, seller.url, price_input_per_1m=6, price_output_per_1m=20)
    async with run_proxy_before(market, key, tmp_path) as proxy:
        for prompt, cost_usdc in ((16, 16 * 5 + 200), (17, 17 * 10 + 300), (19, 19 * 8 + 255)):
            seller.usage = {"prompt_tokens": prompt, "completion_tokens": 10}
            answer = await proxy.chat()
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-current-cost-usdc"] == str(cost_usdc)
    assert [sale["cost_usdc"] for sale in market.sales()] == [280, 470, 407]
