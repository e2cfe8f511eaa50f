"""The indexer's Prometheus metrics, made of its ``Health`` at each scrape.

``docs/indexer.md`` says what to alert on and what to do about it. Labels are bounded: endpoints are
the configured ones, failures the names in ``Failure``, depths one of ``DEPTHS``.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from contracts.errors import Fatal
from indexer.health import Health, HealthReport

DEPTHS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""A reorg counts for the smallest of these that is not below its depth; deeper: ``more``."""


class _HealthCollector(Collector):
    def __init__(self, health: Health, clock: Callable[[], float]) -> None:
        self._health = health
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        report = self._health.report()
        yield from _build_gauges(report, now_s=self._clock())
        yield from _build_endpoint_gauges(report)
        yield from _build_counters(report)


def _build_gauges(report: HealthReport, *, now_s: float) -> Iterator[Metric]:
    # Before the head was seen once, the age is unknown: a figure would be one since 1970.
    age_s = report.age_s(now_s=now_s) if report.observed_at_s else float("nan")
    for name, text, value in (
        ("head_block", "The newest block that the endpoints agree on", report.head_number),
        ("mirrored_block", "The newest block that is mirrored", report.mirrored_number),
        ("lag_blocks", "Blocks between the two", report.lag_blocks),
        ("age_seconds", "Since the mirror was last known to be at the head", age_s),
        ("is_leader", "1 while this process mirrors, 0 on standby", int(report.is_leader)),
    ):
        yield GaugeMetricFamily(f"current_indexer_{name}", text, value=value)


def _build_endpoint_gauges(report: HealthReport) -> Iterator[Metric]:
    unknown = float("nan")
    lags = report.endpoint_lags
    for name, text, values in (
        (
            "serves",
            "1 for the endpoint asked first, with a quorum for each that is asked",
            {one.name: float(one.serves) for one in report.endpoints},
        ),
        (
            "lag_blocks",
            "Blocks behind the highest head that any endpoint showed",
            {one.name: lags[one.name] for one in report.endpoints},
        ),
        (
            "rest_seconds",
            "For how long it is not asked, after failures",
            {one.name: one.rests_for_s for one in report.endpoints},
        ),
    ):
        gauge = GaugeMetricFamily(f"current_indexer_endpoint_{name}", text, labels=["endpoint"])
        for endpoint, value in values.items():
            gauge.add_metric([endpoint], unknown if value is None else value)
        yield gauge


def _build_counters(report: HealthReport) -> Iterator[Metric]:
    for name, text, value in (
        ("events", "Events mirrored", report.events_mirrored),
        ("blocks", "Blocks mirrored one by one", report.blocks_mirrored),
        ("repairs", "Blocks or ranges mirrored again after a second look", report.repairs),
        ("takeovers", "How often this process began to lead", report.takeovers),
    ):
        yield CounterMetricFamily(f"current_indexer_{name}", text, value=value)
    reorgs = CounterMetricFamily(
        "current_indexer_reorgs", "Rewinds by depth in blocks, at most", labels=["depth"]
    )
    by_depth = {str(depth): 0 for depth in DEPTHS} | {"more": 0}
    for depth, count in report.reorgs.items():
        by_depth[next((str(most) for most in DEPTHS if depth <= most), "more")] += count
    for label, count in by_depth.items():
        reorgs.add_metric([label], count)
    yield reorgs
    failures = CounterMetricFamily(
        "current_indexer_node_failures",
        "What nodes did wrong, by endpoint",
        labels=["endpoint", "failure"],
    )
    for (endpoint, failure), count in sorted(report.failures.items()):
        failures.add_metric([endpoint, failure.value], count)
    yield failures


def build_registry(
    health: Health, *, clock: Callable[[], float] | None = None
) -> CollectorRegistry:
    """Return a registry of its own that shows ``health`` as it is when it is asked.

    ``clock`` None: the one that stamps the mirror.
    """
    registry = CollectorRegistry()
    registry.register(_HealthCollector(health, (lambda: health.now()) if clock is None else clock))
    return registry


def serve_metrics(health: Health, *, host: str, port: int) -> Callable[[], None]:
    """Answer ``GET /metrics`` until the function that is returned is called.

    Raises ``Fatal`` where the address cannot be had.
    """
    try:
        server, thread = start_http_server(port, addr=host, registry=build_registry(health))
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise Fatal(
            f"no metrics on {host}:{port}: {reason}; choose another port with INDEXER_METRICS_PORT"
        ) from error

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return close
