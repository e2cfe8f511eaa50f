"""Spans are optional: none by default, a clear refusal where they cannot be made."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from proxy.tracing import TracingUnavailable, build_span, no_span, open_spans


class Recorder:
    """The part of an OpenTelemetry tracer that is used."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, dict[str, Any], str]] = []

    @contextmanager
    def start_as_current_span(self, name: str, *, attributes: dict[str, Any]) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.spans.append((name, attributes, "failed"))
            raise
        self.spans.append((name, attributes, "ended"))


def test_open__no_endpoint__measures_nothing() -> None:
    span, stop = open_spans("")
    assert span is no_span
    with span("reserve", request_id="r"):
        pass
    stop()


@pytest.mark.skipif(
    importlib.util.find_spec("opentelemetry.sdk") is not None, reason="the extra is installed"
)
def test_open__endpoint_without_the_packages__says_what_to_install() -> None:
    with pytest.raises(TracingUnavailable, match=r"pip install '\.\[otel\]'"):
        open_spans("http://127.0.0.1:9/v1/traces")


def test_span__measures_its_block_and_its_failure() -> None:
    recorder = Recorder()
    span = build_span(recorder)
    with span("post", cost_usdc=5):
        pass
    with pytest.raises(RuntimeError), span("upstream", stream=True):
        raise RuntimeError
    assert recorder.spans == [
        ("post", {"cost_usdc": 5}, "ended"),
        ("upstream", {"stream": True}, "failed"),
    ]
