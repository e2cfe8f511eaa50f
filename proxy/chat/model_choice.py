"""Which model serves a request, at what price and up to what ceiling."""

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from proxy.catalogue import Catalogue, Model
from proxy.chat.request import CHEAPEST, ChatRequest
from proxy.errors import discount_not_met, model_not_found, model_not_priced
from serving.http.errors import bad_request, unavailable
from serving.models.bounds import get_prompt_bound
from serving.models.prices import (
    Price,
    fit_max_tokens,
    get_ceiling_usdc,
    get_discount_pct,
    meets_discount,
)
from serving.models.references import References
from serving.models.terms import Terms


@dataclass(frozen=True, slots=True)
class Offer:
    """One model that could serve a request. ``ceiling_usdc`` in 1e-6 USDC."""

    model: str
    price: Price
    prompt_bound: int
    image_tokens: int
    """The bound for all images; part of ``prompt_bound``."""
    max_tokens: int
    ceiling_usdc: int
    source: str
    """Who states the price."""
    price_age_s: int | None

    def fit(self, affordable_usdc: int, *, choices: int) -> "Offer":
        """Return the offer with the largest output limit that an amount pays for (1e-6 USDC).

        At least one token, which it may not pay for. What it returns fits its own ceiling.
        """
        max_tokens = fit_max_tokens(
            affordable_usdc=affordable_usdc,
            prompt_bound=self.prompt_bound,
            max_tokens=self.max_tokens,
            choices=choices,
            price=self.price,
        )
        ceiling_usdc = get_ceiling_usdc(
            prompt_bound=self.prompt_bound,
            max_tokens=max_tokens,
            choices=choices,
            price=self.price,
        )
        return replace(self, max_tokens=max_tokens, ceiling_usdc=ceiling_usdc)

    def describe(self) -> dict[str, Any]:
        """Return the offer as a quote shows it. Prices in 1e-6 USDC per 1e6 tokens."""
        return {
            "model": self.model,
            "input_usdc_per_mtok": self.price.input_usdc_per_mtok,
            "cached_input_usdc_per_mtok": self.price.cached_usdc_per_mtok,
            "output_usdc_per_mtok": self.price.output_usdc_per_mtok,
            "price_source": self.source,
            "price_age_s": self.price_age_s,
            "prompt_tokens_bound": self.prompt_bound,
            "max_tokens": self.max_tokens,
            "ceiling_usdc": self.ceiling_usdc,
        }


async def list_offers(
    request: ChatRequest,
    catalogue: Catalogue,
    prices: References,
    *,
    models: Collection[str] | None = None,
) -> list[Offer]:
    """Return the offer for the model that the request names, or all for the cheapest, best first.

    ``models`` are the only ones that the key may use; None = any. Raises 400 for a model without a
    price, 404 for an unknown one, 503 where no offer is cheap enough or upstream's list is not
    known.
    """
    if request.model == CHEAPEST:
        known = catalogue.snapshot.models.values()
        offers = _build_offers(
            request, [model for model in known if models is None or model.model_id in models]
        )
    else:
        model = await _find_model(request.model, catalogue)
        offers = [_build_named_offer(request, model)]
    if request.min_discount_pct is not None:
        offers = _select_discounted(request, offers, prices, request.min_discount_pct)
    if not offers:
        raise unavailable("no_model_available", "No model with a known price can serve this now.")
    return sorted(offers, key=lambda offer: (offer.ceiling_usdc, offer.model))


async def _find_model(name: str, catalogue: Catalogue) -> Model:
    model = catalogue.snapshot.models.get(name)
    if model is None:
        # It may be newer than our list.
        snapshot = await catalogue.refresh(older_than_s=5.0)
        model = snapshot.models.get(name)
        if model is None and snapshot.fallback:
            message = "The model's provider does not say which models it has. Try again soon."
            raise unavailable("catalogue_unavailable", message)
    if model is None:
        raise model_not_found(name)
    return model


def _build_named_offer(request: ChatRequest, model: Model) -> Offer:
    if model.terms is None:
        raise model_not_priced(model.model_id)
    if request.images and model.terms.image_tokens is None:
        message = f"{model.model_id!r} does not state what an image takes, so none can be sent."
        raise bad_request("unsupported_content", message, param="messages")
    return _build_offer(request, model, model.terms)


def _build_offers(request: ChatRequest, models: Iterable[Model]) -> list[Offer]:
    return [
        _build_offer(request, model, model.terms)
        for model in models
        if model.terms is not None and not (request.images and model.terms.image_tokens is None)
    ]


def _build_offer(request: ChatRequest, model: Model, terms: Terms) -> Offer:
    image_tokens = request.images * (terms.image_tokens or 0)
    prompt_bound = get_prompt_bound(
        body_bytes=request.body_bytes + image_tokens,
        messages=request.messages,
        has_tools=request.has_tools,
        context_tokens=model.context_tokens,
    )
    max_tokens = request.get_max_tokens(model.context_tokens)
    price = terms.get_price(prompt_bound)
    return Offer(
        model=model.model_id,
        price=price,
        prompt_bound=prompt_bound,
        image_tokens=image_tokens,
        max_tokens=max_tokens,
        ceiling_usdc=get_ceiling_usdc(
            prompt_bound=prompt_bound, max_tokens=max_tokens, choices=request.choices, price=price
        ),
        source=terms.source,
        price_age_s=terms.get_age_s(int(time.time())),
    )


def _select_discounted(
    request: ChatRequest, offers: list[Offer], prices: References, minimum_pct: int
) -> list[Offer]:
    """Keep the offers that are provably cheap enough. Raises 503 with the best discount if none."""
    pairs = [(offer, _get_direct_usdc(request, offer, prices)) for offer in offers]
    kept = [
        offer
        for offer, direct_usdc in pairs
        if meets_discount(cost=offer.ceiling_usdc, direct=direct_usdc, minimum_pct=minimum_pct)
    ]
    if offers and not kept:
        discounts = [
            get_discount_pct(cost=offer.ceiling_usdc, direct=direct_usdc)
            for offer, direct_usdc in pairs
        ]
        best_pct = max((pct for pct in discounts if pct is not None), default=None)
        raise discount_not_met(model=request.model, minimum_pct=minimum_pct, best_pct=best_pct)
    return kept


def _get_direct_usdc(request: ChatRequest, offer: Offer, prices: References) -> int:
    """Return the same ceiling at the reference price; 0 where there is none."""
    direct = prices.find_discount_base(offer.model, now_s=int(time.time()))
    if direct is None or not direct.tiers:
        return 0
    return get_ceiling_usdc(
        prompt_bound=offer.prompt_bound,
        max_tokens=offer.max_tokens,
        choices=request.choices,
        price=direct.get_price(offer.prompt_bound),
    )
