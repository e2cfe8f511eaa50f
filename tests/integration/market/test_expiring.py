"""Capacity that expires: its price falls until it does, requests keep the price they began with.

::

    an offer that falls ── a request costs the price of its moment, and lists say until when
                        ── whole again afterwards; what was sold and what lapsed is told
    an API's quota      ── each period's sold and lapsed units, also where nothing was sold
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from market.background import note_expired
from market.services import Services
from tests.support.answers import MODEL
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import RunningMarket, bearer, make_settings, run_market
from tests.support.resale import LATEST, connect, run_api

STARTED_S = 1_800_000_000


class Clock:
    """The host's clock, which stands where a test says."""

    def __init__(self) -> None:
        self.passed_s = 0

    def __call__(self) -> float:
        return STARTED_S + self.passed_s


class Stand:
    """A market at a time of its own, with one seller."""

    def __init__(self, market: RunningMarket, clock: Clock, seller: str, buyer: str) -> None:
        self.market = market
        self.clock = clock
        self.seller = seller
        self.buyer = buyer

    @property
    def services(self) -> Services:
        services: Services = self.market.front.app.state.services
        return services

    async def ask(self, path: str, **options: Any) -> Any:
        method = options.pop("method", "GET")
        answer = await self.market.client.request(
            method, path, headers=bearer(self.seller), **options
        )
        assert answer.is_success, answer.text
        return answer.json()

    async def cost_usdc(self) -> int:
        answer = await self.market.chat(self.buyer)
        assert answer.status_code == 200, answer.text
        return int(self.market.sales()[-1]["cost_usdc"])

    async def price(self) -> dict[str, Any]:
        listed = (await self.market.client.get("/v1/prices")).json()["data"]
        (entry,) = (one for one in listed if one["id"] == MODEL)
        described: dict[str, Any] = entry
        return described


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    engine, clock = make_ledger(tmp_path / "ledger.sqlite3"), Clock()
    async with run_market(make_settings(tmp_path), engine, host_clock=clock) as market:
        seller, buyer = await market.get_key(), await market.get_buyer_key()
        yield Stand(market, clock, seller, buyer)
    engine.dispose()


async def test_offer__falls_until_its_quota_expires__costs_the_price_of_the_moment(
    stand: Stand,
) -> None:
    async with FakeEndpoint() as endpoint:
        offer = await stand.market.list_offer(
            stand.seller,
            endpoint.url,
            quota_total_usd="1",
            quota_resets_at=STARTED_S + 600,
            floor_pct=50,
        )
        assert (offer["quota_resets_at"], offer["floor_pct"]) == (STARTED_S + 600, 50)
        whole, listed = await stand.cost_usdc(), await stand.price()
        stand.clock.passed_s = 320
        half_way, then = await stand.cost_usdc(), await stand.price()
        stand.clock.passed_s = 597
        soon = await stand.price()
        lowest = await stand.cost_usdc()
        open_ = await stand.ask("/v1/seller/capacity")
        stand.clock.passed_s = 601
        again, afterwards = await stand.cost_usdc(), await stand.price()
        await note_expired(stand.services.database)
        await note_expired(stand.services.database)
        over = await stand.ask("/v1/seller/capacity")

    assert whole == again == 300
    # Ten steps of a minute each: five and nine of them are over.
    assert (half_way, lowest) == (225, 165)
    assert listed["input_usdc_per_mtok"] == afterwards["input_usdc_per_mtok"] == 5_000_000
    assert listed["valid_until"] == STARTED_S + 60
    assert (then["input_usdc_per_mtok"], then["valid_until"]) == (3_750_000, STARTED_S + 360)
    # A proxy that reserves by this list is asked to pay no more, when the price is whole again.
    assert (soon["input_usdc_per_mtok"], soon["valid_until"]) == (5_000_000, None)
    assert afterwards["valid_until"] is None
    (running,), (lapsed,) = open_["offers"], over["offers"]
    assert (running["lapsed_usdc"], running["quota_usdc"]) == (None, 1_000_000)
    assert lapsed["sold_usdc"] == whole + half_way + lowest + again
    assert lapsed["lapsed_usdc"] == 1_000_000 - lapsed["sold_usdc"]


@pytest.mark.parametrize(
    "changes",
    [
        {"floor_pct": 50},
        {"quota_resets_at": STARTED_S - 1},
        {"quota_resets_at": "soon"},
        {"quota_resets_at": STARTED_S + 600, "floor_pct": 0},
        {"quota_resets_at": STARTED_S + 600, "floor_pct": "50"},
        {"quota_resets_at": STARTED_S + 400 * 86_400},
    ],
    ids=str,
)
async def test_offer__expiry_that_cannot_be__is_refused(
    stand: Stand, changes: dict[str, Any]
) -> None:
    body = {"model": MODEL, "api_key": "key", "seller_base_url": "http://127.0.0.1:9/v1"}
    prices = {"price_input_per_1m": 5, "price_output_per_1m": 20}

    answer = await stand.market.client.post(
        "/v1/seller/offers", json={**body, **prices, **changes}, headers=bearer(stand.seller)
    )

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] in ("quota_resets_at", "floor_pct")


async def test_offer__floor_taken_away__stands_at_its_price(stand: Stand) -> None:
    async with FakeEndpoint() as endpoint:
        offer = await stand.market.list_offer(
            stand.seller, endpoint.url, quota_resets_at=STARTED_S + 600, floor_pct=10
        )
        stand.clock.passed_s = 300
        fallen = await stand.cost_usdc()
        path = f"/v1/seller/offers/{offer['id']}"
        changed = await stand.ask(path, method="PATCH", json={"floor_pct": None})
        whole = await stand.cost_usdc()

    assert fallen < whole == 300
    assert (changed["floor_pct"], changed["quota_resets_at"]) == (None, STARTED_S + 600)


async def test_connection__periods_pass__what_was_sold_and_what_lapsed_is_told(
    stand: Stand,
) -> None:
    async with run_api() as api:
        made = await connect(
            stand.market,
            stand.seller,
            api.url,
            monthly_quota=...,
            quota=100,
            quota_period="days",
            quota_days=1,
            quota_resets_at=STARTED_S,
            reserved=10,
            buffer_pct=0,
            remaining_header=...,
        )
        for _ in range(3):
            path = f"/x402/{made['sold_under']}/{LATEST}"
            answer = await stand.market.client.get(path, headers=bearer(stand.buyer))
            assert answer.status_code == 200, answer.text
        charging = stand.services.api_calls.charging
        for day in (1, 2):
            stand.clock.passed_s = day * 86_400
            await charging.open_periods()
        shown = await stand.ask("/v1/seller/capacity")

    told = [
        (one["starts_at"] - STARTED_S, one["for_sale"], one["sold"], one["lapsed"])
        for one in shown["connections"]
    ]
    assert told == [(2 * 86_400, 90, 0, None), (86_400, 90, 0, 90), (0, 90, 3, 87)]
    first = shown["connections"][-1]
    assert (first["revenue_usdc"], first["your_share_usdc"], first["fee_usdc"]) == (
        450_000,
        405_000,
        45_000,
    )
    assert {one["unit"] for one in shown["connections"]} == {"calls"}
