"""Suppliers' offers and days, read and written for many sales at once.

Rows are locked in the order that ``ceilings`` says, each kind ascending by its key: the caller has
locked the listings before the offers are read here, and writes the days last.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import psycopg
from sqlalchemy import Connection

from ledger.database.engine import is_postgres
from ledger.database.row_statements import RowUpdate
from ledger.database.statements import as_columns, get_postgres_driver, open_sqlite_cursor
from ledger.selling.ceilings import SHIFT_MAX, pause_listings
from ledger.selling.supply_books import DayKey, DaySums, SuppliedOffer
from ledger.tables import SupplyOffer, table_of

Row = Sequence[Any]

USE_SUPPLY: Final = RowUpdate(
    table_of(SupplyOffer),
    "supply_offer_id",
    ("recent", "used_tokens", "reserved_tokens", "status"),
)

_LOAD_OFFER: Final = (
    "SELECT supply_offer_id, supplier_id, status, recent, rate_limit_rpm, quota_tokens,"
    " used_tokens, reserved_tokens FROM supply_offer WHERE supply_offer_id"
)
_APPROVED: Final = "SELECT supplier_id FROM supplier WHERE kyb_status = 'approved' AND supplier_id"
SQLITE_LOAD_OFFER: Final = f"{_LOAD_OFFER} = ?"
SQLITE_LOAD_APPROVED: Final = f"{_APPROVED} = ?"
_LOCK_OFFERS: Final = f"{_LOAD_OFFER} = ANY(%s::text[]) ORDER BY supply_offer_id FOR NO KEY UPDATE"
# Against a suspension: it waits for these sales, or they for it.
_LOCK_APPROVED: Final = (
    f"{_APPROVED} IN (SELECT supplier_id FROM supply_offer WHERE supply_offer_id"
    " = ANY(%s::text[])) ORDER BY supplier_id FOR SHARE"
)

_DAY_COLUMNS: Final = (
    "supply_offer_id, day, bid_usdc_per_mtok, supplier_id, requests, input_tokens, output_tokens,"
    " paid_tokens"
)
_ADD_TO_DAY: Final = (
    " ON CONFLICT (supply_offer_id, day, bid_usdc_per_mtok) DO UPDATE SET"
    " requests = supply_day.requests + excluded.requests,"
    " input_tokens = supply_day.input_tokens + excluded.input_tokens,"
    " output_tokens = supply_day.output_tokens + excluded.output_tokens,"
    " paid_tokens = supply_day.paid_tokens + excluded.paid_tokens"
    " WHERE supply_day.payout_id IS NULL"
    " RETURNING supply_offer_id, day, bid_usdc_per_mtok"
)
SQLITE_ADD_TO_DAY: Final = (
    f"INSERT INTO supply_day ({_DAY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?){_ADD_TO_DAY}"
)
_POSTGRES_ADD_TO_DAYS: Final = (
    f"INSERT INTO supply_day ({_DAY_COLUMNS}) SELECT * FROM unnest(%s::text[], %s::bigint[],"
    " %s::bigint[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])"
    f"{_ADD_TO_DAY}"
)


def load_supplied_sqlite(
    cursor: Any, wanted: Iterable[str], *, reserving: Collection[str], ending: Collection[str]
) -> dict[str, SuppliedOffer]:
    """Read suppliers' offers; of those that are reserved of, whether the supplier is approved."""
    rows = [cursor.execute(SQLITE_LOAD_OFFER, (one,)).fetchone() for one in wanted]
    found = [row for row in rows if row is not None]
    asked = {row[1] for row in found if row[0] in reserving}
    approved = {
        one for one in asked if cursor.execute(SQLITE_LOAD_APPROVED, (one,)).fetchone() is not None
    }
    return _build_offers(found, approved, reserving, ending)


def load_supplied_postgres(
    driver: psycopg.Connection[Any],
    wanted: Iterable[str],
    *,
    reserving: Collection[str],
    ending: Collection[str],
) -> dict[str, SuppliedOffer]:
    """Lock and read the same."""
    with driver.pipeline():
        found = driver.execute(_LOCK_OFFERS, (sorted(wanted),))
        approved = driver.execute(_LOCK_APPROVED, (sorted(reserving),)) if reserving else None
    suppliers = set() if approved is None else {row[0] for row in approved.fetchall()}
    return _build_offers(found.fetchall(), suppliers, reserving, ending)


def _build_offers(
    rows: Iterable[Row],
    approved: Collection[str],
    reserving: Collection[str],
    ending: Collection[str],
) -> dict[str, SuppliedOffer]:
    offers: dict[str, SuppliedOffer] = {}
    for row in rows:
        offer = offers[row[0]] = SuppliedOffer(*row)
        offer.is_approved = offer.supply_offer_id in reserving and offer.supplier_id in approved
        offer.may_end = offer.supply_offer_id in ending
    return offers


def build_supply_rows(offers: Iterable[SuppliedOffer]) -> list[Row]:
    """Return what ``USE_SUPPLY`` writes of offers that were changed."""
    return [
        (one.supply_offer_id, one.recent, one.used_tokens, one.reserved_tokens, one.status)
        for one in sorted(offers, key=lambda one: one.supply_offer_id)
        if one.is_changed
    ]


def end_supplied(connection: Connection, offers: Iterable[SuppliedOffer]) -> None:
    """Take the listings of offers that were exhausted out of the order."""
    for one in offers:
        if one.ended_at_s is not None:
            pause_listings(connection, one.supply_offer_id, now_s=one.ended_at_s)


def add_to_days(connection: Connection, sums: Mapping[DayKey, DaySums]) -> dict[DayKey, int]:
    """Add what was posted to its days; return the day that each counts for.

    That is its own, or the first after it that is not settled.
    """
    counted: dict[DayKey, int] = {}
    left = {key: key[1] for key in sums}
    for _ in range(SHIFT_MAX):
        if not left:
            return counted
        added = _upsert(connection, [_build_row(key, left[key], sums[key]) for key in sorted(left)])
        for key in [key for key, day in left.items() if (key[0], day, key[2]) in added]:
            counted[key] = left.pop(key)
        left = {key: day + 1 for key, day in left.items()}
    raise AssertionError(f"no open day for {sorted(left)}")


def _build_row(key: DayKey, day: int, sums: DaySums) -> Row:
    figures = (sums.requests, sums.input_tokens, sums.output_tokens, sums.paid_tokens)
    return (key[0], day, key[2], sums.supplier_id, *figures)


def _upsert(connection: Connection, rows: Sequence[Row]) -> set[DayKey]:
    """Return which of the rows were added: the day was not settled yet."""
    if is_postgres(connection):
        driver = get_postgres_driver(connection)
        return set(driver.execute(_POSTGRES_ADD_TO_DAYS, as_columns(rows)).fetchall())
    cursor = open_sqlite_cursor(connection)
    found = (cursor.execute(SQLITE_ADD_TO_DAY, row).fetchone() for row in rows)
    return {row for row in found if row is not None}
