"""JavaScript clients that tests run with Node."""

import json
import subprocess
from pathlib import Path
from typing import Final

import pytest

from scripts.setup import SetupError, check_node

SDK: Final = Path(__file__).resolve().parents[1] / "e2e" / "sdk"


def install_sdk() -> Path:
    """Install the clients from their lock, once; return their folder. Skips where that fails."""
    wanted = json.loads((SDK / "package.json").read_text())["devDependencies"]
    if all((SDK / "node_modules" / name).is_dir() for name in wanted):
        return SDK
    command = ["npm", "ci", "--prefix", str(SDK), "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        check_node()
        subprocess.run(command, capture_output=True, check=True, timeout=120)
    except (SetupError, OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the clients are not installed, and could not be: {error}")
    return SDK
