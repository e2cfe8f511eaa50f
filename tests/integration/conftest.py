"""A chain with all contracts for each module, put back to its start after each test; databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.anvil import Anvil
from tests.support.deploy import World, deploy
from tests.support.keepers import Stage, make_stage
from tests.support.ledgers import BOTH, POSTGRES, Databases
from tests.support.postgres import shared_server


@pytest.fixture(scope="module")
def base_world() -> Iterator[World]:
    """Return the deployed contracts; a module's tests share the chain."""
    with Anvil() as anvil:
        yield deploy(anvil)


@pytest.fixture
def world(base_world: World) -> Iterator[World]:
    """Return the deployed contracts as they were before any test."""
    snapshot_id = base_world.anvil.snapshot()
    yield base_world
    base_world.anvil.revert(snapshot_id)
    base_world.anvil.set_automine(True)


@pytest.fixture
def stage(world: World, tmp_path: Path) -> Iterator[Stage]:
    """Return a ledger of its own beside the chain, with keeper and indexer at hand."""
    stage = make_stage(world, tmp_path)
    yield stage
    stage.engine.dispose()


@pytest.fixture(autouse=True)
def log_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands that run in this process leave its log alone.

    A command writes its log to the standard error of its process. In a test that is a stream that
    is closed with the command, and whatever is logged after it would fail.
    """
    monkeypatch.setattr("serving.process.logs.configure_logs", lambda **_: None)


@pytest.fixture(params=BOTH)
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    """Return databases of each kind in turn."""
    with Databases(request.param, tmp_path) as databases:
        yield databases


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Databases]:
    """Return PostgreSQL databases; skip where there is no server."""
    shared_server()
    with Databases(POSTGRES, tmp_path) as databases:
        yield databases
