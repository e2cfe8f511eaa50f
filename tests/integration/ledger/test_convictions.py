"""Money behind a conviction: earnings that vest, and buyers who get back the rest. Both databases.

::

    earning of grade D ── not vested       → in no payout; vested to the second → in one
                         ── its offer doubted before → in none until it is let back or convicted
    conviction ── since the last clean probe, not vested → back to its buyer, all that it cost
               ── older, vested, another offer's         → stays the seller's
               ── in flight meanwhile                    → back, once it is posted
               ── … posted between two statements        → back all the same
               ── again, of what was sold meanwhile      → back too; not once it was overturned
               ── twice, or two workers at once          → once
               ── killed (SIGKILL) at any statement      → once, to the unit
    a dispute of a sale ── filed before it vested → in no payout till two methods have looked
                    ── … and they convict → its buyer has it back, though it is old by then
                    ── … and was sold before the last clean probe → back too; answered → not
                    ── filed later, or answered by live traffic alone → no matter
overturned ── before and after the refund → the seller gets all; buyers keep what they have
    audit (L9) ── finds a refund, a credit or a hold that is another
"""

import itertools
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Engine, event, func, select, text

from ledger.audit import find_violations
from ledger.database.engine import open_engine, read, write
from ledger.market_audit import find_market_mismatches
from ledger.selling.accounts import NewKey, add_credit, save_account, save_key, save_seller
from ledger.selling.convictions import (
    Conviction,
    OpenConviction,
    convict,
    load_open_convictions,
    overturn,
    refund_held_back,
)
from ledger.selling.disputes import WAITS_MAX_S, file_dispute
from ledger.selling.earnings import plan_payouts
from ledger.selling.evidence import doubt_offer, load_tested_from, save_evidence
from ledger.selling.lost_payouts import LostPayouts, take_over_payouts
from ledger.selling.offers import (
    change_offer,
    delete_offer,
    resume_offer,
    save_offer,
    suspend_offer,
)
from ledger.selling.refund_audit import find_refund_mismatches
from ledger.selling.sale_records import NewSale, SaleFigures
from ledger.selling.sales import post_sale, reserve_sale
from ledger.selling.sealed_keys import SealedKey
from ledger.tables import MarketAccount, MarketConviction, MarketPayout, MarketSale, table_of
from market.records.earning_records import load_earning_totals, load_earnings
from tests.support.evidence import make_evidence
from tests.support.ledgers import BOTH, NOW_S, Databases, make_ledger
from tests.support.offers import SELLER, make_offer

VESTING_S: Final = 1_000
CLEAN_S: Final = NOW_S + 100
"""When the last clean probe was."""
CONVICTED_S: Final = NOW_S + 500
BUYERS: Final = ("ann", "bob")
CREDIT_USDC: Final = 10_000
_account = table_of(MarketAccount)
_conviction = table_of(MarketConviction)
_payout = table_of(MarketPayout)
_sale = table_of(MarketSale)


@pytest.fixture(params=BOTH)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with Databases(request.param, tmp_path) as databases:
        engine = databases.open_ledger()
        fill(engine)
        yield engine


def fill(engine: Engine) -> None:
    """Two buyers with credit, and a seller of two offers."""
    with write(engine) as connection:
        save_seller(connection, address=SELLER, now_s=NOW_S)
        for offer_id in ("o", "other"):
            offer = make_offer(offer_id=offer_id)
            save_offer(connection, offer, SealedKey(b"c", b"w", "kms"), now_s=NOW_S)
        for buyer in BUYERS:
            save_account(connection, account_id=buyer, kind="prepaid", wallet=None, now_s=NOW_S)
            save_key(connection, NewKey(buyer, buyer, "buyer", buyer, "", None), now_s=NOW_S)
            add_credit(
                connection,
                credit_id=f"paid in by {buyer}",
                account_id=buyer,
                amount_usdc=CREDIT_USDC,
                source="test",
                now_s=NOW_S,
            )


def reserve(engine: Engine, name: str, *, at_s: int, offer: str = "o", buyer: str = "ann") -> str:
    sale = NewSale(
        *(name, 0, buyer, buyer, offer, 0, SELLER, SELLER, "chat/completions", "m", 1, 1, 500, 900),
        vesting_s=VESTING_S,
    )
    with write(engine) as connection:
        reserve_sale(connection, sale, now_s=at_s, lease_expires_at_s=at_s + 900)
    return sale.sale_id


def post(engine: Engine, sale_id: str, cost_usdc: int, *, at_s: int) -> None:
    fee_usdc = cost_usdc // 20
    figures = SaleFigures(1, 1, cost_usdc, cost_usdc - fee_usdc - 1, fee_usdc, 1, 1, 1)
    with write(engine) as connection:
        post_sale(connection, sale_id, figures, now_s=at_s)


def sell(engine: Engine, name: str, cost_usdc: int, *, at_s: int, **terms: Any) -> None:
    post(engine, reserve(engine, name, at_s=at_s, **terms), cost_usdc, at_s=at_s)


def sell_all(engine: Engine) -> None:
    """Sell before and after the last clean probe, to two buyers, and by another offer."""
    sell(engine, "before", 400, at_s=CLEAN_S - 1)
    sell(engine, "a1", 300, at_s=CLEAN_S + 1)
    sell(engine, "a2", 41, at_s=CLEAN_S + 2)
    sell(engine, "b1", 201, at_s=CLEAN_S + 3, buyer="bob")
    sell(engine, "elsewhere", 500, at_s=CLEAN_S + 4, offer="other")


def find_guilty(engine: Engine, *, at_s: int = CONVICTED_S, conviction_id: str = "c") -> bool:
    found = Conviction(conviction_id, "o", SELLER, "m", "two methods", NOW_S, CLEAN_S)
    with write(engine) as connection:
        return convict(connection, found, now_s=at_s)


def refund_all(engine: Engine, *, at_s: int = CONVICTED_S, limit: int = 1) -> int:
    numbers, refunded = itertools.count(), 0
    while True:
        with write(engine) as connection:
            count = refund_held_back(
                connection, make_id=lambda: f"{at_s}-{next(numbers)}", now_s=at_s, limit=limit
            )
        if not count:
            return refunded
        refunded += count


def pay_out(engine: Engine, *, at_s: int) -> int:
    """Gather what is due; return the sum of all payouts so far."""
    with write(engine) as connection:
        plan_payouts(
            connection,
            policies=["at_once"],
            until_s=at_s,
            now_s=at_s,
            make_id=lambda: f"payout at {at_s}",
        )
        return int(
            connection.execute(
                select(func.coalesce(func.sum(_payout.c.amount_usdc), 0))
            ).scalar_one()
        )


def credits(engine: Engine) -> dict[str, int]:
    """Return what each buyer has been credited beside what it paid in."""
    with read(engine) as connection:
        assert find_market_mismatches(connection) == []
        assert find_refund_mismatches(connection) == []
        rows = connection.execute(select(_account.c.account_id, _account.c.credited_usdc)).all()
    return {buyer: int(usdc) - CREDIT_USDC for buyer, usdc in rows}


def state(engine: Engine) -> str:
    with read(engine) as connection:
        return str(connection.execute(select(_conviction.c.state)).scalar_one())


def test_plan_payouts__earnings_that_vest__wait_to_the_second(engine: Engine) -> None:
    sell(engine, "early", 100, at_s=NOW_S)
    sell(engine, "late", 200, at_s=NOW_S + 1)

    paid = [pay_out(engine, at_s=NOW_S + VESTING_S + after_s) for after_s in (-1, 0, 1)]

    assert paid == [0, 94, 94 + 189]
    assert credits(engine) == {"ann": 0, "bob": 0}


def test_convict__since_the_last_clean_probe__buyers_get_all_that_it_cost(engine: Engine) -> None:
    sell_all(engine)

    assert find_guilty(engine)
    with read(engine) as connection:
        is_open = load_open_convictions(connection)
    assert is_open == [OpenConviction("c", "o", SELLER, 284 + 38 + 190)]
    assert refund_all(engine) == 3
    with read(engine) as connection:
        assert load_open_convictions(connection) == []

    assert credits(engine) == {"ann": 341, "bob": 201}
    assert state(engine) == "refunded"
    # What was sold before, and by the other offer, is the seller's when it has vested.
    assert pay_out(engine, at_s=CONVICTED_S + VESTING_S) == 379 + 474


def test_convict__vested_or_paid_before__stays_the_sellers(engine: Engine) -> None:
    sell_all(engine)
    vested_s = CLEAN_S + 2 + VESTING_S
    # One second more, and nothing but bob's had been left.
    assert pay_out(engine, at_s=vested_s - 1) == 379 + 284

    assert find_guilty(engine, at_s=vested_s)
    refund_all(engine, at_s=vested_s)

    # Ann's second sale had vested and was not paid yet: it is the seller's.
    assert credits(engine) == {"ann": 0, "bob": 201}
    assert pay_out(engine, at_s=vested_s + VESTING_S) == 379 + 284 + 38 + 474


def test_convict__a_sale_in_flight__is_refunded_once_it_is_posted(engine: Engine) -> None:
    sale_id = reserve(engine, "flying", at_s=CONVICTED_S - 1)
    find_guilty(engine)

    assert refund_all(engine) == 0
    assert state(engine) == "open", "a sale is in flight"
    post(engine, sale_id, 120, at_s=CONVICTED_S + 60)
    assert refund_all(engine, at_s=CONVICTED_S + 61) == 1

    assert credits(engine) == {"ann": 120, "bob": 0}
    assert state(engine) == "refunded"


def test_convict__twice__refunds_once(engine: Engine) -> None:
    sell_all(engine)

    told = [find_guilty(engine, conviction_id=one) for one in ("c", "d")]
    refunded = [refund_all(engine, at_s=CONVICTED_S + after_s) for after_s in (0, 1)]

    assert (told, refunded) == ([True, False], [3, 0])
    assert credits(engine) == {"ann": 341, "bob": 201}


def test_refund__several_at_once__once(engine: Engine) -> None:
    sell_all(engine)
    for number in range(20):
        sell(engine, f"more{number:02}", 10 + number, at_s=CLEAN_S + 5, buyer="bob")

    def work(number: int) -> int:
        find_guilty(engine, conviction_id=f"c{number}")
        return refund_all(engine, at_s=CONVICTED_S + number)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(work, range(4))) == 23

    assert credits(engine) == {"ann": 341, "bob": 201 + sum(range(10, 30))}


@pytest.mark.parametrize("leaves", ["stays", "paused", "deleted", "suspended"])
def test_plan_payouts__doubted_offer__waits_until_the_operator_decides(
    engine: Engine, leaves: str
) -> None:
    sell_all(engine)
    doubt(engine, at_s=CLEAN_S - 1 + VESTING_S)
    leave(engine, leaves)
    long_after_s = CLEAN_S + 100 * VESTING_S

    # What had vested in that second, and what another offer sold.
    assert pay_out(engine, at_s=long_after_s) == 379 + 474
    with read(engine) as connection:
        page: dict[str, Any] = {"from_s": 0, "until_s": long_after_s, "after": "", "limit": 9}
        shown = load_earnings(connection, seller=SELLER, **page, now_s=long_after_s)
        totals = load_earning_totals(connection, seller=SELLER, now_s=long_after_s)
    states = {one["sale_id"]: one["payout_state"] for one in shown}
    assert states == {
        **dict.fromkeys(("a1.0", "a2.0", "b1.0"), "vesting"),
        **dict.fromkeys(("before.0", "elsewhere.0"), "planned"),
    }
    assert totals["unvested_usdc"] == totals["unpaid_usdc"] == 284 + 38 + 190
    credits(engine)
    with write(engine) as connection:
        assert resume_offer(connection, offer_id="o", now_s=long_after_s)
    assert pay_out(engine, at_s=long_after_s + 1) == 379 + 474 + 284 + 38 + 190


def test_convict__long_after_the_doubt__refunds_what_had_not_vested_then(engine: Engine) -> None:
    sell(engine, "older", 60, at_s=CLEAN_S - 1)
    sell_all(engine)
    doubt(engine, at_s=CLEAN_S + 2 + VESTING_S)
    long_after_s = CLEAN_S + 100 * VESTING_S
    assert pay_out(engine, at_s=long_after_s) == 56 + 379 + 284 + 38 + 474
    sell(engine, "last", 80, at_s=long_after_s)

    find_guilty(engine, at_s=long_after_s + 1)
    refund_all(engine, at_s=long_after_s + 1)

    assert credits(engine) == {"ann": 80, "bob": 201}
    assert pay_out(engine, at_s=2 * long_after_s) == 56 + 379 + 284 + 38 + 474


def test_convict__doubted_offer__older_sales_vest_by_time_again(engine: Engine) -> None:
    sell_all(engine)
    doubt(engine, at_s=CONVICTED_S)
    assert pay_out(engine, at_s=CONVICTED_S + VESTING_S) == 474
    find_guilty(engine, at_s=CONVICTED_S + VESTING_S)
    refund_all(engine, at_s=CONVICTED_S + VESTING_S)

    assert credits(engine) == {"ann": 341, "bob": 201}
    assert pay_out(engine, at_s=CONVICTED_S + VESTING_S + 1) == 474 + 379


def test_take_over_payouts__doubted_offer__was_paid_after_all_others(engine: Engine) -> None:
    sell(engine, "doubted", 100, at_s=NOW_S)
    sell(engine, "elsewhere", 100, at_s=NOW_S + 1, offer="other")
    doubt(engine, at_s=NOW_S + 2)

    lost = LostPayouts("0x" + "b" * 64, 1, "0x", {(SELLER, "paid"): 94})
    with write(engine) as connection:
        take_over_payouts(connection, lost, make_id=lambda: "before", now_s=NOW_S + 3)
        paid = connection.execute(
            select(_sale.c.sale_id).where(_sale.c.payout_id.is_not(None))
        ).scalars()
        assert list(paid) == ["elsewhere.0"]


def doubt(engine: Engine, *, at_s: int) -> None:
    with write(engine) as connection:
        assert doubt_offer(connection, offer_id="o", now_s=at_s)


def leave(engine: Engine, how: str) -> None:
    """Have a seller do what keeps probes away, or be suspended for another reason."""
    its: dict[str, Any] = {"offer_id": "o", "seller": SELLER, "now_s": CONVICTED_S}
    with write(engine) as connection:
        if how == "paused":
            change_offer(connection, **its, version=0, changes={"status": "paused"}, sealed=None)
        elif how == "deleted":
            assert delete_offer(connection, **its)
        elif how == "suspended":
            suspend_offer(connection, offer_id="o", evidence="wrong_model", now_s=CONVICTED_S)


def test_convict__again__refunds_what_was_sold_meanwhile(engine: Engine) -> None:
    sell_all(engine)
    find_guilty(engine)
    refund_all(engine)
    sell(engine, "later", 77, at_s=CONVICTED_S + 1)

    assert not find_guilty(engine, at_s=CONVICTED_S + 2, conviction_id="d")

    assert refund_all(engine, at_s=CONVICTED_S + 3) == 1
    assert credits(engine) == {"ann": 341 + 77, "bob": 201}
    assert state(engine) == "refunded"
    with write(engine) as connection:
        assert overturn(connection, "c", now_s=CONVICTED_S + 4) is not None
    find_guilty(engine, at_s=CONVICTED_S + 5)
    assert (refund_all(engine, at_s=CONVICTED_S + 6), state(engine)) == (0, "overturned")


def test_refund__a_sale_is_posted_while_it_looks__is_refunded_by_the_next(
    postgres: Databases,
) -> None:
    engine = postgres.open_ledger()
    fill(engine)
    sale_id = reserve(engine, "flying", at_s=CONVICTED_S - 1)
    find_guilty(engine)
    posted: list[str] = []

    @event.listens_for(engine, "after_cursor_execute")
    def post_meanwhile(_: object, __: object, statement: str, *___: object) -> None:
        if statement.startswith("UPDATE market_sale") and not posted:
            posted.append(sale_id)
            post(engine, sale_id, 120, at_s=CONVICTED_S)

    assert refund_all(engine) == 0
    assert (posted, state(engine)) == ([sale_id], "open")
    assert refund_all(engine, at_s=CONVICTED_S + 1) == 1
    assert credits(engine) == {"ann": 120, "bob": 0}


def test_overturn__offer_that_nothing_keeps_back__its_tests_begin_anew(engine: Engine) -> None:
    find_guilty(engine)

    with write(engine) as connection:
        overturn(connection, "c", now_s=CONVICTED_S + 1)

    with read(engine) as connection:
        assert load_tested_from(connection, offer_id="o") == CONVICTED_S + 1


@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_refund__killed_before_any_statement__once_to_the_unit(tmp_path: Path, stride: int) -> None:
    prepared = tmp_path / "prepared.sqlite3"
    first = make_ledger(prepared)
    fill(first)
    sell_all(first)
    first.dispose()
    deaths = 0
    for number in itertools.count(1, stride):
        path = tmp_path / "killed.sqlite3"
        for suffix in ("", "-wal", "-shm"):
            (tmp_path / f"killed.sqlite3{suffix}").unlink(missing_ok=True)
        path.write_bytes(prepared.read_bytes())
        if not is_killed(f"sqlite:///{path}", before_statement=number):
            break
        deaths += 1
        engine = open_engine(f"sqlite:///{path}")
        credits(engine)  # what is there adds up as it is
        find_guilty(engine, conviction_id="again")
        refund_all(engine, at_s=CONVICTED_S + 1)
        assert credits(engine) == {"ann": 341, "bob": 201}, f"killed before statement {number}"
        assert state(engine) == "refunded"
        assert pay_out(engine, at_s=CONVICTED_S + VESTING_S) == 379 + 474
        credits(engine)
        engine.dispose()
    assert deaths * stride > 30, "it died too seldom to show anything"


def is_killed(url: str, *, before_statement: int) -> bool:
    """Convict and refund in a process of its own that dies by SIGKILL; tell whether it did."""
    child = os.fork()
    if child == 0:
        engine, left = open_engine(url), itertools.count(before_statement - 1, -1)

        @event.listens_for(engine, "before_cursor_execute")
        def die(*_: object) -> None:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        find_guilty(engine)
        refund_all(engine)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("refunded", [0, 2, 3])
def test_overturn__after_some_refunds__the_seller_gets_all_and_buyers_keep_theirs(
    engine: Engine, refunded: int
) -> None:
    sell_all(engine)
    find_guilty(engine)
    if refunded:
        with write(engine) as connection:
            refund_held_back(connection, make_id=lambda: "r", now_s=CONVICTED_S, limit=2)
    if refunded == 3:
        refund_all(engine)

    with write(engine) as connection:
        done = overturn(connection, "c", now_s=CONVICTED_S)
        again = overturn(connection, "c", now_s=CONVICTED_S)

    assert again is None and done is not None
    assert refund_all(engine) == 0
    kept = credits(engine)
    assert sum(kept.values()) == {0: 0, 2: 341, 3: 542}[refunded]
    assert (done.borne_usdc, done.released_usdc) == {
        0: (0, 284 + 38 + 190),
        2: (284 + 38, 190),
        3: (284 + 38 + 190, 0),
    }[refunded]
    assert pay_out(engine, at_s=CONVICTED_S + VESTING_S) == 379 + 474 + 284 + 38 + 190
    credits(engine)


@pytest.mark.parametrize(
    ("wrong", "subject"),
    [
        ("UPDATE market_refund SET amount_usdc = amount_usdc + 1 WHERE sale_id = 'a1.0'", "a1.0"),
        ("UPDATE market_refund SET earning_usdc = 0 WHERE sale_id = 'a1.0'", SELLER),
        ("UPDATE market_sale SET payout_id = NULL WHERE sale_id = 'a1.0'", "a1.0"),
        ("UPDATE market_sale SET payout_id = 'refund-c' WHERE sale_id = 'before.0'", "before.0"),
        ("UPDATE market_sale SET payout_id = 'refund-x' WHERE sale_id = 'before.0'", "before.0"),
        ("UPDATE market_credit SET source = 'refund' WHERE account_id = 'bob'", "paid in by bob"),
        ("UPDATE market_refund SET account_id = 'bob'", "a1.0"),
    ],
)
def test_audit__something_is_another__says_what(engine: Engine, wrong: str, subject: str) -> None:
    sell_all(engine)
    find_guilty(engine)
    refund_all(engine, limit=9)
    with write(engine) as connection:
        assert find_violations(connection) == []
        connection.execute(text(wrong))

    with read(engine) as connection:
        found = [one for one in find_violations(connection) if one.invariant == "L9"]

    assert any(subject in one.subject for one in found), found


def dispute(engine: Engine, name: str, *, at_s: int) -> None:
    with write(engine) as connection:
        file_dispute(
            connection,
            dispute_id=f"d {name}",
            account_id="ann",
            request_id=name,
            reason="odd",
            now_s=at_s,
        )


def find(engine: Engine, *methods: str, at_s: int) -> None:
    """Let the lab look at the offer and find nothing."""
    with write(engine) as connection:
        for method in methods:
            row = make_evidence(f"{method} {at_s}", offer_id="o", day=0)
            save_evidence(connection, replace(row, method=method, made_at_s=at_s))


def test_plan_payouts__a_disputed_sale__waits_till_two_methods_have_looked(engine: Engine) -> None:
    sell(engine, "doubted", 100, at_s=NOW_S)
    sell(engine, "beside", 200, at_s=NOW_S)
    dispute(engine, "doubted", at_s=NOW_S + VESTING_S - 1)
    vested_s = NOW_S + VESTING_S
    assert pay_out(engine, at_s=vested_s) == 189
    find(engine, "border", "prompt_tokens", "logprobs", at_s=vested_s)
    assert pay_out(engine, at_s=vested_s + 1) == 189, "one method alone is no answer"
    with read(engine) as connection:
        totals = load_earning_totals(connection, seller=SELLER, now_s=vested_s + 1)
    assert totals["unvested_usdc"] == 94

    find(engine, "first_token", at_s=vested_s + 2)

    assert pay_out(engine, at_s=vested_s + 3) == 189 + 94
    assert credits(engine) == {"ann": 0, "bob": 0}


def test_plan_payouts__a_dispute_that_nothing_answers__holds_for_thirty_days(
    engine: Engine,
) -> None:
    sell(engine, "doubted", 100, at_s=NOW_S)
    dispute(engine, "doubted", at_s=NOW_S)

    assert pay_out(engine, at_s=NOW_S + WAITS_MAX_S - 1) == 0
    assert pay_out(engine, at_s=NOW_S + WAITS_MAX_S) == 94


def test_plan_payouts__disputed_once_it_had_vested__is_paid(engine: Engine) -> None:
    sell(engine, "late", 100, at_s=NOW_S)
    dispute(engine, "late", at_s=NOW_S + VESTING_S)

    assert pay_out(engine, at_s=NOW_S + VESTING_S) == 94


def test_convict__a_disputed_sale_that_is_old_by_then__its_buyer_has_it_back(
    engine: Engine,
) -> None:
    sell(engine, "doubted", 100, at_s=CLEAN_S + 1)
    sell(engine, "beside", 200, at_s=CLEAN_S + 1)
    dispute(engine, "doubted", at_s=CLEAN_S + 2)
    found_s = CLEAN_S + VESTING_S + 100
    assert pay_out(engine, at_s=found_s) == 189
    find(engine, "border", at_s=found_s)
    find(engine, "first_token", at_s=found_s + 1)

    assert find_guilty(engine, at_s=found_s + 1)
    assert refund_all(engine, at_s=found_s + 1) == 1

    assert credits(engine) == {"ann": 100, "bob": 0}
    assert pay_out(engine, at_s=found_s + 2) == 189


def test_convict__disputed_sales_from_before_the_last_clean_probe__go_back_if_they_still_wait(
    engine: Engine,
) -> None:
    sell(engine, "answered", 400, at_s=NOW_S)
    dispute(engine, "answered", at_s=NOW_S + 1)
    find(engine, "border", "first_token", at_s=NOW_S + 2)
    sell(engine, "waits", 101, at_s=NOW_S + 3)
    sell(engine, "beside", 200, at_s=NOW_S + 3)
    sell(engine, "late", 80, at_s=NOW_S + 3)
    dispute(engine, "waits", at_s=NOW_S + 4)
    find(engine, "border", at_s=CLEAN_S)
    find(engine, "border", at_s=CONVICTED_S - 1)
    find(engine, "first_token", at_s=CONVICTED_S)

    assert find_guilty(engine)
    dispute(engine, "late", at_s=CONVICTED_S + 1)
    assert refund_all(engine, at_s=CONVICTED_S + 2) == 1

    assert credits(engine) == {"ann": 101, "bob": 0}
    find(engine, "border", "first_token", at_s=CONVICTED_S + 3)
    assert pay_out(engine, at_s=NOW_S + 3 + VESTING_S) == 379 + 189 + 75
    with read(engine) as connection:
        assert find_violations(connection) == []
