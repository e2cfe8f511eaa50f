"""Books of sales read from the database and written to it, for many calls at once.

Rows are locked in the order that ``sales`` says: sales, accounts, offers, each ascending by id.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import psycopg
from sqlalchemy import Connection

from ledger.database.engine import is_postgres
from ledger.database.row_statements import POSTGRES_PLAN_BY_KEY, RowInsert, RowUpdate
from ledger.database.statements import get_postgres_driver, open_sqlite_cursor
from ledger.database.write_sets import WriteSets
from ledger.errors import LedgerContended
from ledger.selling.sale_books import Credit, ListedOffer, Row, SaleBooks, StoredSale
from ledger.selling.sale_statements import FIGURES, TERMS
from ledger.tables import MarketAccount, MarketOffer, MarketSale, table_of

_account = table_of(MarketAccount)
_offer = table_of(MarketOffer)
_sale = table_of(MarketSale)

_RESERVED: Final = {"state": "reserved"}
INSERT_SALE: Final = RowInsert(
    _sale,
    (*TERMS, "is_seller_failure", "day", "reserved_at_s", "lease_expires_at_s", "holder_id"),
    _RESERVED,
)
POST_SALE: Final = RowUpdate(
    _sale,
    "sale_id",
    (*FIGURES, "resolved_at_s"),
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
_CHANGE_CREDIT: Final = RowUpdate(
    _account, "account_id", ("reserved_usdc", "spent_usdc"), adds=True
)
_USE_OFFER: Final = RowUpdate(_offer, "offer_id", ("day", "day_used_usdc", "total_used_usdc"))

WRITES: Final = WriteSets(INSERT_SALE, POST_SALE, VOID_SALE, _CHANGE_CREDIT, _USE_OFFER)

_SALE_READ: Final = "account_id, offer_id, day, ceiling_usdc, state, supply_offer_id"
_LOAD_SALE: Final = (
    f"SELECT sale_id, {_SALE_READ}, {', '.join(FIGURES)} FROM market_sale WHERE sale_id"
)
_LOAD_CREDIT: Final = (
    "SELECT account_id, credited_usdc - spent_usdc - reserved_usdc FROM market_account"
    " WHERE account_id"
)
_LOAD_OFFER: Final = (
    "SELECT offer_id, version, status, cap_daily_usdc, quota_total_usdc, day, day_used_usdc,"
    " total_used_usdc FROM market_offer WHERE offer_id"
)
_LOAD_KEY: Final = (
    "SELECT key_id, owner, expires_at_s FROM market_key WHERE revoked_at_s IS NULL AND key_id"
)
SQLITE_LOADS: Final = tuple(
    f"{load} = ?" for load in (_LOAD_SALE, _LOAD_CREDIT, _LOAD_OFFER, _LOAD_KEY)
)


def _lock(load: str, key: str) -> str:
    # As an UPDATE does that changes no key: rows that name it may be inserted meanwhile.
    return f"{load} = ANY(%s::text[]) ORDER BY {key} FOR NO KEY UPDATE"


_LOCK_SALES: Final = _lock(_LOAD_SALE, "sale_id")
_LOCK_CREDITS: Final = _lock(_LOAD_CREDIT, "account_id")
_LOCK_OFFERS: Final = _lock(_LOAD_OFFER, "offer_id")
_LOAD_KEYS: Final = f"{_LOAD_KEY} = ANY(%s::text[])"


def load_sale_books(
    connection: Connection,
    *,
    sale_ids: Sequence[str],
    account_ids: Iterable[str],
    offer_ids: Iterable[str],
    key_ids: Iterable[str],
) -> SaleBooks:
    """Lock and read sales, with their accounts and offers, and those that are named beside them.

    Keys are read after the accounts are locked, so that what revoked one before is seen.
    """
    if is_postgres(connection):
        driver = get_postgres_driver(connection)
        return _load_postgres(driver, sale_ids, set(account_ids), set(offer_ids), set(key_ids))
    return _load_sqlite(connection, sale_ids, set(account_ids), set(offer_ids), set(key_ids))


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
    written: list[Sequence[Row]] = [books.reserved, books.posted, books.voided, credits, offers]
    counts = WRITES.run(connection, written)
    if counts[0] != len(books.reserved):
        raise LedgerContended("a sale's id was taken meanwhile")
    # The rows were locked when they were read.
    assert counts == [len(rows) for rows in written], counts


def _load_sqlite(
    connection: Connection,
    sale_ids: Sequence[str],
    account_ids: set[str],
    offer_ids: set[str],
    key_ids: set[str],
) -> SaleBooks:
    cursor = open_sqlite_cursor(connection)
    load_sale, load_credit, load_offer, load_key = SQLITE_LOADS

    def load(text: str, ids: Iterable[str]) -> list[Row]:
        found = (cursor.execute(text, (one,)).fetchone() for one in ids)
        return [row for row in found if row is not None]

    sales = _read_sales(load(load_sale, sale_ids), account_ids, offer_ids)
    credits, offers = load(load_credit, account_ids), load(load_offer, offer_ids)
    return _build_books(sales, credits, offers, load(load_key, key_ids))


def _load_postgres(
    driver: psycopg.Connection[Any],
    sale_ids: Sequence[str],
    account_ids: set[str],
    offer_ids: set[str],
    key_ids: set[str],
) -> SaleBooks:
    with driver.pipeline():
        driver.execute(POSTGRES_PLAN_BY_KEY)
        found = driver.execute(_LOCK_SALES, (list(sale_ids),))
    sales = _read_sales(found.fetchall(), account_ids, offer_ids)
    # In one round trip; each statement begins when the one before it is done.
    with driver.pipeline():
        credits = driver.execute(_LOCK_CREDITS, (sorted(account_ids),))
        offers = driver.execute(_LOCK_OFFERS, (sorted(offer_ids),))
        keys = driver.execute(_LOAD_KEYS, (sorted(key_ids),)) if key_ids else None
    return _build_books(
        sales, credits.fetchall(), offers.fetchall(), [] if keys is None else keys.fetchall()
    )


def _read_sales(
    rows: Iterable[Row], account_ids: set[str], offer_ids: set[str]
) -> dict[str, StoredSale]:
    """Return the sales by their id; adds the accounts and the offers that they name."""
    sales = {}
    for sale_id, account_id, offer_id, day, ceiling_usdc, state, supply_offer_id, *figures in rows:
        sales[sale_id] = StoredSale(
            account_id, offer_id, day, ceiling_usdc, state, supply_offer_id, tuple(figures)
        )
        account_ids.add(account_id)
        offer_ids.add(offer_id)
    return sales


def _build_books(
    sales: dict[str, StoredSale],
    credits: Iterable[Row],
    offers: Iterable[Row],
    keys: Iterable[Row],
) -> SaleBooks:
    return SaleBooks(
        sales,
        {account_id: Credit(free_usdc) for account_id, free_usdc in credits},
        {row[0]: ListedOffer(*row) for row in offers},
        {key_id: (owner, expires_at_s) for key_id, owner, expires_at_s in keys},
    )
