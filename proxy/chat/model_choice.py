"""Which model serves a request, at what price and up to what ceiling."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from proxy.catalogue import Catalogue, Model
from proxy.chat.policy_choice import PolicyChoice
from proxy.chat.request import CHEAPEST, MeteredRequest
from proxy.errors import catalogue_unavailable, discount_not_met, model_not_found, model_not_priced
from serving.dialects.call import Call
from serving.http.errors import bad_request, unavailable
from serving.models.prices import (
    Price,
    Tokens,
    fit_max_tokens,
    get_ceiling_usdc,
    get_discount_pct,
    get_worth,
    meets_discount,
)
from serving.models.references import References
from serving.models.terms import Terms

POLICY_LOOKS_MAX: Final = 20
"""Models of ``cheapest`` whose sellers are looked at under a policy."""


@dataclass(frozen=True, slots=True)
class ModelOption:
    """One model that could serve a request. ``ceiling_usdc`` in 1e-6 USDC."""

    model: str
    terms: Terms
    """The prices that are charged, by the length of the prompt."""
    price: Price
    """The price that the ceiling is reserved at: no prompt within the bound has a dearer one."""
    estimate: Tokens
    """The tokens that discounts are compared by: all of the output that may come."""
    prompt_bound: int
    image_tokens: int
    """The bound for all images; part of ``prompt_bound``."""
    max_tokens: int
    ceiling_usdc: int
    price_age_s: int | None

    def get_price(self, tokens: Tokens) -> Price:
        """Return the price of the tokens that were used."""
        return self.terms.get_price(tokens.prompt)

    def get_worth(self) -> int:
        """Return what the request is estimated to cost, exactly, in 1e-12 USDC."""
        return get_worth(self.estimate, self.get_price(self.estimate))

    def fit(self, affordable_usdc: int, *, choices: int) -> "ModelOption":
        """Return the offer with the largest output limit that an amount pays for (1e-6 USDC).

        At least one token, which it may not pay for. What it returns fits its own ceiling.
        """
        if self.max_tokens == 0:
            return self  # nothing is generated that could be less
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
        price = self.get_price(self.estimate)
        return {
            "model": self.model,
            "input_usdc_per_mtok": price.input_usdc_per_mtok,
            "cached_input_usdc_per_mtok": price.cached_usdc_per_mtok,
            "output_usdc_per_mtok": price.output_usdc_per_mtok,
            "per_request_usdc": price.per_request_usdc,
            "price_source": self.terms.source,
            "price_age_s": self.price_age_s,
            "prompt_tokens_bound": self.prompt_bound,
            "max_tokens": self.max_tokens,
            "ceiling_usdc": self.ceiling_usdc,
        }


async def list_options(
    request: MeteredRequest,
    catalogue: Catalogue,
    prices: References,
    *,
    name: str | None = None,
    models: Collection[str] | None = None,
    choose: PolicyChoice | None = None,
) -> list[ModelOption]:
    """Return the offer for the model that the request names, or all for the cheapest, best first.

    ``name`` is the model that is meant, where that is another than it names. ``models`` are the
    only ones that the key may use; None = any. ``choose`` finds who may serve under
    the request's policy. Raises 400 for a model without a price, 404 for an unknown one, 503 where
    no offer is cheap enough, nobody meets the policy, or upstream's list is not known.
    """
    now_s = catalogue.now_s()
    asked = request.call.model if name is None else name
    if asked == CHEAPEST:
        if not request.call.generates:
            message = "'cheapest' is among models that write text: name the model that embeds."
            raise bad_request("model_required", message, param="model")
        listed = (await catalogue.load_current()).models.values()
        offers = _build_offers(
            request,
            [
                model
                for model in listed
                if (models is None or model.model_id in models)
                and is_known(model, prices, now_s=now_s)
                and writes_text(model, prices, now_s=now_s)
            ],
            now_s=now_s,
        )
    else:
        model = await _find_model(asked, catalogue)
        offers = [_build_named_offer(request, model, now_s=now_s)]
    if choose is not None and request.policies:
        offers = await _choose(request, offers, catalogue, choose, now_s=now_s)
    if request.min_discount_pct is not None:
        offers = _select_discounted(request, offers, prices, request.min_discount_pct, now_s=now_s)
    if not offers:
        raise unavailable("no_model_available", "No model with a known price can serve this now.")
    return sorted(offers, key=lambda offer: (offer.ceiling_usdc, offer.model))


async def _choose(
    request: MeteredRequest,
    offers: list[ModelOption],
    catalogue: Catalogue,
    choose: PolicyChoice,
    *,
    now_s: int,
) -> list[ModelOption]:
    """Return the offers at the price of who may serve them under the policy. Raises 503 if none.

    Of very many, the cheapest are looked at.
    """
    offers = sorted(offers, key=lambda offer: (offer.ceiling_usdc, offer.model))
    policy, chosen = request.policy, []
    for offer in offers[:POLICY_LOOKS_MAX]:
        model = catalogue.snapshot.models.get(offer.model)
        terms = None
        if model is not None:
            terms = await choose.find_terms(
                model, policy, request.call, now_s=now_s, minimum_grade=request.minimum_grade
            )
        if model is not None and terms is not None:
            chosen.append(_build_offer(request.call, model, terms, now_s=now_s))
    if offers and not chosen:
        message = "Nobody who may serve this meets all that 'provider' and the key's policy demand."
        raise unavailable("no_provider_meets_policy", message)
    return chosen


def is_known(model: Model, prices: References, *, now_s: int) -> bool:
    """Tell whether somebody else than upstream says what a model costs, or what it cost elsewhere.

    Where many sell behind upstream, anybody can invent a model: it must not be what
    ``cheapest`` means.
    """
    if model.terms is None or model.terms.source != "upstream":
        return True
    return prices.find_discount_base(model.model_id, now_s=now_s) is not None


def writes_text(model: Model, prices: References, *, now_s: int) -> bool:
    """Tell whether a model is no embedding: every source that knows it has a price of output."""
    reference = prices.find_reference(model.model_id, now_s=now_s)
    return all(terms is None or terms.prices_output for terms in (model.terms, reference))


async def _find_model(name: str, catalogue: Catalogue) -> Model:
    model = (await catalogue.load_current()).models.get(name)
    if model is None:
        # It may be newer than our list.
        snapshot = await catalogue.refresh(older_than_s=5.0)
        model = snapshot.models.get(name)
        if model is None and snapshot.fallback:
            raise catalogue_unavailable()
    if model is None:
        raise model_not_found(name)
    return model


def _build_named_offer(request: MeteredRequest, model: Model, *, now_s: int) -> ModelOption:
    if model.terms is None or (request.call.generates and not model.terms.prices_output):
        raise model_not_priced(model.model_id)
    if request.call.images and model.terms.image_tokens is None:
        message = f"{model.model_id!r} does not state what an image takes, so none can be sent."
        raise bad_request("unsupported_content", message, param="messages")
    return _build_offer(request.call, model, model.terms, now_s=now_s)


def _build_offers(
    request: MeteredRequest, models: Iterable[Model], *, now_s: int
) -> list[ModelOption]:
    has_images = request.call.images > 0
    return [
        _build_offer(request.call, model, model.terms, now_s=now_s)
        for model in models
        if model.terms is not None and not (has_images and model.terms.image_tokens is None)
    ]


def _build_offer(call: Call, model: Model, terms: Terms, *, now_s: int) -> ModelOption:
    limits = {"context_tokens": model.context_tokens, "image_tokens": terms.image_tokens}
    # A market counts the bytes that it is sent, and may be right to charge for as many tokens.
    added_bytes = call.count_added_bytes(model.model_id) if terms.source == "upstream" else 0
    prompt_bound = call.get_prompt_bound(**limits, added_bytes=added_bytes)
    max_tokens = call.get_max_tokens(**limits)
    price = terms.get_bound_price(prompt_bound)
    return ModelOption(
        model=model.model_id,
        terms=terms,
        price=price,
        estimate=call.get_estimate(**limits),
        prompt_bound=prompt_bound,
        image_tokens=call.images * (terms.image_tokens or 0),
        max_tokens=max_tokens,
        ceiling_usdc=get_ceiling_usdc(
            prompt_bound=prompt_bound, max_tokens=max_tokens, choices=call.choices, price=price
        ),
        price_age_s=terms.get_age_s(now_s),
    )


def _select_discounted(
    request: MeteredRequest,
    offers: list[ModelOption],
    prices: References,
    minimum_pct: int,
    *,
    now_s: int,
) -> list[ModelOption]:
    """Keep the offers that are provably cheap enough. Raises 503 with the best discount if none.

    As at a market: what the request is estimated to cost, against the same at the reference price.
    """
    worths = [
        (offer, offer.get_worth(), _get_direct_worth(offer, prices, now_s)) for offer in offers
    ]
    kept = [
        offer
        for offer, cost, direct in worths
        if meets_discount(cost=cost, direct=direct, minimum_pct=minimum_pct)
    ]
    if offers and not kept:
        discounts = [get_discount_pct(cost=cost, direct=direct) for _, cost, direct in worths]
        best_pct = max((pct for pct in discounts if pct is not None), default=None)
        raise discount_not_met(model=request.call.model, minimum_pct=minimum_pct, best_pct=best_pct)
    return kept


def _get_direct_worth(offer: ModelOption, prices: References, now_s: int) -> int:
    """Return the exact worth of the same request at the reference price; 0 without one."""
    direct = prices.find_discount_base(offer.model, now_s=now_s)
    if direct is None or not direct.tiers:
        return 0
    return get_worth(offer.estimate, direct.get_price(offer.estimate.prompt))
