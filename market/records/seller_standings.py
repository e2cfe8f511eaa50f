"""What the ledger has of sellers for everybody: since when they sell, offers, convictions.

Their sales are not counted here: that would cost as much as they have sold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from ledger.tables import MarketConviction, MarketOffer, MarketSeller, table_of

_conviction = table_of(MarketConviction)
_offer = table_of(MarketOffer)
_seller = table_of(MarketSeller)


@dataclass(frozen=True, slots=True)
class SellerStandingRecord:
    """A seller as the ledger has it. Times in Unix seconds."""

    created_at_s: int
    suspended: int
    """Offers that the market has taken out of the order, and that are not deleted."""
    doubted: int
    """Offers, deleted ones too, that one method of the lab convicts."""
    convictions: int
    """Convictions of its offers that stand."""
    last_convicted_at_s: int | None


def load_seller_standings(
    connection: Connection, sellers: Sequence[str]
) -> dict[str, SellerStandingRecord]:
    """Return what is known of sellers, by address or id. Costs what these have listed."""
    since = {
        row.address: int(row.created_at_s)
        for row in connection.execute(
            select(_seller.c.address, _seller.c.created_at_s).where(_seller.c.address.in_(sellers))
        )
    }
    is_suspended = _offer.c.suspended_for.is_not(None) & (_offer.c.status != "deleted")
    offers = {
        row.seller: row
        for row in connection.execute(
            select(
                _offer.c.seller,
                func.count().filter(is_suspended).label("suspended"),
                func.count().filter(_offer.c.doubted_at_s.is_not(None)).label("doubted"),
            )
            .where(_offer.c.seller.in_(sellers))
            .group_by(_offer.c.seller)
        )
    }
    convictions = {
        row.seller: row
        for row in connection.execute(
            select(
                _conviction.c.seller,
                func.count().label("convictions"),
                func.max(_conviction.c.convicted_at_s).label("last_at_s"),
            )
            .where(_conviction.c.seller.in_(sellers), _conviction.c.state != "overturned")
            .group_by(_conviction.c.seller)
        )
    }
    found = {}
    for seller, created_at_s in since.items():
        offered, convicted = offers.get(seller), convictions.get(seller)
        found[seller] = SellerStandingRecord(
            created_at_s=created_at_s,
            suspended=0 if offered is None else int(offered.suspended),
            doubted=0 if offered is None else int(offered.doubted),
            convictions=0 if convicted is None else int(convicted.convictions),
            last_convicted_at_s=None if convicted is None else int(convicted.last_at_s),
        )
    return found
