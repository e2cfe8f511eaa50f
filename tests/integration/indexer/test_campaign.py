"""Everything at once, at random: faults, reorgs, kills and traffic, on both databases.

One chain, one endpoint that fails, two indexers behind it as real processes, one on SQLite and one
on PostgreSQL. Afterwards no row of either is missing, stale or double, and L1 to L6 hold on both.
"""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine

from ledger.database.schema import migrate
from scripts.stack.anvil_path import ROOT
from tests.support.anvil import Anvil
from tests.support.deploy import World, deploy
from tests.support.faults import FAULTS, FaultProxy
from tests.support.ledgers import POSTGRES, SQLITE, Databases
from tests.support.mirroring import (
    Row,
    Traffic,
    fetch_chain_rows,
    find_wrong,
    is_right,
    make_environment,
    was_lost,
)
from tests.support.postgres import needs_postgres
from tests.support.waiting import wait_until

REORG_MAX = 8
WINDOW_BLOCKS = 40


class Indexer:
    """``python -m indexer`` as a supervisor runs it: started again whenever it is gone."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.exits: list[int] = []

    def keep_up(self) -> None:
        """Start the process if it does not run."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self.exits.append(code)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "indexer"],
                env={**os.environ, **self._environment},
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        """Kill it without a word."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def kept_up(indexers: list[Indexer]) -> Iterator[None]:
    try:
        yield
    finally:
        for indexer in indexers:
            indexer.kill()


class Campaign:
    """What happens at random, from one seed, and what of it was done how often."""

    def __init__(
        self, world: World, proxy: FaultProxy, indexers: list[Indexer], *, seed: int
    ) -> None:
        self._world = world
        self._proxy = proxy
        self._indexers = indexers
        self._random = random.Random(seed)
        self._traffic = Traffic(world, seed=seed, lock=proxy.chain_lock)
        self.done: dict[str, int] = {}

    def run(self, seconds: float) -> None:
        """Begin with a history, then let things happen for so long; in the end all is good."""
        self._traffic.begin()
        self._traffic.play(WINDOW_BLOCKS)
        deadline_s = time.monotonic() + seconds
        acts = (self._play, self._play, self._play, self._fail, self._fail, self._reorg)
        next_kill_s = time.monotonic() + 3
        while time.monotonic() < deadline_s:
            for indexer in self._indexers:
                indexer.keep_up()
            if time.monotonic() > next_kill_s:
                next_kill_s = time.monotonic() + self._random.uniform(2, 5)
                self._count("kill")
                self._random.choice(self._indexers).kill()
            self._random.choice(acts)()
            time.sleep(self._random.uniform(0, 0.15))
        self._proxy.heal()

    def _play(self) -> None:
        self._count("traffic")
        self._traffic.play(self._random.randrange(1, 4))

    def _fail(self) -> None:
        if self._random.random() < 0.4:
            self._proxy.heal()
            return
        name = self._random.choice(sorted(FAULTS))
        self._count(name)
        self._proxy.inject(
            name,
            requests=self._random.randrange(1, 30),
            chance=self._random.choice((0.3, 0.7, 1.0)),
        )

    def _reorg(self) -> None:
        self._count("reorg")
        with self._proxy.chain_lock:
            self._world.anvil.reorg(self._random.randrange(1, REORG_MAX))

    def _count(self, what: str) -> None:
        self.done[what] = self.done.get(what, 0) + 1


def comes_right(indexer: Indexer, engine: Engine, world: World, rows: list[Row]) -> bool:
    """With the whole chain, but what two answers in a row left out and no figure misses."""
    indexer.keep_up()
    return is_right(engine, world, rows, may_lack=was_lost) and not find_wrong(
        engine, world, may_lack=was_lost
    )


@needs_postgres
@pytest.mark.parametrize(
    ("seconds", "seed"), [(3, 1), pytest.param(180, 2, marks=pytest.mark.slow)]
)
def test_campaign__faults_reorgs_and_kills__both_mirrors_are_the_chain(
    tmp_path: Path, record_property: Callable[[str, object], None], seconds: float, seed: int
) -> None:
    (tmp_path / SQLITE).mkdir()
    (tmp_path / POSTGRES).mkdir()
    with (
        Anvil() as anvil,
        FaultProxy(anvil.url, seed=seed) as proxy,
        Databases(SQLITE, tmp_path / SQLITE) as sqlite,
        Databases(POSTGRES, tmp_path / POSTGRES) as postgres,
    ):
        world = deploy(anvil)
        indexers: list[Indexer] = []
        engines: list[Engine] = []
        for databases in (sqlite, postgres):
            url = databases.create()
            engines.append(databases.open(url))
            migrate(engines[-1])
            environment = make_environment(
                world,
                tmp_path / databases.kind,
                RPC_URL=proxy.url,
                HEADS_URL=proxy.heads_url,
                LEDGER_URL=url,
                WINDOW_BLOCKS=str(WINDOW_BLOCKS),
                RANGE_BLOCKS_MAX="16",
                BLOCKS_PER_STEP_MAX="16",
            )
            indexers.append(Indexer(environment, tmp_path / f"{databases.kind}.log"))
        campaign = Campaign(world, proxy, indexers, seed=seed)
        with kept_up(indexers):
            campaign.run(seconds)
            anvil.mine()
            rows = fetch_chain_rows(world)
            for indexer, engine in zip(indexers, engines, strict=True):
                wait_until(partial(comes_right, indexer, engine, world, rows))
        record_property("done", str(campaign.done))
        for indexer, engine in zip(indexers, engines, strict=True):
            # Another chain at the only endpoint is for a person, or a supervisor, to look at.
            assert not indexer.exits or "wrong_chain" in campaign.done
            assert is_right(engine, world, rows, may_lack=was_lost)
            assert find_wrong(engine, world, may_lack=was_lost) == []
