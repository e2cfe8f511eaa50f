"""What an operator does about suppliers' pay at the command line.

::

    settle            yesterday and what is open before it; a day that is not over is refused
    payouts-by-hand   all that waits, to the addresses that count now; none of a suspended supplier
    payout-sent       by hand, with its hash; also one that failed or needed somebody
    payout-failed     never what the keeper has
"""

import csv
import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select

from contracts.units import SECONDS_PER_DAY, utc_day
from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.selling.lost_payouts import LOST_PREFIX
from ledger.suppliers.accounts import set_kyb_status
from ledger.suppliers.chain_payouts import submit_on_chain
from ledger.suppliers.supplier_payouts import move_payout
from ledger.tables import MarketPayout, OutboxMail, SupplierPayout, table_of
from market.operator import ArgumentInvalid
from market.suppliers.payout_desk import (
    agree_fee,
    export_manual,
    mark_failed,
    mark_sent,
    send_again,
    settle_date,
)
from market.suppliers.settling_days import show_day
from tests.support.ledgers import make_ledger
from tests.support.supply import (
    ADDRESS,
    TERMS,
    list_payouts,
    put_address,
    put_buyer,
    put_supplier,
    put_supply_offer,
    sell,
)

HASH = "0x" + "ab" * 32
OTHER = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"
NOW_S = int(time.time())
YESTERDAY = utc_day(NOW_S) - 1


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> None:
    """The day may have turned since the tests were collected."""
    at_s = int(time.time())
    monkeypatch.setitem(globals(), "NOW_S", at_s)
    monkeypatch.setitem(globals(), "YESTERDAY", utc_day(at_s) - 1)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A supplier who sold 0.15 USD yesterday and the day before, to be paid by hand."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        put_buyer(connection)
        put_supplier(connection)
        put_supply_offer(connection)
        put_address(connection, network="bep20")
        for days in (2, 1):
            sell(connection, 1_000_000, now_s=NOW_S - days * SECONDS_PER_DAY)
    yield engine
    engine.dispose()


def show(engine: Engine, name: str = "status") -> list[object]:
    with read(engine) as connection:
        assert find_violations(connection) == []
        return [row[name] for row in list_payouts(connection)]


def list_by_hand(engine: Engine) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(export_manual(engine).decode())))


def test_settle__yesterday__settles_what_is_open_before_it_once(engine: Engine) -> None:
    told = [settle_date(engine, TERMS, YESTERDAY) for _ in range(2)]

    assert told == [
        f"settled through {show_day(YESTERDAY)}: 2 suppliers' days, 0 of them carried over,"
        " 0.255000 USDC or USDT to be paid",
        f"settled through {show_day(YESTERDAY)}: 0 suppliers' days, 0 of them carried over,"
        " 0.000000 USDC or USDT to be paid",
    ]
    assert show(engine, "net_usdc") == [127_500, 127_500]


def test_fee__agreed_with_a_supplier__is_that_of_days_that_are_not_settled(
    engine: Engine,
) -> None:
    settle_date(engine, TERMS, YESTERDAY - 1)
    assert "500 bps" in agree_fee(engine, "s", 500)
    with pytest.raises(ArgumentInvalid, match="no account 'x'"):
        agree_fee(engine, "x", 500)
    settle_date(engine, TERMS, YESTERDAY)

    assert show(engine, "fee_bps") == [1_500, 500]
    assert show(engine, "fee_usdc") == [22_500, 7_500]


def test_settle__a_day_that_is_not_over__is_refused(engine: Engine) -> None:
    with pytest.raises(ArgumentInvalid, match="is not over yet"):
        settle_date(engine, TERMS, YESTERDAY + 1)

    assert show(engine) == []


def test_by_hand__listed_and_marked__is_sent_once(engine: Engine) -> None:
    settle_date(engine, TERMS, YESTERDAY)
    lines = list_by_hand(engine)
    assert [(line["net"], line["address"]) for line in lines] == [("0.127500", ADDRESS)] * 2
    first = lines[0]["payout_id"]

    mark_sent(engine, first, HASH)
    with pytest.raises(ArgumentInvalid, match=r"is sent, by manual: it cannot be marked"):
        mark_sent(engine, first, HASH)

    assert show(engine) == ["sent", "pending"]
    assert show(engine, "tx_hash") == [HASH, None]
    assert [line["payout_id"] for line in list_by_hand(engine)] == [lines[1]["payout_id"]]


@pytest.mark.parametrize(
    ("payout_id", "tx_hash", "refusal"),
    [
        ("none", HASH, "no payout 'none'"),
        (f"{show_day(YESTERDAY)}-s", "paid", "not a transaction's hash"),
        (f"{show_day(YESTERDAY)}-s", "0x" + "ab" * 31, "not a transaction's hash"),
    ],
)
def test_mark_sent__what_is_no_hash_or_unknown__changes_nothing(
    engine: Engine, payout_id: str, tx_hash: str, refusal: str
) -> None:
    settle_date(engine, TERMS, YESTERDAY)

    with pytest.raises(ArgumentInvalid, match=refusal):
        mark_sent(engine, payout_id, tx_hash)

    assert show(engine) == ["pending", "pending"]


def test_by_hand__address_replaced_since_settlement__goes_to_the_one_that_counts(
    engine: Engine,
) -> None:
    settle_date(engine, TERMS, YESTERDAY)
    with write(engine) as connection:
        put_address(connection, network="bep20", address=OTHER, now_s=NOW_S)

    assert {line["address"] for line in list_by_hand(engine)} == {OTHER}
    assert show(engine, "address") == [OTHER, OTHER]


def test_by_hand__of_a_suspended_supplier__waits_for_its_reinstatement(engine: Engine) -> None:
    settle_date(engine, TERMS, YESTERDAY)
    with write(engine) as connection:
        set_kyb_status(connection, "s", "suspended", change_id="x", now_s=NOW_S)
    held = list_by_hand(engine)
    with write(engine) as connection:
        set_kyb_status(connection, "s", "approved", change_id="y", now_s=NOW_S)

    assert (held, len(list_by_hand(engine))) == ([], 2)


def test_failed__by_hand__is_told_sent_again_and_marked(engine: Engine) -> None:
    settle_date(engine, TERMS, YESTERDAY)
    _, payout_id = (line["payout_id"] for line in list_by_hand(engine))

    mark_failed(engine, payout_id, "the exchange returned it")
    assert show(engine) == ["pending", "failed"]
    assert len(list_by_hand(engine)) == 1
    assert send_again(engine, payout_id).endswith(f"to {ADDRESS} as before")
    mark_failed(engine, payout_id, "again")
    mark_sent(engine, payout_id, HASH)

    assert show(engine) == ["pending", "sent"]
    table = table_of(OutboxMail)
    with read(engine) as connection:
        mails = connection.execute(select(table.c.template).order_by(table.c.mail_id)).scalars()
        assert list(mails) == ["payout_failed", "payout_failed", "first_payout"]


def test_failed__what_the_keeper_has__is_never_marked_so(engine: Engine) -> None:
    with write(engine) as connection:
        put_address(connection)
    settle_date(engine, TERMS, YESTERDAY)
    with write(engine) as connection:
        assert submit_on_chain(connection, now_s=NOW_S + SECONDS_PER_DAY, limit=1) == 1
        move_payout(
            connection,
            f"{show_day(YESTERDAY - 1)}-s",
            before=("submitted",),
            now_s=NOW_S,
            status="needs_operator",
        )

    with pytest.raises(ArgumentInvalid, match="can claim it from the payouts contract"):
        mark_failed(engine, f"{show_day(YESTERDAY - 1)}-s", "credited")

    assert show(engine) == ["needs_operator", "pending"]


@pytest.mark.parametrize(("restored_days_ago", "submitted"), [(0, 0), (1, 1), (2, 2)])
def test_restored__days_that_may_have_been_paid__wait_for_the_operator_once(
    engine: Engine, restored_days_ago: int, submitted: int
) -> None:
    restored_at_s = NOW_S - (1 + restored_days_ago) * SECONDS_PER_DAY
    later_s = NOW_S + SECONDS_PER_DAY
    with write(engine) as connection:
        put_address(connection)
        connection.execute(
            insert(table_of(MarketPayout)).values(
                payout_id=f"{LOST_PREFIX}1",
                seller=ADDRESS.lower(),
                payee=ADDRESS.lower(),
                amount_usdc=127_500,
                planned_at_s=restored_at_s,
            )
        )
    settle_date(engine, TERMS, YESTERDAY)

    with write(engine) as connection:
        assert submit_on_chain(connection, now_s=later_s, limit=10) == submitted

    held = ["needs_operator"] * (2 - submitted)
    assert show(engine) == [*held, *["submitted"] * submitted]
    if not held:
        return
    assert "0.127500 USDC" in str(show(engine, "reason")[0])
    payout_id = f"{show_day(YESTERDAY - 1)}-s"
    mark_failed(engine, payout_id, "it was another payment")
    send_again(engine, payout_id)
    with write(engine) as connection:
        assert submit_on_chain(connection, now_s=later_s, limit=10) == 1
    assert show(engine)[0] == "submitted"
    if submitted == 0:
        mark_sent(engine, f"{show_day(YESTERDAY)}-s", HASH)
        assert show(engine)[1] == "sent"


def test_settle__ten_thousand_of_a_day_by_hand__are_all_in_the_list(engine: Engine) -> None:
    settle_date(engine, TERMS, YESTERDAY)
    table = table_of(SupplierPayout)
    with write(engine) as connection:
        row = dict(connection.execute(select(table)).mappings().first() or {})
        many = [{**row, "payout_id": f"x{n:05d}", "day": n} for n in range(10_001)]
        connection.execute(insert(table), many)

    assert len(list_by_hand(engine)) == 10_003
