"""No two transactions of suppliers' sales wait for each other: PostgreSQL's row locks, in order.

A reservation holds its listing and goes on to the offer and to the supplier. Whatever else changes
an offer must wait for the listing before it holds either of these.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select, text, update

from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.selling.ceilings import note_exhausted
from ledger.suppliers.settlement import settle_chunk
from ledger.suppliers.supplier_payouts import note_submitted
from ledger.suppliers.supply_offers import (
    change_supply_offer,
    delete_supply_offer,
    pause_supply_offer,
    resume_supply_offer,
)
from ledger.suppliers.supply_probes import note_probe
from ledger.tables import MarketOffer, Supplier, SupplyOffer, table_of
from tests.support.ledgers import NOW_S, POSTGRES, Databases
from tests.support.supply import (
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
from tests.support.waiting import wait_until

_listing = table_of(MarketOffer)
_offer = table_of(SupplyOffer)
_supplier = table_of(Supplier)
NAMES = {"supplier_id": "s", "supply_offer_id": "so"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Databases(POSTGRES, tmp_path) as databases:
        engine = databases.open_ledger()
        with write(engine) as connection:
            put_supplier(connection)
            put_buyer(connection)
            put_supply_offer(connection, models=("m", "n"), quota_tokens=100)
        yield engine


def is_somebody_waiting(engine: Engine) -> bool:
    waits = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with read(engine) as connection:
        return bool(connection.execute(waits).scalar_one())


def run_beside(
    engine: Engine, work: Callable[[Connection], object]
) -> tuple[threading.Thread, list[BaseException]]:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            with write(engine) as connection:
                work(connection)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, failures


def change(connection: Connection) -> None:
    changes = {"bid_usdc_per_mtok": 140_000}
    change_supply_offer(connection, **NAMES, version=1, changes=changes, sealed={}, now_s=NOW_S)


@pytest.mark.parametrize(
    "act",
    [
        change,
        lambda connection: pause_supply_offer(connection, **NAMES, now_s=NOW_S),
        lambda connection: resume_supply_offer(connection, **NAMES, has_failed=False, now_s=NOW_S),
        lambda connection: delete_supply_offer(connection, **NAMES, now_s=NOW_S),
        lambda connection: note_probe(
            connection, "so", key_version=0, report=[{"ok": False}], now_s=NOW_S
        ),
    ],
    ids=["change", "pause", "resume", "delete", "probe"],
)
def test_offer__a_listing_is_held_by_a_reservation__is_waited_for_before_the_offer(
    engine: Engine, act: Callable[[Connection], object]
) -> None:
    check_waits(engine, act)


def test_post__that_ends_the_quota__waits_for_all_listings_before_the_offer(
    engine: Engine,
) -> None:
    with write(engine) as connection:
        sale = make_sale(connection, bound_tokens=100)
        reserve(connection, sale)

    check_waits(engine, lambda connection: post(connection, sale, 100))

    with read(engine) as connection:
        assert connection.execute(select(_offer.c.status)).scalar_one() == "exhausted"
        assert set(connection.execute(select(_listing.c.status)).scalars()) == {"paused"}
        assert find_violations(connection) == []


def test_note_exhausted__a_listing_is_held__waits_before_the_offer(engine: Engine) -> None:
    with write(engine) as connection:
        sell(connection, 60)

    check_waits(engine, lambda connection: note_exhausted(connection, "so", now_s=NOW_S))


def check_waits(engine: Engine, act: Callable[[Connection], object]) -> None:
    """Run ``act`` while another transaction goes the way of a reservation of the second listing."""
    with write(engine) as holder:
        held = select(_listing.c.offer_id).where(_listing.c.offer_id == "so-n")
        holder.execute(held.with_for_update(key_share=True)).all()
        thread, failures = run_beside(engine, act)
        wait_until(lambda: is_somebody_waiting(engine), "the other transaction waits")
        # Neither is held by the one that waits: else each would wait for the other.
        holder.execute(select(_offer).with_for_update(nowait=True)).all()
        holder.execute(select(_supplier).with_for_update(read=True, nowait=True)).all()
    thread.join()
    assert failures == []


def test_submit__by_two_for_the_same_suppliers__neither_waits_for_a_supplier(
    engine: Engine,
) -> None:
    with write(engine) as connection:
        put_address(connection, network="bep20")
        sell(connection, 100)
        settle_chunk(connection, day=TODAY, terms=TERMS, now_s=NOW_S + 86_400)
        (payout,) = list_payouts(connection)

    with write(engine) as holder:
        # Another process asks for another day of the same supplier.
        holder.execute(select(_supplier).with_for_update(read=True)).all()
        with write(engine) as connection:
            connection.execute(text("SET LOCAL lock_timeout = '2s'"))
            (noted,) = note_submitted(connection, [payout["payout_id"]], now_s=NOW_S)
    assert noted["status"] == "submitted"


def test_submit__while_the_supplier_is_being_suspended__waits_and_leaves_it(
    engine: Engine,
) -> None:
    with write(engine) as connection:
        put_address(connection, network="bep20")
        sell(connection, 100)
        settle_chunk(connection, day=TODAY, terms=TERMS, now_s=NOW_S + 86_400)
        (payout,) = list_payouts(connection)
    told: list[list[dict[str, Any]]] = []

    with write(engine) as holder:
        holder.execute(update(_supplier).values(kyb_status="suspended"))
        thread, failures = run_beside(
            engine,
            lambda connection: told.append(
                note_submitted(connection, [payout["payout_id"]], now_s=NOW_S)
            ),
        )
        wait_until(lambda: is_somebody_waiting(engine), "the other transaction waits")
    thread.join()

    assert (failures, told) == ([], [[]])
