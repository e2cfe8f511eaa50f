"""Structured logs: one JSON object a line on stderr, the same in every process."""

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Final

import orjson
import structlog
from structlog.typing import EventDict, WrappedLogger

_LEVELS: Final[Mapping[str, str]] = {"exception": "error", "warn": "warning"}


def configure_logs(*, level: str = "info") -> None:
    """Send structlog's events, and warnings of libraries, to stderr. Called by a ``main`` only."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(stream=sys.stderr, level=max(threshold, logging.WARNING))
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, Renderer()],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )


class Renderer:
    """Makes an event one line of JSON, with its level, its time and its exception."""

    def __init__(self) -> None:
        self._second = -1
        self._prefix = ""

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> bytes:
        if "exc_info" in event:
            event = structlog.processors.format_exc_info(logger, method, event)
        event["level"] = _LEVELS.get(method, method)
        event["at"] = self._tell_time()
        try:
            return orjson.dumps(event, default=repr)
        except TypeError:  # an integer beyond 64 bits, half a character
            return json.dumps(event, default=repr).encode()

    def _tell_time(self) -> str:
        """Return the time by ISO 8601 in UTC, to the microsecond."""
        now_ns = time.time_ns()
        second, rest_ns = divmod(now_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._prefix = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(second))
        return f"{self._prefix}{rest_ns // 1_000:06d}Z"
