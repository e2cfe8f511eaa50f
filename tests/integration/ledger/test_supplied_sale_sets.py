"""Suppliers' sales decided and written as sets: as each alone, and no ceiling passed.

run_sales
├── any order of calls of sellers' and suppliers' offers: results and every row as run alone
├── a post that ends the quota: the listings are paused, and the set's next sale of one is refused
├── a day that was settled: each sale of the set counts for the next
├── (PostgreSQL) two writers at once: quota, limit of a minute and credit hold to the unit
├── (PostgreSQL) sets over several offers beside settlements: neither waits for the other for ever
├── (PostgreSQL) the supplier is being suspended: the set waits, and sells nothing
└── (PostgreSQL) a listing is held: the set waits for it before it holds the offer
"""

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import pytest
from sqlalchemy import Connection, Engine, select, text

from contracts.units import SECONDS_PER_DAY
from ledger.audit import find_violations
from ledger.database.engine import PostgresLimits, read, write
from ledger.database.writer import GroupWriter
from ledger.market_audit import find_market_mismatches
from ledger.selling.sale_calls import PostSale, ReserveSale, SaleCall, VoidSale, run_sales
from ledger.selling.sale_records import NewSale, SaleDenial, SaleFigures, SaleRefused
from ledger.suppliers.accounts import set_kyb_status
from ledger.suppliers.settlement import settle_chunk
from ledger.tables import (
    MarketAccount,
    MarketOffer,
    MarketSale,
    Supplier,
    SupplyDay,
    SupplyOffer,
    table_of,
)
from tests.support.ledgers import NOW_S, Databases
from tests.support.sale_sets import describe, dump, run_alone, run_in_groups
from tests.support.supply import TERMS, TODAY, make_sale, put_buyer, put_supplier, put_supply_offer
from tests.support.waiting import wait_until

_day, _listing, _offer = table_of(SupplyDay), table_of(MarketOffer), table_of(SupplyOffer)
_supplier = table_of(Supplier)
TABLES: Final = (
    *(table_of(MarketAccount), _listing, table_of(MarketSale)),
    *(_offer, _day),
)
CEILINGS: Final[dict[str, dict[str, Any]]] = {
    "open": {},
    "slow": {"rate_limit_rpm": 3},
    "small": {"quota_tokens": 200},
    "away": {"supplier_id": "unknown"},
}
"""Suppliers' offers: without ceilings, with a limit, with a quota, of one who is not approved."""
BID: Final = 1_000_000


def put_market(connection: Connection) -> None:
    put_buyer(connection)
    put_supplier(connection)
    put_supplier(connection, "unknown")
    for number, (name, changes) in enumerate(CEILINGS.items()):
        named = {"supplier_id": "s", "provider_type": f"p{number}", **changes}
        put_supply_offer(connection, name, models=("m", "n"), bid_usdc_per_mtok=BID, **named)
    set_kyb_status(connection, "unknown", "suspended", change_id="away", now_s=1_002)


def make_figures(sale: NewSale, tokens: int) -> SaleFigures:
    price = sale.input_usdc_per_mtok
    return SaleFigures(tokens - tokens // 5, tokens // 5, tokens, tokens, 0, 0, price, price)


def make_supplied(
    connection: Connection, name: str, model: str, bound_tokens: int, *, supplier_id: str = "s"
) -> NewSale:
    return make_sale(
        connection,
        supply_offer_id=name,
        supplier_id=supplier_id,
        model=model,
        bound_tokens=bound_tokens,
        bid=BID,
    )


def draw_calls(connection: Connection, dice: random.Random, count: int) -> list[SaleCall]:
    """Return calls of every kind, most of them of sales begun before, over three days."""
    begun: list[NewSale] = []
    calls: list[SaleCall] = []
    for number in range(count):
        now_s = NOW_S + number // 100 * SECONDS_PER_DAY + number // 4
        if not begun or dice.random() < 0.5:
            name = dice.choice(("small", *CEILINGS))
            bound = dice.choice((0, 10, 20, 40))
            sale = make_supplied(connection, name, dice.choice("mn"), bound)
            bid = dice.choice((BID, BID, BID // 2))
            sale = replace(sale, input_usdc_per_mtok=bid, output_usdc_per_mtok=bid)
            if dice.random() < 0.1:
                sale = replace(sale, supply_offer_id="missing")
            begun.append(sale)
            calls.append(ReserveSale(sale, now_s, now_s + 60))
            continue
        sale = dice.choice(begun[-8:])
        if dice.random() < 0.7:
            # A supplier may report more tokens than were reserved: it is paid for no more.
            tokens = dice.choice((0, 10, sale.bound_tokens))
            figures = make_figures(sale, tokens)
            more = replace(figures, prompt_tokens=figures.prompt_tokens + 50)
            calls.append(PostSale(sale.sale_id, dice.choice((figures, figures, more)), now_s))
        else:
            calls.append(VoidSale(sale.sale_id, "server", dice.random() < 0.5, now_s))
    # What was left reserved is posted, and the rest of the quota is sold to its last token.
    calls += [PostSale(one.sale_id, make_figures(one, one.bound_tokens), now_s) for one in begun]
    for _ in range(20):
        sale = make_supplied(connection, "small", "m", 10)
        calls += [
            ReserveSale(sale, now_s, now_s + 60),
            PostSale(sale.sale_id, make_figures(sale, 10), now_s),
        ]
    return calls


def test_run_sales__any_calls_of_suppliers__are_as_each_run_alone(databases: Databases) -> None:
    dice = random.Random(17)
    alone, together = databases.open_ledger(), databases.open_ledger()
    for engine in (alone, together):
        with write(engine) as connection:
            put_market(connection)
            # The first day is settled already, and what is posted to it counts for the next.
            connection.execute(
                _day.insert().values(
                    supply_offer_id="open",
                    day=TODAY,
                    bid_usdc_per_mtok=BID,
                    supplier_id="s",
                    requests=0,
                    input_tokens=0,
                    output_tokens=0,
                    paid_tokens=0,
                    payout_id="settled",
                )
            )
    with read(alone) as connection:
        calls = draw_calls(connection, dice, 200)

    with write(alone) as connection:
        expected = [run_alone(connection, call) for call in calls]

    assert run_in_groups(together, calls, dice) == expected
    assert dump(together, TABLES) == dump(alone, TABLES)
    with read(together) as connection:
        assert find_market_mismatches(connection) == []
        sums = connection.execute(select(_day)).mappings().all()
        ended = connection.execute(select(_offer.c.status).where(_offer.c.quota_tokens > 0))
        assert ended.scalar_one() == "exhausted"
    refused = {told[1] for told in expected if isinstance(told, tuple) and told[0] is SaleRefused}
    assert refused == {SaleDenial.OFFER_CHANGED, SaleDenial.TOKENS_SPENT, SaleDenial.RATE_LIMITED}
    settled = [row for row in sums if row["payout_id"] == "settled"]
    assert [row["requests"] for row in settled] == [0]
    assert {row["bid_usdc_per_mtok"] for row in sums} == {BID, BID // 2}


def test_run_sales__a_post_that_ends_the_quota__pauses_all_listings_for_the_set(
    databases: Databases,
) -> None:
    engine = databases.open_ledger()
    with write(engine) as connection:
        put_market(connection)
        sale = make_supplied(connection, "small", "m", 200)
        late = make_supplied(connection, "small", "n", 0)
        run_sales(connection, [ReserveSale(sale, NOW_S, NOW_S + 60)])
    with write(engine) as connection:
        post = PostSale(sale.sale_id, make_figures(sale, 200), NOW_S + 1)
        (_, ended), (_, refused) = run_sales(
            connection, [post, ReserveSale(late, NOW_S + 1, NOW_S + 60)]
        )

    assert ended is None
    assert refused is not None
    assert describe(refused)[:2] == (SaleRefused, SaleDenial.OFFER_CHANGED)
    with read(engine) as connection:
        its = _listing.c.supply_offer_id == "small"
        assert set(connection.execute(select(_listing.c.status).where(its)).scalars()) == {"paused"}
        assert find_violations(connection) == []


def run_two_writers(engine: Engine, calls: list[SaleCall]) -> list[SaleCall]:
    """Submit calls to two processes' writers in turns; return those that went through."""
    writers = [GroupWriter(engine, group_size_max=16) for _ in range(2)]
    try:
        asked = [writers[number % 2].submit(call) for number, call in enumerate(calls)]
        failed = [future.exception() for future in asked]
    finally:
        for writer in writers:
            writer.close()
    assert all(isinstance(error, SaleRefused | None) for error in failed)
    return [call for call, error in zip(calls, failed, strict=True) if error is None]


@pytest.mark.parametrize(("name", "most"), [("small", 10), ("slow", 3)])
def test_writers__two_at_once_ask_for_more_than_a_supplier_has__pass_no_ceiling(
    postgres: Databases, name: str, most: int
) -> None:
    engine = postgres.open_ledger(limits=PostgresLimits(connections_max=4))
    with write(engine) as connection:
        put_market(connection)
        sales = [make_supplied(connection, name, "mn"[n // 2 % 2], 20) for n in range(60)]

    reserved = run_two_writers(engine, [ReserveSale(one, NOW_S, NOW_S + 60) for one in sales])

    assert len(reserved) == most
    begun = [call.new_sale for call in reserved if call.new_sale is not None]
    posts: list[SaleCall] = [
        PostSale(one.sale_id, make_figures(one, one.bound_tokens), NOW_S) for one in begun
    ]
    assert len(run_two_writers(engine, posts)) == most
    with read(engine) as connection:
        assert find_market_mismatches(connection) == []
        assert find_violations(connection) == []
        row = connection.execute(select(_offer).where(_offer.c.supply_offer_id == name)).one()
    assert (row.used_tokens, row.reserved_tokens) == (20 * most, 0)
    assert row.status == ("exhausted" if name == "small" else "active")


def test_sets_over_many_offers__beside_settlements__all_go_through_and_count_once(
    postgres: Databases,
) -> None:
    names = [f"o{number}" for number in range(6)]
    engine = postgres.open_ledger(limits=PostgresLimits(connections_max=8))
    with write(engine) as connection:
        put_buyer(connection)
        for name in names:
            put_supplier(connection, f"s{name}")
            put_supply_offer(connection, name, supplier_id=f"s{name}", bid_usdc_per_mtok=BID)
        dice = random.Random(1)
        drawn = [dice.choice(names) for _ in range(120)]
        sales = [make_supplied(connection, name, "m", 20, supplier_id=f"s{name}") for name in drawn]
    stop = threading.Event()

    def settle() -> int:
        day = TODAY
        while not stop.is_set():
            with write(engine) as connection:
                settle_chunk(connection, day=day, terms=TERMS, now_s=NOW_S)
            day += 1
        return day

    with ThreadPoolExecutor(1) as pool:
        settling = pool.submit(settle)
        try:
            reserves = [ReserveSale(one, NOW_S, NOW_S + 60) for one in sales]
            assert len(run_two_writers(engine, list(reserves))) == len(sales)
            posts = [PostSale(one.sale_id, make_figures(one, 20), NOW_S) for one in sales]
            assert len(run_two_writers(engine, list(posts))) == len(sales)
        finally:
            stop.set()
        last = settling.result()
    with write(engine) as connection:
        settle_chunk(connection, day=last, terms=TERMS, now_s=NOW_S)
        settle_chunk(connection, day=last + 1, terms=TERMS, now_s=NOW_S)
    with read(engine) as connection:
        assert find_violations(connection) == []
        sums = connection.execute(select(_day)).mappings().all()
    assert sum(row["requests"] for row in sums) == len(sales)
    assert all(row["payout_id"] is not None for row in sums)


def is_somebody_waiting(engine: Engine) -> bool:
    waits = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with read(engine) as connection:
        return bool(connection.execute(waits).scalar_one())


def test_run_sales__the_supplier_is_being_suspended__waits_and_sells_nothing(
    postgres: Databases,
) -> None:
    engine = postgres.open_ledger()
    with write(engine) as connection:
        put_market(connection)
        sale = make_supplied(connection, "open", "m", 20)

    with ThreadPoolExecutor(1) as pool:
        with write(engine) as connection:
            set_kyb_status(connection, "s", "suspended", change_id="s-2", now_s=NOW_S)
            selling = pool.submit(sell_as_set, engine, [ReserveSale(sale, NOW_S, NOW_S + 60)])
            wait_until(lambda: is_somebody_waiting(engine), "the set waits")
        ((_, error),) = selling.result()

    assert describe(error)[:2] == (SaleRefused, SaleDenial.OFFER_CHANGED)


def sell_as_set(engine: Engine, calls: list[SaleCall]) -> Any:
    with write(engine) as connection:
        return run_sales(connection, calls)


@pytest.mark.parametrize("kind", ["reserve", "post"])
def test_run_sales__a_listing_is_held__is_waited_for_before_the_offer(
    postgres: Databases, kind: str
) -> None:
    engine = postgres.open_ledger()
    with write(engine) as connection:
        put_market(connection)
        sale = make_supplied(connection, "small", "m", 200)
        other = make_supplied(connection, "small", "n", 0)
        run_sales(connection, [ReserveSale(sale, NOW_S, NOW_S + 60)])
    begin: Callable[[], SaleCall] = {
        "reserve": lambda: ReserveSale(other, NOW_S, NOW_S + 60),
        # It ends the quota: every listing is paused, and so waited for.
        "post": lambda: PostSale(sale.sale_id, make_figures(sale, 200), NOW_S),
    }[kind]

    with ThreadPoolExecutor(1) as pool:
        with write(engine) as holder:
            held = select(_listing.c.offer_id).where(_listing.c.offer_id == "small-n")
            holder.execute(held.with_for_update(key_share=True)).all()
            selling = pool.submit(sell_as_set, engine, [begin()])
            wait_until(lambda: is_somebody_waiting(engine), "the set waits")
            # Neither is held by the one that waits: else each would wait for the other.
            holder.execute(select(_offer).with_for_update(nowait=True)).all()
            holder.execute(select(_supplier).with_for_update(nowait=True)).all()
        ((_, error),) = selling.result()

    assert error is None
