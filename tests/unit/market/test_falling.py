"""Prices that fall to a floor until an instant: when they change, and what lists state of them."""

import pytest

from market.pricing.falling import NOTICE_S, Fall, parse_instant, scale_tiers
from serving.models.prices import Price

DAY_S = 86_400
HOUR_S = 3_600


def test_fall__of_two_days__falls_by_the_hour_to_the_floor_and_is_whole_again() -> None:
    fall = Fall(0, 2 * DAY_S, 40)

    assert fall.find_ppm(-1) == (1_000_000, HOUR_S)
    assert fall.find_ppm(0) == (1_000_000, HOUR_S)
    assert fall.find_ppm(HOUR_S - 1) == (1_000_000, HOUR_S)
    assert fall.find_ppm(HOUR_S) == (987_500, 2 * HOUR_S)
    assert fall.find_ppm(DAY_S) == (700_000, DAY_S + HOUR_S)
    assert fall.find_ppm(2 * DAY_S - 1) == (412_500, 2 * DAY_S)
    assert fall.find_ppm(2 * DAY_S) == (1_000_000, None)


def test_fall__of_three_minutes__falls_by_the_minute() -> None:
    fall = Fall(100, 280, 10)

    found = [fall.find_ppm(now_s) for now_s in (100, 159, 160, 220, 279, 280)]

    assert found == [
        (1_000_000, 160),
        (1_000_000, 160),
        (700_000, 220),
        (400_000, 280),
        (400_000, 280),
        (1_000_000, None),
    ]


@pytest.mark.parametrize("length_s", [61, 3_599, 90_000])
def test_fall__as_lists_state_it__is_never_below_what_is_charged_soon(length_s: int) -> None:
    fall = Fall(1_000, 1_000 + length_s, 7)
    ends_at_s = 1_000 + length_s
    instants = {*range(990, ends_at_s + 20, 61), *range(ends_at_s - 70, ends_at_s + 20)}

    for now_s in instants:
        stated, until_s = fall.find_stated_ppm(now_s)
        held_until_s = now_s + NOTICE_S if until_s is None else until_s + NOTICE_S
        asked = [fall.find_ppm(at_s)[0] for at_s in (now_s, held_until_s - 1, held_until_s - 6)]
        assert stated >= max(asked), now_s
        assert all(70_000 <= ppm <= 1_000_000 for ppm in asked)
        assert until_s is None or until_s > now_s


def test_scale__rounds_up__so_that_nothing_is_below_the_floor() -> None:
    tiers = ((0, Price(3, 5, 1, 7)), (100, Price(10, 11)))

    assert scale_tiers(tiers, 500_000) == ((0, Price(2, 3, 1, 4)), (100, Price(5, 6)))
    assert scale_tiers(tiers, 1_000_000) is tiers


def test_instant__in_both_spellings__is_the_same() -> None:
    assert parse_instant(1_767_225_600) == 1_767_225_600
    assert parse_instant("2026-01-01T00:00:00Z") == 1_767_225_600
    assert parse_instant("2026-01-01T01:00:00+01:00") == 1_767_225_600
    assert parse_instant("2026-01-01") == 1_767_225_600


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "soon", "", 2**40, None, [], "9999999999999"])
def test_instant__is_none__is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="instant"):
        parse_instant(value)
