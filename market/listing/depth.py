"""What the offers of a model can sell now, and which of them says what the model costs. Pure."""

from collections.abc import Callable, Iterable
from typing import Final

from market.endpoints.health import Standing
from market.pricing.media_units import Base, find_price
from market.routing.ranking import Offer, OfferState
from serving.models.prices import Price, Tokens, get_cost_usdc, get_discount_pct, get_worth
from serving.models.terms import Terms

GetState = Callable[[Offer], OfferState]

BLENDED: Final = Tokens(prompt=3 * 1_024, completion=1_024)
"""A model's discount is shown for three tokens of prompt to one of output; a fee of the request
counts as for one of this size."""

QUOTED: Final = Tokens(prompt=4_096, completion=4_096)
"""A request of a common size."""

_WELL: Final = (Standing.HEALTHY, Standing.ON_TRIAL)


def find_best(offers: Iterable[Offer], get_state: GetState) -> Offer | None:
    """Return the cheapest offer whose price says what the model costs, None without any.

    Offers that can serve a request of a common size come first, then any that can serve, then any
    active offer.
    """
    active = [(offer, get_state(offer)) for offer in offers if offer.is_active]
    serviceable = [pair for pair in active if is_serviceable(*pair)]
    quotable = [pair for pair in serviceable if _is_quotable(*pair)]
    best = min(
        quotable or serviceable or active, key=lambda pair: blend(pair[0].price), default=None
    )
    return None if best is None else best[0]


def get_left_usdc(offer: Offer, state: OfferState) -> int | None:
    """Return what an offer can still sell today (1e-6 USDC), None where nothing bounds it."""
    limits = [
        limit - used
        for limit, used in (
            (offer.cap_daily_usdc, state.day_used_usdc),
            (offer.quota_total_usdc, state.total_used_usdc),
        )
        if limit is not None
    ]
    return max(0, min(limits)) if limits else None


def is_serviceable(offer: Offer, state: OfferState) -> bool:
    """Tell whether a request could go to an offer now."""
    left_usdc = get_left_usdc(offer, state)
    is_well = state.standing in _WELL
    return offer.is_active and is_well and (left_usdc is None or left_usdc > 0)


def blend(price: Price) -> int:
    """Return the figure that prices are ordered by, in 1e-12 USDC for ``BLENDED``."""
    return get_worth(BLENDED, price)


def get_blended_discount_pct(offer: Offer | None, reference: Terms | None) -> float | None:
    """Return an offer's discount to show, in per cent; None where no reference price proves any."""
    direct = None if offer is None or reference is None else find_price(reference, offer.base)
    if offer is None or direct is None:
        return None
    return get_discount_pct(cost=blend(offer.price), direct=blend(direct))


def _is_quotable(offer: Offer, state: OfferState) -> bool:
    """Tell whether requests are served at an offer's price.

    They are not where the offer failed last, nor where its cap holds no request of a common size:
    an offer that cannot serve must not set a model's price.
    """
    if state.standing is not Standing.HEALTHY:
        return False
    left_usdc = get_left_usdc(offer, state)
    if left_usdc is None or offer.base is not Base.TOKEN:
        return True
    return left_usdc >= get_cost_usdc(QUOTED, offer.get_price(QUOTED.prompt))
