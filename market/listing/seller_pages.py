"""The sellers with listed offers, for everybody: in which order, and where a page goes on.

Those that the operator has approved come first, then the others, which anybody may be; each by the
seller's address or id.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from market.routing.live_offers import Live

_CURSOR: Final = re.compile(r"([01])-([!-~]{1,64})")


@dataclass(frozen=True, slots=True, order=True)
class SellerPlace:
    """A seller's place among all."""

    waits: bool
    """Whether the operator has not approved it."""
    seller: str

    def __str__(self) -> str:
        return f"{int(self.waits)}-{self.seller}"


@dataclass(frozen=True, slots=True)
class ListedSellers:
    """Every seller's listed offers, by its place, and the places in their order."""

    offers: Mapping[SellerPlace, Sequence[Live]]
    places: Sequence[SellerPlace]

    def take_page(
        self, *, after: SellerPlace | None, limit: int
    ) -> tuple[Sequence[SellerPlace], SellerPlace | None]:
        """Return at most ``limit`` sellers behind ``after``, and the last one where more follow."""
        start = 0 if after is None else bisect_right(self.places, after)
        page = self.places[start : start + limit]
        return page, page[-1] if start + limit < len(self.places) else None


def parse_place(text: str) -> SellerPlace | None:
    """Return a page's cursor, or None where the text is none."""
    match = _CURSOR.fullmatch(text)
    return None if match is None else SellerPlace(match[1] == "1", match[2])


def group_by_seller(listed: Iterable[Live]) -> ListedSellers:
    """Return the listed offers by their sellers.

    A supplier who is not approved is left out: who applies is nobody else's business.
    """
    by_seller: defaultdict[str, list[Live]] = defaultdict(list)
    for live in listed:
        if live.offer.is_trusted or live.supply_offer_id is None:
            by_seller[live.offer.seller].append(live)
    offers = {
        SellerPlace(not any(live.offer.is_trusted for live in found), seller): found
        for seller, found in by_seller.items()
    }
    return ListedSellers(offers, sorted(offers))
