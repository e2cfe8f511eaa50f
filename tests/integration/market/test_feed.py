"""What everybody sees of the market: feed, metrics, and prices as a proxy reads them."""

import dataclasses
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contracts.units import format_usdc
from serving.models.prices import Price
from serving.models.references import References
from tests.support.answers import MODEL
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import Databases
from tests.support.market import RunningMarket, bearer, make_body, make_settings, run_market
from tests.support.waiting import until_probed


@pytest.fixture
async def seller() -> AsyncIterator[FakeEndpoint]:
    """A seller's endpoint."""
    async with FakeEndpoint() as seller:
        yield seller


async def test_prices__read_by_the_proxys_own_parser__are_what_the_market_charges(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    seller_key = await market.get_key()
    dear = await market.list_offer(seller_key, seller.url, price_output_per_1m=21)
    cheap = await market.list_offer(seller_key, seller.url)
    paused = f"/v1/seller/offers/{cheap['id']}"

    async def read_terms() -> object:
        book = References()
        now_s = int(time.time())
        entries = (await market.client.get("/v1/prices")).json()["data"]
        book.note_upstream(entries, now_s=now_s)
        terms = book.find_terms(MODEL, now_s=now_s)
        assert terms is not None
        assert terms.source == "upstream"
        assert terms.context_tokens == 2_048
        assert terms.get_age_s(now_s) in (0, 1)
        return terms.price

    assert await read_terms() == Price(5_000_000, 20_000_000, None)
    await market.client.patch(paused, json={"status": "paused"}, headers=bearer(seller_key))
    assert await read_terms() == Price(5_000_000, 21_000_000, None)
    key = await market.get_buyer_key()
    answer = await market.chat(key)
    assert answer.headers["x-market-offer"] == dear["id"]
    assert answer.headers["x-market-cost-usdc"] == str(20 * 5 + 10 * 21)
    await market.client.patch(paused, json={"status": "active"}, headers=bearer(seller_key))
    await market.client.patch(
        f"/v1/seller/offers/{dear['id']}", json={"status": "paused"}, headers=bearer(seller_key)
    )
    assert await read_terms() == Price(5_000_000, 20_000_000, None)


async def test_prices__offer_that_serves_nobody__does_not_say_what_a_model_costs(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    async def quote() -> tuple[int, int]:
        (entry,) = (await market.client.get("/v1/prices")).json()["data"]
        return entry["input_usdc_per_mtok"], entry["output_usdc_per_mtok"]

    seller_key, key = await market.get_key(), await market.get_buyer_key()
    bait = {"price_input_per_1m": 1, "price_output_per_1m": 1}
    # It can sell something today, but no request fits.
    await market.list_offer(seller_key, seller.url, cap_daily_usd="0.000001", **bait)
    assert await quote() == (1_000_000, 1_000_000), "there is no other"
    await market.list_offer(seller_key, seller.url)
    assert await quote() == (5_000_000, 20_000_000)
    async with FakeEndpoint() as failing:
        failing.behaviour = "status_500"
        offer = await market.list_offer(seller_key, failing.url, **bait)
        assert (await market.chat(key)).headers["x-market-attempts"] == "2"
        book = market.front.app.state.services.book
        place = book.get_live(offer["id"]).place
        book.health._health[place] = dataclasses.replace(book.health._get(place), rests_until_s=0.0)
        assert await quote() == (5_000_000, 20_000_000), "nor while it is only on trial again"


async def test_prices__as_the_requests_ceilings__are_never_passed_by_a_failover(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    """What a proxy has to send that charges its buyers by the list."""
    seller_key, key = await market.get_key(), await market.get_buyer_key()
    cheap = await market.list_offer(seller_key, seller.url)
    async with FakeEndpoint() as other:
        await market.list_offer(seller_key, other.url, price_input_per_1m="5.000001")
        dearest = await market.list_offer(seller_key, other.url, price_output_per_1m=1_000_000)
        (entry,) = (await market.client.get("/v1/prices")).json()["data"]
        field = {
            "max_price_input_per_1m": format_usdc(entry["input_usdc_per_mtok"]),
            "max_price_output_per_1m": format_usdc(entry["output_usdc_per_mtok"]),
        }
        headers = {
            "x-market-max-input-usdc-per-mtok": str(entry["input_usdc_per_mtok"]),
            "x-market-max-output-usdc-per-mtok": str(entry["output_usdc_per_mtok"]),
        }

        async def ask(**changes: Any) -> httpx.Response:
            """Ask as a proxy would; the buyer would rather have the dearest."""
            body = make_body(routing={"only": [dearest["id"], cheap["id"]]}, **changes)
            headers_ = bearer(key) | headers
            return await market.client.post("/v1/chat/completions", json=body, headers=headers_)

        served = await ask()
        as_field = await market.chat(key, routing=field)
        assert as_field.headers["x-market-offer"] == served.headers["x-market-offer"]
        odd = {**bearer(key), "x-market-max-output-usdc-per-mtok": "1.5"}
        refused = await market.client.post("/v1/chat/completions", json=make_body(), headers=odd)
        assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_header")
        seller.behaviour = "status_500"
        failed = await ask()
        later = await ask(stream=True)  # nobody else is there, so it is asked though it rests
        await market.client.patch(
            f"/v1/seller/offers/{cheap['id']}",
            json={"status": "paused"},
            headers=bearer(seller_key),
        )
        without = await ask()
        assert served.headers["x-market-cost-usdc"] == "300"
        assert (failed.status_code, failed.json()["error"]["code"]) == (502, "sellers_failed")
        assert (later.status_code, later.json()["error"]["code"]) == (502, "sellers_failed")
        assert without.json()["dropped"] == {"inactive": 1, "filtered": 1, "price_ceiling": 1}
        assert other.requests == []
        assert "routing" not in seller.requests[0]


async def test_feed__sales_and_changes__without_names_page_by_page(
    databases: Databases, tmp_path: Path, seller: FakeEndpoint
) -> None:
    async with run_market(make_settings(tmp_path), databases.open_ledger()) as market:
        seller_key, key = await market.get_key(), await market.get_buyer_key()
        offers = [await market.list_offer(seller_key, seller.url) for _ in range(3)]
        account = (await market.account(key))["account_id"]
        for _ in range(4):
            assert (await market.chat(key)).status_code == 200
        path = f"/v1/seller/offers/{offers[0]['id']}"
        await market.client.patch(
            path, json={"price_output_per_1m": 19}, headers=bearer(seller_key)
        )
        await market.client.delete(
            f"/v1/seller/offers/{offers[1]['id']}", headers=bearer(seller_key)
        )

        whole = (await market.client.get("/feed?limit=100")).json()
        pages, cursor = [], None
        while True:
            query = "" if cursor is None else f"&cursor={cursor}"
            page = (await market.client.get(f"/feed?limit=2{query}")).json()
            pages += page["events"]
            cursor = page["next_cursor"]
            if cursor is None:
                break

        assert pages == whole["events"]
        assert sorted(event["event"] for event in pages) == [
            "offer_changed",
            "offer_deleted",
            "offer_listed",
            *["sale"] * 4,
        ]
        sale = next(event for event in pages if event["event"] == "sale")
        assert (sale["model"], sale["cost_usdc"], sale["prompt_tokens"]) == (MODEL, 300, 20)
        changed = next(event for event in pages if event["event"] == "offer_changed")
        assert (changed["offer_id"], changed["price_output_per_1m"]) == (offers[0]["id"], 19.0)
        text = str(whole)
        for secret in (account, key, seller_key, seller.url, seller.text):
            assert secret not in text
        for odd in ("x", "1-s-", "1-q-00", "9" * 50):
            assert (await market.client.get(f"/feed?cursor={odd}")).status_code == 400


async def test_metrics__after_requests__count_them_by_outcome_and_cause(
    market: RunningMarket, seller: FakeEndpoint
) -> None:
    await market.list_offer(await market.get_key(), seller.url)
    key = await market.get_buyer_key()
    await market.chat(key)
    await market.chat(key, model="no-such-model")
    seller.behaviour = "status_500"
    await market.chat(key)

    text = (await market.client.get("/metrics")).text

    for line in (
        'current_market_requests_total{code="ok"} 1.0',
        'current_market_requests_total{code="model_not_found"} 1.0',
        'current_market_requests_total{code="sellers_failed"} 1.0',
        'current_market_requests_total{code="settlement_failed"} 0.0',
        'current_market_attempts_total{cause="ok"} 1.0',
        'current_market_attempts_total{cause="server"} 1.0',
        'current_market_offers{health="backing_off"} 1.0',
        'current_market_offers{health="healthy"} 0.0',
        "current_market_requests_in_flight 0.0",
        "current_market_request_seconds_count 3.0",
    ):
        assert line in text, line
    assert (await market.client.get("/healthz")).json() == {"status": "ok"}
    assert (await until_probed(market.client, "/readyz")).status_code == 200
