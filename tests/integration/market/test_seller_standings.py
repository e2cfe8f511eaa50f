"""``GET /v1/sellers``: what everybody may know of who sells.

::

    an approved seller ── its offers, hosts, grades, and what its requests showed
    ├── suspended and doubted offers, convictions that stand
    a stranger ── stands behind all approved ones; a page goes on where the last one ended
    who has listed nothing, or nothing any more ── is not there; nonsense is 400
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from ledger.database.engine import read, write
from ledger.selling.convictions import Conviction, convict
from ledger.tables import MarketConviction, MarketOffer, MarketSeller, table_of
from tests.support.answers import MODEL
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import (
    OUTSIDER,
    SELLER,
    RunningMarket,
    bearer,
    make_settings,
    run_market,
)

_conviction = table_of(MarketConviction)
_offer = table_of(MarketOffer)
_seller = table_of(MarketSeller)
STRANGER = OUTSIDER.address.lower()
APPROVED = SELLER.address.lower()


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market on which strangers may list and are shown as such."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_market(make_settings(tmp_path, trusted_only=True), engine) as running:
        yield running
    engine.dispose()


@pytest.fixture
async def endpoint() -> AsyncIterator[FakeEndpoint]:
    """A seller's endpoint."""
    async with FakeEndpoint() as endpoint:
        yield endpoint


async def see(market: RunningMarket, query: str = "") -> Any:
    answer = await market.client.get(f"/v1/sellers{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_sellers__approved_and_not__are_shown_with_what_requests_taught(
    market: RunningMarket, endpoint: FakeEndpoint
) -> None:
    assert await see(market) == {"sellers": [], "next_cursor": None}
    approved = await market.get_key()
    assert (await see(market))["sellers"] == []  # it has listed nothing yet
    first = await market.list_offer(approved, endpoint.url)
    await market.list_offer(approved, endpoint.url, model="o3-mini")
    outsider = await market.get_key(OUTSIDER, is_approved=False)
    theirs = await market.list_offer(outsider, endpoint.url)
    buyer = await market.get_buyer_key()
    assert (await market.chat(buyer)).status_code == 200
    endpoint.behaviour = "status_500"
    assert (await market.chat(buyer)).status_code >= 500

    one, other = (await see(market))["sellers"]

    assert (one["seller"], one["trusted"]) == (APPROVED, True)
    assert (other["seller"], other["trusted"]) == (STRANGER, False)
    with read(market.engine) as connection:
        since = select(_seller.c.created_at_s).where(_seller.c.address == APPROVED)
        assert one["since"] == connection.execute(since).scalar_one()
    assert (one["grades"], one["models"], one["providers"]) == (["D"], 2, ["127.0.0.1"])
    # The model that failed rests, the other one does not.
    assert (one["offers_active"], one["offers_resting"]) == (2, 1)
    measured = one["measured"]
    assert (measured["requests"], measured["uptime_pct"]) == (2, 50)
    assert (other["offers_active"], other["measured"]["requests"]) == (1, 0)

    page = await see(market, "?limit=1")
    rest = await see(market, f"?limit=1&cursor={page['next_cursor']}")
    assert [page["sellers"][0]["seller"], rest["sellers"][0]["seller"]] == [APPROVED, STRANGER]
    assert rest["next_cursor"] is None
    odd = await market.client.get("/v1/sellers?cursor=nothing")
    assert (odd.status_code, odd.json()["error"]["code"]) == (400, "invalid_cursor")

    path = f"/v1/seller/offers/{theirs['id']}"
    assert (await market.client.delete(path, headers=bearer(outsider))).is_success
    await market.client.patch(
        f"/v1/seller/offers/{first['id']}", json={"status": "paused"}, headers=bearer(approved)
    )
    [left] = (await see(market))["sellers"]
    assert (left["seller"], left["offers_active"], left["models"]) == (APPROVED, 1, 1)


async def test_sellers__convicted__are_so_until_it_is_overturned(
    market: RunningMarket, endpoint: FakeEndpoint
) -> None:
    seller_key = await market.get_key()
    offer = await market.list_offer(seller_key, endpoint.url)
    with write(market.engine) as connection:
        convicted = Conviction("01", offer["id"], APPROVED, MODEL, "a test", 0, 0)
        assert convict(connection, convicted, now_s=1_700_000_000)
        doubted = {"suspended_for": "a test", "doubted_at_s": 1_700_000_000}
        connection.execute(update(_offer).values(doubted))

    [told] = (await see(market))["sellers"]

    assert (told["convictions"], told["last_convicted_at"]) == (1, 1_700_000_000)
    assert (told["offers_suspended"], told["offers_doubted"]) == (1, 1)
    with write(market.engine) as connection:
        connection.execute(update(_conviction).values(state="overturned"))
    [cleared] = (await see(market))["sellers"]
    assert (cleared["convictions"], cleared["last_convicted_at"]) == (0, None)
