"""The market's ledger under any order of calls: L7, caps, credit, each sale resolved once."""

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select, update

from contracts.units import SECONDS_PER_DAY
from ledger.database.engine import read, write
from ledger.market_audit import find_market_mismatches
from ledger.selling.accounts import (
    NewKey,
    add_credit,
    revoke_key,
    save_account,
    save_key,
    save_seller,
)
from ledger.selling.earnings import plan_payouts
from ledger.selling.offers import NewOffer, change_offer, save_offer
from ledger.selling.sale_records import NewSale, SaleFigures, SaleRefused, SaleResolved
from ledger.selling.sales import post_sale, reserve_sale, sweep_sales, void_sale
from ledger.selling.sealed_keys import SealedKey
from ledger.tables import MarketAccount, MarketOffer, MarketPayout, MarketSale, table_of
from market.pricing.split import split_cost
from serving.models.prices import Price, Tokens
from tests.support.examples import examples
from tests.support.folders import temporary_folder
from tests.support.ledgers import NOW_S, Databases

_account = table_of(MarketAccount)
_offer = table_of(MarketOffer)
_payout = table_of(MarketPayout)
_sale = table_of(MarketSale)

CAP_USDC = 300
QUOTA_USDC = 900
CREDIT_USDC = 1_200
LEASE_S = 100
PRICE = Price(1_500_000, 2_500_000)


class MarketLedger(RuleBasedStateMachine):
    """One buyer, two offers; the model is a plain dictionary of open sales."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = temporary_folder()
        self.databases = Databases("sqlite", Path(self.folder.name))
        self.engine = self.databases.open_ledger()
        self.now_s = NOW_S
        self.numbers = 0
        self.open: dict[str, tuple[int, int]] = {}
        """sale id -> (ceiling, lease's end)"""
        self.posted: dict[str, SaleFigures] = {}
        self.versions = {"o1": 0, "o2": 0}
        self.revoked = False

    def teardown(self) -> None:
        self.databases.__exit__()
        self.folder.cleanup()

    @initialize()
    def set_up(self) -> None:
        with write(self.engine) as connection:
            save_account(connection, account_id="a", kind="prepaid", wallet=None, now_s=self.now_s)
            for _ in range(2):  # the same credit counts once
                add_credit(
                    connection,
                    credit_id="c",
                    account_id="a",
                    amount_usdc=CREDIT_USDC,
                    source="test",
                    now_s=self.now_s,
                )
            save_key(connection, NewKey("k", "hash", "buyer", "a", "", None), now_s=self.now_s)
            save_seller(connection, address="s", now_s=self.now_s)
            for offer_id in self.versions:
                offer = NewOffer(
                    offer_id=offer_id,
                    seller="s",
                    model="m",
                    upstream_model="m",
                    label="",
                    seller_base_url="https://example.com",
                    price_input_usdc_per_mtok=PRICE.input_usdc_per_mtok,
                    price_output_usdc_per_mtok=PRICE.output_usdc_per_mtok,
                    cost_multiplier_ppm=None,
                    cap_daily_usdc=CAP_USDC,
                    quota_total_usdc=QUOTA_USDC if offer_id == "o2" else None,
                    rate_limit_rpm=None,
                    payout_address=f"payee-{offer_id}",
                    idempotency_key=None,
                    request_digest=None,
                )
                save_offer(connection, offer, SealedKey(b"c", b"w", "k1"), now_s=self.now_s)

    def make_sale(self, offer_id: str, ceiling_usdc: int, version: int) -> NewSale:
        self.numbers += 1
        return NewSale(
            request_id=f"r{self.numbers:05d}",
            attempt=0,
            account_id="a",
            key_id="k",
            offer_id=offer_id,
            offer_version=version,
            seller="s",
            payout_address=f"payee-{offer_id}",
            endpoint="chat/completions",
            model="m",
            input_usdc_per_mtok=PRICE.input_usdc_per_mtok,
            output_usdc_per_mtok=PRICE.output_usdc_per_mtok,
            fee_bps=333,
            ceiling_usdc=ceiling_usdc,
        )

    @rule(
        offer_id=st.sampled_from(("o1", "o2")),
        ceiling_usdc=st.integers(0, 350),
        stale=st.booleans(),
    )
    def reserve(self, offer_id: str, ceiling_usdc: int, stale: bool) -> None:
        version = self.versions[offer_id] - stale
        sale = self.make_sale(offer_id, ceiling_usdc, version)
        before = self.figures(offer_id)
        fits = (
            not stale
            and not self.revoked
            and ceiling_usdc <= before["free"]
            and before["today"] + ceiling_usdc <= CAP_USDC
            and (offer_id == "o1" or before["total"] + ceiling_usdc <= QUOTA_USDC)
        )
        try:
            with write(self.engine) as connection:
                used = reserve_sale(
                    connection, sale, now_s=self.now_s, lease_expires_at_s=self.now_s + LEASE_S
                )
        except SaleRefused:
            assert not fits
            assert self.figures(offer_id) == before
        else:
            assert fits
            assert used.available_usdc == before["free"] - ceiling_usdc
            self.open[sale.sale_id] = (ceiling_usdc, self.now_s + LEASE_S)

    @rule(data=st.data(), prompt=st.integers(0, 200), completion=st.integers(0, 200))
    def post(self, data: st.DataObject, prompt: int, completion: int) -> None:
        known = sorted(self.open) + sorted(self.posted)
        if not known:
            return
        sale_id = data.draw(st.sampled_from(known))
        ceiling_usdc = self.open.get(sale_id, (350, 0))[0]
        split = split_cost(
            Tokens(prompt, completion), PRICE, ceiling_usdc=ceiling_usdc, fee_bps=333
        )
        figures = SaleFigures(
            *(prompt, completion, split.cost_usdc, split.earning_usdc, split.fee_usdc, 0),
            PRICE.input_usdc_per_mtok,
            PRICE.output_usdc_per_mtok,
        )
        try:
            with write(self.engine) as connection:
                post_sale(connection, sale_id, figures, now_s=self.now_s)
        except SaleResolved:
            assert self.posted[sale_id] != figures
        else:
            assert self.posted.get(sale_id, figures) == figures
            self.posted[sale_id] = figures
            self.open.pop(sale_id, None)

    @rule(data=st.data())
    def void(self, data: st.DataObject) -> None:
        known = sorted(self.open) + sorted(self.posted)
        if not known:
            return
        sale_id = data.draw(st.sampled_from(known))
        try:
            for _ in range(2):
                with write(self.engine) as connection:
                    void_sale(
                        connection,
                        sale_id,
                        reason="test",
                        is_seller_failure=False,
                        now_s=self.now_s,
                    )
        except SaleResolved:
            assert sale_id in self.posted
        else:
            del self.open[sale_id]

    @rule(seconds=st.sampled_from((1, 60, SECONDS_PER_DAY)))
    def wait_and_sweep(self, seconds: int) -> None:
        self.now_s += seconds
        with write(self.engine) as connection:
            swept = sweep_sales(connection, now_s=self.now_s)
        expired = [sale_id for sale_id, (_, ends) in self.open.items() if ends <= self.now_s]
        assert swept == len(expired)
        for sale_id in expired:
            del self.open[sale_id]

    @rule(offer_id=st.sampled_from(("o1", "o2")))
    def reprice(self, offer_id: str) -> None:
        with write(self.engine) as connection:
            assert change_offer(
                connection,
                offer_id=offer_id,
                seller="s",
                version=self.versions[offer_id],
                changes={"price_input_usdc_per_mtok": 1},
                sealed=None,
                now_s=self.now_s,
            )
        self.versions[offer_id] += 1

    @rule()
    def pay(self) -> None:
        self.numbers += 1
        ids = iter(f"p{self.numbers}-{index}" for index in range(10))
        with write(self.engine) as connection:
            plan_payouts(
                connection,
                policies=["at_once"],
                until_s=self.now_s,
                now_s=self.now_s,
                make_id=lambda: next(ids),
            )
            again = plan_payouts(
                connection,
                policies=["at_once"],
                until_s=self.now_s,
                now_s=self.now_s,
                make_id=lambda: next(ids),
            )
            paid = connection.execute(select(_payout.c.amount_usdc)).scalars().all()
        assert again == []
        assert sum(paid) == sum(figures.earning_usdc for figures in self.posted.values())

    @rule()
    def revoke(self) -> None:
        with write(self.engine) as connection:
            revoke_key(connection, kind="buyer", owner="a", key_id="k", now_s=self.now_s)
        self.revoked = True

    def figures(self, offer_id: str) -> dict[str, Any]:
        with read(self.engine) as connection:
            account = connection.execute(select(_account)).mappings().one()
            offer = (
                connection.execute(select(_offer).where(_offer.c.offer_id == offer_id))
                .mappings()
                .one()
            )
        today = self.now_s // SECONDS_PER_DAY
        return {
            "free": account["credited_usdc"] - account["spent_usdc"] - account["reserved_usdc"],
            "today": offer["day_used_usdc"] if offer["day"] == today else 0,
            "total": offer["total_used_usdc"],
        }

    @invariant()
    def l7_holds(self) -> None:
        with read(self.engine) as connection:
            assert find_market_mismatches(connection) == []
            states = dict(connection.execute(select(_sale.c.sale_id, _sale.c.state)).all())
            account = connection.execute(select(_account)).mappings().one_or_none()
        assert {sale_id for sale_id, state in states.items() if state == "reserved"} == set(
            self.open
        )
        if account is not None:
            assert account["spent_usdc"] == sum(f.cost_usdc for f in self.posted.values())
            assert account["reserved_usdc"] == sum(ceiling for ceiling, _ in self.open.values())


TestMarketLedger = MarketLedger.TestCase
TestMarketLedger.settings = settings(
    max_examples=examples(24) // 2,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_mismatches__each_kind_of_tampering__is_found() -> None:
    machine = MarketLedger()
    machine.set_up()
    machine.reserve(offer_id="o1", ceiling_usdc=100, stale=False)
    with write(machine.engine) as connection:
        post_sale(connection, "r00001.0", SaleFigures(1, 1, 10, 8, 1, 1, 1, 1), now_s=NOW_S)
    machine.posted["r00001.0"] = SaleFigures(1, 1, 10, 8, 1, 1, 1, 1)
    machine.open.clear()
    machine.pay()
    machine.l7_holds()

    for table, change in (
        (_account, {"spent_usdc": 11}),
        (_account, {"credited_usdc": 5_000}),
        (_offer, {"total_used_usdc": 9}),
        (_payout, {"amount_usdc": 9}),
        (_sale, {"cost_usdc": 9, "margin_usdc": 0}),
    ):
        with machine.engine.connect() as connection:
            connection.execute(update(table).values(**change))
            assert find_market_mismatches(connection) != []
    machine.teardown()
