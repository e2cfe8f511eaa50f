"""How an offer did lately: first token, throughput, uptime, valid calls of tools. Pure.

Counted from live requests of this process alone, in two windows of ``WINDOW_S``: what is told is of
the present window and the one before, so of 30 to 60 minutes. Times and speeds are kept in buckets,
each ``STEP`` times as wide as the one before, and told as the bucket's upper end for times and its
lower end for speeds: at most 15 % worse than measured, never better.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

WINDOW_S: Final = 1_800.0
STEP: Final = 1.15
PROVEN_SAMPLES: Final = 5
"""Fewer measurements than this do not decide who is asked first."""
_BUCKETS_MAX: Final = 120
_LOG_STEP: Final = math.log(STEP)


@dataclass(frozen=True, slots=True)
class OfferReport:
    """What is told of an offer. None where nothing was measured."""

    requests: int
    """Requests that were served or failed by the seller."""
    uptime_pct: float | None
    first_token_ms_p50: int | None
    first_token_ms_p95: int | None
    throughput_tps_p50: int | None
    """Output tokens a second."""
    throughput_tps_p95: int | None
    """The throughput that 95 % of requests reach at least."""
    tool_calls: int
    tool_calls_valid_pct: float | None


@dataclass(slots=True)
class _Window:
    served: int = 0
    failed: int = 0
    calls: int = 0
    calls_valid: int = 0
    first_token_ms: Counter[int] = field(default_factory=Counter)
    throughput_tps: Counter[int] = field(default_factory=Counter)


class Measured:
    """The counts of one offer. Times are seconds on one monotonic clock, given by the caller."""

    __slots__ = ("_began_s", "_last", "_now")

    def __init__(self) -> None:
        self._now, self._last, self._began_s = _Window(), _Window(), -math.inf

    def note_end(self, *, well: bool, now_s: float) -> None:
        """Count a request that was served, or failed by the seller's doing."""
        window = self._turn(now_s)
        if well:
            window.served += 1
        else:
            window.failed += 1

    def note_first_token(self, elapsed_s: float, *, now_s: float) -> None:
        """Count how long a stream's first token took."""
        self._turn(now_s).first_token_ms[_find_bucket(elapsed_s * 1_000)] += 1

    def note_throughput(self, tokens: int, elapsed_s: float, *, now_s: float) -> None:
        """Count how fast an output came; an answer without output says nothing."""
        if tokens > 0 and elapsed_s > 0:
            self._turn(now_s).throughput_tps[_find_bucket(tokens / elapsed_s)] += 1

    def note_calls(self, valid: int, invalid: int, *, now_s: float) -> None:
        """Count the calls of tools in an answer."""
        window = self._turn(now_s)
        window.calls += valid + invalid
        window.calls_valid += valid

    def report(self, *, now_s: float) -> OfferReport:
        """Return what is told."""
        return report_together([self], now_s=now_s)

    def list_windows(self, *, now_s: float) -> tuple[_Window, _Window]:
        """Return the window of now and the one before."""
        return self._turn(now_s), self._last

    def rank_latency(self, *, now_s: float) -> tuple[bool, int]:
        """Return a place in the order by first token, unproven offers last."""
        counts = self._turn(now_s).first_token_ms + self._last.first_token_ms
        if counts.total() < PROVEN_SAMPLES:
            return True, 0
        return False, _find_upper(counts, 0.50) or 0

    def rank_throughput(self, *, now_s: float) -> tuple[bool, int]:
        """Return a place in the order by throughput, the fastest first, unproven offers last."""
        counts = self._turn(now_s).throughput_tps + self._last.throughput_tps
        if counts.total() < PROVEN_SAMPLES:
            return True, 0
        return False, -(_find_lower(counts, 0.50) or 0)

    def _turn(self, now_s: float) -> _Window:
        """Return the window of now; what is older than the one before it is forgotten."""
        age_s = now_s - self._began_s
        if age_s >= WINDOW_S:
            self._last = self._now if age_s < 2 * WINDOW_S else _Window()
            self._now, self._began_s = _Window(), now_s
        return self._now


def report_together(measured: Iterable[Measured], *, now_s: float) -> OfferReport:
    """Return what is told of several offers as if they were one: of all their requests."""
    total = _Window()
    for window in chain.from_iterable(one.list_windows(now_s=now_s) for one in measured):
        total.served += window.served
        total.failed += window.failed
        total.calls += window.calls
        total.calls_valid += window.calls_valid
        total.first_token_ms.update(window.first_token_ms)
        total.throughput_tps.update(window.throughput_tps)
    first, speed = total.first_token_ms, total.throughput_tps
    requests = total.served + total.failed
    return OfferReport(
        requests=requests,
        uptime_pct=_get_pct(total.served, requests),
        first_token_ms_p50=_find_upper(first, 0.50),
        first_token_ms_p95=_find_upper(first, 0.95),
        throughput_tps_p50=_find_lower(speed, 0.50),
        throughput_tps_p95=_find_lower(speed, 0.05),
        tool_calls=total.calls,
        tool_calls_valid_pct=_get_pct(total.calls_valid, total.calls),
    )


def _find_bucket(value: float) -> int:
    """Return the number of the bucket (STEP**(n-1), STEP**n] that has a value; 0 up to 1."""
    if value <= 1:
        return 0
    return min(_BUCKETS_MAX, math.ceil(math.log(value) / _LOG_STEP))


def _find_rank(counts: Counter[int], share: float) -> int | None:
    """Return the bucket below and within which ``share`` of the counts lie."""
    total = counts.total()
    if total == 0:
        return None
    needed, seen = max(1, math.ceil(total * share)), 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= needed:
            return bucket
    return None


def _find_upper(counts: Counter[int], share: float) -> int | None:
    bucket = _find_rank(counts, share)
    return None if bucket is None else math.ceil(STEP**bucket)


def _find_lower(counts: Counter[int], share: float) -> int | None:
    bucket = _find_rank(counts, share)
    if bucket is None:
        return None
    return math.floor(STEP ** (bucket - 1)) if bucket else 0


def _get_pct(part: int, whole: int) -> float | None:
    """Return a share in per cent, rounded down to a hundredth."""
    return None if whole == 0 else part * 10_000 // whole / 100
