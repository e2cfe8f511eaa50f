"""Structured logs: one JSON object a line on stderr, the same in every process."""

import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any

import orjson
import structlog


def configure_logs(*, level: str = "info") -> None:
    """Send structlog's events, and warnings of libraries, to stderr. Called by a ``main`` only."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(stream=sys.stderr, level=max(threshold, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            Stamp(),
            structlog.processors.format_exc_info,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )


class Stamp:
    """Adds the time in UTC. A second's date is written once: most lines share it with others."""

    def __init__(self) -> None:
        self._date = (0, "")

    def __call__(
        self, _logger: Any, _name: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        now_s, rest_ns = divmod(time.time_ns(), 1_000_000_000)
        second, date = self._date
        if second != now_s:
            date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_s))
            self._date = (now_s, date)
        event["at"] = f"{date}.{rest_ns // 1_000:06d}Z"
        return event


def _render(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(event, default=repr)
    except orjson.JSONEncodeError:  # a number or a text that JSON does not have
        return orjson.dumps({str(name): repr(value) for name, value in event.items()})
