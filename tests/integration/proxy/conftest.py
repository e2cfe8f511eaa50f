"""The upstream, the ledger and the proxy of the tests here, where a test has none of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ledger.database.engine import write
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import Databases, make_state, put_cursor, put_positions
from tests.support.proxy import RunningProxy, now_s, run_proxy, settings_for


@pytest.fixture
async def provider() -> AsyncIterator[FakeEndpoint]:
    """Return an upstream that answers well until a test tells it otherwise."""
    async with FakeEndpoint() as provider:
        yield provider


@pytest.fixture
def engine(databases: Databases) -> Engine:
    """Return a ledger with one position that has a hold; each test runs on both databases."""
    engine = databases.open_ledger()
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    return engine


@pytest.fixture
async def proxy(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> AsyncIterator[RunningProxy]:
    """Return a proxy that serves."""
    async with run_proxy(settings_for(provider, tmp_path), engine) as running:
        yield running
