"""A line of the log is one JSON object, whatever is in it."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from serving.process.logs import configure_logs

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def keep_configuration() -> Iterator[None]:
    """Take back what configuring the logs changes."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:], logging.root.level = handlers, level


def read(capsys: Capture) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_line__has_event_level_time_and_what_is_bound(capsys: Capture) -> None:
    configure_logs(level="info")
    log = structlog.get_logger("test")
    before = datetime.now(UTC)
    log.debug("unseen")
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        log.info("seen", model="é", status=200)
    log.warning("warned")

    seen, warned = read(capsys)
    at = datetime.fromisoformat(seen.pop("at"))
    assert before <= at <= datetime.now(UTC)
    assert seen == {
        "event": "seen",
        "level": "info",
        "request_id": "r-1",
        "model": "é",
        "status": 200,
    }
    assert warned["level"] == "warning"


@pytest.mark.parametrize("value", [2**200, "\ud800", object(), {1: 2}, b"bytes", float("inf")])
def test_line__odd_value__is_written_all_the_same(capsys: Capture, value: Any) -> None:
    configure_logs()
    structlog.get_logger("test").info("odd", value=value, nested=[value])

    (line,) = read(capsys)
    assert line["event"] == "odd"
    assert "value" in line


def test_line__of_an_exception__has_its_trace(capsys: Capture) -> None:
    configure_logs()
    log = structlog.get_logger("test")
    try:
        raise ValueError("broken")
    except ValueError as error:
        log.exception("failed")
        kept = error
    log.error("failed_later", exc_info=kept)

    for line in read(capsys):
        assert line["level"] == "error"
        assert "Traceback" in line["exception"]
        assert line["exception"].endswith("ValueError: broken")
