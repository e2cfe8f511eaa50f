"""Withdrawals of unused credit in the ledger: what may go, and that it goes once.

::

    credit ── paid in, final, unused        → may go
           ── given by the operator         → stays
           ── in a block that may still go, or that a reorg took → stays
           ── spent or reserved             → stays
    one message twice, or several at once   → never more than there is
    audit ── finds a payout, a booking or a payee that is another
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pytest
from sqlalchemy import Engine, func, insert, select, update

from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.payments.withdrawals import (
    SignedWithdrawal,
    WithdrawalRefused,
    load_waiting_withdrawals,
    load_withdrawable,
    load_withdrawals,
    take_back_lost,
    withdraw,
)
from ledger.selling.accounts import add_credit, save_account
from ledger.selling.lost_payouts import LOST_PREFIX
from ledger.tables import Block, MarketAccount, MarketPayout, table_of
from tests.support.credit import WALLET, pay_in
from tests.support.ledgers import NOW_S, Databases

FEE_USDC: Final = 1_000
_account = table_of(MarketAccount)


@pytest.fixture
def engine(databases: Databases) -> Engine:
    """A ledger with the account ``ac`` of ``WALLET``."""
    engine = databases.open_ledger()
    with write(engine) as connection:
        save_account(connection, account_id="ac", kind="prepaid", wallet=WALLET, now_s=NOW_S)
    return engine


def take(
    engine: Engine, nonce: str, amount_usdc: int | None = None, *, minimum_usdc: int = 1
) -> str | WithdrawalRefused:
    """Withdraw, or return why not."""
    wish = SignedWithdrawal(f"wd-{nonce}", WALLET, amount_usdc, FEE_USDC, nonce)
    try:
        with write(engine) as connection:
            return withdraw(connection, wish, minimum_usdc=minimum_usdc, now_s=NOW_S)
    except WithdrawalRefused as refused:
        return refused


def available(engine: Engine) -> tuple[int, int]:
    """Return what may be withdrawn, and what is not final."""
    with read(engine) as connection:
        found = load_withdrawable(connection, "ac")
    return found.available_usdc, found.young_usdc


def violations(engine: Engine) -> list[tuple[str, str]]:
    with read(engine) as connection:
        return [(one.invariant, one.subject) for one in find_violations(connection)]


def test_withdraw__all_of_it__is_one_payout_less_the_fee(engine: Engine) -> None:
    pay_in(engine, "a", 500_000)

    assert take(engine, "n1") == "wd-n1"

    with read(engine) as connection:
        (made,) = load_withdrawals(connection, "ac", limit=10)
        payout = connection.execute(select(table_of(MarketPayout))).mappings().one()
    assert (made.amount_usdc, made.fee_usdc, made.state, made.tx_hash) == (
        500_000,
        FEE_USDC,
        "planned",
        None,
    )
    assert (payout["payout_id"], payout["payee"], payout["amount_usdc"]) == (
        "wd-n1",
        WALLET,
        499_000,
    )
    assert available(engine) == (0, 0)
    assert violations(engine) == []


def test_waiting__of_withdrawals__are_those_in_no_batch_since_the_oldest(engine: Engine) -> None:
    def look() -> tuple[int, int | None]:
        with read(engine) as connection:
            found = load_waiting_withdrawals(connection)
        return found.count, found.oldest_at_s

    pay_in(engine, "a", 500_000)
    before = look()
    take(engine, "n1", 100_000)
    take(engine, "n2", 100_000)
    both = look()
    payout = table_of(MarketPayout)
    with write(engine) as connection:
        connection.execute(update(payout).values(batch_id="b"))

    assert (before, both, look()) == ((0, None), (2, NOW_S), (0, None))


def test_withdraw__the_same_message_again__is_the_same_withdrawal(engine: Engine) -> None:
    pay_in(engine, "a", 500_000)
    take(engine, "n1", 100_000)

    assert take(engine, "n1", 100_000) == "wd-n1"
    assert available(engine) == (400_000, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"is_final": False},
        {"is_final": False, "state": "sent", "settled_block": None, "settled_block_hash": None},
        {"is_final": False, "state": "verified", "settled_block": None},
        {"settled_block_hash": "0xgone"},
    ],
    ids=["young", "taken_back", "credited_in_advance", "its_block_is_another"],
)
def test_withdraw__payment_may_still_be_taken_back__stays(
    engine: Engine, changes: dict[str, Any]
) -> None:
    with write(engine) as connection:
        connection.execute(
            insert(table_of(Block)).values(
                number=7, block_hash="0x07", parent_hash="0x06", timestamp_s=1
            )
        )
    pay_in(engine, "young", 500_000, **changes)
    pay_in(engine, "old", 200_000)
    with write(engine) as connection:
        # Whatever was spent may have been the part that goes.
        connection.execute(update(_account).values(reserved_usdc=50_000))

    assert available(engine) == (150_000, 500_000)
    refused = take(engine, "n1", 150_001)
    assert isinstance(refused, WithdrawalRefused)
    assert (refused.available_usdc, refused.young_usdc) == (150_000, 500_000)
    assert take(engine, "n2", 150_000) == "wd-n2"


def test_withdraw__credit_from_the_operator__stays(engine: Engine) -> None:
    pay_in(engine, "a", 100_000)
    with write(engine) as connection:
        add_credit(
            connection,
            credit_id="gift",
            account_id="ac",
            amount_usdc=900_000,
            source="operator",
            now_s=NOW_S,
        )

    assert available(engine) == (100_000, 0)
    take(engine, "n1")
    assert available(engine) == (0, 0)
    with read(engine) as connection:
        assert connection.execute(select(_account.c.credited_usdc)).scalar_one() == 900_000


def test_withdraw__of_a_restored_ledger__not_what_the_chain_has_paid_and_the_backup_lost(
    engine: Engine,
) -> None:
    pay_in(engine, "a", 500_000)
    lost = {"payout_id": f"{LOST_PREFIX}1", "seller": WALLET, "payee": WALLET}
    with write(engine) as connection:
        connection.execute(
            insert(table_of(MarketPayout)).values(**lost, amount_usdc=300_000, planned_at_s=NOW_S)
        )

    assert available(engine) == (200_000, 0)


@pytest.mark.parametrize(
    ("spent_usdc", "lost_usdc", "taken_usdc", "left"),
    [(0, 300_000, 300_000, 200_000), (550_000, 300_000, 50_000, 0), (0, 600_000, 500_000, 0)],
    ids=["all_of_it", "what_is_free", "what_was_paid_in"],
)
def test_take_back__of_a_restored_ledger__is_spent_and_withdrawn_no_more(
    engine: Engine, spent_usdc: int, lost_usdc: int, taken_usdc: int, left: int
) -> None:
    pay_in(engine, "a", 500_000)
    lost = {"payout_id": f"{LOST_PREFIX}1", "seller": WALLET, "payee": WALLET}
    with write(engine) as connection:
        add_credit(
            connection,
            credit_id="gift",
            account_id="ac",
            amount_usdc=100_000,
            source="operator",
            now_s=NOW_S,
        )
        connection.execute(update(_account).values(reserved_usdc=spent_usdc))
        connection.execute(
            insert(table_of(MarketPayout)).values(**lost, amount_usdc=lost_usdc, planned_at_s=NOW_S)
        )
        place: dict[str, Any] = {
            "payout_id": f"{LOST_PREFIX}1",
            "payee": WALLET,
            "amount_usdc": lost_usdc,
        }
        taken = [take_back_lost(connection, **place, now_s=NOW_S) for _ in range(2)]

    assert [one and one.amount_usdc for one in taken] == [taken_usdc, None]
    assert available(engine) == (left, 0)
    with write(engine) as connection:
        connection.execute(update(_account).values(reserved_usdc=0))
    assert violations(engine) == []


@pytest.mark.parametrize(
    ("amount_usdc", "minimum_usdc", "is_made"),
    [
        (11_000, 10_000, True),
        (10_999, 10_000, False),
        (None, 499_000, True),
        (None, 499_001, False),
    ],
)
def test_withdraw__less_than_its_gas_is_worth__is_refused(
    engine: Engine, amount_usdc: int | None, minimum_usdc: int, is_made: bool
) -> None:
    pay_in(engine, "a", 500_000)

    made = take(engine, "n1", amount_usdc, minimum_usdc=minimum_usdc)

    assert (made == "wd-n1") is is_made
    assert violations(engine) == []


def test_withdraw__wallet_without_an_account__is_refused(engine: Engine) -> None:
    with write(engine) as connection:
        connection.execute(update(_account).values(wallet="0x" + "bb" * 20))

    assert isinstance(take(engine, "n1"), WithdrawalRefused)


def test_withdraw__many_at_once__never_more_than_there_is(engine: Engine) -> None:
    pay_in(engine, "a", 500_000)
    nonces = [*("same",) * 4, *(f"n{number}" for number in range(8))]

    with ThreadPoolExecutor(12) as pool:
        made = list(pool.map(lambda nonce: take(engine, nonce, 200_000), nonces))

    ids = {one for one in made if isinstance(one, str)}
    assert len(ids) == 2
    with read(engine) as connection:
        paid = connection.execute(
            select(func.sum(table_of(MarketPayout).c.amount_usdc))
        ).scalar_one()
    assert int(paid) == 2 * (200_000 - FEE_USDC)
    assert available(engine) == (100_000, 0)
    assert violations(engine) == []


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE market_payout SET amount_usdc = amount_usdc + 1",
        "UPDATE market_payout SET payee = '0xbb'",
        "UPDATE market_credit SET amount_usdc = amount_usdc - 1 WHERE source = 'withdrawal'",
        "UPDATE market_withdrawal SET amount_usdc = amount_usdc - 1",
        "DELETE FROM market_payout",
        "UPDATE x402_payment SET is_final = false",
    ],
)
def test_audit__withdrawal_is_not_what_was_paid__is_found(engine: Engine, change: str) -> None:
    pay_in(engine, "a", 500_000)
    take(engine, "n1")
    assert violations(engine) == []

    with write(engine) as connection:
        connection.exec_driver_sql(change)

    assert "L7" in {invariant for invariant, _ in violations(engine)}
