"""Payments as the ledger has them, on SQLite and PostgreSQL: once, however many ask at a time.

::

    written down: again → the same; the nonce for something else → refused; beyond the balance
    many at once → one payment, one account
    claimed: by one of many; again where its sales are void; never where one is posted
    settled by many at once → credit once; ended → taken back as far as it is not spent
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, select, update

from contracts.authorizations import Authorization
from contracts.units import USDC_MAX
from ledger.database.engine import read, write
from ledger.dead_holders import free_leases_of
from ledger.market_audit import find_market_mismatches
from ledger.payments.claims import claim_payment, record_payment, release_payment
from ledger.payments.outcomes import (
    PAYER_BURNT,
    blame_payers,
    end_payers,
    end_payment,
    load_due_payments,
    load_waiting_payments,
    mark_payments_sent,
    rest_payments,
    set_payments_aside,
    settle_payment,
)
from ledger.payments.records import (
    ClaimOutcome,
    NewPayment,
    PaymentConflict,
    PaymentRefused,
    PaymentUncovered,
)
from ledger.tables import MarketAccount, X402Payment, table_of
from serving.process.ids import new_id
from tests.support.authorizations import load, load_credit, load_credit_rows
from tests.support.ledgers import Databases

T = TypeVar("T")

NOW_S = int(time.time())
PRICE = 250_000
SIGNED = Authorization(
    "0x" + "11" * 20, "0x" + "22" * 20, PRICE, 0, NOW_S + 300, "0x" + "33" * 32, b"\x01" * 65
)
AT_ONCE = 8


@pytest.fixture
def ledger(databases: Databases) -> Engine:
    """An empty ledger."""
    return databases.open_ledger()


def put(
    engine: Engine,
    signed: Authorization = SIGNED,
    *,
    purpose: str = "request",
    digest: str = "digest",
    balance_usdc: int = USDC_MAX,
    open_max: int = 32,
) -> str:
    with write(engine) as connection:
        return record_payment(
            connection,
            NewPayment(new_id(), signed, purpose, digest),
            new_account_id=new_id(),
            balance_usdc=balance_usdc,
            credits_now=False,
            open_max=open_max,
            now_s=NOW_S,
        ).payment_id


def sign(number: int, payer: str = SIGNED.payer) -> Authorization:
    """Return another payment of a payer."""
    return replace(SIGNED, payer=payer, nonce=f"0x{number:064x}")


def test_record__payer_failed_in_a_block__is_refused_for_a_day_and_others_are_not(
    ledger: Engine,
) -> None:
    burnt = put(ledger, sign(1))
    with write(ledger) as connection:
        blame_payers(connection, [burnt], now_s=NOW_S)

    with pytest.raises(PaymentRefused):
        put(ledger, sign(2))
    assert put(ledger, sign(1)) == burnt, "what is written down is found"
    put(ledger, sign(2, payer="0x" + "44" * 20))
    with write(ledger) as connection:
        blame_payers(connection, [burnt], now_s=NOW_S - 86_400)
    put(ledger, sign(2))


def test_record__as_many_as_may_wait__the_next_is_refused_until_one_is_over(
    ledger: Engine,
) -> None:
    ids = [put(ledger, sign(number), open_max=3) for number in range(3)]
    with pytest.raises(PaymentRefused):
        put(ledger, sign(3), open_max=3)
    put(ledger, sign(3, payer="0x" + "44" * 20), open_max=3)

    with write(ledger) as connection:
        end_payment(connection, ids[0], state="expired", error="", now_s=NOW_S)
    put(ledger, sign(3), open_max=3)


def test_end_payers__one_failed_alone__all_that_is_not_on_its_way_ends(ledger: Engine) -> None:
    burnt, other, on_its_way = (put(ledger, sign(number)) for number in range(3))
    strangers = put(ledger, sign(3, payer="0x" + "44" * 20))
    with write(ledger) as connection:
        mark_payments_sent(connection, [on_its_way], intent_id="x402:1", now_s=NOW_S)
        lost = end_payers(connection, [burnt], now_s=NOW_S)

    assert lost == {burnt: 0, other: 0}
    found = {id_: load(ledger, id_) for id_ in (burnt, other, on_its_way, strangers)}
    assert [one.state for one in found.values()] == ["failed", "failed", "sent", "verified"]
    assert {found[burnt].error, found[other].error} == {PAYER_BURNT}


def test_load_due__failed_ones_fill_the_queue__others_are_loaded_beside_them(
    ledger: Engine,
) -> None:
    failed = [put(ledger, sign(number)) for number in range(3)]
    with write(ledger) as connection:
        rest_payments(connection, dict.fromkeys(failed, "no"), was_sent=False, now_s=NOW_S - 60)
    sound = put(ledger, sign(3))

    def due(**chosen: Any) -> set[str]:
        with read(ledger) as connection:
            found = load_due_payments(connection, now_s=NOW_S, limit=2, **chosen)
        return {payment.payment_id for payment in found}

    assert sound not in due()
    assert due(state="verified", has_failed=False) == {sound}
    assert due(has_failed=True) < set(failed)
    assert due(state="sent") == set()


def test_set_aside__for_its_turn__counts_as_waiting_still(ledger: Engine) -> None:
    payment_id = put(ledger)
    with write(ledger) as connection:
        set_payments_aside(connection, {payment_id: None}, rest_s=10, now_s=NOW_S)

    with read(ledger) as connection:
        assert load_due_payments(connection, now_s=NOW_S + 9, limit=1) == []
        assert load_waiting_payments(connection).since_s == {payment_id: NOW_S}


def do(engine: Engine, call: Callable[[Connection], T]) -> T:
    with write(engine) as connection:
        return call(connection)


def do_at_once(engine: Engine, call: Callable[[Connection, int], T]) -> list[T]:
    """Run a call in as many transactions at a time."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [
            pool.submit(do, engine, lambda connection, n=n: call(connection, n))
            for n in range(AT_ONCE)
        ]
        return [future.result() for future in futures]


def settle(connection: Connection, payment_id: str) -> bool:
    return settle_payment(
        connection,
        payment_id,
        tx_hash="0x" + "01" * 32,
        block_number=1,
        block_hash="0x" + "02" * 32,
        now_s=NOW_S,
    )


def claim(
    connection: Connection,
    payment_id: str,
    request_id: str,
    *,
    now_s: int = NOW_S,
    holder_id: str | None = None,
) -> ClaimOutcome:
    return claim_payment(
        connection,
        payment_id,
        request_id=request_id,
        now_s=now_s,
        until_s=now_s + 60,
        holder_id=holder_id,
    )


def assert_sound(engine: Engine) -> None:
    with read(engine) as connection:
        assert find_market_mismatches(connection) == []


def test_record__again__is_the_same_payment(ledger: Engine) -> None:
    assert put(ledger) == put(ledger)
    assert load_credit(ledger) == [0]


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "another"},
        {"purpose": "topup"},
        {"signed": replace(SIGNED, value_usdc=PRICE + 1)},
        {"signed": replace(SIGNED, payee="0x" + "44" * 20)},
        {"signed": replace(SIGNED, valid_before_s=NOW_S + 301)},
        {"signed": replace(SIGNED, signature=b"\x02" * 65)},
    ],
)
def test_record__nonce_of_something_else__is_refused(
    ledger: Engine, changes: dict[str, object]
) -> None:
    put(ledger)
    with pytest.raises(PaymentConflict):
        put(ledger, **changes)  # type: ignore[arg-type]


def test_record__beyond_the_balance__is_refused_and_leaves_nothing(ledger: Engine) -> None:
    put(ledger, balance_usdc=PRICE)
    other = replace(SIGNED, nonce="0x" + "34" * 32)
    with pytest.raises(PaymentUncovered):
        put(ledger, other, balance_usdc=2 * PRICE - 1)
    with read(ledger) as connection:
        rows = connection.execute(select(table_of(X402Payment).c.nonce)).scalars().all()
    assert list(rows) == [SIGNED.nonce]
    put(ledger, other, balance_usdc=2 * PRICE)


def test_record__many_at_once__is_one_payment_of_one_account(ledger: Engine) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ids = list(pool.map(lambda _: put(ledger), range(AT_ONCE)))

    assert len(set(ids)) == 1
    assert load_credit(ledger) == [0]


def test_claim__before_the_money__is_none(ledger: Engine) -> None:
    payment_id = put(ledger)
    assert do(ledger, lambda c: claim(c, payment_id, "r-1")) is ClaimOutcome.UNPAID


def test_claim__many_at_once__one_has_it(ledger: Engine) -> None:
    payment_id = put(ledger)
    do(ledger, lambda c: settle(c, payment_id))

    claims = do_at_once(ledger, lambda c, n: claim(c, payment_id, f"r-{n}"))

    assert sorted(claims) == [ClaimOutcome.CLAIMED] + [ClaimOutcome.IN_USE] * (AT_ONCE - 1)


def test_claim__its_process_died__may_be_claimed_again_and_no_others(ledger: Engine) -> None:
    payment_id = put(ledger)
    do(ledger, lambda c: settle(c, payment_id))
    do(ledger, lambda c: claim(c, payment_id, "r-1", holder_id="dead"))
    assert free_leases_of(ledger, "living", NOW_S) == 0
    assert do(ledger, lambda c: claim(c, payment_id, "r-2")) is ClaimOutcome.IN_USE

    assert free_leases_of(ledger, "dead", NOW_S) == 1
    assert do(ledger, lambda c: claim(c, payment_id, "r-2")) is ClaimOutcome.CLAIMED
    assert free_leases_of(ledger, "dead", NOW_S) == 0


def test_claim__released_or_run_out__may_be_claimed_again(ledger: Engine) -> None:
    payment_id = put(ledger)
    do(ledger, lambda c: settle(c, payment_id))
    do(ledger, lambda c: claim(c, payment_id, "r-1"))
    do(ledger, lambda c: release_payment(c, payment_id, request_id="r-0", now_s=NOW_S))
    assert do(ledger, lambda c: claim(c, payment_id, "r-2")) is ClaimOutcome.IN_USE, (
        "not r-0's to end"
    )

    do(ledger, lambda c: release_payment(c, payment_id, request_id="r-1", now_s=NOW_S))
    assert do(ledger, lambda c: claim(c, payment_id, "r-2")) is ClaimOutcome.CLAIMED
    # The process of the second one dies; its time runs out.
    assert (
        do(ledger, lambda c: claim(c, payment_id, "r-3", now_s=NOW_S + 59)) is ClaimOutcome.IN_USE
    )
    assert (
        do(ledger, lambda c: claim(c, payment_id, "r-3", now_s=NOW_S + 60)) is ClaimOutcome.CLAIMED
    )


def test_settle__many_at_once__is_credit_once(ledger: Engine) -> None:
    payment_id = put(ledger)
    done = do_at_once(ledger, lambda c, _: settle(c, payment_id))

    assert sorted(done) == [False] * (AT_ONCE - 1) + [True]
    assert load_credit(ledger) == load_credit_rows(ledger) == [PRICE]
    assert_sound(ledger)


def test_settle__one_account_many_payments_at_once__adds_up(ledger: Engine) -> None:
    ids = [put(ledger, replace(SIGNED, nonce=f"0x{n:064x}")) for n in range(AT_ONCE)]
    do_at_once(ledger, lambda c, n: settle(c, ids[n]))

    assert load_credit(ledger) == [AT_ONCE * PRICE]
    assert_sound(ledger)


def test_end__after_the_money__changes_nothing(ledger: Engine) -> None:
    payment_id = put(ledger)
    do(ledger, lambda c: settle(c, payment_id))

    lost = do(ledger, lambda c: end_payment(c, payment_id, state="failed", error="no", now_s=NOW_S))

    assert lost == 0
    assert load(ledger, payment_id).state == "settled"
    assert load_credit(ledger) == [PRICE]


@pytest.mark.parametrize("reserved_usdc", [0, 1, PRICE])
def test_end__credited_in_advance__is_taken_back_as_far_as_it_is_free(
    ledger: Engine, reserved_usdc: int
) -> None:
    payment_id = put(ledger)
    do(ledger, lambda c: settle(c, payment_id))
    account, payment = table_of(MarketAccount), table_of(X402Payment)
    do(ledger, lambda c: c.execute(update(account).values(reserved_usdc=reserved_usdc)))
    do(ledger, lambda c: c.execute(update(payment).values(state="sent")))

    def end(connection: Connection) -> int:
        return end_payment(connection, payment_id, state="expired", error="late", now_s=NOW_S)

    assert do(ledger, end) == reserved_usdc
    assert do(ledger, end) == 0, "again is harmless"
    assert load_credit(ledger) == [reserved_usdc]
    assert sum(load_credit_rows(ledger)) == reserved_usdc


def test_settle__account_that_cannot_hold_more__fails_and_writes_nothing(ledger: Engine) -> None:
    payment_id = put(ledger)
    account = table_of(MarketAccount)
    full_usdc = USDC_MAX - PRICE + 1
    do(ledger, lambda c: c.execute(update(account).values(credited_usdc=full_usdc)))
    with pytest.raises(ValueError, match="cannot hold"):
        do(ledger, lambda c: settle(c, payment_id))

    assert load(ledger, payment_id).state == "verified"
    assert load_credit(ledger) == [full_usdc]


def test_rests__double_and_come_after_what_waits_longer(ledger: Engine) -> None:
    bad = put(ledger)
    for failures in range(12):
        do(ledger, lambda c: rest_payments(c, {bad: "paused"}, was_sent=False, now_s=NOW_S))
        assert load(ledger, bad).failures == failures + 1
    with read(ledger) as connection:
        assert load_due_payments(connection, now_s=NOW_S + 1_023, limit=9) == []
        (due,) = load_due_payments(connection, now_s=NOW_S + 1_024, limit=9)
    assert (due.payment_id, due.error) == (bad, "paused")

    do(ledger, lambda c: mark_payments_sent(c, [bad], intent_id="x402:1", now_s=NOW_S))
    do(ledger, lambda c: rest_payments(c, {bad: "paused"}, was_sent=False, now_s=NOW_S))
    assert load(ledger, bad).state == "sent", "what is sent is not refused any more"
