"""What the public sees of the market: models, prices, the book of a model. Pure."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from contracts.units import USDC_ONE
from market.pricing.amounts import show_millionths
from market.pricing.units import UNITS, Base, find_price, get_media_prices
from market.routing.ranking import Ask, Offer, OfferState, Ranking, Shelf, Verdict
from serving.models.prices import Price, Tokens, get_cost_usdc, get_discount_pct
from serving.models.terms import Terms

BLEND_INPUT_TOKENS = 3
"""A model's discount is shown for three tokens of prompt to one of output."""


QUOTED = Tokens(prompt=4_096, completion=4_096)
"""A request of a common size."""


def describe_price(price: Price) -> dict[str, Any]:
    """Return a price in dollars per million tokens, and in 1e-6 USDC."""
    return {
        "price_input_per_1m": show_millionths(price.input_usdc_per_mtok),
        "price_output_per_1m": show_millionths(price.output_usdc_per_mtok),
        "input_usdc_per_mtok": price.input_usdc_per_mtok,
        "output_usdc_per_mtok": price.output_usdc_per_mtok,
    }


def describe_offer_price(offer: Offer) -> dict[str, Any]:
    """Return an offer's price as its unit has it."""
    if offer.unit is None:
        return describe_price(offer.price)
    per_unit_usdc = UNITS[offer.unit].to_per_unit_usdc(offer.price)
    return {"unit": offer.unit, "price_per_unit": show_millionths(per_unit_usdc)}


def describe_reference(model: str, reference: Terms | None) -> dict[str, Any]:
    """Return a model's reference price with its source and date; media by the base they count."""
    if reference is None:
        return {"model": model, "reference": None}
    stated: dict[str, Any] = {} if reference.price is None else describe_price(reference.price)
    if reference.usdc_per_unit:
        stated["usdc_per_million"] = {
            base: price.input_usdc_per_mtok for base, price in get_media_prices(reference).items()
        }
    return {
        "model": model,
        "reference": {**stated, "source": reference.source, "date": reference.date},
    }


def describe_model(model: str, reference: Terms | None) -> dict[str, Any]:
    """Return a model as an OpenAI list shows it."""
    context = None if reference is None else reference.context_tokens
    return {
        "id": model,
        "object": "model",
        "created": 0,
        "owned_by": "market",
        "context_length": context,
    }


def describe_prices(
    model: str,
    shelves: Mapping[Base, Shelf],
    reference: Terms | None,
    get_state: Callable[[Offer], OfferState],
    *,
    now: datetime,
) -> dict[str, Any]:
    """Return what a buyer's price list needs of a model: the best offer's prices, as of ``now``.

    The best of those that can serve now, else of all active ones. Prices of tokens stand beside the
    id, as ``input_usdc_per_mtok`` and ``output_usdc_per_mtok``; a model without them has none.
    """
    entry = {
        "id": model,
        **describe_market(model, shelves, reference, get_state),
        "updated_at": now.isoformat(timespec="seconds"),
    }
    best = _find_best(shelves.get(Base.TOKEN, ()), get_state)
    if best is not None:
        entry |= {
            "input_usdc_per_mtok": best.price.input_usdc_per_mtok,
            "output_usdc_per_mtok": best.price.output_usdc_per_mtok,
        }
    if reference is not None:
        limits = {
            "context_tokens": reference.context_tokens,
            "image_tokens": reference.image_tokens,
        }
        entry |= {name: limit for name, limit in limits.items() if limit is not None}
    return entry


def describe_market(
    model: str,
    shelves: Mapping[Base, Shelf],
    reference: Terms | None,
    get_state: Callable[[Offer], OfferState],
) -> dict[str, Any]:
    """Return one model's market in short: how many sell, and the best price of each kind."""
    active = [offer for shelf in shelves.values() for offer in shelf if offer.is_active]
    best = _find_best(shelves.get(Base.TOKEN, ()), get_state)
    media = {
        base: describe_offer_price(found)
        for base, shelf in shelves.items()
        if base is not Base.TOKEN and (found := _find_best(shelf, get_state)) is not None
    }
    return {
        **describe_reference(model, reference),
        "offers": len(active),
        "serviceable_offers": sum(_is_serviceable(offer, get_state(offer)) for offer in active),
        "best": None if best is None else describe_price(best.price),
        "best_discount_pct": _get_discount(best, reference),
        "media": media,
    }


def _find_best(offers: Iterable[Offer], get_state: Callable[[Offer], OfferState]) -> Offer | None:
    active = [(offer, get_state(offer)) for offer in offers if offer.is_active]
    serviceable = [pair for pair in active if _is_serviceable(*pair)]
    quotable = [pair for pair in serviceable if _is_quotable(*pair)]
    best = min(
        quotable or serviceable or active, key=lambda pair: _blend(pair[0].price), default=None
    )
    return None if best is None else best[0]


def describe_book(
    model: str,
    shelves: Mapping[Base, Shelf],
    reference: Terms | None,
    get_state: Callable[[Offer], OfferState],
) -> dict[str, Any]:
    """Return one model's offers, the cheapest blend first, and how much they can still sell."""
    rows, depth_usdc, is_bounded = [], 0, True
    offers = [offer for shelf in shelves.values() for offer in shelf]
    for offer in sorted(offers, key=lambda one: (one.base, _blend(one.price), one.offer_id)):
        state = get_state(offer)
        left_usdc = get_left_usdc(offer, state)
        serviceable = _is_serviceable(offer, state)
        if serviceable:
            is_bounded = is_bounded and left_usdc is not None
            depth_usdc += left_usdc or 0
        rows.append(
            {
                "offer_id": offer.offer_id,
                "provider": offer.provider,
                "trusted": offer.is_trusted,
                **describe_offer_price(offer),
                "discount_pct": _get_discount(offer, reference),
                "health": state.standing,
                "serviceable": serviceable,
                "left_today_usd": None if left_usdc is None else left_usdc / USDC_ONE,
            }
        )
    return {
        **describe_reference(model, reference),
        "offers": rows,
        "serviceable_depth_usd": depth_usdc / USDC_ONE if is_bounded else None,
    }


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


def describe_ranking(ranking: Ranking, ask: Ask) -> dict[str, Any]:
    """Return the list that a request would be served from, and why each other was dropped."""
    estimate = ask.estimate
    if ask.base is Base.TOKEN:
        estimated: dict[str, Any] = {
            "estimated_tokens": {"prompt": estimate.prompt, "completion": estimate.completion}
        }
    else:
        estimated = {"estimated_quantity": {"base": ask.base, "quantity": estimate.prompt}}
    return {
        "model": ask.model,
        "minimum_discount_pct": ask.minimum_discount_pct,
        **estimated,
        "direct_cost_usdc": ask.direct_usdc or None,
        "ranked": [_describe_verdict(verdict) for verdict in ranking.ranked],
        "dropped": [_describe_verdict(verdict) for verdict in ranking.dropped],
    }


def _describe_verdict(verdict: Verdict) -> dict[str, Any]:
    described = {
        "offer_id": verdict.offer.offer_id,
        "provider": verdict.offer.provider,
        "estimated_cost_usdc": verdict.cost_usdc,
        "ceiling_usdc": verdict.ceiling_usdc,
        "estimated_discount_pct": verdict.discount_pct,
    }
    return described if verdict.drop is None else {**described, "reason": verdict.drop}


def _blend(price: Price) -> int:
    return BLEND_INPUT_TOKENS * price.input_usdc_per_mtok + price.output_usdc_per_mtok


def _get_discount(offer: Offer | None, reference: Terms | None) -> float | None:
    direct = None if offer is None or reference is None else find_price(reference, offer.base)
    if offer is None or direct is None:
        return None
    return get_discount_pct(cost=_blend(offer.price), direct=_blend(direct))


def _is_serviceable(offer: Offer, state: OfferState) -> bool:
    left_usdc = get_left_usdc(offer, state)
    is_well = state.standing in ("healthy", "on_trial")
    return offer.is_active and is_well and (left_usdc is None or left_usdc > 0)


def _is_quotable(offer: Offer, state: OfferState) -> bool:
    """Tell whether an offer's price is one that requests are served at.

    Not where it failed last, nor where its cap holds no request of a common size: an offer that
    serves nobody must not say what a model costs.
    """
    if state.standing != "healthy":
        return False
    left_usdc = get_left_usdc(offer, state)
    if left_usdc is None or offer.base is not Base.TOKEN:
        return True
    return left_usdc >= get_cost_usdc(QUOTED, offer.price)


def build_csv(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> str:
    """Return rows as CSV. No cell begins as a formula of a spreadsheet would."""
    names = list(columns)
    lines = [",".join(names)]
    lines += [",".join(_cell(row[name]) for name in names) for row in rows]
    return "\r\n".join(lines) + "\r\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    if text[:1] in ("=", "+", "-", "@", "\t", "\r"):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text
