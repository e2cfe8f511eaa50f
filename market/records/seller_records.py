"""What became of each seller's sales, for the operator who approves sellers."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, case, func, select

from ledger.tables import MarketOffer, MarketSale, MarketSeller, table_of

_offer = table_of(MarketOffer)
_sale = table_of(MarketSale)
_seller = table_of(MarketSeller)

SHOWN_MAX: Final = 1_000
"""Sellers in one list."""


@dataclass(frozen=True, slots=True)
class SellerRecord:
    """A seller, what it offers, and how its sales went. Amounts in 1e-6 USDC."""

    address: str
    is_trusted: bool
    is_pending: bool
    """Whether the operator has decided nothing yet."""
    note: str | None
    created_at_s: int
    offers: int
    """Offers that are not deleted."""
    suspended: int
    """Offers that the market has taken out of the order."""
    evidence: str | None
    """Why one of them was."""
    doubted: int
    """Offers, deleted ones too, whose unvested earnings wait for the operator or a conviction."""
    doubted_offer_id: str | None
    """One of them."""
    served: int
    cut: int
    """Of those, sales whose report said more than can be true."""
    failed: int
    earned_usdc: int


def load_seller_records(
    connection: Connection, *, only_pending: bool = False
) -> list[SellerRecord]:
    """Return the sellers, those that wait for a decision first, then the oldest; at most
    ``SHOWN_MAX``. Reads all sales of those sellers."""
    waits = _seller.c.decided_at_s.is_(None) & _seller.c.is_trusted.is_(False)
    # Suppliers are decided on by reviewers: see ``ledger.suppliers``.
    wallets = select(_seller, waits.label("waits")).where(_seller.c.address.like("0x%"))
    query = wallets.order_by(case((waits, 0), else_=1), _seller.c.created_at_s, _seller.c.address)
    if only_pending:
        query = query.where(waits)
    sellers = connection.execute(query.limit(SHOWN_MAX)).mappings().all()
    addresses = [row["address"] for row in sellers]
    is_there = _offer.c.status != "deleted"
    is_doubted = _offer.c.doubted_at_s.is_not(None)
    offers = {
        row.seller: row
        for row in connection.execute(
            select(
                _offer.c.seller,
                func.count().filter(is_there).label("offers"),
                func.count(_offer.c.suspended_for).filter(is_there).label("suspended"),
                func.max(_offer.c.suspended_for).filter(is_there).label("evidence"),
                func.count().filter(is_doubted).label("doubted"),
                func.min(_offer.c.offer_id).filter(is_doubted).label("doubted_offer_id"),
            )
            .where(_offer.c.seller.in_(addresses))
            .group_by(_offer.c.seller)
        )
    }
    is_posted = _sale.c.state == "posted"
    sales = {
        row.seller: row
        for row in connection.execute(
            select(
                _sale.c.seller,
                func.count().filter(is_posted).label("served"),
                func.count().filter(is_posted & _sale.c.is_cut.is_(True)).label("cut"),
                func.count().filter(_sale.c.is_seller_failure.is_(True)).label("failed"),
                func.coalesce(func.sum(_sale.c.earning_usdc), 0).label("earned"),
            )
            .where(_sale.c.seller.in_(addresses))
            .group_by(_sale.c.seller)
        )
    }
    found = []
    for row in sellers:
        offered, sold = offers.get(row["address"]), sales.get(row["address"])
        found.append(
            SellerRecord(
                address=row["address"],
                is_trusted=bool(row["is_trusted"]),
                is_pending=bool(row["waits"]),
                note=row["note"],
                created_at_s=int(row["created_at_s"]),
                offers=0 if offered is None else int(offered.offers),
                suspended=0 if offered is None else int(offered.suspended),
                evidence=None if offered is None else offered.evidence,
                doubted=0 if offered is None else int(offered.doubted),
                doubted_offer_id=None if offered is None else offered.doubted_offer_id,
                served=0 if sold is None else int(sold.served),
                cut=0 if sold is None else int(sold.cut),
                failed=0 if sold is None else int(sold.failed),
                earned_usdc=0 if sold is None else int(sold.earned),
            )
        )
    return found
