"""A minimum discount at every length of prompt that may be charged.

::

    one price on both sides            the estimate says it
    a dear tier above the estimate     within the bound: dropped; beyond it: not
    a dear price below the estimate    dropped: a seller may report a short prompt
    the reference has tiers            each length against the reference of that length
    a multiplier                       keeps its discount at every length
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.routing.ranking import Ask, Drop, Offer, OfferState, Verdict, assess
from serving.models.prices import Price, Tokens, get_worth, meets_discount, scale_price
from serving.models.terms import Tiers, find_tier_price

WELL = OfferState()
DIRECT = Price(10_000_000, 40_000_000)
HALF, DEAR = Price(5_000_000, 20_000_000), Price(100_000_000, 400_000_000)


def ask(*, estimate: int = 150, bound: int = 400, pct: int = 50, direct_tiers: Tiers = ()) -> Ask:
    direct = find_tier_price(direct_tiers, estimate) if direct_tiers else DIRECT
    return Ask(
        "m",
        Tokens(estimate, 10),
        Tokens(bound, 10),
        direct=direct,
        direct_tiers=direct_tiers,
        minimum_discount_pct=pct,
    )


def assess_offer(price: Price, *longer: tuple[int, Price], asked: Ask) -> Verdict:
    return assess(Offer("o", "m", "s", price, longer=longer), WELL, asked)


@pytest.mark.parametrize(
    ("price", "longer", "drop"),
    [
        (HALF, (), None),
        (HALF, ((200, DEAR),), Drop.MINIMUM_DISCOUNT),
        (HALF, ((399, DEAR),), Drop.MINIMUM_DISCOUNT),
        (HALF, ((400, DEAR),), None),
        (DEAR, ((100, HALF),), Drop.MINIMUM_DISCOUNT),
        (HALF, ((100, HALF), (200, HALF)), None),
        (HALF, ((200, Price(5_000_001, 20_000_000)),), Drop.MINIMUM_DISCOUNT),
    ],
)
def test_minimum_discount__tiers_of_an_offer__hold_as_far_as_the_bound_reaches(
    price: Price, longer: tuple[tuple[int, Price], ...], drop: Drop | None
) -> None:
    assert assess_offer(price, *longer, asked=ask()).drop is drop


def test_minimum_discount__dear_above_the_estimate__the_discount_that_counts_is_told() -> None:
    verdict = assess_offer(HALF, (200, Price(15_000_000, 60_000_000)), asked=ask(pct=30))

    assert (verdict.drop, verdict.discount_pct) == (Drop.MINIMUM_DISCOUNT, -50)


def test_minimum_discount__reference_is_cheaper_for_long_prompts__the_offer_must_follow() -> None:
    tiers = ((0, DIRECT), (300, HALF))

    assert assess_offer(HALF, asked=ask(direct_tiers=tiers)).drop is Drop.MINIMUM_DISCOUNT
    assert assess_offer(HALF, asked=ask(direct_tiers=tiers, bound=300)).drop is None
    quarter = scale_price(HALF, 500_000)
    assert assess_offer(HALF, (300, quarter), asked=ask(direct_tiers=tiers)).drop is None


def test_minimum_discount__a_length_without_a_reference_price__proves_nothing() -> None:
    tiers = ((0, DIRECT), (300, Price(0, 0)))

    assert assess_offer(Price(0, 0), asked=ask(direct_tiers=tiers)).drop is Drop.MINIMUM_DISCOUNT


prices = st.builds(Price, st.integers(1, 9), st.integers(0, 9))
tiers = st.lists(st.tuples(st.integers(1, 40), prices), max_size=3, unique_by=lambda one: one[0])


@given(prices, tiers, prices, tiers, st.integers(0, 30), st.integers(0, 50), st.integers(0, 100))
def test_minimum_discount__whatever_length_is_charged__no_admitted_offer_misses_it(
    price: Price,
    longer: list[tuple[int, Price]],
    direct: Price,
    direct_longer: list[tuple[int, Price]],
    estimate: int,
    more: int,
    pct: int,
) -> None:
    offer = Offer("o", "m", "s", price, longer=tuple(sorted(longer, key=lambda one: one[0])))
    direct_tiers = ((0, direct), *sorted(direct_longer, key=lambda one: one[0]))
    asked = ask(estimate=estimate, bound=estimate + more, pct=pct, direct_tiers=direct_tiers)
    if assess(offer, WELL, asked).drop is not None:
        return
    starts = [0, *(above for above, _ in (*longer, *direct_longer))]

    def place(length: int) -> int:
        return max(above for above in starts if above < max(length, 1))

    for length in range(1, estimate + more + 1):
        if place(length) == place(estimate):
            continue  # the estimate stands for its own tier
        used = Tokens(length, 10)
        cost = get_worth(used, offer.get_price(length))
        direct_cost = get_worth(used, find_tier_price(direct_tiers, length))
        assert meets_discount(cost=cost, direct=direct_cost, minimum_pct=pct)


@given(prices, tiers, st.integers(1, 30), st.integers(0, 50), st.integers(1, 1_000_000))
def test_minimum_discount__a_multiplier__keeps_it_at_every_length(
    direct: Price, direct_longer: list[tuple[int, Price]], estimate: int, more: int, ppm: int
) -> None:
    direct_tiers = ((0, direct), *sorted(direct_longer, key=lambda one: one[0]))
    scaled = tuple((above, scale_price(one, ppm)) for above, one in direct_tiers)
    pct = 100 - -(-ppm // 10_000)
    asked = ask(estimate=estimate, bound=estimate + more, pct=pct, direct_tiers=direct_tiers)

    assert assess_offer(scaled[0][1], *scaled[1:], asked=asked).drop is None
