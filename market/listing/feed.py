"""What happens on the market, for everybody: sales without names, and offers as they change.

Newest first. A cursor says where a page ended; sales are in the order of their requests' ids, which
begin with the time. Of a buyer nothing is told, of a sale's seller what its offer tells anyway.
"""

import re
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, RowMapping, or_, select

from ledger.tables import MarketOffer, MarketSale, table_of

_offer = table_of(MarketOffer)
_sale = table_of(MarketSale)

FEED_MAX: Final = 100
FEED_DEPTH_S: Final = 7 * 86_400
"""How far back the feed goes."""

_CURSOR: Final = re.compile(r"(\d{1,13})-([so])-([0-9a-f.-]{1,64})")


@dataclass(frozen=True, slots=True)
class FeedCursor:
    """The last event of a page: what follows is older, or at the same second of a lesser id."""

    at_s: int
    is_sale: bool
    subject: str

    def __str__(self) -> str:
        return f"{self.at_s}-{'s' if self.is_sale else 'o'}-{self.subject}"


def parse_cursor(text: str) -> FeedCursor | None:
    """Return a page's cursor, or None where the text is invalid."""
    match = _CURSOR.fullmatch(text)
    return None if match is None else FeedCursor(int(match[1]), match[2] == "s", match[3])


def load_feed(
    connection: Connection, *, after: FeedCursor | None, limit: int, now_s: int
) -> list[tuple[FeedCursor, RowMapping]]:
    """Return at most ``limit`` events, newest first: each a row with the cursor that follows it.

    The cursor tells whether the row is a sale or an offer. At one second sales come before offers,
    each from the greatest id down.
    """
    oldest_s = now_s - FEED_DEPTH_S
    sales = select(_sale).where(_sale.c.state == "posted", _sale.c.sale_id >= _first_id(oldest_s))
    offers = select(_offer).where(_offer.c.changed_at_s >= oldest_s)
    if after is not None:
        is_before = _offer.c.changed_at_s < after.at_s
        if after.is_sale:
            sales = sales.where(_sale.c.sale_id < after.subject)
            offers = offers.where(_offer.c.changed_at_s <= after.at_s)
        else:
            sales = sales.where(_sale.c.sale_id < _first_id(after.at_s))
            is_same = (_offer.c.changed_at_s == after.at_s) & (_offer.c.offer_id < after.subject)
            offers = offers.where(or_(is_before, is_same))
    sales = sales.order_by(_sale.c.sale_id.desc()).limit(limit)
    offers = offers.order_by(_offer.c.changed_at_s.desc(), _offer.c.offer_id.desc()).limit(limit)
    found = [
        (FeedCursor(_get_time_s(row["sale_id"]), True, row["sale_id"]), row)
        for row in connection.execute(sales).mappings()
    ]
    found += [
        (FeedCursor(int(row["changed_at_s"]), False, row["offer_id"]), row)
        for row in connection.execute(offers).mappings()
    ]
    found.sort(key=lambda event: (event[0].at_s, event[0].is_sale, event[0].subject), reverse=True)
    return found[:limit]


def _first_id(at_s: int) -> str:
    """Return what sorts before every id that was made at or after a second."""
    text = f"{max(0, at_s) * 1_000 & (2**48 - 1):012x}"
    return f"{text[:8]}-{text[8:]}"


def _get_time_s(sale_id: str) -> int:
    return int(sale_id[:8] + sale_id[9:13], 16) // 1_000
