"""What buyers' programs need that are not Python."""

from pathlib import Path

import pytest

from tests.support.sdk import install_sdk


@pytest.fixture(scope="session")
def installed_sdk() -> Path:
    """The folder of the JavaScript clients."""
    return install_sdk()
