"""Disputes and the market's own probes, through the whole market.

::

    duty ── nothing disputed, hardly anything sold → nothing is spent
    dispute ── of a paid request                   → open, once; another's or unknown → 404
            ── too many, too old                   → 409
            ── the offer is probed by two methods  → answered; convicted, the buyer has it back
            ── others paid less than a probe costs → nothing is spent
    turn ── another process probes the offer       → this one does not, and looks again
    re-test ── once in 30 days, by the offer's seller
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import func, select, update

from ledger.database.engine import read, write
from ledger.selling.disputes import DISPUTED_MAX_S, DISPUTES_DAY_MAX
from ledger.selling.probe_turns import give_back, take_turn
from ledger.tables import MarketEvidence, MarketSale, table_of
from market.background import refund_convicted
from market.evidence.own_probes import OwnProbes
from market.evidence.schedule import ProbeRules
from market.identity.name_table import NameTable
from market.operator import OPERATOR_ACCOUNT, credit, issue_operator_key
from serving.models.grades import Grade
from tests.support.answering_models import build_model
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import OUTSIDER, RunningMarket, bearer, make_settings, run_market

SECRET: Final = b"the lab's own secret of this test"
FAR_S: Final = 2**40
FAR_USDC: Final = 1_000_000_000
PAID_USDC: Final = 5_000_000
"""Enough for the probes that a dispute takes, of which 1 % is not."""


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market where earnings of grade D vest."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_market(make_settings(tmp_path, vesting_s=3_600), engine) as running:
        yield running
    engine.dispose()


@pytest.fixture
def makers(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Base URLs that count as the maker's own: on loopback none does."""
    urls: set[str] = set()

    def find_grade(_: NameTable, row: Any, **__: str) -> Grade:
        return Grade.MAKER if row["seller_base_url"] in urls else Grade.OTHER

    monkeypatch.setattr(NameTable, "find_grade", find_grade)
    return urls


def make_duty(market: RunningMarket, folder: Path) -> OwnProbes:
    """Return the duty of a market whose operator has a key with credit."""
    keys = folder / "probe_keys"
    keys.write_text(issue_operator_key(market.engine) + "\n")
    credit(market.engine, OPERATOR_ACCOUNT, 1_000_000_000, "for probes")
    services = market.front.app.state.services
    rules = ProbeRules(keys, 100, dispute_usdc=FAR_USDC, disputes_day_usdc=FAR_USDC, templates=8)
    url = str(market.client.base_url).rstrip("/")
    return OwnProbes(services.database, services.book, rules, url, SECRET)


async def dispute(market: RunningMarket, key: str, request_id: str) -> Any:
    body = {"request_id": request_id, "reason": "It answers like a smaller model."}
    return await market.client.post("/v1/disputes", json=body, headers=bearer(key))


async def test_dispute__of_a_swapped_model__is_answered_and_refunded(
    market: RunningMarket, makers: set[str], tmp_path: Path
) -> None:
    key = await market.get_buyer_key()
    seller, outsider = await market.get_key(), await market.get_key(OUTSIDER)
    duty = make_duty(market, tmp_path)
    async with (
        FakeEndpoint(build=build_model(prefers_last=False)) as maker,
        FakeEndpoint(build=build_model(prefers_last=True)) as other,
    ):
        makers.add(maker.url)
        await market.list_offer(seller, maker.url, price_input_per_1m=9)
        bad = (await market.list_offer(outsider, other.url, price_input_per_1m=1))["id"]
        bought = [(await market.chat(key)).headers["x-request-id"] for _ in range(7)]

        assert await duty.look() is None
        assert count_evidence(market) == 0, "what it sold pays for no probe"

        filed = await dispute(market, key, bought[0])
        assert (filed.status_code, filed.json()["state"]) == (201, "open")
        dispute_id = filed.json()["dispute_id"]
        assert (await dispute(market, key, bought[0])).json()["dispute_id"] == dispute_id
        stranger = (tmp_path / "probe_keys").read_text().strip()
        assert (await dispute(market, stranger, bought[0])).status_code == 404
        assert (await dispute(market, key, "no-such-request")).status_code == 404
        path = f"/v1/disputes/{dispute_id}"
        assert (await market.client.get(path, headers=bearer(stranger))).status_code == 404

        assert await duty.look() is None
        assert count_evidence(market) == 0, "others have not paid for it what a probe costs"
        duty.broke_until_s.clear()
        with sold_more(market, bought[6]):
            await check_turn(market, duty, bad)
            assert [await duty.look() for _ in range(3)] == [bad, bad, None]
        told = (await market.client.get(path, headers=bearer(key))).json()
        assert told["state"] == "answered"
        assert {one["method"] for one in told["evidence"]} == {"border", "first_token"}

        await check_limits(market, key, bought)
        while (verdict := await get_verdict(market, bad)) != "convicted":
            with sold_more(market, bought[6]):
                assert verdict == "doubted" and await duty.look() == bad

    assert await refund_convicted(duty.database) > 0
    told = (await market.client.get(path, headers=bearer(key))).json()
    cost_usdc = next(
        one["cost_usdc"] for one in market.sales() if one["request_id"] == told["request_id"]
    )
    assert told["refunded_usdc"] == cost_usdc > 0
    await check_retest(market, seller, outsider, bad)


@contextmanager
def sold_more(market: RunningMarket, request_id: str) -> Iterator[None]:
    """Make one sale a large one meanwhile."""
    change_sale(market, request_id, PAID_USDC)
    yield
    change_sale(market, request_id, -PAID_USDC)


def change_sale(market: RunningMarket, request_id: str, by_usdc: int) -> None:
    sale = table_of(MarketSale)
    names = ("ceiling_usdc", "cost_usdc", "earning_usdc")
    with write(market.engine) as connection:
        connection.execute(
            update(sale)
            .where(sale.c.request_id == request_id)
            .values({name: sale.c[name] + by_usdc for name in names})
        )


async def check_turn(market: RunningMarket, duty: OwnProbes, offer: str) -> None:
    """Check that an offer that another process probes is left alone."""
    with write(market.engine) as connection:
        turn = take_turn(connection, offer_id=offer, now_s=FAR_S, until_s=FAR_S + 1)
        assert turn is not None
    assert await duty.look() is None
    assert count_evidence(market) == 0
    with write(market.engine) as connection:
        give_back(connection, turn, now_s=0)


async def check_limits(market: RunningMarket, key: str, bought: list[str]) -> None:
    """Check that old requests, and too many, are refused."""
    sale = table_of(MarketSale)
    with write(market.engine) as connection:
        connection.execute(
            update(sale)
            .where(sale.c.request_id == bought[1])
            .values(resolved_at_s=sale.c.resolved_at_s - DISPUTED_MAX_S - 60)
        )
    old = await dispute(market, key, bought[1])
    assert (old.status_code, old.json()["error"]["code"]) == (409, "not_disputable")
    with write(market.engine) as connection:
        is_second = sale.c.request_id == bought[2]
        connection.execute(update(sale).where(is_second).values(supply_offer_id="s"))
    supplied = await dispute(market, key, bought[2])
    assert (supplied.status_code, supplied.json()["error"]["code"]) == (409, "not_disputable")
    assert "supplier" in supplied.json()["error"]["message"]
    with write(market.engine) as connection:
        connection.execute(update(sale).where(is_second).values(supply_offer_id=None))
    codes = [(await dispute(market, key, one)).status_code for one in bought[2:]]
    assert codes == [201] * (DISPUTES_DAY_MAX - 1) + [409]
    listed = await market.client.get("/v1/disputes", headers=bearer(key))
    assert len(listed.json()["disputes"]) == DISPUTES_DAY_MAX


async def check_retest(market: RunningMarket, seller: str, outsider: str, offer: str) -> None:
    path = f"/v1/seller/offers/{offer}/retest"
    wish = {"reason": "The endpoint was misconfigured; it is mended."}
    codes = [
        (await market.client.post(path, json=wish, headers=bearer(who))).status_code
        for who in (seller, outsider, outsider)
    ]
    assert codes == [404, 201, 409]


async def get_verdict(market: RunningMarket, offer: str) -> str:
    services = market.front.app.state.services
    await services.book.refresh()
    model = market.sales()[0]["model"]
    told = (await market.client.get(f"/v1/models/{model}/evidence")).json()
    return next(str(one["verdict"]) for one in told["offers"] if one["offer_id"] == offer)


def count_evidence(market: RunningMarket) -> int:
    with read(market.engine) as connection:
        query = select(func.count()).select_from(table_of(MarketEvidence))
        return int(connection.execute(query).scalar_one())
