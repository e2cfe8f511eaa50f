"""The revocation bench: its table and its result, over figures that are given."""

from typing import Any

import pytest
from click.testing import CliRunner

from bench.revocation import main


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the bench writes, instead of a file."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(main, "write_result", lambda _, result: found.update(result))
    return found


def run(monkeypatch: pytest.MonkeyPatch, figures: dict[str, list[float]]) -> Any:
    monkeypatch.setattr(main, "measure", lambda *_: figures)
    return CliRunner().invoke(main.main, ["--no-postgres"])


def test_main__figures_of_a_stack__median_and_95th_of_each_client(
    monkeypatch: pytest.MonkeyPatch, written: dict[str, Any]
) -> None:
    door = [float(value) for value in range(1, 101)]
    quote = [2.0] * 100
    done = run(monkeypatch, {"door": door, "quote": quote, "stream": [7.0], "told": [9.0]})

    assert done.exit_code == 0, done.output
    values = {row["name"]: row["value"] for row in written["rows"]}
    assert values == {
        "sqlite_door_p50": 50.5,
        "sqlite_door_p95": 96.0,
        "sqlite_quote_p50": 2.0,
        "sqlite_quote_p95": 2.0,
        "sqlite_stream_p50": 7.0,
        "sqlite_stream_p95": 7.0,
        "sqlite_told_p50": 9.0,
        "sqlite_told_p95": 9.0,
    }
    assert written["ratios"] == {"sqlite_door_vs_quote": 25.25}
    assert written["skipped"] == {"postgresql": "no server is installed"}


def test_main__no_stream_was_cut__says_so(
    monkeypatch: pytest.MonkeyPatch, written: dict[str, Any]
) -> None:
    done = run(monkeypatch, {"door": [1.0], "quote": [1.0], "stream": []})

    assert done.exit_code == 1
    assert "stream: nothing was measured" in done.output
    assert written == {}
