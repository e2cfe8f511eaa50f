"""The market's metrics, in a registry of their own."""

from collections import Counter as Tally
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from market.endpoints.health import Standing
from serving.models.failures import Cause

ANSWERED: Final = "ok"
"""The outcome of a request that was served; any other is an error's code."""

_CODES: Final = (
    ANSWERED,
    "invalid_api_key",
    "missing_api_key",
    "credit_spent",
    "model_not_found",
    "minimum_discount_not_met",
    "sellers_failed",
    "seller_rejected",
    "sellers_backing_off",
    "settlement_failed",
    "ledger_unavailable",
    "overloaded",
    "internal_error",
)
_BUCKETS_S: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0,
)  # fmt: skip


class Metrics:
    """Counts since the process started. Thread-safe, as the client library is."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "current_market_requests", "Requests by outcome", ["code"], registry=self.registry
        )
        # Made once: looking a label up costs more than counting.
        self._by_code = {code: self._requests.labels(code) for code in _CODES}
        self._attempts = Counter(
            "current_market_attempts",
            "Calls of sellers by what became of them",
            ["cause"],
            registry=self.registry,
        )
        causes = ("ok", "rejected", "other", *Cause)
        self._by_cause = {str(cause): self._attempts.labels(cause) for cause in causes}
        self._own_routes = Counter(
            "current_market_byok_requests",
            "Calls of buyers' own providers by what became of them",
            ["cause"],
            registry=self.registry,
        )
        self._own_by_cause = {str(cause): self._own_routes.labels(cause) for cause in causes}
        self._seconds = Histogram(
            "current_market_request_seconds",
            "From a request's first byte to its answer, or to the first byte of a stream",
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        self._in_flight = Gauge(
            "current_market_requests_in_flight", "Requests that are open", registry=self.registry
        )
        self._open_jobs = Gauge(
            "current_market_jobs_open", "Jobs that are followed here", registry=self.registry
        )
        self._offers = Gauge(
            "current_market_offers", "Active offers by health", ["health"], registry=self.registry
        )
        self.swept = Counter(
            "current_market_leases_swept", "Reservations of dead processes", registry=self.registry
        )

    def observe_request(self, outcome: str, seconds: float) -> None:
        """Count one request. ``outcome`` is one of our own codes, so it is bounded."""
        counter = self._by_code.get(outcome)
        if counter is None:
            counter = self._by_code[outcome] = self._requests.labels(outcome)
        counter.inc()
        self._seconds.observe(seconds)

    def observe_attempt(self, cause: str) -> None:
        """Count one call of a seller: ``ok``, ``rejected``, ``other`` or a ``Cause``."""
        self._by_cause[cause].inc()

    def observe_own_route(self, cause: str) -> None:
        """Count one call of a buyer's own provider, by the same words."""
        self._own_by_cause[cause].inc()

    def render(self, *, in_flight: int, open_jobs: int, standings: Iterable[Standing]) -> str:
        """Return the exposition."""
        self._in_flight.set(in_flight)
        self._open_jobs.set(open_jobs)
        counts = Tally(standings)
        for standing in Standing:
            self._offers.labels(standing).set(counts[standing])
        return generate_latest(self.registry).decode()
