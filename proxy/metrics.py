"""The proxy's counters, in Prometheus' text format.

Kept by hand: they are counted on one thread, and no client library is among the dependencies.
"""

from bisect import bisect_left
from collections import Counter
from typing import Final

ANSWERED: Final = "ok"
"""The outcome of a request that was answered and charged; any other is an error's code."""

_CODES: Final = (
    ANSWERED,
    "invalid_api_key",
    "key_revoked",
    "never_harvested",
    "daily_cap_reached",
    "allowance_spent",
    "hold_pending",
    "chain_state_stale",
    "ledger_unavailable",
    "settlement_failed",
    "upstream_error",
    "upstream_timeout",
    "internal_error",
)
_BUCKETS_S: Final = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    180.0,
)


class Metrics:
    """Counts of chat completions since the process started."""

    def __init__(self) -> None:
        self.requests_total: Counter[str] = Counter(dict.fromkeys(_CODES, 0))
        self.prompt_tokens_total = 0
        self.completion_tokens_total = 0
        self.charged_usdc_total = 0
        self.estimated_total = 0
        self.overruns_total = 0
        self.swept_total = 0
        self._durations = [0] * (len(_BUCKETS_S) + 1)
        self._seconds_total = 0.0

    def observe_request(self, outcome: str, seconds: float) -> None:
        """Count one finished request. ``outcome`` is one of our own codes, so it is bounded."""
        self.requests_total[outcome] += 1
        self._durations[bisect_left(_BUCKETS_S, seconds)] += 1
        self._seconds_total += seconds

    def render(self, *, in_flight: int, mirror_age_s: int | None, catalogue_fallback: bool) -> str:
        """Return the exposition."""
        lines = ["# TYPE current_proxy_requests_total counter"]
        lines += [
            f'current_proxy_requests_total{{code="{code}"}} {count}'
            for code, count in sorted(self.requests_total.items())
        ]
        for name, value in (
            ("prompt_tokens_total", self.prompt_tokens_total),
            ("completion_tokens_total", self.completion_tokens_total),
            ("charged_micro_usdc_total", self.charged_usdc_total),
            ("usage_estimated_total", self.estimated_total),
            ("ceiling_overruns_total", self.overruns_total),
            ("leases_swept_total", self.swept_total),
        ):
            lines += [f"# TYPE current_proxy_{name} counter", f"current_proxy_{name} {value}"]
        gauges = [
            ("requests_in_flight", in_flight),
            ("catalogue_fallback", int(catalogue_fallback)),
        ]
        if mirror_age_s is not None:
            gauges.append(("mirror_age_seconds", mirror_age_s))
        for name, value in gauges:
            lines += [f"# TYPE current_proxy_{name} gauge", f"current_proxy_{name} {value}"]
        return "\n".join([*lines, *self._render_durations()]) + "\n"

    def _render_durations(self) -> list[str]:
        name = "current_proxy_request_seconds"
        lines, below = [f"# TYPE {name} histogram"], 0
        for limit, count in zip((*_BUCKETS_S, "+Inf"), self._durations, strict=True):
            below += count
            lines.append(f'{name}_bucket{{le="{limit}"}} {below}')
        return [*lines, f"{name}_sum {self._seconds_total:.6f}", f"{name}_count {below}"]
