"""Which offer says what a model costs, and what an offer can still sell."""

from collections.abc import Mapping

import pytest

from market.endpoints.health import Standing
from market.listing.depth import (
    find_best,
    get_blended_discount_pct,
    get_left_usdc,
    is_serviceable,
)
from market.routing.ranking import Offer, OfferState
from serving.models.prices import Price
from serving.models.terms import Terms

WELL = OfferState()
RESTING = OfferState(standing=Standing.BACKING_OFF)
ON_TRIAL = OfferState(standing=Standing.ON_TRIAL)


def make_offer(
    name: str,
    usdc_per_mtok: int,
    *,
    is_active: bool = True,
    cap_daily_usdc: int | None = None,
    quota_total_usdc: int | None = None,
    unit: str | None = None,
) -> Offer:
    return Offer(
        name,
        "m",
        f"0x{name}",
        Price(usdc_per_mtok, usdc_per_mtok),
        is_active=is_active,
        cap_daily_usdc=cap_daily_usdc,
        quota_total_usdc=quota_total_usdc,
        unit=unit,
    )


def best(states: Mapping[str, OfferState], *offers: Offer) -> str | None:
    found = find_best(offers, lambda offer: states.get(offer.offer_id, WELL))
    return None if found is None else found.offer_id


def test_find_best__cheapest_that_serves_a_common_request__not_one_that_failed() -> None:
    cheap, dear = make_offer("cheap", 10), make_offer("dear", 20)

    assert best({}, dear, cheap) == "cheap"
    assert best({"cheap": RESTING}, dear, cheap) == "dear"
    assert best({"cheap": ON_TRIAL}, dear, cheap) == "dear"


def test_find_best__cap_without_room_for_a_common_request__passed_over() -> None:
    # 8,192 tokens at 10 USDC a million are 81,920 units.
    full = make_offer("full", 10_000_000, cap_daily_usdc=81_920)
    short = make_offer("short", 10_000_000, cap_daily_usdc=81_919)
    dear = make_offer("dear", 20_000_000)

    assert best({}, full, dear) == "full"
    assert best({}, short, dear) == "dear"


def test_find_best__none_serves_well__any_that_can_serve_then_any_active() -> None:
    trial, rest = make_offer("trial", 20), make_offer("rest", 10)
    gone = make_offer("gone", 1, is_active=False)

    assert best({"trial": ON_TRIAL, "rest": RESTING}, trial, rest, gone) == "trial"
    assert best({"rest": RESTING}, rest, gone) == "rest"
    assert best({}, gone) is None


def test_find_best__media__a_cap_with_any_room_will_do() -> None:
    image = make_offer("image", 10_000_000, cap_daily_usdc=1, unit="image")

    assert best({}, image, make_offer("dear", 20_000_000, unit="image")) == "image"


@pytest.mark.parametrize(
    ("cap_daily_usdc", "quota_total_usdc", "left_usdc"),
    [(None, None, None), (100, None, 70), (None, 100, 10), (100, 1_000, 70), (20, None, 0)],
)
def test_left__least_of_cap_and_quota__never_below_zero(
    cap_daily_usdc: int | None, quota_total_usdc: int | None, left_usdc: int | None
) -> None:
    offer = make_offer("o", 1, cap_daily_usdc=cap_daily_usdc, quota_total_usdc=quota_total_usdc)
    state = OfferState(day_used_usdc=30, total_used_usdc=90)

    assert get_left_usdc(offer, state) == left_usdc
    assert is_serviceable(offer, state) is (left_usdc != 0)


def test_discount__half_the_reference__50_and_none_without_one() -> None:
    reference = Terms(((0, Price(20, 20)),), "operator")

    assert get_blended_discount_pct(make_offer("o", 10), reference) == 50.0
    assert get_blended_discount_pct(make_offer("o", 10), None) is None
    assert get_blended_discount_pct(None, reference) is None
    assert get_blended_discount_pct(make_offer("o", 10, unit="image"), reference) is None
