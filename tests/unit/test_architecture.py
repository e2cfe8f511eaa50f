"""The import rules of `pyproject.toml` hold: what `lint-imports` checks, as a test."""

from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[2]


def test_import_rules__all__are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    exit_status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)

    assert exit_status == 0, capsys.readouterr().out
