"""The requests of the last minute: no 60 seconds ever hold more than the limit."""

from hypothesis import given
from hypothesis import strategies as st

from ledger.selling.windows import count_recent, note_request


def admit(times_s: list[int], *, limit: int) -> list[int]:
    """Return the seconds of the requests that are admitted, in their order of coming."""
    recent, admitted = "", []
    for now_s in times_s:
        noted = note_request(recent, now_s=now_s, limit=limit)
        if noted is not None:
            recent = noted
            admitted.append(now_s)
    return admitted


def test_note_request__the_limit_within_a_minute__then_one_a_minute_later() -> None:
    assert admit([0, 0, 1, 59, 60, 60, 60, 61], limit=3) == [0, 0, 1, 60, 60, 61]


def test_note_request__over_the_edge_of_a_minute__is_no_way_round() -> None:
    assert admit([59] * 3 + [60] * 3, limit=3) == [59] * 3


def test_note_request__of_a_clock_that_is_behind__counts_what_is_ahead() -> None:
    assert admit([100, 100, 98], limit=2) == [100, 100]


def test_count_recent__of_the_last_60_seconds_only() -> None:
    assert count_recent("40:2 41:3 100:1", now_s=100) == 4


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(-2, 2)), max_size=80), st.integers(1, 6))
def test_note_request__any_order__no_60_seconds_hold_more(
    steps: list[tuple[int, int]], limit: int
) -> None:
    times_s, now_s = [], 1_000
    for step_s, skew_s in steps:
        now_s += step_s
        times_s.append(now_s + skew_s)

    admitted = admit(times_s, limit=limit)

    for end_s in admitted:
        assert sum(end_s - 60 < one <= end_s for one in admitted) <= limit
