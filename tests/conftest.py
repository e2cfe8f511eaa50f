"""What holds for all tests: the folder gives the marker, and Ape is there only for `contract`."""

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
FOLDERS = ("unit", "contract", "integration", "property", "e2e", "bench")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(HERE).parts[0]
        if folder in FOLDERS:
            item.add_marker(folder)
    needs_ape = any(item.get_closest_marker("contract") for item in items)
    # Ape's plugin starts a chain for whatever it finds collected, so it is off by default.
    if needs_ape and not config.pluginmanager.has_plugin("ape-test"):
        raise pytest.UsageError("the contract tests need Ape: pytest -p ape_test tests/contract")
