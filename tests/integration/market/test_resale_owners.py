"""What an API's owner uses himself: by his own key for nothing; as a usage endpoint says.

::

    the owner's wallet calls through the market ── free, by no limit, none of what is for sale
    a usage endpoint ── what is left or used is learned, and less is for sale
    ── it lies, fails or leaks ── nothing is learned; a leak takes the connection off sale
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ledger.audit import find_violations
from ledger.database.engine import read
from ledger.tables import ApiCall, table_of
from market.resale.usage_watch import UsageWatch
from tests.support.ledgers import make_ledger
from tests.support.market import SELLER, RunningMarket, bearer, make_settings, run_market
from tests.support.resale import API_KEY, LATEST, RunningApi, connect, make_connection, run_api

USAGE = "/v1/blocks/1"
"""Where the API says its usage in these tests: its devnet has no such endpoint."""


class Stand:
    """A market with one seller, who also has a buyer's key of the same wallet."""

    def __init__(
        self, market: RunningMarket, api: RunningApi, seller: str, own: str, buyer: str
    ) -> None:
        self.market = market
        self.api = api
        self.seller = seller
        self.own = own
        self.buyer = buyer
        self.connection: dict[str, Any] = {}

    async def connect(self, **changes: Any) -> None:
        terms = {"monthly_quota": 10, "reserved": 4, "buffer_pct": 0, "remaining_header": ...}
        self.connection = await connect(
            self.market, self.seller, self.api.url, **{**terms, **changes}
        )

    async def call(self, key: str) -> Any:
        path = f"/x402/{self.connection['sold_under']}/{LATEST}"
        return await self.market.client.get(path, headers=bearer(key))

    async def status(self) -> dict[str, Any]:
        path = f"/v1/seller/connections/{self.connection['id']}/status"
        shown: dict[str, Any] = (
            await self.market.client.get(path, headers=bearer(self.seller))
        ).json()
        return shown

    async def look(self) -> int:
        """Ask the usage endpoints, as the market does now and then."""
        services = self.market.front.app.state.services
        return await UsageWatch(services.api_calls).look()

    def say_usage(self, *answers: Response) -> None:
        """Answer the usage endpoint with these, one after the other."""
        left = list(answers)

        async def behave(request: Request) -> Response | None:
            return left.pop(0) if request.url.path == USAGE else None

        self.api.behave = behave

    def calls(self) -> list[dict[str, Any]]:
        call = table_of(ApiCall)
        with read(self.market.engine) as connection:
            assert find_violations(connection) == []
            rows = connection.execute(select(call).order_by(call.c.call_id)).mappings()
            return [dict(row) for row in rows]


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_api() as api, run_market(make_settings(tmp_path), engine) as market:
        keys = (
            await market.get_key(),
            await market.get_key(SELLER, "buyer"),
            await market.get_buyer_key(),
        )
        yield Stand(market, api, *keys)
    engine.dispose()


async def test_owner__calls_by_a_key_of_the_same_wallet__pays_nothing_and_is_not_limited(
    stand: Stand,
) -> None:
    await stand.connect(consumer_per_minute=1, per_minute=6)

    own = [await stand.call(stand.own) for _ in range(3)]
    sold = await stand.call(stand.buyer)

    assert {(one.status_code, one.headers["x-market-cost-usdc"]) for one in own} == {(200, "0")}
    assert (sold.status_code, sold.headers["x-market-cost-usdc"]) == (200, "150000")
    shown = await stand.status()
    assert (shown["own_use"], shown["sold"], shown["left"]) == (3, 1, 5)
    assert [one["cost_usdc"] for one in stand.calls()] == [0, 0, 0, 150_000]


async def test_owner__uses_more_than_the_reserve__less_is_for_sale(stand: Stand) -> None:
    await stand.connect()

    for _ in range(6):
        assert (await stand.call(stand.own)).status_code == 200

    shown = await stand.status()
    # Four of the ten are reserved: two of the six came out of what was for sale.
    assert (shown["own_use"], shown["for_sale"], shown["left"]) == (6, 4, 4)


async def test_owner__everything_for_sale_is_sold__calls_on(stand: Stand) -> None:
    await stand.connect(monthly_quota=1, reserved=0)
    assert (await stand.call(stand.buyer)).status_code == 200
    assert (await stand.call(stand.buyer)).status_code == 503

    assert (await stand.call(stand.own)).status_code == 200
    assert stand.calls()[-1]["units"] == 0


@pytest.mark.parametrize(
    ("source", "answer"),
    [
        ({"usage_used": "json: data.used"}, JSONResponse({"data": {"used": 7}})),
        ({"usage_remaining": "json: left"}, JSONResponse({"left": 3})),
        (
            {"usage_remaining": "header: x-left"},
            Response(b"hello", headers={"x-left": "3"}),
        ),
    ],
    ids=["used", "left", "header"],
)
async def test_usage__is_asked_for__what_the_owner_used_is_learned(
    stand: Stand, source: dict[str, str], answer: Response
) -> None:
    await stand.connect(usage_path=USAGE, **source)
    await stand.call(stand.buyer)
    stand.say_usage(answer)

    assert await stand.look() == 1

    asked = stand.api.requests[-1]
    assert (asked.url.path, asked.headers["x-api-key"]) == (USAGE, API_KEY)
    shown = await stand.status()
    # Seven are gone, one of them sold here: six by the owner, two more than the reserve.
    assert (shown["own_use"], shown["for_sale"], shown["left"]) == (6, 4, 3)


async def test_usage__endpoint_lies_fails_or_leaks__is_not_believed(stand: Stand) -> None:
    await stand.connect(usage_path=USAGE, usage_used="json: used")
    await stand.call(stand.buyer)
    stand.say_usage(
        JSONResponse({"used": "seven"}),
        JSONResponse({"used": -1}),
        JSONResponse({"used": 9}, 500),
        JSONResponse({"used": 9}, 404),
        Response(b"[]"),
        JSONResponse({"used": 10**12}),
        JSONResponse({"used": 1, "key": API_KEY}),
    )

    for _ in range(5):
        assert await stand.look() == 0
    assert (await stand.status())["own_use"] == 0
    assert await stand.look() == 1
    assert (await stand.status())["left"] == 0
    assert await stand.look() == 0

    path = f"/v1/seller/connections/{stand.connection['id']}"
    shown = await stand.market.client.get(path, headers=bearer(stand.seller))
    assert "credential" in shown.json()["suspended_for"]
    assert await stand.look() == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"usage_path": "/v1/usage"},
        {"usage_used": "json: used"},
        {"usage_path": "/v1/usage", "usage_used": "json: a", "usage_remaining": "json: b"},
        {"usage_path": "/v1/{x}", "usage_used": "json: a"},
        {"usage_path": "/v1/../admin", "usage_used": "json: a"},
        {"usage_path": "https://elsewhere.example/", "usage_used": "json: a"},
        {"usage_path": "/v1/usage", "usage_used": "used"},
    ],
    ids=str,
)
async def test_usage__terms_that_cannot_be__are_refused(
    stand: Stand, changes: dict[str, str]
) -> None:
    answer = await stand.market.client.post(
        "/v1/seller/connections",
        json=make_connection(stand.api.url, **changes),
        headers=bearer(stand.seller),
    )

    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"].startswith("usage_")
