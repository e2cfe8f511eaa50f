"""What of offers' quotas had been sold when they expired, and what lapsed. Amounts in 1e-6 USDC."""

from typing import Final

from sqlalchemy import Connection, RowMapping, delete, func, select

from ledger.database.statements import insert_or_ignore
from ledger.tables import MarketLapse, MarketOffer, table_of

UNSOLD_KEPT: Final = 10
"""Expired quotas of one offer, of which nothing was sold, that are kept."""

_lapse = table_of(MarketLapse)
_offer = table_of(MarketOffer)


def note_lapses(connection: Connection, *, now_s: int, limit: int = 500) -> int:
    """Write down what of quotas that have expired was not sold; return how many. Idempotent.

    What is sold between the instant and this call still counts as sold.
    """
    is_noted = (
        select(_lapse.c.offer_id)
        .where(
            _lapse.c.offer_id == _offer.c.offer_id,
            _lapse.c.resets_at_s == _offer.c.quota_resets_at_s,
        )
        .exists()
    )
    rows = (
        connection.execute(
            select(_offer)
            .where(_offer.c.quota_resets_at_s <= now_s, _offer.c.quota_total_usdc > 0, ~is_noted)
            .order_by(_offer.c.offer_id)
            .limit(limit)
        )
        .mappings()
        .all()
    )
    return sum(_note(connection, row) for row in rows)


def _note(connection: Connection, row: RowMapping) -> bool:
    quota_usdc = int(row["quota_total_usdc"])
    # A quota may have been lowered below what was sold.
    sold_usdc = min(int(row["total_used_usdc"]), quota_usdc)
    values = {
        "offer_id": row["offer_id"],
        "resets_at_s": row["quota_resets_at_s"],
        "seller": row["seller"],
        "model": row["model"],
        "starts_at_s": row["falls_from_s"],
        "quota_usdc": quota_usdc,
        "sold_usdc": sold_usdc,
        "lapsed_usdc": quota_usdc - sold_usdc,
    }
    is_new = insert_or_ignore(connection, _lapse, values)
    _forget_unsold(connection, row["offer_id"])
    return is_new


def _forget_unsold(connection: Connection, offer_id: str) -> None:
    """Forget an offer's older quotas of which nothing was sold: they cost their seller nothing."""
    is_unsold = (_lapse.c.offer_id == offer_id) & (_lapse.c.sold_usdc == 0)
    newest = select(_lapse.c.resets_at_s).where(is_unsold).order_by(_lapse.c.resets_at_s.desc())
    kept = connection.execute(newest.limit(UNSOLD_KEPT)).scalars().all()
    if len(kept) == UNSOLD_KEPT:
        connection.execute(delete(_lapse).where(is_unsold, _lapse.c.resets_at_s < kept[-1]))


def load_lapses(connection: Connection, seller: str, *, limit: int) -> list[RowMapping]:
    """Return what lapsed of a seller's offers, newest first."""
    query = select(_lapse).where(_lapse.c.seller == seller)
    ordered = query.order_by(_lapse.c.resets_at_s.desc(), _lapse.c.offer_id).limit(limit)
    return list(connection.execute(ordered).mappings())


def load_expiring(connection: Connection, seller: str, *, now_s: int) -> list[RowMapping]:
    """Return a seller's offers whose quota will expire, those that expire first before others."""
    query = select(_offer).where(
        _offer.c.seller == seller,
        _offer.c.status != "deleted",
        _offer.c.quota_resets_at_s > now_s,
        func.coalesce(_offer.c.quota_total_usdc, 0) > 0,
    )
    ordered = query.order_by(_offer.c.quota_resets_at_s, _offer.c.offer_id)
    return list(connection.execute(ordered).mappings())
