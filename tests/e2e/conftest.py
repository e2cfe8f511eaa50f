"""What buyers' programs need that are not Python."""

import subprocess
from pathlib import Path
from typing import Final

import pytest

from scripts.setup import SetupError, check_node

SDK: Final = Path(__file__).resolve().parent / "sdk"


@pytest.fixture(scope="session")
def installed_sdk() -> Path:
    """Install the JavaScript SDK from its lock; skip where that cannot be."""
    if (SDK / "node_modules" / "openai").is_dir():
        return SDK
    command = ["npm", "ci", "--prefix", str(SDK), "--ignore-scripts", "--no-audit", "--no-fund"]
    try:
        check_node()
        subprocess.run(command, capture_output=True, check=True, timeout=120)
    except (SetupError, OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"the SDK is not installed, and could not be: {error}")
    return SDK
