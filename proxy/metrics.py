"""The proxy's metrics, in a registry of their own."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from serving.models.prices import Tokens

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
    "key_limit_reached",
    "rate_limited",
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
    """Counts since the process started. Thread-safe, as the client library is."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "current_proxy_requests",
            "Chat completions by outcome",
            ["code"],
            registry=self.registry,
        )
        # Made once: looking a label up costs more than counting.
        self._by_code = {code: self._requests.labels(code) for code in _CODES}
        self._seconds = Histogram(
            "current_proxy_request_seconds",
            "From a completion's last byte to its answer",
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._prompt_tokens = self._counter("prompt_tokens", "Prompt tokens that were charged")
        self._cached_tokens = self._counter("cached_tokens", "Those of them that were cached")
        self._completion_tokens = self._counter("completion_tokens", "Output tokens charged")
        self._charged_usdc = self._counter("charged_micro_usdc", "What was charged, 1e-6 USDC")
        self._estimated = self._counter("usage_estimated", "Charges by our own count of tokens")
        self._overruns = self._counter("ceiling_overruns", "Charges below what was reported")
        self.swept = self._counter("leases_swept", "Reservations of dead processes")
        self.keys_issued = self._counter("keys_issued", "Root keys that were issued")
        self._in_flight = self._gauge("requests_in_flight", "Completions that are open")
        self._fallback = self._gauge("catalogue_fallback", "1 while upstream lists no models")
        self._mirror_age = self._gauge("mirror_age_seconds", "Age of the chain's mirror")

    def _counter(self, name: str, what: str) -> Counter:
        return Counter(f"current_proxy_{name}", what, registry=self.registry)

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(f"current_proxy_{name}", what, registry=self.registry)

    def observe_request(self, outcome: str, seconds: float) -> None:
        """Count one finished request. ``outcome`` is one of our own codes, so it is bounded."""
        counter = self._by_code.get(outcome)
        if counter is None:
            counter = self._by_code[outcome] = self._requests.labels(outcome)
        counter.inc()
        self._seconds.observe(seconds)

    def observe_charge(
        self, tokens: Tokens, *, cost_usdc: int, is_estimated: bool, is_overrun: bool
    ) -> None:
        """Count one charge (1e-6 USDC)."""
        self._prompt_tokens.inc(tokens.prompt)
        self._completion_tokens.inc(tokens.completion)
        self._charged_usdc.inc(cost_usdc)
        if tokens.cached:
            self._cached_tokens.inc(tokens.cached)
        if is_estimated:
            self._estimated.inc()
        if is_overrun:
            self._overruns.inc()

    def render(self, *, in_flight: int, mirror_age_s: int | None, catalogue_fallback: bool) -> str:
        """Return the exposition. An unknown age is NaN."""
        self._in_flight.set(in_flight)
        self._fallback.set(catalogue_fallback)
        self._mirror_age.set(float("nan") if mirror_age_s is None else mirror_age_s)
        return generate_latest(self.registry).decode()
