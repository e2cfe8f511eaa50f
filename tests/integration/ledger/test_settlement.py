"""Suppliers' days are settled once each: killed, run twice, run late, run by two. On both.

::

    sales ──► sums of the day ──► one payout a supplier and day ──► the keeper, for the rail chain
    posted after its day was settled: counts for the next
    below the minimum, no address, suspended: carried over, and paid with a later day
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, select, update

from contracts.units import SECONDS_PER_DAY
from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.suppliers.accounts import set_kyb_status
from ledger.suppliers.chain_payouts import follow_on_chain, submit_on_chain
from ledger.suppliers.settlement import find_oldest_open_day, settle_chunk
from ledger.suppliers.supplier_payouts import move_payout, retry_failed
from ledger.suppliers.supply_offers import delete_supply_offer
from ledger.tables import (
    MarketOfferKey,
    MarketPayout,
    OutboxMail,
    PayoutBatch,
    PayoutItem,
    SupplierPayout,
    SupplyDay,
    SupplyOffer,
    table_of,
)
from tests.support.ledgers import BOTH, NOW_S, SQLITE, Databases
from tests.support.supply import (
    ADDRESS,
    TERMS,
    TODAY,
    list_payouts,
    make_sale,
    post,
    put_address,
    put_buyer,
    put_supplier,
    put_supply_offer,
    reserve,
    sell,
)

TOMORROW_S = NOW_S + SECONDS_PER_DAY
_batch, _item = table_of(PayoutBatch), table_of(PayoutItem)


@pytest.fixture(params=[SQLITE])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with Databases(request.param, tmp_path) as databases:
        engine = databases.open_ledger()
        with write(engine) as connection:
            put_supplier(connection)
            put_buyer(connection)
            put_supply_offer(connection)
        yield engine


def settle_days(
    engine: Engine, *, through_day: int = TODAY, now_s: int = TOMORROW_S, limit: int = 500
) -> int:
    """Settle all days through one as the worker does; return how many payouts were made."""
    with read(engine) as connection:
        oldest = find_oldest_open_day(connection, through_day=through_day)
    made = 0
    for day in range(through_day if oldest is None else oldest, through_day + 1):
        while True:
            with write(engine) as connection:
                chunk = settle_chunk(connection, day=day, terms=TERMS, now_s=now_s, limit=limit)
            made += chunk.payouts
            if chunk.suppliers == 0:
                break
    return made


def show(engine: Engine, *names: str) -> list[tuple[Any, ...]]:
    with read(engine) as connection:
        assert find_violations(connection) == []
        return [tuple(row[name] for name in names) for row in list_payouts(connection)]


@pytest.mark.parametrize("engine", BOTH, indirect=True)
def test_settle__a_day__is_paid_less_the_fee_and_once(engine: Engine) -> None:
    with write(engine) as connection:
        put_address(connection)
        sell(connection, 1_000_000)
        sell(connection, 7)

    assert [settle_days(engine), settle_days(engine)] == [1, 0]
    assert show(engine, "status", "gross_usdc", "fee_usdc", "net_usdc", "requests") == [
        ("pending", 150_001, 22_501, 127_500, 2)
    ]
    assert show(engine, "payout_id", "address", "rail", "input_tokens", "output_tokens") == [
        ("2027-01-15-s", ADDRESS, "chain", 800_006, 200_001)
    ]


def test_settle__of_paused_and_deleted_offers__is_done_too(engine: Engine) -> None:
    with write(engine) as connection:
        put_address(connection)
        sell(connection, 1_000_000)
        delete_supply_offer(connection, supplier_id="s", supply_offer_id="so", now_s=NOW_S)

    settle_days(engine)

    assert show(engine, "net_usdc") == [(127_500,)]


@pytest.mark.parametrize("engine", BOTH, indirect=True)
def test_settle__posted_after_its_day_was_settled__counts_for_the_next(engine: Engine) -> None:
    with write(engine) as connection:
        put_address(connection)
        sell(connection, 1_000_000)
        late, new_offer = make_sale(connection), "so2"
        reserve(connection, late)
        put_supply_offer(connection, new_offer, bid_usdc_per_mtok=150_001)
        later = make_sale(connection, supply_offer_id=new_offer, bid=150_001)
        reserve(connection, later)
    settle_days(engine)
    with write(engine) as connection:
        # Its clock stands still: yesterday's sums are closed, or were never opened.
        post(connection, late, 1_000_000)
        post(connection, later, 1_000_000)

    assert settle_days(engine) == 0
    assert settle_days(engine, through_day=TODAY + 1, now_s=TOMORROW_S + SECONDS_PER_DAY) == 1
    assert show(engine, "day", "first_day", "gross_usdc") == [
        (TODAY, TODAY, 150_000),
        (TODAY + 1, TODAY, 300_001),
    ]


def test_settle__a_week_late__makes_a_payout_for_each_day(engine: Engine) -> None:
    with write(engine) as connection:
        put_address(connection)
        for day in (0, 1, 4):
            sell(connection, 1_000_000, now_s=NOW_S + day * SECONDS_PER_DAY)

    settle_days(engine, through_day=TODAY + 7, now_s=NOW_S + 8 * SECONDS_PER_DAY)

    assert show(engine, "day", "net_usdc") == [
        (TODAY, 127_500),
        (TODAY + 1, 127_500),
        (TODAY + 4, 127_500),
    ]


def test_settle__clock_set_back__does_nothing(engine: Engine) -> None:
    with write(engine) as connection:
        put_address(connection)
        sell(connection, 1_000_000)
    settle_days(engine)

    assert settle_days(engine, through_day=TODAY - 3) == 0
    assert show(engine, "day") == [(TODAY,)]


def test_settle__below_the_minimum_for_a_month__is_carried_until_it_is_enough(
    engine: Engine,
) -> None:
    with write(engine) as connection:
        put_address(connection)
        for day in range(30):
            sell(connection, 3_000, now_s=NOW_S + day * SECONDS_PER_DAY)

    settle_days(engine, through_day=TODAY + 29, now_s=NOW_S + 30 * SECONDS_PER_DAY)

    rows = show(engine, "status", "reason", "net_usdc", "carried_out_usdc")
    # 450 a day less 68: 382; 27 of them make 10,314, of the 10,000 that are needed.
    assert rows[25] == ("carried", "below_minimum", 0, 9_932)
    assert rows[26] == ("pending", None, 10_314, 0)
    assert rows[29] == ("carried", "below_minimum", 0, 1_146)
    assert len(rows) == 30


def test_settle__nothing_sold_or_nothing_earned__pays_nothing_and_is_settled(
    engine: Engine,
) -> None:
    with write(engine) as connection:
        put_address(connection)
    assert settle_days(engine) == 0
    with write(engine) as connection:
        sell(connection, 1, now_s=NOW_S + SECONDS_PER_DAY)

    assert settle_days(engine, through_day=TODAY + 1, now_s=NOW_S + 2 * SECONDS_PER_DAY) == 1
    assert settle_days(engine, through_day=TODAY + 1, now_s=NOW_S + 2 * SECONDS_PER_DAY) == 0

    assert show(engine, "day", "status", "reason", "requests", "gross_usdc", "net_usdc") == [
        (TODAY + 1, "carried", "nothing_owed", 1, 0, 0)
    ]


def test_settle__carried_and_nothing_sold_since__is_paid_once_it_can_be(engine: Engine) -> None:
    with write(engine) as connection:
        sell(connection, 1_000_000)
    settle_days(engine)
    settle_days(engine, through_day=TODAY + 1, now_s=TOMORROW_S + SECONDS_PER_DAY)
    with write(engine) as connection:
        put_address(connection)

    settle_days(engine, through_day=TODAY + 2, now_s=TOMORROW_S + 2 * SECONDS_PER_DAY)

    assert show(engine, "day", "status", "reason", "gross_usdc", "net_usdc") == [
        (TODAY, "carried", "no_address", 150_000, 0),
        (TODAY + 2, "pending", None, 0, 127_500),
    ]


def test_settle__address_changed_on_the_day__goes_to_the_one_that_counts(engine: Engine) -> None:
    new = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"
    with write(engine) as connection:
        put_address(connection)
        sell(connection, 1_000_000)
        put_address(connection, address=new, counts_from_s=TOMORROW_S + 1, now_s=NOW_S)
        sell(connection, 1_000_000, now_s=TOMORROW_S)

    settle_days(engine)
    settle_days(engine, through_day=TODAY + 1, now_s=TOMORROW_S + SECONDS_PER_DAY)

    assert show(engine, "address") == [(ADDRESS,), (new,)]


def test_settle__first_address_still_cooling__is_carried_and_says_so(engine: Engine) -> None:
    with write(engine) as connection:
        put_address(connection, counts_from_s=TOMORROW_S + 1)
        sell(connection, 1_000_000)

    settle_days(engine)

    assert show(engine, "status", "reason", "address") == [("carried", "address_cooling", None)]


def test_settle__repriced_within_the_day__pays_each_sale_its_own_bid(engine: Engine) -> None:
    with write(engine) as connection:
        put_address(connection)
        before = make_sale(connection)
        reserve(connection, before)
        sell(connection, 1_000_000, bid=200_000)
        post(connection, before, 1_000_000)

    settle_days(engine)

    assert show(engine, "gross_usdc") == [(350_000,)]


def test_settle__suspended_with_money_owed__is_kept_and_paid_after_reinstatement(
    engine: Engine,
) -> None:
    with write(engine) as connection:
        put_address(connection)
        sell(connection, 1_000_000)
        set_kyb_status(connection, "s", "suspended", change_id="x", now_s=NOW_S + 10)
    settle_days(engine)
    with write(engine) as connection:
        set_kyb_status(connection, "s", "approved", change_id="y", now_s=TOMORROW_S)

    settle_days(engine, through_day=TODAY + 1, now_s=TOMORROW_S + SECONDS_PER_DAY)

    assert show(engine, "status", "reason", "net_usdc") == [
        ("carried", "supplier_not_approved", 0),
        ("pending", None, 127_500),
    ]


def test_submit__suspended_after_settlement__is_held(engine: Engine) -> None:
    with write(engine) as connection:
        put_address(connection)
        sell(connection, 1_000_000)
    settle_days(engine)
    with write(engine) as connection:
        set_kyb_status(connection, "s", "suspended", change_id="x", now_s=TOMORROW_S)
        assert submit_on_chain(connection, now_s=TOMORROW_S, limit=10) == 0
        set_kyb_status(connection, "s", "approved", change_id="y", now_s=TOMORROW_S)
        assert submit_on_chain(connection, now_s=TOMORROW_S, limit=10) == 1

    assert show(engine, "status") == [("submitted",)]


@pytest.mark.parametrize("engine", BOTH, indirect=True)
def test_settle__killed_at_every_statement__pays_once(engine: Engine) -> None:
    class Killed(Exception):
        pass

    with write(engine) as connection:
        put_address(connection)
        for supplier_id in ("t", "u"):
            put_supplier(connection, supplier_id)
            put_supply_offer(connection, f"so-{supplier_id}", supplier_id=supplier_id)
            put_address(connection, supplier_id)
            sell(
                connection,
                1_000_000,
                supplier_id=supplier_id,
                supply_offer_id=f"so-{supplier_id}",
            )
        sell(connection, 1_000_000)
    left = 0

    def kill(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Killed

    event.listen(engine, "before_cursor_execute", kill)
    deaths = 0
    try:
        for count in range(1, 200):
            left = count
            try:
                settle_days(engine, limit=1)
            except Killed:
                deaths += 1
                continue
            break
    finally:
        event.remove(engine, "before_cursor_execute", kill)

    assert deaths > 5
    assert show(engine, "supplier_id", "net_usdc") == [
        ("s", 127_500),
        ("t", 127_500),
        ("u", 127_500),
    ]


@pytest.mark.parametrize("engine", BOTH, indirect=True)
def test_settle__by_two_while_sales_are_posted__loses_and_doubles_nothing(engine: Engine) -> None:
    with write(engine) as connection:
        put_address(connection)
    failures: list[BaseException] = []

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    def trade() -> None:
        for _ in range(15):
            with write(engine) as connection:
                sell(connection, 1_000_000)

    def close() -> None:
        for _ in range(5):
            settle_days(engine)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (trade, close, close)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    settle_days(engine, through_day=TODAY + 20, now_s=NOW_S + 21 * SECONDS_PER_DAY)

    assert sum(row[0] for row in show(engine, "net_usdc")) == 15 * 127_500


# ------------------------------------------------------------------------------------- on the chain


def put_batch(connection: Connection, payout_id: str, *, batch_id: str = "0x01") -> None:
    row = (
        connection.execute(
            select(table_of(MarketPayout)).where(table_of(MarketPayout).c.payout_id == payout_id)
        )
        .mappings()
        .one()
    )
    connection.execute(
        insert(_batch).values(
            batch_id=batch_id, state="planned", total_usdc=row["amount_usdc"], planned_at_s=NOW_S
        )
    )
    connection.execute(
        insert(_item).values(
            batch_id=batch_id,
            payout_id=payout_id,
            payee=row["payee"],
            amount_usdc=row["amount_usdc"],
            state="planned",
        )
    )
    connection.execute(
        update(table_of(MarketPayout))
        .where(table_of(MarketPayout).c.payout_id == payout_id)
        .values(batch_id=batch_id)
    )


def bring(engine: Engine, state: str, *, tx_hash: str | None = None) -> str:
    """Bring the batch and its item to a state; return the payout's status then."""
    with write(engine) as connection:
        batch_state = "paid" if state in ("paid", "credited") else state
        connection.execute(update(_batch).values(state=batch_state, paid_tx_hash=tx_hash))
        connection.execute(update(_item).values(state=state))
        follow_on_chain(connection, make_id=lambda: f"mail-{state}", now_s=TOMORROW_S)
    with read(engine) as connection:
        return str(list_payouts(connection)[0]["status"])


def test_chain__from_pending_to_sent__with_one_mail_also_after_a_reorg(engine: Engine) -> None:
    with write(engine) as connection:
        put_address(connection)
        sell(connection, 1_000_000)
    settle_days(engine)
    with write(engine) as connection:
        assert submit_on_chain(connection, now_s=TOMORROW_S, limit=10) == 1
        assert submit_on_chain(connection, now_s=TOMORROW_S, limit=10) == 0
        put_batch(connection, "2027-01-15-s")

    told = [bring(engine, "planned"), bring(engine, "sent")]
    told += [bring(engine, "paid", tx_hash="0xaa"), bring(engine, "sent")]
    told += [bring(engine, "paid", tx_hash="0xbb")]

    assert told == ["submitted", "sending", "sent", "sending", "sent"]
    with read(engine) as connection:
        assert list_payouts(connection)[0]["tx_hash"] == "0xbb"
        mails = connection.execute(select(table_of(OutboxMail))).mappings().all()
    assert [(mail["template"], mail["to_address"]) for mail in mails] == [
        ("first_payout", "s@company.example")
    ]


def test_chain__credited__needs_the_operator_and_is_not_paid_again(engine: Engine) -> None:
    with write(engine) as connection:
        put_address(connection)
        sell(connection, 1_000_000)
    settle_days(engine)
    with write(engine) as connection:
        submit_on_chain(connection, now_s=TOMORROW_S, limit=10)
        put_batch(connection, "2027-01-15-s")

    assert bring(engine, "credited", tx_hash="0xaa") == "needs_operator"
    with write(engine) as connection:
        assert submit_on_chain(connection, now_s=TOMORROW_S, limit=10) == 0
        assert not retry_failed(connection, "2027-01-15-s", now_s=TOMORROW_S)


def test_retry__only_of_what_certainly_failed(engine: Engine) -> None:
    with write(engine) as connection:
        put_address(connection, network="trc20", address="TJRabPrwbZy45sbavfcjinPJC18kjpRTv8")
        sell(connection, 10_000_000)
    settle_days(engine)

    told = []
    with write(engine) as connection:
        for status in ("submitted", "sending", "needs_operator", "sent", "failed"):
            connection.execute(update(table_of(SupplierPayout)).values(status=status))
            told.append(retry_failed(connection, "2027-01-15-s", now_s=TOMORROW_S))
        assert not move_payout(
            connection, "2027-01-15-s", before=("sent",), now_s=NOW_S, status="failed"
        )

    assert told == [False, False, False, False, True]


# ------------------------------------------------------------------------------------------- audit


@pytest.mark.parametrize(
    ("change", "invariant"),
    [
        (update(table_of(SupplyDay)).values(paid_tokens=999_999), "S1"),
        (update(table_of(SupplyDay)).values(payout_id=None), "S1"),
        (update(table_of(SupplierPayout)).values(status="submitted"), "S2"),
        (
            insert(table_of(MarketPayout)).values(
                payout_id="2027-01-15-s",
                seller="s",
                payee="0x1",
                amount_usdc=127_500,
                planned_at_s=1,
            ),
            "S2",
        ),
    ],
)
def test_audit__books_that_were_changed__are_found(
    engine: Engine, change: Any, invariant: str
) -> None:
    with write(engine) as connection:
        put_address(connection)
        sell(connection, 1_000_000)
    settle_days(engine)
    show(engine)
    with write(engine) as connection:
        connection.execute(change)

    with read(engine) as connection:
        assert invariant in {one.invariant for one in find_violations(connection)}


@pytest.mark.parametrize(
    "change",
    [
        update(table_of(SupplierPayout)).values(reason="refused for Bearer eyJhbGciOi-JIUzI1Ni"),
        update(table_of(SupplierPayout)).values(external_state="si_supply_" + "A" * 43),
        update(table_of(SupplierPayout)).values(tx_hash="sk-abcdefghijklmnop"),
        update(table_of(SupplyOffer)).values(legal_basis='{"id_number": "C01X00T47"}'),
        update(table_of(SupplyOffer)).values(probe_report="Incorrect key sk-proj-0123456789abcdef"),
        update(table_of(MarketOfferKey)).values(ciphertext=b"sk-0123456789abcdef"),
        update(table_of(MarketOfferKey)).values(wrapped_key=b"%PDF-1.7"),
    ],
)
def test_audit__a_raw_key_number_or_document__is_found_and_not_repeated(
    engine: Engine, change: Any
) -> None:
    with write(engine) as connection:
        put_address(connection)
        sell(connection, 1_000_000)
    settle_days(engine)
    show(engine)
    with write(engine) as connection:
        connection.execute(change)

    with read(engine) as connection:
        (found,) = find_violations(connection)
    assert found.invariant == "S5"
    for said in ("sk-", "si_supply_", "eyJ", "C01X"):
        assert said not in f"{found.subject} {found.detail}"
