"""Days of settlement: when one is due, and what leap seconds, late runs and clocks make of it."""

from datetime import UTC, datetime

import pytest

from contracts.units import SECONDS_PER_DAY, utc_day
from market.suppliers.settling_days import (
    find_last_day,
    get_lateness_s,
    parse_clock,
    parse_day,
    parse_minimums,
    show_day,
    show_time,
)

TWO = parse_clock("02:00")
LEAP_DAY = parse_day("2016-12-31")
"""A day whose last minute had 61 seconds."""


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("now", "last"),
    [
        ("2026-04-01 01:59:59", "2026-03-30"),
        ("2026-04-01 02:00:00", "2026-03-31"),
        ("2026-04-01 23:59:59", "2026-03-31"),
        ("2026-04-02 01:59:59", "2026-03-31"),
    ],
)
def test_find_last_day__before_and_after_two_o_clock(now: str, last: str) -> None:
    assert show_day(find_last_day(at(now), settle_at_s=TWO)) == last


def test_days__around_a_leap_second__have_no_gap_and_no_second_of_two() -> None:
    midnight_s = (LEAP_DAY + 1) * SECONDS_PER_DAY
    seconds = range(midnight_s - 2, midnight_s + 2)

    assert [utc_day(second) - LEAP_DAY for second in seconds] == [0, 0, 1, 1]
    assert show_time(midnight_s - 1) == "2016-12-31T23:59:59Z"
    assert show_time(midnight_s) == "2017-01-01T00:00:00Z"
    settled = [find_last_day(second + TWO, settle_at_s=TWO) - LEAP_DAY for second in seconds]
    assert settled == [-1, -1, 0, 0]


@pytest.mark.parametrize(
    ("oldest", "now", "late_s"),
    [
        (None, "2026-04-01 12:00:00", 0),
        ("2026-03-31", "2026-04-01 01:00:00", 0),
        ("2026-03-31", "2026-04-01 02:00:01", 1),
        ("2026-03-25", "2026-04-01 02:00:00", 6 * SECONDS_PER_DAY),
    ],
)
def test_get_lateness_s__of_the_oldest_open_day(oldest: str | None, now: str, late_s: int) -> None:
    day = None if oldest is None else parse_day(oldest)

    assert get_lateness_s(day, at(now), settle_at_s=TWO) == late_s


@pytest.mark.parametrize("text", ["2:00", "02:60", "24:00", "02-00", "0200", "aa:bb", ""])
def test_parse_clock__of_what_is_no_time__is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HH:MM"):
        parse_clock(text)


def test_parse_minimums__amounts_of_networks__are_exact_and_above_nothing() -> None:
    assert parse_minimums("base=0.01, trc20=10,bep20=0") == {
        "base": 10_000,
        "trc20": 10_000_000,
        "erc20": 1,
        "bep20": 1,
    }


@pytest.mark.parametrize("text", ["sol=1", "base", "base=-1", "base=0.0000001", "base=ten"])
def test_parse_minimums__of_what_is_none__is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_minimums(text)
