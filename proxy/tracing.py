"""Spans around reserve, upstream and post, for those who collect them; OpenTelemetry is optional.

Without an endpoint nothing is imported and a span costs nothing. Spans carry request ids, models
and amounts; never keys, prompts or answers.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from typing import Any, Final

from contracts.errors import Fatal

SERVICE: Final = "current-proxy"

Span = Callable[..., AbstractContextManager[None]]
"""``span(name, **attributes)`` measures its block."""


class TracingUnavailable(Fatal):
    """Spans are wanted, and OpenTelemetry is not installed."""


def no_span(_name: str, **_attributes: Any) -> AbstractContextManager[None]:
    """Measure nothing."""
    return nullcontext()


def open_spans(endpoint: str) -> tuple[Span, Callable[[], None]]:
    """Send spans to an OTLP endpoint over HTTP; return how to make them, and how to stop.

    An empty ``endpoint`` makes none. Raises ``TracingUnavailable``.
    """
    if not endpoint:
        return no_span, lambda: None
    try:
        # Only here: the packages are an extra, and slow to load.
        exporters: Any = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        resources: Any = import_module("opentelemetry.sdk.resources")
        traces: Any = import_module("opentelemetry.sdk.trace")
        processors: Any = import_module("opentelemetry.sdk.trace.export")
    except ImportError as error:
        raise TracingUnavailable(
            "PROXY_OTEL_ENDPOINT is set and OpenTelemetry is not installed:"
            " pip install '.[otel]' in the project's folder"
        ) from error
    resource = resources.Resource.create({"service.name": SERVICE})
    provider = traces.TracerProvider(resource=resource)
    exporter = exporters.OTLPSpanExporter(endpoint=endpoint)
    provider.add_span_processor(processors.BatchSpanProcessor(exporter))
    return build_span(provider.get_tracer("proxy")), provider.shutdown


def build_span(tracer: Any) -> Span:
    """Return ``span`` over an OpenTelemetry tracer. An exception marks its span as failed."""

    @contextmanager
    def span(name: str, **attributes: Any) -> Iterator[None]:
        with tracer.start_as_current_span(name, attributes=attributes):
            yield

    return span
