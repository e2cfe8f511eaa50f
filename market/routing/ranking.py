"""Which seller serves a request: from facts to a ranked list, with reasons. Pure, integers only.

::

    model → active → filters → price ceilings → health → caps, quota, rpm
          → minimum discount → the session's seller, else lowest estimated total cost
          → the next one on failure

An offer is dropped for the first check that it does not pass. The others are ordered by their
estimated cost to the buyer, exactly (1e-12 USDC); of equals the cheaper input comes first, then the
offer that was listed first: ids sort by age. Among those that are hardly dearer than the cheapest a
request with a session goes to the session's seller: see ``market.routing.sessions``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from contracts.units import TOKENS_PER_MTOK
from market.endpoints.health import Standing
from market.pricing.media_units import Base, get_base
from market.routing.chosen import name_offer, name_provider, name_seller
from market.routing.discounts import Worths, find_worst
from market.routing.sessions import Session
from serving.dialects.policy import ANYBODY, Policy, find_unmet, is_named
from serving.dialects.serving_facts import STRANGER, Facts
from serving.models.grades import Grade, meets
from serving.models.prices import (
    Price,
    Tokens,
    get_cost_usdc,
    get_discount_pct,
    get_worth,
    meets_discount,
)
from serving.models.terms import Tiers, find_bound_price, find_tier_price


class Drop(StrEnum):
    """Why an offer does not serve a request, in the order in which it is examined."""

    INACTIVE = "inactive"
    UNTRUSTED = "untrusted"
    GRADE = "grade"
    FILTERED = "filtered"
    POLICY = "policy"
    PRICE_CEILING = "price_ceiling"
    BACKING_OFF = "backing_off"
    BUSY = "busy"
    CAP_REACHED = "cap_reached"
    QUOTA_SPENT = "quota_spent"
    RATE_LIMITED = "rate_limited"
    MINIMUM_DISCOUNT = "minimum_discount"


_NOT_ADMITTED: Final = (Standing.BACKING_OFF, Standing.TRIAL_TAKEN)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a seller offers, with its price as it is now. Amounts in 1e-6 USDC."""

    offer_id: str
    model: str
    seller: str
    price: Price
    version: int = 0
    """Changes with every change of the offer."""
    is_active: bool = True
    is_trusted: bool = True
    provider: str = ""
    """Whose endpoint it is, by its host (``market.identity.provider_names``)."""
    host: str = ""
    """The host as everybody may know it."""
    grade: Grade = Grade.OTHER
    """How sure it is which model answers: see ``serving.models.grades``."""
    origin: str = ""
    """Scheme, host and port of its endpoint."""
    label: str = ""
    """What the seller calls it: shown, and decides nothing."""
    cap_daily_usdc: int | None = None
    quota_total_usdc: int | None = None
    rate_limit_rpm: int | None = None
    concurrency_max: int = 32
    longer: Tiers = ()
    """The prices of longer prompts, ascending; empty: they cost what short ones do."""
    unit: str | None = None
    """What the price is stated for, of ``market.pricing.media_units``; None for tokens."""
    facts: Facts = STRANGER
    """How it serves, as far as its seller's word counts."""

    dearer_soon: Tiers = ()
    """What it costs at most within the next seconds, where that is more than now."""
    valid_until_s: int | None = None
    """Until when the price stands that lists state, Unix seconds; None: until its seller changes
    it."""

    @property
    def base(self) -> Base:
        """The base that the price counts."""
        return get_base(self.unit)

    @property
    def names(self) -> frozenset[str]:
        """The names by which a request may choose it: see ``market.routing.chosen``."""
        return frozenset(
            (
                name_offer(self.offer_id),
                name_seller(self.seller),
                name_provider(self.provider),
            )
        )

    @property
    def tiers(self) -> Tiers:
        """The prices by the length of the prompt."""
        return ((0, self.price), *self.longer)

    @property
    def stated_tiers(self) -> Tiers:
        """The prices as lists state them: a price that is about to rise has risen there."""
        return self.dearer_soon or self.tiers

    def get_price(self, prompt_tokens: int) -> Price:
        """Return the price of a request whose prompt has ``prompt_tokens``."""
        return find_tier_price(self.tiers, prompt_tokens) if self.longer else self.price

    def get_bound_price(self, prompt_bound: int) -> Price:
        """Return a price that no prompt of up to ``prompt_bound`` tokens exceeds."""
        return find_bound_price(self.tiers, prompt_bound) if self.longer else self.price


@dataclass(frozen=True, slots=True)
class OfferState:
    """How an offer stands at this moment."""

    standing: Standing = Standing.HEALTHY
    in_flight: int = 0
    requests_last_minute: int = 0
    day_used_usdc: int = 0
    """Sold and reserved today."""
    total_used_usdc: int = 0


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to the market. ``direct`` is what the model's own provider charges."""

    model: str
    estimate: Tokens
    bound: Tokens
    """What the request cannot exceed: it is reserved for."""
    direct: Price | None = None
    direct_tiers: Tiers = ()
    """What prompts of every length cost at the model's own provider; empty: ``direct``."""
    flat_fee_usdc: int = 0
    """What the buyer pays beside the seller's price."""
    minimum_discount_pct: int | None = None
    input_usdc_per_mtok_max: int | None = None
    output_usdc_per_mtok_max: int | None = None
    cached_input_usdc_per_mtok_max: int | None = None
    per_request_usdc_max: int | None = None
    """None: see ``fee_usdc_max``."""
    ceiling_usdc_max: int | None = None
    """The most that may be reserved: what is left of the buyer's credit where it fell short."""
    longer_max: Tiers = ()
    """What longer prompts may cost at most, in place of the three above."""
    trusted_only: bool = False
    minimum_grade: Grade = Grade.OTHER
    """The lowest grade of an offer that may serve."""
    only: frozenset[str] = frozenset()
    """Names by ``market.routing.chosen``; empty means all."""
    ignore: frozenset[str] = frozenset()
    excluded: frozenset[str] = field(default=frozenset())
    """Offers that were tried for this request already."""
    excluded_sellers: frozenset[str] = field(default=frozenset())
    """Sellers that failed or refused this request already."""
    excluded_origins: frozenset[tuple[str, str]] = field(default=frozenset())
    """The same, each with the origin that it was at."""
    endpoint: str = ""
    base: Base = Base.TOKEN
    """What ``estimate`` and ``bound`` count; media have it in place of prompt tokens."""
    session: Session | None = None
    """Which conversation it belongs to, where that counts."""
    policy: Policy = ANYBODY
    """Who else than by price, trust and filters may serve, and who comes first."""
    needed: frozenset[str] = frozenset()
    """Fields of the request that a policy may want obeyed."""

    @property
    def direct_usdc(self) -> int:
        """The estimated cost at the reference price, rounded up; 0 without a reference price."""
        return 0 if self.direct is None else get_cost_usdc(self.estimate, self.direct)

    @property
    def direct_worth(self) -> int:
        """The exact worth of the estimate at the reference price (1e-12 USDC); 0 without one."""
        return 0 if self.direct is None else get_worth(self.estimate, self.direct)

    @property
    def reference_tiers(self) -> Tiers:
        """The reference prices by the length of the prompt; empty without a reference price."""
        if self.direct is None:
            return ()
        return self.direct_tiers or ((0, self.direct),)

    @property
    def fee_usdc_max(self) -> int:
        """The most that a request's fee may be, in 1e-6 USDC: the reference's, where the buyer does
        not say. An estimate of many tokens would else hide a fee that a short answer is not worth.
        """
        if self.per_request_usdc_max is not None:
            return self.per_request_usdc_max
        return 0 if self.direct is None else self.direct.per_request_usdc

    def get_limits(self, prompt_tokens: int) -> tuple[int | None, int | None, int | None]:
        """Return the most that input, output and cached input may cost for such a prompt."""
        if self.longer_max and prompt_tokens > self.longer_max[0][0]:
            price = find_tier_price(self.longer_max, prompt_tokens)
            return price.input_usdc_per_mtok, price.output_usdc_per_mtok, price.cached_usdc_per_mtok
        return (
            self.input_usdc_per_mtok_max,
            self.output_usdc_per_mtok_max,
            self.cached_input_usdc_per_mtok_max,
        )

    def get_worth(self, price: Price) -> int:
        """Return what the estimate exactly costs the buyer at a price, in 1e-12 USDC."""
        return get_worth(self.estimate, price) + self.flat_fee_usdc * TOKENS_PER_MTOK


def get_price_rank(estimate: Tokens, price: Price) -> tuple[int, int, int]:
    """Return the place of a price in the order, by what the estimate exactly costs at it."""
    return get_worth(estimate, price), price.input_usdc_per_mtok, price.output_usdc_per_mtok


@dataclass(frozen=True, slots=True)
class Verdict:
    """One offer before one request. ``drop`` is None where it may serve. In 1e-6 USDC."""

    offer: Offer
    cost_usdc: int
    ceiling_usdc: int
    direct_usdc: int
    drop: Drop | None
    price: Price
    """The offer's price of a prompt as long as the estimate."""
    worth: int = 0
    """What the estimate exactly costs the buyer, in 1e-12 USDC. For an offer that does not keep the
    minimum discount: a request of the length at which it misses it most."""
    direct_worth: int = 0
    """The same at the reference price; 0 without one."""
    stays: bool = False
    """Whether it comes before the cheapest because its seller has the request's session."""

    @property
    def discount_pct(self) -> float | None:
        """The estimated discount, to be shown; None without a reference."""
        return get_discount_pct(cost=self.worth, direct=self.direct_worth)

    def get_rank(self, ask: Ask) -> tuple[int, int, int, str]:
        """Return the place in the order: a total one, as offer ids differ."""
        return (*get_price_rank(ask.estimate, self.price), self.offer.offer_id)


@dataclass(frozen=True, slots=True)
class Ranking:
    """All offers of a model before one request: those that may serve, best first; the others."""

    ranked: tuple[Verdict, ...]
    dropped: tuple[Verdict, ...]
    unseen: Mapping[Drop, int] = field(default_factory=dict)
    """Offers that were dropped without being looked at, by the reason."""

    @property
    def is_blocked_by_discount(self) -> bool:
        """Whether the minimum discount, and nothing before it, keeps the request from all."""
        return not self.ranked and any(v.drop is Drop.MINIMUM_DISCOUNT for v in self.dropped)


GetState = Callable[[Offer], OfferState]


def assess(offer: Offer, state: OfferState, ask: Ask) -> Verdict:
    """Return whether an offer may serve a request, or the first reason why not."""
    price, bound_price = (
        offer.get_price(ask.estimate.prompt),
        offer.get_bound_price(ask.bound.prompt),
    )
    cost_usdc = get_cost_usdc(ask.estimate, price) + ask.flat_fee_usdc
    ceiling_usdc = max(cost_usdc, get_cost_usdc(ask.bound, bound_price) + ask.flat_fee_usdc)
    worth, direct_worth = ask.get_worth(price), ask.direct_worth
    drop = _find_drop(offer, state, ask, ceiling_usdc=ceiling_usdc)
    if drop is None and ask.minimum_discount_pct is not None:
        least = _find_least_discount(offer, ask, (worth, direct_worth))
        is_met = meets_discount(
            cost=least[0], direct=least[1], minimum_pct=ask.minimum_discount_pct
        )
        if not is_met:
            # Told as it counted: at the length of prompt that proves the least.
            drop, worth, direct_worth = Drop.MINIMUM_DISCOUNT, *least
    direct_usdc = ask.direct_usdc
    return Verdict(offer, cost_usdc, ceiling_usdc, direct_usdc, drop, price, worth, direct_worth)


def _find_least_discount(offer: Offer, ask: Ask, estimated: Worths) -> Worths:
    """Return the worths, to the buyer and by reference, whose discount is the least."""
    direct_tiers = ask.reference_tiers
    if not offer.longer and len(direct_tiers) <= 1:
        return estimated
    return find_worst(
        offer.tiers,
        direct_tiers,
        estimate=ask.estimate,
        prompt_bound=ask.bound.prompt,
        fee_worth=ask.flat_fee_usdc * TOKENS_PER_MTOK,
    )


def _find_drop(offer: Offer, state: OfferState, ask: Ask, *, ceiling_usdc: int) -> Drop | None:
    if not offer.is_active:
        return Drop.INACTIVE
    if ask.trusted_only and not offer.is_trusted:
        return Drop.UNTRUSTED
    if not meets(offer.grade, ask.minimum_grade):
        return Drop.GRADE
    if (ask.only or ask.ignore) and not _is_chosen(offer, ask):
        return Drop.FILTERED
    if ask.policy is not ANYBODY and not _meets_policy(offer, ask):
        return Drop.POLICY
    if _is_too_dear(offer, ask) or _is_above(ceiling_usdc, ask.ceiling_usdc_max):
        return Drop.PRICE_CEILING
    if state.standing in _NOT_ADMITTED or _was_tried(offer, ask):
        return Drop.BACKING_OFF
    if state.in_flight >= offer.concurrency_max:
        return Drop.BUSY
    if _is_above(state.day_used_usdc + ceiling_usdc, offer.cap_daily_usdc):
        return Drop.CAP_REACHED
    if _is_above(state.total_used_usdc + ceiling_usdc, offer.quota_total_usdc):
        return Drop.QUOTA_SPENT
    if _is_above(state.requests_last_minute + 1, offer.rate_limit_rpm):
        return Drop.RATE_LIMITED
    return None


def _was_tried(offer: Offer, ask: Ask) -> bool:
    return (
        offer.offer_id in ask.excluded
        or offer.seller in ask.excluded_sellers
        or (offer.seller, offer.origin) in ask.excluded_origins
    )


def _is_chosen(offer: Offer, ask: Ask) -> bool:
    names = offer.names
    return bool(not ask.only or names & ask.only) and not names & ask.ignore


def _meets_policy(offer: Offer, ask: Ask) -> bool:
    is_met = find_unmet(ask.policy, offer.facts, ask.needed) is None
    return is_met and is_named(ask.policy, offer.names)


def _is_too_dear(offer: Offer, ask: Ask) -> bool:
    """Tell whether a prompt within the bound may have a price above what is allowed for it."""
    if offer.price.per_request_usdc > ask.fee_usdc_max:
        return True
    steps = (*offer.longer, *ask.longer_max)
    if not steps:
        return _is_above_any(offer.price, ask.get_limits(0))
    starts = [0, *(above for above, _ in steps if above < ask.bound.prompt)]
    return any(
        _is_above_any(offer.get_price(start + 1), ask.get_limits(start + 1)) for start in starts
    )


def _is_above_any(price: Price, limits: tuple[int | None, int | None, int | None]) -> bool:
    input_max, output_max, cached_max = limits
    return (
        _is_above(price.input_usdc_per_mtok, input_max)
        or _is_above(price.output_usdc_per_mtok, output_max)
        or _is_above(price.cached_usdc_per_mtok, cached_max)
    )


def _is_above(value: int, limit: int | None) -> bool:
    return limit is not None and value > limit


def rank(offers: Iterable[Offer], get_state: GetState, ask: Ask) -> Ranking:
    """Return every offer's place or reason. Looks at all: ``market.routing.shelf`` does not."""
    verdicts = [assess(offer, get_state(offer), ask) for offer in offers]
    verdicts.sort(key=lambda verdict: verdict.get_rank(ask))
    ranked = tuple(verdict for verdict in verdicts if verdict.drop is None)
    if ask.session is not None:
        ranked = _arrange(ranked, ask, ask.session)
    return Ranking(ranked, tuple(verdict for verdict in verdicts if verdict.drop is not None))


def _arrange(ranked: Sequence[Verdict], ask: Ask, session: Session) -> tuple[Verdict, ...]:
    offers = [(get_worth(ask.estimate, one.price), one.offer.seller) for one in ranked]
    return tuple(replace(ranked[place], stays=stays) for place, stays in session.arrange(offers))
