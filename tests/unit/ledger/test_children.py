"""A child key's limits: why it refuses, what is left, and on which day and month usage counts.

::

    problems   revoked > expired > rotated (but for its grace) > another model
    limits     request > lifetime > month > day > at a time > a minute; each says when it resets
    counters   day, month and minute begin again; a clock set back changes nothing
    resolve    gives back on the day and in the month of the reservation only
"""

from typing import Any

import pytest

from ledger.errors import LimitFacts, RefusalReason
from ledger.spending.children import (
    CHILD_COLUMNS,
    Child,
    build_child,
    get_month,
    get_month_start_s,
    is_child_id,
)

DAY_S = 86_400
# Thursday, 31 December 2026, noon.
NOON_S = 1_798_718_400
DAY = NOON_S // DAY_S
NEW_YEAR_S = 1_798_761_600


def make_child(**changes: Any) -> Child:
    values: dict[str, Any] = {
        **dict.fromkeys(CHILD_COLUMNS),
        "key_id": "0123456789ab",
        "token_id": 1,
        "generation": 0,
        "grace_until_s": 0,
        "day": DAY,
        "day_used_usdc": 0,
        "month_used_usdc": 0,
        "used_usdc": 0,
        "minute": NOON_S // 60,
        "minute_requests": 0,
        "open_requests": 0,
        **changes,
    }
    return build_child([values[name] for name in CHILD_COLUMNS])


def test_ids__child_and_root__told_apart_by_length() -> None:
    assert is_child_id("0" * 12)
    assert not is_child_id("0" * 16)


def test_months__turn_of_a_year__next_number_and_its_start() -> None:
    december = get_month(DAY)

    assert get_month(DAY + 1) == december + 1
    assert get_month_start_s(december + 1) == NEW_YEAR_S
    assert get_month(0) == 1970 * 12
    assert get_month_start_s(1970 * 12) == 0


@pytest.mark.parametrize(
    ("changes", "generation", "model", "problem"),
    [
        ({}, 0, "m", None),
        ({"models": '["m"]'}, 0, "m", None),
        ({"models": '["m"]'}, 0, None, None),
        ({"models": '["m"]'}, 0, "n", RefusalReason.MODEL_NOT_ALLOWED),
        ({"generation": 1, "grace_until_s": NOON_S + 1}, 0, "m", None),
        ({"generation": 1, "grace_until_s": NOON_S}, 0, "m", RefusalReason.KEY_ROTATED),
        ({"generation": 2, "grace_until_s": NOON_S + 1}, 0, "m", RefusalReason.KEY_ROTATED),
        ({}, 1, "m", RefusalReason.KEY_ROTATED),
        ({"expires_at_s": NOON_S + 1}, 0, "m", None),
        ({"expires_at_s": NOON_S}, 1, "m", RefusalReason.KEY_EXPIRED),
        ({"expires_at_s": NOON_S, "revoked_at_s": 1}, 0, "m", RefusalReason.KEY_REVOKED),
    ],
)
def test_find_problem__first_that_applies(
    changes: dict[str, Any], generation: int, model: str | None, problem: RefusalReason | None
) -> None:
    child = make_child(**changes)

    assert child.find_problem(generation=generation, model=model, now_s=NOON_S) is problem


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, None),
        ({"request_usdc_max": 100}, None),
        ({"request_usdc_max": 99}, LimitFacts("request", 99, 0, None)),
        (
            {"lifetime_usdc_max": 150, "used_usdc": 51, "day_usdc_max": 0},
            LimitFacts("lifetime", 150, 51, None),
        ),
        (
            {"month_usdc_max": 150, "month_used_usdc": 51, "day_usdc_max": 0},
            LimitFacts("month", 150, 51, NEW_YEAR_S),
        ),
        (
            {"day_usdc_max": 150, "day_used_usdc": 51, "concurrency_max": 0},
            LimitFacts("day", 150, 51, NEW_YEAR_S),
        ),
        ({"day_usdc_max": 150, "day_used_usdc": 50}, None),
        (
            {"concurrency_max": 2, "open_requests": 2, "requests_per_minute_max": 0},
            LimitFacts("concurrency", 2, 2, None),
        ),
        ({"concurrency_max": 2, "open_requests": 1}, None),
        (
            {"requests_per_minute_max": 3, "minute_requests": 3},
            LimitFacts("requests_per_minute", 3, 3, NOON_S + 60),
        ),
        ({"requests_per_minute_max": 3, "minute_requests": 2}, None),
    ],
)
def test_find_limit__of_a_reservation_of_100__what_lasts_longest(
    changes: dict[str, Any], limit: LimitFacts | None
) -> None:
    assert make_child(**changes).find_limit(100, now_s=NOON_S) == limit


@pytest.mark.parametrize(
    ("changes", "room_usdc"),
    [
        ({}, None),
        ({"concurrency_max": 0}, None),
        ({"request_usdc_max": 70, "day_usdc_max": 90, "day_used_usdc": 30}, 60),
        ({"lifetime_usdc_max": 50, "used_usdc": 51}, 0),
    ],
)
def test_room__least_of_the_limits__never_below_zero(
    changes: dict[str, Any], room_usdc: int | None
) -> None:
    assert make_child(**changes).get_room_usdc(now_s=NOON_S) == room_usdc


def test_take__next_minute_and_next_year__counters_begin_again() -> None:
    child = make_child(requests_per_minute_max=1, day_usdc_max=100, month_usdc_max=100)
    assert child.take(100, now_s=NOON_S) == NOON_S
    assert child.find_limit(1, now_s=NOON_S + 60) == LimitFacts("month", 100, 100, NEW_YEAR_S)

    child.take(40, now_s=NEW_YEAR_S)

    assert child.counters == (DAY + 1, 40, 40, 140, NEW_YEAR_S // 60, 1, 2)


def test_take__next_day_of_a_month__the_month_goes_on() -> None:
    child = make_child(day=DAY - 1, day_used_usdc=7, month_used_usdc=9, used_usdc=9)

    child.take(5, now_s=NOON_S)

    assert (child.day_used_usdc, child.month_used_usdc, child.used_usdc) == (5, 14, 14)


def test_take__clock_set_back__counts_on_the_newest_day() -> None:
    child = make_child(day_used_usdc=7, month_used_usdc=7, used_usdc=7)

    assert child.take(5, now_s=NOON_S - 10 * DAY_S) == DAY * DAY_S
    assert (child.day, child.day_used_usdc) == (DAY, 12)


@pytest.mark.parametrize(
    ("reserved_at_s", "left"),
    [
        (NOON_S, (20, 20, 20)),
        (NOON_S - DAY_S, (50, 20, 20)),
        (NOON_S - 40 * DAY_S, (50, 50, 20)),
    ],
)
def test_resolve__reserved_today_this_month_or_before__freed_where_it_counted(
    reserved_at_s: int, left: tuple[int, int, int]
) -> None:
    child = make_child(day_used_usdc=50, month_used_usdc=50, used_usdc=50, open_requests=1)

    child.resolve(30, reserved_at_s=reserved_at_s)

    assert (child.day_used_usdc, child.month_used_usdc, child.used_usdc) == left
    assert child.open_requests == 0
