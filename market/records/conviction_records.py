"""Convictions as an operator sees them."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, RowMapping, func, select

from ledger.selling.convictions import build_hold_id
from ledger.tables import MarketConviction, MarketRefund, MarketSale, table_of

_conviction = table_of(MarketConviction)
_refund = table_of(MarketRefund)
_sale = table_of(MarketSale)

SHOWN_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class ConvictionRecord:
    """A conviction and its money, in 1e-6 USDC."""

    conviction_id: str
    offer_id: str
    seller: str
    model: str
    state: str
    evidence: str
    refunds_from_s: int
    buyers: int
    refunded_usdc: int
    """What buyers were credited."""
    waiting_usdc: int
    """What is held back for buyers who were not credited yet."""
    vested_usdc: int
    """What sales in that time had cost that were the seller's already: nobody refunds it."""
    borne_usdc: int
    """The seller's part of the refunds, where the conviction was overturned."""


def load_convictions(connection: Connection) -> list[ConvictionRecord]:
    """Return the newest convictions, newest first."""
    rows = connection.execute(
        select(_conviction).order_by(_conviction.c.conviction_id.desc()).limit(SHOWN_MAX)
    ).mappings()
    return [_load(connection, row) for row in rows.all()]


def _load(connection: Connection, row: RowMapping) -> ConvictionRecord:
    buyers, refunded, borne = connection.execute(
        select(
            func.count(_refund.c.account_id.distinct()),
            func.coalesce(func.sum(_refund.c.amount_usdc), 0),
            func.coalesce(func.sum(_refund.c.earning_usdc).filter(_refund.c.is_borne.is_(True)), 0),
        ).where(_refund.c.conviction_id == row["conviction_id"])
    ).one()
    held_back, sold = connection.execute(
        select(
            func.coalesce(
                func.sum(_sale.c.cost_usdc).filter(
                    _sale.c.payout_id == build_hold_id(row["conviction_id"])
                ),
                0,
            ),
            func.coalesce(func.sum(_sale.c.cost_usdc), 0),
        ).where(
            _sale.c.offer_id == row["offer_id"],
            _sale.c.state == "posted",
            _sale.c.reserved_at_s >= row["refunds_from_s"],
            _sale.c.reserved_at_s <= row["convicted_at_s"],
        )
    ).one()
    is_standing = row["state"] != "overturned"
    return ConvictionRecord(
        conviction_id=row["conviction_id"],
        offer_id=row["offer_id"],
        seller=row["seller"],
        model=row["model"],
        state=row["state"],
        evidence=row["evidence"],
        refunds_from_s=row["refunds_from_s"],
        buyers=int(buyers),
        refunded_usdc=int(refunded),
        waiting_usdc=int(held_back) - int(refunded) if is_standing else 0,
        vested_usdc=int(sold) - int(held_back) if is_standing else 0,
        borne_usdc=int(borne),
    )
