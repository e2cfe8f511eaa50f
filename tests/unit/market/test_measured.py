"""What is told of an offer: counts of two windows, buckets that flatter nobody, places."""

import pytest

from market.routing.measured import PROVEN_SAMPLES, WINDOW_S, Measured, report_together


def test_report__nothing_measured__says_nothing() -> None:
    report = Measured().report(now_s=0.0)
    assert report.requests == report.tool_calls == 0
    assert report.uptime_pct is report.first_token_ms_p50 is report.throughput_tps_p95 is None
    assert report.tool_calls_valid_pct is None


@pytest.mark.parametrize("ms", [0.2, 1, 3, 40, 250, 999, 12_345, 600_000])
def test_first_token__told__is_never_less_than_measured_and_at_most_15_pct_more(ms: float) -> None:
    measured = Measured()
    measured.note_first_token(ms / 1_000, now_s=5.0)
    told = measured.report(now_s=5.0).first_token_ms_p50
    assert told is not None
    assert ms - 1e-6 <= told <= max(1.0, ms * 1.15) + 1


@pytest.mark.parametrize("tps", [2, 17, 80, 400, 5_000])
def test_throughput__told__is_never_more_than_measured(tps: int) -> None:
    measured = Measured()
    measured.note_throughput(tps * 2, 2.0, now_s=5.0)
    told = measured.report(now_s=5.0).throughput_tps_p50
    assert told is not None
    assert tps / 1.16 - 1 <= told <= tps


def test_percentiles__of_many__the_slow_ones_show_in_p95() -> None:
    measured = Measured()
    for number in range(100):
        slow = number >= 94
        measured.note_first_token(2.0 if slow else 0.1, now_s=5.0)
        measured.note_throughput(10 if slow else 1_000, 1.0, now_s=5.0)
    report = measured.report(now_s=5.0)
    assert report.first_token_ms_p50 is not None
    assert report.first_token_ms_p50 <= 115
    assert report.first_token_ms_p95 is not None
    assert report.first_token_ms_p95 >= 2_000
    assert report.throughput_tps_p50 is not None
    assert report.throughput_tps_p50 > 800
    assert report.throughput_tps_p95 is not None
    assert report.throughput_tps_p95 <= 10


def test_uptime_and_calls__are_shares_rounded_down() -> None:
    measured = Measured()
    for number in range(3):
        measured.note_end(well=number > 0, now_s=1.0)
    measured.note_calls(2, 1, now_s=1.0)
    report = measured.report(now_s=1.0)
    assert (report.requests, report.uptime_pct) == (3, 66.66)
    assert (report.tool_calls, report.tool_calls_valid_pct) == (3, 66.66)


def test_together__of_several__counts_every_request_once() -> None:
    busy, idle = Measured(), Measured()
    for number in range(9):
        busy.note_end(well=True, now_s=1.0)
        busy.note_first_token(0.1, now_s=1.0)
        busy.note_throughput(100 + number, 1.0, now_s=1.0)
    idle.note_end(well=False, now_s=1.0)
    idle.note_first_token(5.0, now_s=1.0)
    idle.note_calls(1, 1, now_s=1.0)

    told = report_together([busy, idle, Measured()], now_s=2.0)

    assert (told.requests, told.uptime_pct) == (10, 90)
    assert (told.tool_calls, told.tool_calls_valid_pct) == (2, 50)
    # Half of the tokens came soon, the slowest one in twenty did not.
    alone = busy.report(now_s=2.0)
    assert told.first_token_ms_p50 == alone.first_token_ms_p50
    assert (told.first_token_ms_p95 or 0) >= 5_000
    assert told.throughput_tps_p50 == alone.throughput_tps_p50
    assert busy.report(now_s=2.0).requests == 9


def test_windows__the_one_before_counts_and_older_ones_do_not() -> None:
    measured = Measured()
    measured.note_end(well=False, now_s=10.0)
    measured.note_end(well=True, now_s=10.0 + WINDOW_S)
    assert measured.report(now_s=11.0 + WINDOW_S).requests == 2
    assert measured.report(now_s=10.0 + 2 * WINDOW_S).requests == 1
    assert measured.report(now_s=10.0 + 9 * WINDOW_S).requests == 0


def test_places__few_measurements_come_last__then_the_best_first() -> None:
    quick, slow, new = Measured(), Measured(), Measured()
    for _ in range(PROVEN_SAMPLES):
        quick.note_first_token(0.1, now_s=1.0)
        quick.note_throughput(50, 1.0, now_s=1.0)
        slow.note_first_token(0.4, now_s=1.0)
        slow.note_throughput(500, 1.0, now_s=1.0)
    new.note_first_token(0.001, now_s=1.0)
    new.note_throughput(9_999, 1.0, now_s=1.0)
    assert quick.rank_latency(now_s=1.0) < slow.rank_latency(now_s=1.0) < new.rank_latency(now_s=1)
    assert slow.rank_throughput(now_s=1) < quick.rank_throughput(now_s=1)
    assert quick.rank_throughput(now_s=1) < new.rank_throughput(now_s=1)


def test_throughput__no_output_or_no_time__says_nothing() -> None:
    measured = Measured()
    measured.note_throughput(0, 1.0, now_s=1.0)
    measured.note_throughput(5, 0.0, now_s=1.0)
    assert measured.report(now_s=1.0).throughput_tps_p50 is None
