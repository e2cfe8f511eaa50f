"""The pages of a model's book: in which order its offers are shown, and where a page goes on.

Those that serve where a request does not say whom it trusts come first, by what they count and then
by the blend of their prices; the others, which anybody may list, follow in the same order. Pure.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain, islice
from typing import Final

from market.listing.depth import blend
from market.pricing.media_units import Base
from market.routing.ranking import Offer
from market.routing.shelf import Shelf

PAGE_MAX: Final = 500
_CURSOR: Final = re.compile(r"([01])-([a-z_]{1,32})-(\d{1,40})-([!-~]{1,64})")


@dataclass(frozen=True, slots=True, order=True)
class BookPlace:
    """An offer's place in its book."""

    waits: bool
    """Whether its seller has to be approved first."""
    base: Base
    worth: int
    """Of the blend, 1e-12 USDC."""
    offer_id: str

    def __str__(self) -> str:
        return f"{int(self.waits)}-{self.base}-{self.worth}-{self.offer_id}"


def find_place(offer: Offer, *, trusted_only: bool) -> BookPlace:
    """Return an offer's place. ``trusted_only``: requests go to approved sellers unless they say
    otherwise."""
    waits = trusted_only and not offer.is_trusted
    return BookPlace(waits, offer.base, blend(offer.price), offer.offer_id)


def parse_place(text: str) -> BookPlace | None:
    """Return a page's cursor, or None where the text is none."""
    match = _CURSOR.fullmatch(text)
    if match is None or match[2] not in list(Base):
        return None
    return BookPlace(match[1] == "1", Base(match[2]), int(match[3]), match[4])


def take_page(
    trusted: Iterable[Offer],
    others: Iterable[Offer],
    *,
    after: BookPlace | None,
    limit: int,
    trusted_only: bool,
) -> tuple[list[Offer], BookPlace | None]:
    """Return at most ``limit`` offers behind ``after``, and the place of the last one where more
    follow.

    ``trusted``: the offers of approved sellers. With ``trusted_only`` the ``others`` are looked at
    only where those do not fill the page.
    """
    if not trusted_only:
        trusted, others = chain(trusted, others), ()
    found: list[tuple[BookPlace, Offer]] = []
    for offers in (trusted, others):
        if len(found) <= limit:
            placed = ((find_place(offer, trusted_only=trusted_only), offer) for offer in offers)
            behind = (one for one in placed if after is None or one[0] > after)
            missing = limit + 1 - len(found)
            # Of one more it need only be known that there is one.
            more = islice(behind, 1) if missing == 1 else behind
            found += nsmallest(missing, more, key=lambda one: one[0])
    page = [offer for _, offer in found[:limit]]
    return page, found[limit - 1][0] if len(found) > limit else None


def take_shelves(
    shelves: Mapping[Base, Shelf], *, after: BookPlace | None, limit: int, trusted_only: bool
) -> tuple[list[Offer], BookPlace | None]:
    """Return a page of a model's offers: see ``take_page``."""
    return take_page(
        chain.from_iterable(shelf.trusted for shelf in shelves.values()),
        chain.from_iterable(shelf.others for shelf in shelves.values()),
        after=after,
        limit=limit,
        trusted_only=trusted_only,
    )
