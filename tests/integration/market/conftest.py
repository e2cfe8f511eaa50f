"""A market of its own for each test that asks for one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.ledgers import make_ledger
from tests.support.market import RunningMarket, make_settings, run_market


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    """A market with the usual settings over an empty ledger."""
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_market(make_settings(tmp_path), engine) as running:
        yield running
    engine.dispose()
