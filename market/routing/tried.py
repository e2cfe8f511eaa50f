"""Which sellers a request has been sent to, and which ones are asked next. Pure.

A request tries a seller once: while another seller is left, one that failed or refused it is not
asked again, however many offers it has; where no other is left, only its endpoints at another
origin. So no wallet can fill all attempts of a request with offers that fail.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from market.routing.ranking import Ask, Offer


@dataclass(slots=True)
class Tried:
    """What became of a request so far."""

    offers: set[str] = field(default_factory=set)
    """Offers that are not asked again, whether they were sent the request or had no room for it."""
    sellers: set[str] = field(default_factory=set)
    """Sellers that were sent the request, and did not serve it."""
    origins: set[tuple[str, str]] = field(default_factory=set)
    """The same, each with the origin that it was at."""

    def note(self, offer: Offer) -> None:
        """Note that an offer's seller was sent the request, and did not serve it."""
        self.sellers.add(offer.seller)
        self.origins.add((offer.seller, offer.origin))

    def narrow(self, asks: Sequence[Ask], *, last: frozenset[str]) -> Iterator[Sequence[Ask]]:
        """Yield what to ask for, the better kind of seller first.

        ``last`` are offers that are asked after all others of their kind.
        """
        offers = frozenset(self.offers)
        for sellers in (frozenset(self.sellers), frozenset[str]()):
            for kept_back in (offers | last, offers) if last else (offers,):
                yield [
                    replace(
                        ask,
                        excluded=kept_back,
                        excluded_sellers=sellers,
                        excluded_origins=frozenset(self.origins),
                    )
                    for ask in asks
                ]
            if not self.sellers:
                return
