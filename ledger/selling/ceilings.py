"""What a supplier's offer may still take, counted where a sale is reserved, posted and given back.

Every function is part of the transaction that does so: no ceiling is passed however many requests
and processes there are, and no transaction is added. Rows are locked in this order, so that no two
transactions wait for each other: those of ``market_offer`` (an offer's listings, ascending; whoever
changes more than one locks all of them first), ``supply_offer``, the supplier's (against its
suspension), ``supply_day``. Amounts are in 1e-6 USD.
"""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Connection, bindparam, case, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from contracts.units import utc_day
from ledger.database.engine import is_postgres
from ledger.selling.sale_records import NewSale, SaleDenial, SaleFigures, SaleRefused
from ledger.selling.windows import note_request
from ledger.tables import MarketOffer, SupplyDay, SupplyOffer, table_of

_day = table_of(SupplyDay)
_offer = table_of(SupplyOffer)
_listing = table_of(MarketOffer)

EXHAUSTED_TOKENS: Final = 4_096
"""An offer is exhausted that has fewer tokens left and nothing reserved, and did not hold a
request; or that has none left."""
SHIFT_MAX: Final = 4_000
"""For how many days on a place is looked for that is not settled yet."""

_FACTS: Final = (
    "SELECT o.status, o.recent, o.rate_limit_rpm, o.quota_tokens,"
    " o.used_tokens + o.reserved_tokens, o.supplier_id"
    " FROM supply_offer o JOIN supplier s ON s.supplier_id = o.supplier_id"
    " WHERE o.supply_offer_id = :offer AND s.kyb_status = 'approved'"
)
_LOAD: Final = text(_FACTS)
_LOAD_LOCKED: Final = text(f"{_FACTS} FOR UPDATE OF o FOR SHARE OF s")
_TOKENS: Final = bindparam("tokens", type_=BigInteger)
_USE: Final = (
    update(_offer)
    .where(_offer.c.supply_offer_id == bindparam("offer"))
    .values(recent=bindparam("new_recent"), reserved_tokens=_offer.c.reserved_tokens + _TOKENS)
)
_FREE: Final = (
    update(_offer)
    .where(_offer.c.supply_offer_id == bindparam("offer"))
    .values(reserved_tokens=_offer.c.reserved_tokens - _TOKENS)
)
_BOUND: Final = bindparam("bound", type_=BigInteger)
_LEFT_BEFORE: Final = _offer.c.quota_tokens - _offer.c.used_tokens
_ENDS: Final = (
    bindparam("may_end", type_=Boolean) & (_offer.c.status == "active") & (_LEFT_BEFORE <= _TOKENS)
)
_CONSUME: Final = (
    update(_offer)
    .where(_offer.c.supply_offer_id == bindparam("offer"))
    .values(
        used_tokens=_offer.c.used_tokens + _TOKENS,
        reserved_tokens=_offer.c.reserved_tokens - _BOUND,
        status=case((_ENDS, "exhausted"), else_=_offer.c.status),
    )
    .returning(_offer.c.supplier_id, _offer.c.status)
)


def use_ceilings(connection: Connection, sale: NewSale, *, now_s: int) -> None:
    """Count a sale against its supplier's offer, at least until it is given back.

    Raises ``SaleRefused`` where the offer does not serve any more, its supplier is not approved, or
    the request is one too many for this minute or for the tokens that are left.
    """
    assert sale.supply_offer_id is not None
    load = _LOAD_LOCKED if is_postgres(connection) else _LOAD
    row = connection.execute(load, {"offer": sale.supply_offer_id}).one_or_none()
    if row is None or row[0] != "active":
        raise SaleRefused(SaleDenial.OFFER_CHANGED)
    _, recent, rate_limit_rpm, quota_tokens, taken_tokens, _ = row
    if quota_tokens is not None and taken_tokens + sale.bound_tokens > quota_tokens:
        raise SaleRefused(SaleDenial.TOKENS_SPENT)
    if rate_limit_rpm is not None:
        recent = note_request(recent, now_s=now_s, limit=rate_limit_rpm)
        if recent is None:
            raise SaleRefused(SaleDenial.RATE_LIMITED)
    values = {
        "offer": sale.supply_offer_id,
        "new_recent": recent,
        "tokens": sale.bound_tokens,
    }
    connection.execute(_USE, values)


def consume(
    connection: Connection,
    *,
    sale_id: str,
    supply_offer_id: str,
    bound_tokens: int,
    figures: SaleFigures,
    may_end: bool,
    now_s: int,
) -> int:
    """Count a posted sale: its tokens of the quota, and the day's sums. Return the day.

    The day is the one of posting, or the first after it that is not settled. ``may_end``: the
    caller has locked all of the offer's listings, so that the offer may become exhausted here; an
    offer that was not expected to stays active until a request finds no tokens.
    """
    paid_tokens = min(figures.prompt_tokens + figures.completion_tokens, bound_tokens)
    values = {
        "offer": supply_offer_id,
        "tokens": paid_tokens,
        "bound": bound_tokens,
        "may_end": may_end,
    }
    supplier_id, status = connection.execute(_CONSUME, values).one()
    if may_end and status == "exhausted":
        pause_listings(connection, supply_offer_id, now_s=now_s)
    first = utc_day(now_s)
    for day in range(first, first + SHIFT_MAX):
        row = {
            "supply_offer_id": supply_offer_id,
            "day": day,
            "bid_usdc_per_mtok": figures.input_usdc_per_mtok,
            "supplier_id": supplier_id,
            "requests": 1,
            "input_tokens": figures.prompt_tokens,
            "output_tokens": figures.completion_tokens,
            "paid_tokens": paid_tokens,
        }
        if _add_to_day(connection, row):
            return day
    raise AssertionError(f"no open day for sale {sale_id}")


def free_ceilings(connection: Connection, freed: Iterable[tuple[str, int]]) -> None:
    """Give reserved tokens back: (offer, tokens), ascending by offer. Requests stay counted."""
    for supply_offer_id, tokens in freed:
        connection.execute(_FREE, {"offer": supply_offer_id, "tokens": tokens})


def build_day_id(supply_offer_id: str, day: int) -> str:
    """Return what a posted sale of a supplier names as its payout: the offer and the day."""
    return f"{supply_offer_id}:{day}"


def note_exhausted(connection: Connection, supply_offer_id: str, *, now_s: int) -> bool:
    """Note that an offer did not hold a request; tell whether it is exhausted now."""
    lock_listings(connection, supply_offer_id)
    changed = connection.execute(
        update(_offer)
        .where(
            _offer.c.supply_offer_id == supply_offer_id,
            _offer.c.status == "active",
            _offer.c.reserved_tokens == 0,
            _offer.c.quota_tokens - _offer.c.used_tokens < EXHAUSTED_TOKENS,
        )
        .values(status="exhausted", changed_at_s=now_s)
    )
    if changed.rowcount != 1:
        return False
    pause_listings(connection, supply_offer_id, now_s=now_s)
    return True


def lock_listings(connection: Connection, supply_offer_id: str) -> None:
    """Keep an offer's listings as they are until the transaction's end: before its own row."""
    if not is_postgres(connection):
        return
    query = select(_listing.c.offer_id).where(_listing.c.supply_offer_id == supply_offer_id)
    locked = query.order_by(_listing.c.offer_id).with_for_update(key_share=True)
    connection.execute(locked).all()


def pause_listings(connection: Connection, supply_offer_id: str, *, now_s: int) -> None:
    """Take an offer's models out of the order. Idempotent."""
    set_listings(connection, supply_offer_id, {"status": "paused"}, now_s=now_s)


def set_listings(
    connection: Connection, supply_offer_id: str, changes: dict[str, Any], *, now_s: int
) -> None:
    """Change what the market lists of an offer: sales at the old terms are refused from now on."""
    connection.execute(
        update(_listing)
        .where(_listing.c.supply_offer_id == supply_offer_id, _listing.c.status != "deleted")
        .values(**changes, version=_listing.c.version + 1, changed_at_s=now_s)
    )


def _build_upsert(dialect: Any) -> Any:
    insert = dialect.insert(_day)
    names = ("requests", "input_tokens", "output_tokens", "paid_tokens")
    return insert.on_conflict_do_update(
        index_elements=[_day.c.supply_offer_id, _day.c.day, _day.c.bid_usdc_per_mtok],
        set_={name: _day.c[name] + insert.excluded[name] for name in names},
        where=_day.c.payout_id.is_(None),
    ).returning(_day.c.day)


_UPSERT_POSTGRES: Final = _build_upsert(postgresql)
_UPSERT_SQLITE: Final = _build_upsert(sqlite)


def _add_to_day(connection: Connection, row: dict[str, Any]) -> bool:
    """Add to a day's sums; tell whether the day was not settled yet."""
    statement = _UPSERT_POSTGRES if is_postgres(connection) else _UPSERT_SQLITE
    return connection.execute(statement, row).one_or_none() is not None
