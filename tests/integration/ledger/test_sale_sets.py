"""Sales decided and written as sets: the same rows as one after the other, and no limit passed.

run_sales
├── any order of calls, in groups of any size: what each is told, and every row, as run alone
├── a call with more to do: never part of a set
├── (PostgreSQL) a key is revoked while a set waits for the account: no sale of it
└── (PostgreSQL) two writers at once: credit, cap and quota hold to the unit
"""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from typing import Any, Final

import pytest
from sqlalchemy import Connection, select, text

from contracts.units import SECONDS_PER_DAY
from ledger.database.engine import PostgresLimits, read, write
from ledger.database.writer import GroupWriter
from ledger.market_audit import find_market_mismatches
from ledger.selling.accounts import (
    NewKey,
    add_credit,
    revoke_key,
    save_account,
    save_key,
    save_seller,
)
from ledger.selling.offers import NewOffer, save_offer
from ledger.selling.sale_calls import PostSale, ReserveSale, SaleCall, VoidSale, run_sales
from ledger.selling.sale_records import NewSale, SaleDenial, SaleFigures, SaleRefused, SaleResolved
from ledger.selling.sale_statements import PAID_KEY_ID, TERMS
from ledger.selling.sealed_keys import SealedKey
from ledger.tables import MarketAccount, MarketOffer, MarketSale, table_of
from tests.support.ledgers import NOW_S, Databases
from tests.support.sale_sets import describe, dump, run_alone, run_in_groups
from tests.support.waiting import wait_until

TABLES: Final = (table_of(MarketAccount), table_of(MarketOffer), table_of(MarketSale))
KEYS: Final = {"good": "a", "ends": "a", "revoked": "a", "other": "b", PAID_KEY_ID: "a"}
OFFERS: Final = {"free": (None, None), "capped": (900, None), "quota": (None, 1_000)}
"""Each offer's cap and quota."""


def put_market(connection: Connection, *, credit_usdc: int = 3_000) -> None:
    for account_id in ("a", "b"):
        save_account(connection, account_id=account_id, kind="prepaid", wallet=None, now_s=NOW_S)
        put_credit(connection, account_id, account_id, credit_usdc)
    for key_id, owner in KEYS.items():
        expires_at_s = NOW_S + SECONDS_PER_DAY if key_id == "ends" else None
        key = NewKey(key_id, f"hash-{key_id}", "buyer", owner, "", expires_at_s)
        save_key(connection, key, now_s=NOW_S)
    revoke_key(connection, kind="buyer", owner="a", key_id="revoked", now_s=NOW_S)
    save_seller(connection, address="s", now_s=NOW_S)
    for offer_id, (cap_usdc, quota_usdc) in OFFERS.items():
        offer = NewOffer(
            *(offer_id, "s", "m", "m", "", "https://example.com", 1, 1, None),
            *(cap_usdc, quota_usdc, None, "payee", None, None),
        )
        save_offer(connection, offer, SealedKey(b"c", b"w", "k1"), now_s=NOW_S)


def put_credit(connection: Connection, account_id: str, credit_id: str, amount_usdc: int) -> None:
    add_credit(
        connection,
        credit_id=credit_id,
        account_id=account_id,
        amount_usdc=amount_usdc,
        source="test",
        now_s=NOW_S,
    )


def make_sale(number: int, **changes: Any) -> NewSale:
    sale = NewSale(
        *(f"r{number:04d}", 0, "a", "good", "free", 0, "s", "payee", "chat/completions", "m"),
        *(1, 1, 333, 100),
    )
    return replace(sale, **changes)


def make_figures(cost_usdc: int, *, prompt_tokens: int = 1) -> SaleFigures:
    return SaleFigures(prompt_tokens, 1, cost_usdc, cost_usdc, 0, 0, 1, 1, per_request_usdc=2)


def draw_calls(dice: random.Random, count: int) -> list[SaleCall]:
    """Return calls of every kind, right and wrong, most of them of sales begun before."""
    begun: list[NewSale] = []
    calls: list[SaleCall] = []
    for number in range(count):
        # A clock may run behind another's.
        day = number // 100 - (dice.random() < 0.1)
        now_s = NOW_S + day * SECONDS_PER_DAY
        if not begun or dice.random() < 0.5:
            key_id = dice.choice(("good", "good", "good", *KEYS))
            sale = make_sale(
                number,
                account_id="b" if key_id == "other" and dice.random() < 0.5 else "a",
                key_id=key_id,
                offer_id=dice.choice((*OFFERS, "missing") if number % 9 == 0 else tuple(OFFERS)),
                offer_version=dice.choice((0, 0, 0, 0, 0, 1)),
                ceiling_usdc=dice.choice((0, 100, 250, 400)),
                cached_input_usdc_per_mtok=dice.choice((None, 1)),
                vesting_s=dice.choice((0, 3_600)),
            )
            begun.append(sale)
            calls.append(ReserveSale(sale, now_s, now_s + 60, dice.choice((None, "holder"))))
            continue
        sale_id = dice.choice((*begun[-8:], make_sale(9_999))).sale_id
        if dice.random() < 0.6:
            figures = make_figures(dice.choice((0, 10, 10, 10, 401)), prompt_tokens=number % 2)
            wrong = replace(figures, fee_usdc=1)
            calls.append(PostSale(sale_id, wrong if number % 17 == 0 else figures, now_s))
        else:
            calls.append(VoidSale(sale_id, "server", dice.random() < 0.5, now_s))
    return calls


def test_run_sales__any_calls_in_any_groups__are_as_each_run_alone(databases: Databases) -> None:
    dice = random.Random(22)
    calls = draw_calls(dice, 300)
    alone, together = databases.open_ledger(), databases.open_ledger()
    for engine in (alone, together):
        with write(engine) as connection:
            put_market(connection, credit_usdc=4_500)

    with write(alone) as connection:
        expected = [run_alone(connection, call) for call in calls]

    assert run_in_groups(together, calls, dice) == expected
    assert dump(together, TABLES) == dump(alone, TABLES)
    with read(together) as connection:
        assert find_market_mismatches(connection) == []
    # Whatever can happen has happened.
    refused = {told[1] for told in expected if isinstance(told, tuple) and told[0] is SaleRefused}
    assert refused == {
        *(SaleDenial.KEY_REVOKED, SaleDenial.CREDIT_SPENT, SaleDenial.OFFER_CHANGED),
        *(SaleDenial.CAP_REACHED, SaleDenial.QUOTA_SPENT),
    }
    wrong = [
        told[:2] for told in expected if isinstance(told, tuple) and told[0] is not SaleRefused
    ]
    for kind, words in (
        *((SaleResolved, "no sale"), (SaleResolved, "already posted"), (ValueError, "above")),
        *((SaleResolved, "already voided"), (SaleResolved, "is posted"), (ValueError, "parts")),
        (SaleResolved, "is unknown"),
    ):
        assert any(found is kind and words in said for found, said in wrong), words
    states = {row.state for row in dump(alone, TABLES)[2]}
    assert states == {"reserved", "posted", "voided"}


def test_terms__every_field_of_a_new_sale__is_written_or_has_its_place() -> None:
    elsewhere = {"offer_version", "flat_fee_usdc", "supply_offer_id", "bound_tokens"}

    assert {field.name for field in fields(NewSale)} - set(TERMS) == elsewhere


def test_run_sales__the_same_sale_again__is_refused_and_counts_once(databases: Databases) -> None:
    engine = databases.open_ledger()
    call = ReserveSale(make_sale(1), NOW_S, NOW_S + 60)
    with write(engine) as connection:
        put_market(connection)
        first, second = run_sales(connection, [call, call])
        (third,) = run_sales(connection, [call])
    assert first[1] is None
    assert [type(error) for _, error in (second, third)] == [SaleResolved, SaleResolved]
    with read(engine) as connection:
        assert find_market_mismatches(connection) == []


def test_run_group__a_call_with_more_to_do__runs_alone() -> None:
    sale, figures = make_sale(1), make_figures(1)
    assert ReserveSale(sale, NOW_S, NOW_S).run_group is run_sales
    assert ReserveSale(sale, NOW_S, NOW_S, also=lambda *_: None).run_group is None
    assert PostSale("r.0", figures, NOW_S).run_group is run_sales
    assert PostSale("r.0", figures, NOW_S, also=lambda _: None).run_group is None


def test_run_sales__key_revoked_while_it_waits_for_the_account__sells_nothing(
    postgres: Databases,
) -> None:
    engine = postgres.open_ledger()
    with write(engine) as connection:
        put_market(connection)
    waits = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def sell() -> Any:
        with write(engine) as connection:
            return run_sales(connection, [ReserveSale(make_sale(1), NOW_S, NOW_S + 60)])

    def is_waiting() -> bool:
        with read(engine) as connection:
            return bool(connection.execute(waits).scalar_one())

    with ThreadPoolExecutor(1) as pool:
        with write(engine) as connection:
            put_credit(connection, "a", "more", 1)
            selling = pool.submit(sell)
            wait_until(is_waiting)
            revoke_key(connection, kind="buyer", owner="a", key_id="good", now_s=NOW_S)
        ((_, error),) = selling.result()

    assert describe(error)[:2] == (SaleRefused, SaleDenial.KEY_REVOKED)


@pytest.mark.parametrize("offer_id", OFFERS)
def test_writers__two_at_once_ask_for_more_than_there_is__pass_no_limit(
    postgres: Databases, offer_id: str
) -> None:
    engine = postgres.open_ledger(limits=PostgresLimits(connections_max=4))
    with write(engine) as connection:
        put_market(connection)
    most_usdc = {"free": 3_000, "capped": 900, "quota": 1_000}[offer_id]
    writers = [GroupWriter(engine, group_size_max=16) for _ in range(2)]
    try:
        sales = [make_sale(number, offer_id=offer_id) for number in range(80)]
        asked = [
            writers[number % 2].submit(ReserveSale(sale, NOW_S, NOW_S + 60))
            for number, sale in enumerate(sales)
        ]
        sold = [sale for sale, future in zip(sales, asked, strict=True) if not future.exception()]
        assert len(sold) == most_usdc // 100
        posted = [
            writers[number % 2].submit(PostSale(sale.sale_id, make_figures(100), NOW_S))
            for number, sale in enumerate(sold)
        ]
        assert [future.exception() for future in posted] == [None] * len(sold)
    finally:
        for writer in writers:
            writer.close()
    with read(engine) as connection:
        assert find_market_mismatches(connection) == []
        account = connection.execute(select(TABLES[0]).where(TABLES[0].c.account_id == "a")).one()
    assert (account.spent_usdc, account.reserved_usdc) == (most_usdc, 0)
