"""Why no offer may serve a request, as an answer. Pure."""

from collections.abc import Mapping
from typing import Final

from ledger.selling.sale_records import SaleDenial
from market.errors import discount_not_met, model_not_found
from market.routing.ranking import Ask, Drop, Ranking
from serving.http.errors import ApiError, unavailable


def explain_none(ranking: Ranking, ask: Ask, *, denied: Drop | None = None) -> ApiError:
    """Return why no offer may serve a request: what the offers that came furthest did not pass.

    ``denied`` is why the ledger turned an offer down that may have room again by now.
    """
    if ranking.is_blocked_by_discount:
        assert ask.minimum_discount_pct is not None
        eligible = [v for v in ranking.dropped if v.drop is Drop.MINIMUM_DISCOUNT]
        discounts = [verdict.discount_pct for verdict in eligible]
        return discount_not_met(
            model=ask.model,
            minimum_pct=ask.minimum_discount_pct,
            best_pct=max((pct for pct in discounts if pct is not None), default=None),
        )
    if ranking.ranked and denied is not None:
        return unavailable(*_NONE_LEFT[denied])
    if ranking.ranked:
        # They would do, but cannot be called: their keys do not open.
        return unavailable("sellers_unavailable", "The sellers of this model cannot be reached.")
    drops = [verdict.drop for verdict in ranking.dropped if verdict.drop is not None]
    if not drops or set(drops) == {Drop.INACTIVE}:
        return model_not_found(ask.model)
    order = list(Drop)
    furthest = max(drops, key=order.index)
    code, message = _NONE_LEFT[furthest]
    error = unavailable(code, message)
    counts = {str(drop): drops.count(drop) for drop in order if drop in drops}
    error.beside = {"dropped": counts}
    return error


_NONE_LEFT: Final[Mapping[Drop, tuple[str, str]]] = {
    Drop.UNTRUSTED: ("no_trusted_seller", "No trusted seller offers this model now."),
    Drop.FILTERED: ("no_seller_matches", "No seller passes the filters of the request."),
    Drop.PRICE_CEILING: (
        "price_ceiling_not_met",
        "No seller is within the request's price ceilings.",
    ),
    Drop.BACKING_OFF: ("sellers_backing_off", "All sellers of this model failed lately."),
    Drop.BUSY: ("sellers_busy", "All sellers of this model are busy."),
    Drop.CAP_REACHED: ("seller_caps_reached", "All sellers have sold what they sell in a day."),
    Drop.QUOTA_SPENT: ("seller_quotas_spent", "All sellers have sold their quota."),
    Drop.RATE_LIMITED: ("sellers_rate_limited", "All sellers are at their requests a minute."),
}

DENIALS: Final[Mapping[SaleDenial, Drop]] = {
    SaleDenial.CAP_REACHED: Drop.CAP_REACHED,
    SaleDenial.QUOTA_SPENT: Drop.QUOTA_SPENT,
}
