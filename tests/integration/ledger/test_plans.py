"""What a request asks the ledger costs what it names, not what exists: every statement by its plan.

The ledger has thousands of requests, sales, payments, jobs, keys and accounts that are over, beside
a few of each that are open.

::

    proxy:   reserve │ post │ void │ renew, also with a child key; preview; sweep; views; keys
    market:  reserve │ post │ void │ renew a sale; sweeps; jobs; payments; earnings; accounts
    both:    what a dead process of a long life held
    keeper:  see tests/integration/keeper/test_queries.py
"""

import re
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text

from contracts.units import USDC_MAX
from ledger.database.engine import read, write
from ledger.dead_holders import free_leases_of
from ledger.payments.claims import (
    claim_payment,
    load_account_payments,
    load_payments,
    look_again,
    record_payment,
    release_payment,
)
from ledger.payments.outcomes import settle_payment
from ledger.payments.records import NewPayment
from ledger.selling.accounts import NewKey, add_credit, save_account, save_key, save_seller
from ledger.selling.convictions import Conviction, convict, refund_held_back
from ledger.selling.earnings import plan_payouts
from ledger.selling.jobs import claim_polls, sweep_jobs
from ledger.selling.offers import NewOffer, save_offer
from ledger.selling.sale_calls import PostSale, ReserveSale, VoidSale, run_sales
from ledger.selling.sale_records import NewSale, SaleFigures
from ledger.selling.sales import post_sale, renew_sale, reserve_sale, sweep_sales, void_sale
from ledger.selling.sealed_keys import SealedKey
from ledger.spending.admission import AdmissionRules
from ledger.spending.demand import note_demand
from ledger.spending.keys import (
    ChildTerms,
    create_child,
    forget_nonces,
    load_children_of,
    revoke_child,
    rotate_child,
    save_issued_key,
    use_nonce,
)
from ledger.spending.leases import sweep_leases
from ledger.spending.metering import Post, Renew, Reserve, Void, preview
from ledger.tables.usage import Charge, Reservation
from market.records.earning_records import load_earning_totals, load_earnings
from market.records.jobs import count_due_jobs
from market.records.seller_standings import load_seller_standings
from market.records.store import (
    load_account,
    load_failures,
    load_key_holder,
    load_keys,
    load_offers,
    load_seller_offers,
)
from proxy.store import (
    UsageQuery,
    load_position,
    load_receipt_view,
    load_standing,
    load_usage,
)
from tests.integration.ledger.test_payments import SIGNED
from tests.support.ledgers import NOW_S, Databases, make_state, put_cursor, put_positions
from tests.support.plans import Plans, fill, watched

RULES = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=300)
ROOT = Reservation("root", 0, 0, "0123456789abcdef", "model", 10, 1, 1)
CHILD = Reservation("child", 0, 0, "0123456789ab", "model", 10, 1, 1)
SELLER = "0x" + "55" * 20
ROWS = 20_000
LARGE_ROWS = 1_000_000


@pytest.fixture
def engine(databases: Databases) -> Engine:
    engine = databases.open_ledger()
    with write(engine) as connection:
        put_positions(connection, make_state())
        put_cursor(connection)
    return engine


def ask_as_a_proxy(engine: Engine) -> None:
    with write(engine) as connection:
        save_issued_key(connection, key_id="0123456789abcdef", token_id=0, key_epoch=0, now_s=NOW_S)
        use_nonce(connection, "nonce", expires_at_s=NOW_S)
        forget_nonces(connection, now_s=NOW_S)
        create_child(
            connection,
            key_id=CHILD.key_id,
            token_id=0,
            key_epoch=0,
            terms=ChildTerms(concurrency_max=2),
            now_s=NOW_S,
        )
        load_children_of(connection, token_id=0, key_epoch=0)
        note_demand(connection, token_id=0, required_usdc=7, now_s=NOW_S)
    for wanted, generation in ((ROOT, None), (CHILD, 0)):
        with write(engine) as connection:
            Reserve(wanted, RULES, NOW_S, generation=generation)(connection)
            other = replace(wanted, request_id=wanted.request_id + "2")
            Reserve(other, RULES, NOW_S, generation=generation)(connection)
            Renew(wanted.request_id, NOW_S + 1)(connection)
            Post(wanted.request_id, Charge(1, 1, 1), NOW_S)(connection)
            Void(other.request_id, "test", NOW_S)(connection)
            third = replace(wanted, request_id=wanted.request_id + "3")
            Reserve(third, RULES, NOW_S, generation=generation)(connection)
        with read(engine) as connection:
            new = replace(wanted, request_id="new")
            preview(connection, Reserve(new, RULES, NOW_S, generation=generation))
            load_standing(connection, 0)
            load_position(connection, 0, now_s=NOW_S)
            load_receipt_view(connection, wanted.request_id, token_id=0, key_id=None)
            load_receipt_view(connection, "old-7", token_id=14, key_id=None)
            for before in (None, (NOW_S, "x")):
                load_usage(connection, UsageQuery(7, 0, NOW_S, before, 10, None))
    with write(engine) as connection:
        assert sweep_leases(connection, now_s=NOW_S + 1_000) == 2
        rotate_child(connection, CHILD.key_id, token_id=0, key_epoch=0, grace_s=1, now_s=NOW_S)
        revoke_child(connection, CHILD.key_id, token_id=0, key_epoch=0, now_s=NOW_S)


def sell_as_a_market(engine: Engine) -> None:
    sale = NewSale(
        *("request", 0, "buyer", "key", "offer", 0, SELLER, SELLER, "chat", "model", 1, 1, 0, 10)
    )
    offer = NewOffer(
        *("offer", SELLER, "model", "model", "p", "https://x", 1, 1, None, 9_000, 9_000, None),
        *(SELLER, "once", "digest"),
    )
    with write(engine) as connection:
        save_seller(connection, address=SELLER, now_s=NOW_S)
        save_offer(connection, offer, SealedKey(b"", b"", ""), now_s=NOW_S)
        save_account(connection, account_id="buyer", kind="prepaid", wallet="0xb", now_s=NOW_S)
        save_key(connection, NewKey("key", "hash", "buyer", "buyer", "", None), now_s=NOW_S)
        add_credit(
            connection,
            credit_id="credit",
            account_id="buyer",
            amount_usdc=1_000,
            source="test",
            now_s=NOW_S,
        )
    with write(engine) as connection:
        for attempt in range(3):
            tried = replace(sale, attempt=attempt)
            reserve_sale(connection, tried, now_s=NOW_S, lease_expires_at_s=NOW_S + 9)
            renew_sale(connection, tried.sale_id, lease_expires_at_s=NOW_S + 10)
        void_sale(connection, "request.0", reason="", is_seller_failure=True, now_s=NOW_S)
        post_sale(connection, "request.1", SaleFigures(1, 1, 9, 8, 1, 0, 1, 1), now_s=NOW_S)
        assert sweep_sales(connection, now_s=NOW_S + 11) == 1
        others = [ReserveSale(replace(sale, attempt=n), NOW_S, NOW_S + 9) for n in (3, 4)]
        run_sales(connection, others)
        charge = SaleFigures(1, 1, 9, 8, 1, 0, 1, 1)
        run_sales(connection, [PostSale("request.3", charge, NOW_S)])
        run_sales(connection, [VoidSale("request.4", "", False, NOW_S)])
        sweep_jobs(connection, now_s=NOW_S)
        claim_polls(connection, now_s=NOW_S, interval_s=1)
        convicted = Conviction("conviction", "offer", SELLER, "model", "", 0, 0)
        assert convict(connection, convicted, now_s=NOW_S)
        refund_held_back(connection, make_id=lambda: "refund", now_s=NOW_S)
        plan_payouts(
            connection, policies=["at_once"], until_s=NOW_S, now_s=NOW_S, make_id=lambda: "payout"
        )
    with read(engine) as connection:
        assert load_key_holder(connection, key_hash="hash", kind="buyer", now_s=NOW_S) is not None
        load_keys(connection, kind="buyer", owner="buyer")
        load_account(connection, "buyer")
        load_offers(connection, changed_since_s=NOW_S)
        load_offers(connection, changed_since_s=0, offer_ids=["offer"])
        load_seller_offers(connection, seller=SELLER)
        assert load_seller_standings(connection, [SELLER])[SELLER].convictions == 1
        load_earning_totals(connection, seller=SELLER, now_s=NOW_S)
        page: dict[str, Any] = {
            "seller": SELLER,
            "from_s": 0,
            "until_s": NOW_S + 1,
            "after": "",
            "limit": 10,
        }
        load_earnings(connection, **page, now_s=NOW_S)
        load_failures(connection, **page)
        count_due_jobs(connection, now_s=NOW_S)


def pay_at_a_market(engine: Engine) -> None:
    signed = replace(SIGNED, valid_before_s=NOW_S + 300)
    with write(engine) as connection:
        payment_id = record_payment(
            connection,
            NewPayment("payment", signed, "request", "digest"),
            new_account_id="payer",
            balance_usdc=USDC_MAX,
            credits_now=False,
            open_max=32,
            now_s=NOW_S,
        ).payment_id
        look_again(connection, payment_id, now_s=NOW_S)
        settle_payment(
            connection, payment_id, tx_hash="", block_number=1, block_hash="", now_s=NOW_S
        )
        for request_id in ("first", "second"):
            claim_payment(
                connection, payment_id, request_id=request_id, now_s=NOW_S, until_s=NOW_S + 9
            )
            release_payment(connection, payment_id, request_id=request_id, now_s=NOW_S)
    with read(engine) as connection:
        load_payments(connection, [payment_id])
        load_account_payments(connection, "payer", limit=10)


def free_what_died(engine: Engine) -> None:
    """A process that has served all that is over dies with one of each kind under way."""
    sale = NewSale(
        *("last", 0, "buyer", "key", "offer", 0, SELLER, SELLER, "chat", "model", 1, 1, 0, 10)
    )
    with write(engine) as connection:
        wanted = replace(ROOT, request_id="last")
        Reserve(wanted, RULES, NOW_S, holder_id="dead")(connection)
        lease: dict[str, Any] = {"now_s": NOW_S, "lease_expires_at_s": NOW_S + 9}
        reserve_sale(connection, sale, **lease, holder_id="dead")
        claim_payment(
            connection,
            "payment",
            request_id="last",
            now_s=NOW_S,
            until_s=NOW_S + 9,
            holder_id="dead",
        )
    assert free_leases_of(engine, "dead", NOW_S) == 3


def serve_all(engine: Engine, rows: int) -> Plans:
    fill(engine, rows)
    with watched(engine) as plans:
        ask_as_a_proxy(engine)
        sell_as_a_market(engine)
        pay_at_a_market(engine)
        free_what_died(engine)
    return plans


def test_requests__among_much_that_is_over__read_no_large_table_from_end_to_end(
    engine: Engine,
) -> None:
    plans = serve_all(engine, ROWS)
    assert len(plans.by_statement) > 60
    assert "\n".join(plans.find_scans()) == ""
    # Else it would read all that the process has ever claimed.
    (freeing,) = [
        plan
        for statement, plan in plans.by_statement.items()
        if statement.startswith("UPDATE x402_payment")
        and "holder_id = " in statement.split("WHERE")[1]
    ]
    assert re.search(r"holder_id.*claimed_until_s\)? ?>", freeing), freeing


@pytest.mark.slow
def test_requests__among_a_million__read_no_large_table_from_end_to_end(engine: Engine) -> None:
    assert serve_all(engine, LARGE_ROWS).find_scans() == []


def test_plans__what_goes_past_sqlalchemy_too__are_noted(engine: Engine) -> None:
    fill(engine, 1_000)
    with watched(engine) as plans:
        with write(engine) as connection:
            Reserve(ROOT, RULES, NOW_S)(connection)
        with read(engine) as connection:
            connection.execute(text("SELECT count(*) FROM usage WHERE model = 'x'"))
    assert any(statement.startswith("INSERT INTO usage") for statement in plans.by_statement)
    assert any("FROM position" in statement for statement in plans.by_statement)
    assert ["model = 'x'" in found for found in plans.find_scans()] == [True]
