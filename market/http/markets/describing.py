"""The market as answers show it: models, prices, the book of a model, a ranking."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from contracts.units import USDC_ONE
from market.http.markets.schemas import (
    BookOffer,
    DroppedOffer,
    EstimatedQuantity,
    EstimatedTokens,
    MarketSummary,
    ModelEntry,
    OfferFacts,
    OfferMeasured,
    OwnProviderEstimate,
    PriceEntry,
    RankedOffer,
    RouteExplained,
)
from market.http.prices import (
    ModelReference,
    OfferPrice,
    ReferencePrice,
    TierPrice,
    TokenPrice,
    UnitPrice,
)
from market.listing.depth import (
    GetState,
    find_best,
    get_blended_discount_pct,
    get_left_usdc,
    is_serviceable,
)
from market.pricing.amounts import show_millionths
from market.pricing.falling import find_earliest
from market.pricing.media_units import UNITS, Base, get_media_prices
from market.routing.measured import OfferReport
from market.routing.ranking import Ask, Offer, OfferState, Ranking, Verdict
from serving.dialects.serving_facts import Facts, write_declared
from serving.models.prices import Price
from serving.models.terms import Terms, Tiers


def describe_tiers(tiers: Tiers) -> TokenPrice:
    """Return the prices of tokens: of short prompts, then of longer ones."""
    price = tiers[0][1]
    cached = price.cached_input_usdc_per_mtok
    return TokenPrice(
        price_input_per_1m=show_millionths(price.input_usdc_per_mtok),
        price_output_per_1m=show_millionths(price.output_usdc_per_mtok),
        price_cached_input_per_1m=None if cached is None else show_millionths(cached),
        input_usdc_per_mtok=price.input_usdc_per_mtok,
        output_usdc_per_mtok=price.output_usdc_per_mtok,
        cached_input_usdc_per_mtok=cached,
        per_request_usdc=price.per_request_usdc,
        tiers=[_describe_tier(above, longer) for above, longer in tiers[1:]],
    )


def _describe_tier(above: int, price: Price) -> TierPrice:
    return TierPrice(
        above_prompt_tokens=above,
        input_usdc_per_mtok=price.input_usdc_per_mtok,
        output_usdc_per_mtok=price.output_usdc_per_mtok,
        cached_input_usdc_per_mtok=price.cached_input_usdc_per_mtok,
        per_request_usdc=price.per_request_usdc,
    )


STAYS: Final = "stays with its session's seller"

_NO_TOKEN_PRICE: Final[Mapping[str, Any]] = {**dict.fromkeys(TokenPrice.model_fields), "tiers": []}
"""What is shown of tokens where something else is sold."""


def describe_unit_price(unit: str, price: Price) -> UnitPrice:
    """Return the price of a medium as its unit has it."""
    per_unit_usdc = UNITS[unit].to_per_unit_usdc(price)
    return UnitPrice.model_validate(
        {"unit": unit, "price_per_unit": show_millionths(per_unit_usdc)}
    )


def describe_offer_price(offer: Offer) -> OfferPrice:
    """Return an offer's price; the fields of the kind that it is not sold by are None."""
    if offer.unit is None:
        return OfferPrice(**dict(describe_tiers(offer.tiers)), unit=None, price_per_unit=None)
    return OfferPrice.model_validate(
        {**_NO_TOKEN_PRICE, **dict(describe_unit_price(offer.unit, offer.price))}
    )


def describe_reference(model: str, reference: Terms | None) -> ModelReference:
    """Return a model's reference price with its source and date; media by the base they count."""
    if reference is None:
        return ModelReference(model=model, reference=None)
    stated = dict(describe_tiers(reference.tiers)) if reference.tiers else _NO_TOKEN_PRICE
    price = {
        **stated,
        "usdc_per_million": {
            base: one.input_usdc_per_mtok for base, one in get_media_prices(reference).items()
        },
        "source": reference.source,
        "date": reference.date,
    }
    return ModelReference(model=model, reference=ReferencePrice.model_validate(price))


def describe_model(
    model: str, served: Mapping[Base, Collection[Offer]], reference: Terms | None
) -> ModelEntry:
    """Return a model as OpenAI lists it, with the grades of its active offers."""
    context = None if reference is None else reference.context_tokens
    active = {offer.grade for offers in served.values() for offer in offers if offer.is_active}
    return ModelEntry(id=model, context_length=context, grades=sorted(active))


def describe_prices(
    model: str,
    shelves: Mapping[Base, Collection[Offer]],
    reference: Terms | None,
    get_state: GetState,
    *,
    now: datetime,
) -> PriceEntry:
    """Return what a buyer's price list needs of a model: the best offer's prices, as of ``now``."""
    summary = describe_market(model, shelves, reference, get_state)
    best = summary.best
    return PriceEntry(
        **dict(summary),
        id=model,
        updated_at=now.isoformat(timespec="seconds"),
        input_usdc_per_mtok=None if best is None else best.input_usdc_per_mtok,
        output_usdc_per_mtok=None if best is None else best.output_usdc_per_mtok,
        cached_input_usdc_per_mtok=None if best is None else best.cached_input_usdc_per_mtok,
        per_request_usdc=None if best is None else best.per_request_usdc,
        tiers=[] if best is None else best.tiers,
        context_tokens=None if reference is None else reference.context_tokens,
        image_tokens=None if reference is None else reference.image_tokens,
    )


def describe_market(
    model: str,
    shelves: Mapping[Base, Collection[Offer]],
    reference: Terms | None,
    get_state: GetState,
) -> MarketSummary:
    """Return one model's market in short: how many sell, and the best price of each kind."""
    active = [offer for shelf in shelves.values() for offer in shelf if offer.is_active]
    best = find_best(shelves.get(Base.TOKEN, ()), get_state)
    best_media = {
        base: found
        for base, shelf in shelves.items()
        if base is not Base.TOKEN
        and (found := find_best(shelf, get_state)) is not None
        and found.unit is not None
    }
    media = {
        base: describe_unit_price(found.unit, found.stated_tiers[0][1])
        for base, found in best_media.items()
        if found.unit is not None
    }
    listed = [one for one in (best, *best_media.values()) if one is not None]
    return MarketSummary(
        **dict(describe_reference(model, reference)),
        offers=len(active),
        serviceable_offers=sum(is_serviceable(offer, get_state(offer)) for offer in active),
        best=None if best is None else describe_tiers(best.stated_tiers),
        best_discount_pct=get_blended_discount_pct(best, reference),
        media=media,
        valid_until=find_earliest([one.valid_until_s for one in listed]),
    )


def find_depth_usd(offers: Iterable[Offer], get_state: GetState) -> float | None:
    """Return how much offers can still sell today, None where one of them has no cap."""
    depth_usdc = 0
    for offer in offers:
        state = get_state(offer)
        if is_serviceable(offer, state):
            left_usdc = get_left_usdc(offer, state)
            if left_usdc is None:
                return None
            depth_usdc += left_usdc
    return depth_usdc / USDC_ONE


def describe_book_offer(
    offer: Offer, reference: Terms | None, state: OfferState, measured: OfferReport
) -> BookOffer:
    """Return an offer of a model's book."""
    left_usdc = get_left_usdc(offer, state)
    return BookOffer(
        **dict(describe_offer_price(offer)),
        offer_id=offer.offer_id,
        provider=offer.provider,
        label=offer.label,
        grade=offer.grade,
        trusted=offer.is_trusted,
        discount_pct=get_blended_discount_pct(offer, reference),
        health=state.standing,
        serviceable=is_serviceable(offer, state),
        valid_until=offer.valid_until_s,
        left_today_usd=None if left_usdc is None else left_usdc / USDC_ONE,
        facts=describe_facts(offer.facts),
        measured=OfferMeasured(**asdict(measured)),
    )


def describe_facts(facts: Facts) -> OfferFacts:
    """Return how an offer serves, with nulls for what is unknown."""
    unknown = {"region": None, "quantization": None, "parameters": None}
    return OfferFacts.model_validate({**unknown, **write_declared(facts)})


def describe_ranking(
    ranking: Ranking, ask: Ask, own_providers: list[OwnProviderEstimate] | None
) -> RouteExplained:
    """Return the list that a request would be served from, and why each other was dropped."""
    estimate, by_tokens = ask.estimate, ask.base is Base.TOKEN
    tokens = EstimatedTokens(prompt=estimate.prompt, completion=estimate.completion)
    quantity = EstimatedQuantity(base=ask.base, quantity=estimate.prompt)
    return RouteExplained(
        model=ask.model,
        minimum_discount_pct=ask.minimum_discount_pct,
        estimated_tokens=tokens if by_tokens else None,
        estimated_quantity=None if by_tokens else quantity,
        direct_cost_usdc=ask.direct_usdc or None,
        ranked=[_describe_verdict(verdict) for verdict in ranking.ranked],
        dropped=[
            DroppedOffer(**dict(_describe_verdict(verdict)), reason=verdict.drop)
            for verdict in ranking.dropped
            if verdict.drop is not None
        ],
        not_shown={drop: count for drop, count in ranking.unseen.items() if count},
        own_providers=own_providers,
    )


def _describe_verdict(verdict: Verdict) -> RankedOffer:
    return RankedOffer(
        offer_id=verdict.offer.offer_id,
        provider=verdict.offer.provider,
        grade=verdict.offer.grade,
        estimated_cost_usdc=verdict.cost_usdc,
        ceiling_usdc=verdict.ceiling_usdc,
        estimated_discount_pct=verdict.discount_pct,
        cached_input_usdc_per_mtok=verdict.price.cached_input_usdc_per_mtok,
        per_request_usdc=verdict.price.per_request_usdc,
        why=STAYS if verdict.stays else None,
    )
