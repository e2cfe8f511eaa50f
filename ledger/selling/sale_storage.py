"""Books of sales read from the database and written to it, for many calls at once.

Rows are locked in the order that ``sales`` says: sales, accounts, offers, each ascending by id,
then those of ``supply_storage``.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from sqlalchemy import Connection

from ledger.database.engine import is_postgres
from ledger.database.row_statements import POSTGRES_PLAN_BY_KEY, RowInsert, RowUpdate
from ledger.database.statements import get_postgres_driver, open_sqlite_cursor
from ledger.database.write_sets import WriteSets
from ledger.errors import LedgerContended
from ledger.selling.ceilings import build_day_id
from ledger.selling.sale_books import Credit, ListedOffer, Row, SaleBooks, StoredSale
from ledger.selling.sale_statements import FIGURES, QUOTA_IS_TAKEN, TERMS
from ledger.selling.supply_books import SuppliedOffer
from ledger.selling.supply_storage import (
    USE_SUPPLY,
    add_to_days,
    build_supply_rows,
    end_supplied,
    load_supplied_postgres,
    load_supplied_sqlite,
)
from ledger.tables import MarketAccount, MarketOffer, MarketSale, table_of

_account = table_of(MarketAccount)
_offer = table_of(MarketOffer)
_sale = table_of(MarketSale)

_RESERVED: Final = {"state": "reserved"}
INSERT_SALE: Final = RowInsert(
    _sale,
    (
        *(*TERMS, "supply_offer_id", "bound_tokens", "is_seller_failure", "day", "reserved_at_s"),
        *("lease_expires_at_s", "holder_id"),
    ),
    _RESERVED,
)
POST_SALE: Final = RowUpdate(
    _sale,
    "sale_id",
    (*FIGURES, "resolved_at_s"),
    constants={"state": "posted"},
    only=_RESERVED,
)
# It counts for its supplier's day, and is no seller's unpaid earning.
POST_SUPPLIED: Final = RowUpdate(
    _sale,
    "sale_id",
    (*FIGURES, "resolved_at_s", "payout_id"),
    constants={"state": "posted"},
    only=_RESERVED,
)
VOID_SALE: Final = RowUpdate(
    _sale,
    "sale_id",
    ("void_reason", "is_seller_failure", "resolved_at_s"),
    constants={"state": "voided"},
    only=_RESERVED,
)
CHANGE_CREDIT: Final = RowUpdate(_account, "account_id", ("reserved_usdc", "spent_usdc"), adds=True)
_USE_OFFER: Final = RowUpdate(_offer, "offer_id", ("day", "day_used_usdc", "total_used_usdc"))

WRITES: Final = WriteSets(
    INSERT_SALE, POST_SALE, POST_SUPPLIED, VOID_SALE, CHANGE_CREDIT, _USE_OFFER, USE_SUPPLY
)

_SALE_READ: Final = "account_id, offer_id, day, ceiling_usdc, state, supply_offer_id, bound_tokens"
_LOAD_SALE: Final = (
    f"SELECT sale_id, {QUOTA_IS_TAKEN}, {_SALE_READ}, {', '.join(FIGURES)}"
    " FROM market_sale WHERE sale_id"
)
LOAD_CREDIT: Final = (
    "SELECT account_id, credited_usdc - spent_usdc - reserved_usdc FROM market_account"
    " WHERE account_id"
)
_LOAD_OFFER: Final = (
    "SELECT offer_id, version, status, cap_daily_usdc, quota_total_usdc, day, day_used_usdc,"
    " total_used_usdc, supply_offer_id FROM market_offer WHERE offer_id"
)
LOAD_KEY: Final = (
    "SELECT key_id, owner, expires_at_s FROM market_key WHERE revoked_at_s IS NULL AND key_id"
)
SQLITE_LOADS: Final = tuple(
    f"{load} = ?" for load in (_LOAD_SALE, LOAD_CREDIT, _LOAD_OFFER, LOAD_KEY)
)


def _lock(load: str, key: str) -> str:
    # As an UPDATE does that changes no key: rows that name it may be inserted meanwhile.
    return f"{load} = ANY(%s::text[]) ORDER BY {key} FOR NO KEY UPDATE"


_LOCK_SALES: Final = _lock(_LOAD_SALE, "sale_id")
LOCK_CREDITS: Final = _lock(LOAD_CREDIT, "account_id")
_LOCK_OFFERS: Final = _lock(_LOAD_OFFER, "offer_id")
# A post may take all listings of these suppliers' offers out of the order.
_LOCK_ENDING: Final = _LOCK_OFFERS.replace(
    "WHERE offer_id = ANY(%s::text[])",
    "WHERE offer_id = ANY(%s::text[]) OR supply_offer_id = ANY(%s::text[])",
)
LOAD_KEYS: Final = f"{LOAD_KEY} = ANY(%s::text[])"


@dataclass(slots=True)
class _Named:
    """What is to be read beside the sales themselves, by its ids."""

    accounts: set[str]
    offers: set[str]
    keys: set[str]
    reserving: set[str]
    """Suppliers' offers that new sales reserve of."""
    supplied: set[str]
    """All suppliers' offers that sales are of."""
    ending: set[str]
    """Those that a post may exhaust."""
    posted_ids: Collection[str]

    def read_sales(self, rows: Iterable[Row]) -> dict[str, StoredSale]:
        """Return sales by their id; adds what they name."""
        sales = {}
        for sale_id, is_taken, *stored in rows:
            account_id, offer_id, day, ceiling_usdc, state, supply, bound, *figures = stored
            sales[sale_id] = StoredSale(
                account_id, offer_id, day, ceiling_usdc, state, supply, bound, tuple(figures)
            )
            self.accounts.add(account_id)
            self.offers.add(offer_id)
            if supply is not None:
                self.supplied.add(supply)
                if is_taken and sale_id in self.posted_ids:
                    self.ending.add(supply)
        return sales


def load_sale_books(
    connection: Connection,
    *,
    sale_ids: Sequence[str],
    account_ids: Iterable[str],
    offer_ids: Iterable[str],
    key_ids: Iterable[str],
    begun_supply: Mapping[str, str | None],
    posted_ids: Collection[str],
) -> SaleBooks:
    """Lock and read sales, with their accounts and offers, and those that are named beside them.

    ``begun_supply``: the supplier's offer, or None, of each sale that is begun; ``posted_ids``: the
    sales that are posted. Keys are read after the accounts are locked, so that what revoked one
    before is seen.
    """
    reserving = {supply for supply in begun_supply.values() if supply is not None}
    # A sale that is begun and posted here may end what its reservation has taken.
    ending = {begun_supply.get(sale_id) for sale_id in posted_ids} - {None}
    named = _Named(
        accounts=set(account_ids),
        offers=set(offer_ids),
        keys=set(key_ids),
        reserving=reserving,
        supplied=set(reserving),
        ending={supply for supply in ending if supply is not None},
        posted_ids=posted_ids,
    )
    if is_postgres(connection):
        return _load_postgres(get_postgres_driver(connection), sale_ids, named)
    return _load_sqlite(connection, sale_ids, named)


def save_sale_books(connection: Connection, books: SaleBooks) -> None:
    """Write what was decided. Raises ``LedgerContended`` where a sale's id was just taken."""
    credits = [
        (account_id, credit.reserved_change_usdc, credit.spent_change_usdc)
        for account_id, credit in sorted(books.credits.items())
        if credit.reserved_change_usdc or credit.spent_change_usdc
    ]
    offers = [
        (offer_id, offer.day, offer.day_used_usdc, offer.total_used_usdc)
        for offer_id, offer in sorted(books.offers.items())
        if offer.is_changed
    ]
    days = add_to_days(connection, books.day_sums)
    supplied = [(*row, build_day_id(key[0], days[key])) for key, row in books.posted_supplied]
    written: list[Sequence[Row]] = [
        *(books.reserved, books.posted, supplied, books.voided, credits, offers),
        build_supply_rows(books.supplied.values()),
    ]
    counts = WRITES.run(connection, written)
    if counts[0] != len(books.reserved):
        raise LedgerContended("a sale's id was taken meanwhile")
    # The rows were locked when they were read.
    assert counts == [len(rows) for rows in written], counts
    end_supplied(connection, books.supplied.values())


def _load_sqlite(connection: Connection, sale_ids: Sequence[str], named: _Named) -> SaleBooks:
    cursor = open_sqlite_cursor(connection)
    load_sale, load_credit, load_offer, load_key = SQLITE_LOADS

    def load(text: str, ids: Iterable[str]) -> list[Row]:
        found = (cursor.execute(text, (one,)).fetchone() for one in ids)
        return [row for row in found if row is not None]

    sales = named.read_sales(load(load_sale, sale_ids))
    credits, offers = load(load_credit, named.accounts), load(load_offer, named.offers)
    keys = load(load_key, named.keys)
    supplied = load_supplied_sqlite(
        cursor, named.supplied, reserving=named.reserving, ending=named.ending
    )
    return _build_books(sales, credits, offers, keys, supplied)


def _load_postgres(
    driver: psycopg.Connection[Any], sale_ids: Sequence[str], named: _Named
) -> SaleBooks:
    with driver.pipeline():
        driver.execute(POSTGRES_PLAN_BY_KEY)
        found = driver.execute(_LOCK_SALES, (list(sale_ids),))
    sales = named.read_sales(found.fetchall())
    accounts, offer_ids, keys = sorted(named.accounts), sorted(named.offers), sorted(named.keys)
    # In one round trip; each statement begins when the one before it is done.
    with driver.pipeline():
        credits = driver.execute(LOCK_CREDITS, (accounts,))
        if named.ending:
            offers = driver.execute(_LOCK_ENDING, (offer_ids, sorted(named.ending)))
        else:
            offers = driver.execute(_LOCK_OFFERS, (offer_ids,))
        live = driver.execute(LOAD_KEYS, (keys,)) if keys else None
    supplied: dict[str, SuppliedOffer] = {}
    if named.supplied:
        supplied = load_supplied_postgres(
            driver, named.supplied, reserving=named.reserving, ending=named.ending
        )
    found_keys = [] if live is None else live.fetchall()
    return _build_books(sales, credits.fetchall(), offers.fetchall(), found_keys, supplied)


def _build_books(
    sales: dict[str, StoredSale],
    credits: Iterable[Row],
    offers: Iterable[Row],
    keys: Iterable[Row],
    supplied: dict[str, SuppliedOffer],
) -> SaleBooks:
    return SaleBooks(
        sales,
        {account_id: Credit(free_usdc) for account_id, free_usdc in credits},
        {row[0]: ListedOffer(*row) for row in offers},
        {key_id: (owner, expires_at_s) for key_id, owner, expires_at_s in keys},
        supplied,
    )
