"""JavaScript clients that tests run with Node."""

from pathlib import Path
from typing import Final

import pytest

from bench.install import npm_stage, prepare
from bench.report import BenchError

SDK: Final = Path(__file__).resolve().parents[1] / "e2e" / "sdk"


def install_sdk() -> Path:
    """Install the clients from their lock, once; return their folder. Skips where that fails.

    One process installs, the others wait until it is done.
    """
    try:
        prepare([npm_stage(SDK)])
    except BenchError as error:
        pytest.skip(f"the clients are not installed, and could not be: {error}")
    return SDK
