"""Why no offer may serve a request, as an answer. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from ledger.selling.sale_records import SaleDenial
from market.errors import discount_not_met, model_not_found
from market.routing.ranking import Ask, Drop, Ranking
from serving.http.errors import ApiError, RequestRejected, unavailable
from serving.models.failures import KNOWN_CODES, NotServed, UpstreamRejected

SELLER_REJECTED: Final = "seller_rejected"


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
    drops = Counter(verdict.drop for verdict in ranking.dropped if verdict.drop is not None)
    drops.update(ranking.unseen)
    met = [drop for drop in Drop if drops[drop]]
    if not met or met == [Drop.INACTIVE]:
        return model_not_found(ask.model)
    code, message = _NONE_LEFT[met[-1]]
    error = unavailable(code, message)
    error.beside = {"dropped": {str(drop): drops[drop] for drop in met}}
    return error


def find_telling(rejections: Sequence[UpstreamRejected]) -> UpstreamRejected:
    """Return the first that says what is wrong with the request, else the first."""
    told = (error for error in rejections if not isinstance(error, NotServed))
    return next(told, rejections[0])


def build_rejection(error: UpstreamRejected) -> RequestRejected:
    """Return what a buyer is told of a request that was refused as wrong."""
    if isinstance(error, NotServed):
        message = "The sellers of this model do not serve this endpoint."
        return RequestRejected(400, SELLER_REJECTED, message)
    code = error.code if error.code in KNOWN_CODES else SELLER_REJECTED
    facts = {} if error.code is None else {"upstream_code": error.code}
    return RequestRejected(error.status, code, error.message, error.param, facts=facts)


_NONE_LEFT: Final[Mapping[Drop, tuple[str, str]]] = {
    Drop.UNTRUSTED: ("no_trusted_seller", "No trusted seller offers this model now."),
    Drop.GRADE: (
        "no_seller_of_grade",
        "No seller of this model has the provenance grade that the request asks for.",
    ),
    Drop.FILTERED: ("no_seller_matches", "No seller passes the filters of the request."),
    Drop.POLICY: (
        "no_seller_meets_policy",
        "No seller of this model meets all that 'provider' demands.",
    ),
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
    SaleDenial.TOKENS_SPENT: Drop.QUOTA_SPENT,
    SaleDenial.RATE_LIMITED: Drop.RATE_LIMITED,
}
