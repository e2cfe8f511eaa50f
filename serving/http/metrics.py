"""What every server counts of its requests, in a registry of its own.

Where several workers share a port, they count in files of one folder, and each shows the sums of
all (``serving.process.workers``): counters also of workers that are gone, gauges of those that
live.
"""

from collections.abc import Iterable
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from serving.process.workers import is_worker

Mode = Literal["livemax", "livesum", "livemostrecent"]
NOTE_S: Final = 5.0
"""How often a server notes what is so, for other workers' answers."""
ANSWERED: Final = "ok"
"""The outcome of a request that was served; any other is an error's code."""

_CODES: Final = (
    ANSWERED,
    "client_gone",
    "invalid_api_key",
    "missing_api_key",
    "rate_limited",
    "overloaded",
    "ledger_unavailable",
    "settlement_failed",
    "internal_error",
)
"""Outcomes that are there from the start, with 0; a server adds its own."""

_BUCKETS_S: Final = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0,
)  # fmt: skip


class ServerMetrics:
    """Counts since the process started. Thread-safe, as the client library is.

    Every name begins with ``current_<server>_``.
    """

    def __init__(self, server: str, *, codes: Iterable[str], seconds: str) -> None:
        self.registry = CollectorRegistry()
        self._prefix = f"current_{server}_"
        self._requests = self.counter("requests", "Inference requests by outcome", "code")
        # Made once: looking a label up costs more than counting.
        self._by_code = {code: self._requests.labels(code) for code in (*_CODES, *codes)}
        self._seconds = Histogram(
            self._prefix + "request_seconds", seconds, buckets=_BUCKETS_S, registry=self.registry
        )
        self.in_flight = self.gauge(
            "requests_in_flight", "Inference requests that are open", mode="livesum"
        )
        self.replayed = self.counter("answers_replayed", "Answers from an earlier charged request")
        self.swept = self.counter("leases_swept", "Reservations of dead processes")

    def counter(self, name: str, what: str, *labels: str) -> Counter:
        """Return a new counter."""
        return Counter(self._prefix + name, what, labels, registry=self.registry)

    def gauge(self, name: str, what: str, *labels: str, mode: Mode = "livemax") -> Gauge:
        """Return a new gauge. ``mode``: what counts of several workers' values.

        Each notes its own every ``NOTE_S``, whether or not it is asked.
        """
        return Gauge(
            self._prefix + name,
            what,
            labels,
            registry=self.registry,
            multiprocess_mode=mode,
        )

    def observe_request(self, outcome: str, seconds: float) -> None:
        """Count one request. ``outcome`` is one of our own codes, so it is bounded."""
        counter = self._by_code.get(outcome)
        if counter is None:
            counter = self._by_code[outcome] = self._requests.labels(outcome)
        counter.inc()
        self._seconds.observe(seconds)

    def expose(self) -> str:
        """Return the exposition, of all workers where this process is one."""
        registry = self.registry
        if is_worker():
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry).decode()
