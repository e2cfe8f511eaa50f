"""Routing against a plain reading of the rules: no cheaper admissible seller is passed over."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market.endpoints.health import Standing
from market.pricing.split import split_cost
from market.routing.ranking import Ask, Drop, Offer, OfferState, assess, rank
from market.routing.shelf import Shelf
from serving.models.prices import Price, Tokens, get_cost_usdc, meets_discount, scale_price
from tests.support.examples import examples

PRICES = st.builds(Price, st.integers(0, 6), st.integers(0, 6)) | st.builds(
    Price, st.integers(0, 10**12), st.integers(0, 10**12)
)
TOKENS = st.builds(Tokens, st.integers(0, 5_000_000), st.integers(0, 5_000_000))
STATES = st.builds(
    OfferState,
    standing=st.sampled_from(Standing),
    in_flight=st.integers(0, 3),
    requests_last_minute=st.integers(0, 4),
    day_used_usdc=st.integers(0, 10),
    total_used_usdc=st.integers(0, 10),
)
LIMITS = st.none() | st.integers(0, 20)
LONGER = st.just(()) | st.tuples(st.tuples(st.sampled_from((1, 900, 3_000_000)), PRICES))
"""Prices of longer prompts, at lengths that prompts reach."""


@st.composite
def markets(draw: st.DrawFn) -> tuple[list[Offer], dict[str, OfferState], Ask]:
    """Some offers, how they stand, and a request that some of them may serve."""
    ids = draw(st.lists(st.integers(0, 99), unique=True, max_size=8))
    offers = [
        Offer(
            offer_id=f"{number:02d}",
            model="m",
            seller=draw(st.sampled_from(("s1", "s2"))),
            price=draw(PRICES),
            is_active=draw(st.booleans()),
            is_trusted=draw(st.booleans()),
            cap_daily_usdc=draw(LIMITS),
            quota_total_usdc=draw(LIMITS),
            rate_limit_rpm=draw(LIMITS),
            concurrency_max=draw(st.integers(1, 4)),
            longer=draw(LONGER),
        )
        for number in ids
    ]
    states = {offer.offer_id: draw(STATES) for offer in offers}
    estimate = draw(TOKENS)
    ask = Ask(
        model="m",
        estimate=estimate,
        bound=Tokens(estimate.prompt * 2, estimate.completion),
        direct=draw(st.none() | PRICES),
        minimum_discount_pct=draw(st.none() | st.integers(0, 100)),
        input_usdc_per_mtok_max=draw(LIMITS),
        output_usdc_per_mtok_max=draw(LIMITS),
        trusted_only=draw(st.booleans()),
        only=draw(st.sampled_from((frozenset[str](), frozenset({"seller:s1"})))),
        ignore=draw(st.sampled_from((frozenset[str](), frozenset({"seller:s2"})))),
    )
    return offers, states, ask


def is_admissible(offer: Offer, state: OfferState, ask: Ask) -> bool:
    """Read the rules once more, in fractions instead of integers."""
    mtok = 10**6

    def worth(tokens: Tokens, price: Price) -> Fraction:
        return Fraction(
            tokens.prompt * price.input_usdc_per_mtok
            + tokens.completion * price.output_usdc_per_mtok,
            mtok,
        )

    def cost(tokens: Tokens, price: Price) -> int:
        exact = worth(tokens, price)
        return -(-exact.numerator // exact.denominator)

    def price_of(prompt: int) -> Price:
        return next((one for above, one in offer.longer if prompt > above), offer.price)

    price = price_of(ask.estimate.prompt)
    reached = [offer.price, *(one for above, one in offer.longer if ask.bound.prompt > above)]
    dearest = Price(
        max(one.input_usdc_per_mtok for one in reached),
        max(one.output_usdc_per_mtok for one in reached),
    )
    ceiling = cost(ask.bound, dearest)
    within = all(
        limit is None or value <= limit
        for value, limit in (
            (dearest.input_usdc_per_mtok, ask.input_usdc_per_mtok_max),
            (dearest.output_usdc_per_mtok, ask.output_usdc_per_mtok_max),
            (state.day_used_usdc + ceiling, offer.cap_daily_usdc),
            (state.total_used_usdc + ceiling, offer.quota_total_usdc),
            (state.requests_last_minute + 1, offer.rate_limit_rpm),
        )
    )
    chosen = (not ask.only or f"seller:{offer.seller}" in ask.only) and (
        f"seller:{offer.seller}" not in ask.ignore
    )
    trusted = offer.is_trusted or not ask.trusted_only
    healthy = state.standing in (Standing.HEALTHY, Standing.ON_TRIAL)
    discounted = True
    if ask.minimum_discount_pct is not None:
        direct = Fraction(0) if ask.direct is None else worth(ask.estimate, ask.direct)
        discounted = (
            direct > 0
            and (1 - worth(ask.estimate, price) / direct) * 100 >= ask.minimum_discount_pct
        )
    free = state.in_flight < offer.concurrency_max
    return offer.is_active and chosen and trusted and within and healthy and free and discounted


@settings(max_examples=examples(300), deadline=None)
@given(markets())
def test_rank__any_market__admits_exactly_what_the_rules_admit_and_orders_it_totally(
    market: tuple[list[Offer], dict[str, OfferState], Ask],
) -> None:
    offers, states, ask = market

    ranking = rank(offers, lambda offer: states[offer.offer_id], ask)

    admitted = {o.offer_id for o in offers if is_admissible(o, states[o.offer_id], ask)}
    assert {verdict.offer.offer_id for verdict in ranking.ranked} == admitted
    assert len(ranking.ranked) + len(ranking.dropped) == len(offers)
    ranks = [verdict.get_rank(ask) for verdict in ranking.ranked]
    assert ranks == sorted(set(ranks))
    costs = [verdict.cost_usdc for verdict in ranking.ranked]
    assert costs == sorted(costs)


@settings(max_examples=examples(300), deadline=None)
@given(markets(), st.lists(st.integers(0, 7), max_size=4))
def test_shelf__any_market__selects_the_first_of_the_full_ranking(
    market: tuple[list[Offer], dict[str, OfferState], Ask], removed: list[int]
) -> None:
    offers, states, ask = market
    shelf = Shelf(offers)
    for index in removed:
        if index < len(offers):
            shelf.remove(offers[index].offer_id)
    left = list(shelf)

    ranking = rank(left, lambda offer: states[offer.offer_id], ask)
    selected = shelf.select(lambda offer: states[offer.offer_id], ask)

    assert selected == (ranking.ranked[0] if ranking.ranked else None)
    everyone = Ask("m", ask.estimate, ask.estimate)
    all_of_them = [assess(offer, OfferState(), everyone) for offer in left]
    in_order = sorted(all_of_them, key=lambda verdict: verdict.get_rank(everyone))
    assert list(shelf.iterate(ask.estimate)) == [verdict.offer for verdict in in_order]


@settings(max_examples=examples(200), deadline=None)
@given(TOKENS, PRICES, PRICES, st.integers(0, 100))
def test_meets_discount__any_prices__is_the_references_formula(
    tokens: Tokens, price: Price, direct: Price, minimum: int
) -> None:
    cost, direct_cost = get_cost_usdc(tokens, price), get_cost_usdc(tokens, direct)

    met = meets_discount(cost=cost, direct=direct_cost, minimum_pct=minimum)

    if direct_cost == 0:
        assert not met
    else:
        assert met == ((1 - Fraction(cost, direct_cost)) * 100 >= minimum)
    if met and minimum == 100:
        assert cost == 0
    if met and minimum == 0:
        assert cost <= direct_cost


@settings(max_examples=examples(300), deadline=None)
@given(TOKENS, PRICES, st.integers(0, 10**13), st.integers(0, 10_000))
def test_split_cost__any_request__adds_up_and_rounds_against_the_right_one(
    tokens: Tokens, price: Price, ceiling: int, fee_bps: int
) -> None:
    split = split_cost(tokens, price, ceiling_usdc=ceiling, fee_bps=fee_bps)

    exact = min(
        Fraction(
            tokens.prompt * price.input_usdc_per_mtok
            + tokens.completion * price.output_usdc_per_mtok,
            10**6,
        ),
        Fraction(ceiling),
    )
    assert split.cost_usdc == split.earning_usdc + split.fee_usdc
    assert exact <= split.cost_usdc < exact + 1
    # The operator never keeps more than was agreed, and the fee is never less by a whole unit.
    agreed = Fraction(split.cost_usdc * fee_bps, 10_000)
    assert split.fee_usdc <= agreed < split.fee_usdc + 1


@pytest.mark.parametrize("cost_usdc", range(1, 60))
@pytest.mark.parametrize("fee_bps", [0, 1, 100, 500, 1_000, 3_333, 10_000])
def test_split_cost__sale_of_a_few_units__the_fee_is_no_more_than_agreed(
    cost_usdc: int, fee_bps: int
) -> None:
    # A hair more than one unit less: the charge rounds up to ``cost_usdc``.
    tokens, price = Tokens(1, 0), Price((cost_usdc - 1) * 1_000_000 + 1, 0)

    split = split_cost(tokens, price, ceiling_usdc=10**6, fee_bps=fee_bps)

    assert split.cost_usdc == cost_usdc
    assert (split.cost_usdc - split.earning_usdc) * 10_000 <= cost_usdc * fee_bps
    smallest_with_fee = -(-10_000 // fee_bps) if fee_bps else 60
    assert (split.fee_usdc > 0) == (cost_usdc >= smallest_with_fee)


@settings(max_examples=examples(200), deadline=None)
@given(TOKENS, PRICES, st.integers(0, 100))
def test_assess__multiple_of_the_reference__is_that_discount_exactly(
    tokens: Tokens, direct: Price, minimum: int
) -> None:
    offer = Offer("o", "m", "s", scale_price(direct, (100 - minimum) * 10_000))
    ask = Ask("m", tokens, tokens, direct=direct, minimum_discount_pct=minimum)

    verdict = assess(offer, OfferState(), ask)

    if ask.direct_worth == 0:
        assert verdict.drop is Drop.MINIMUM_DISCOUNT
    else:
        assert verdict.drop is None
        assert verdict.discount_pct is not None
        assert verdict.discount_pct >= minimum


def test_assess__tried_offer__is_dropped_as_backing_off() -> None:
    offer = Offer("o", "m", "s", Price(1, 1))
    ask = Ask("m", Tokens(1, 1), Tokens(1, 1), excluded=frozenset({"o"}))

    assert assess(offer, OfferState(), ask).drop is Drop.BACKING_OFF
