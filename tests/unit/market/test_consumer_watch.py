"""Misuse of a connection: flagged once each, for ten minutes, by consumer and connection."""

from typing import Any

from market.resale.consumer_watch import (
    ADDRESSES_MAX,
    CALLS_MIN,
    VALUES_MAX,
    WINDOW_S,
    ConsumerWatch,
    slow_down,
)


def note(watch: ConsumerWatch, number: int = 0, **changes: Any) -> dict[str, str]:
    values: dict[str, Any] = {
        "operation": "GET /a/{b}",
        "values": 0,
        "address": "1.2.3.4",
        "is_error": False,
        "now_s": float(number) / 100,
        **changes,
    }
    return watch.note("connection", "consumer", **values)


def test_errors__most_of_many__are_flagged_once() -> None:
    watch = ConsumerWatch()

    found = [note(watch, number, is_error=True) for number in range(CALLS_MIN + 5)]

    assert [list(one) for one in found if one] == [["many_errors"]]
    assert watch.is_flagged("connection", "consumer", now_s=1)
    assert not watch.is_flagged("connection", "another", now_s=1)
    assert not watch.is_flagged("connection", "consumer", now_s=WINDOW_S + 1)


def test_errors__few_or_among_good_calls__are_not_flagged() -> None:
    watch = ConsumerWatch()

    found = [note(watch, number, is_error=number % 2 == 0) for number in range(100)]

    assert not any(found)


def test_scraping_and_shared_key__beyond_what_is_usual__are_flagged() -> None:
    values = [note(ConsumerWatch(), 0)]
    watch = ConsumerWatch()
    values = [note(watch, number, values=number) for number in range(VALUES_MAX + 1)]
    shared = ConsumerWatch()
    addresses = [note(shared, number, address=f"10.0.0.{number}") for number in range(30)]

    assert (list(values[-1]), values[-2]) == (["scraping"], {})
    assert (list(addresses[ADDRESSES_MAX]), addresses[ADDRESSES_MAX - 1]) == (["shared_key"], {})


def test_slow_down__any_limit__leaves_a_sixth_and_at_least_one() -> None:
    assert [slow_down(limit) for limit in (0, 60, 5)] == [10, 10, 1]
