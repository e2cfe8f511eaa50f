"""The indexer as a process: standby and takeover, rebuild, verify, metrics.

::

    two processes on one ledger, on each database
    ├── one mirrors, the other stands by
    └── the leader is killed: the other mirrors what comes next
    rebuild: after a reorg deeper than the window, mirror = chain again
    verify: what was compared, and 0 where all is right; every value that is not, and 1
    metrics: served while the indexer runs, zero before anything happened
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import structlog.testing
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, update

from contracts.node_errors import NodeFailure
from indexer.health import Health
from indexer.main import rebuild, run, verify
from indexer.metrics import serve_metrics
from indexer.settings import IndexerSettings
from indexer.sync import ReorgTooDeep
from indexer.verify import Difference
from ledger.chain.mirror import load_mirror
from ledger.database.engine import read, write
from ledger.database.schema import migrate
from ledger.tables import Position, table_of
from scripts.audit import audit
from scripts.stack.anvil_path import ROOT
from scripts.stack.ports import free_port
from tests.support.deploy import World
from tests.support.forking import run_command
from tests.support.keepers import Stage
from tests.support.ledgers import Databases, make_unbound_ledger
from tests.support.mirroring import (
    Traffic,
    fetch_chain_rows,
    is_right,
    make_environment,
    running,
)
from tests.support.waiting import wait_until

_position = table_of(Position)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    ledger = make_unbound_ledger(tmp_path / "ledger.sqlite3")
    yield ledger
    ledger.dispose()


def settings_for(world: World, path: Path, **changes: str) -> IndexerSettings:
    return IndexerSettings.from_environment(make_environment(world, path, **changes))


@contextmanager
def started(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "indexer"],
            env={**os.environ, **environment},
            cwd=ROOT,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def test_standby__leader_killed__takes_over(
    world: World,
    databases: Databases,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    url = databases.create()
    engine = databases.open(url)
    migrate(engine)
    environment = make_environment(world, tmp_path, LEDGER_URL=url)
    traffic = Traffic(world, seed=1)
    traffic.begin()
    first_log, second_log = tmp_path / "first.log", tmp_path / "second.log"
    with started(environment, first_log) as first:
        wait_until(lambda: b'"leading"' in first_log.read_bytes())
        with started(environment, second_log) as second:
            wait_until(lambda: b'"started"' in second_log.read_bytes())
            traffic.play(2)
            rows = fetch_chain_rows(world)
            wait_until(lambda: is_right(engine, world, rows))
            assert b'"leading"' not in second_log.read_bytes()
            os.kill(first.pid, signal.SIGKILL)
            killed_s = time.monotonic()
            traffic.play(2)
            rows = fetch_chain_rows(world)
            wait_until(lambda: is_right(engine, world, rows))
            record_property("taken_over_after_s", round(time.monotonic() - killed_s, 3))
            assert b'"leading"' in second_log.read_bytes()
            assert second.poll() is None
    assert audit(engine, world.anvil.web3, world.deployment) == []


def test_rebuild__after_a_reorg_deeper_than_the_window__mirror_is_chain(
    world: World, engine: Engine, tmp_path: Path
) -> None:
    settings = settings_for(world, tmp_path, WINDOW_BLOCKS="5")
    traffic = Traffic(world, seed=1)
    traffic.begin()
    world.anvil.mine(2)
    traffic.play(12)
    rows = fetch_chain_rows(world)
    with running(settings):
        wait_until(lambda: is_right(engine, world, rows))
    world.anvil.reorg(10)
    with pytest.raises(ReorgTooDeep, match="current indexer rebuild"):
        run(settings, threading.Event())
    rebuild(settings)
    traffic.play(3)
    rows = fetch_chain_rows(world)
    with running(settings):
        wait_until(lambda: is_right(engine, world, rows))
    assert audit(engine, world.anvil.web3, world.deployment) == []


def test_verify__values_that_are_wrong__each_is_named(
    world: World, engine: Engine, tmp_path: Path
) -> None:
    environment = make_environment(world, tmp_path)
    settings = IndexerSettings.from_environment(environment)
    traffic = Traffic(world, seed=1)
    traffic.begin()
    traffic.begin()
    rows = fetch_chain_rows(world)
    with running(settings):
        wait_until(lambda: is_right(engine, world, rows))
    assert run_verify(environment) == (
        0,
        "compared 2 positions (36 values) with the contracts at block"
        f" {load_block(engine)} of chain 31337: all agree\n",
    )
    wrong = {"key_epoch": 7, "shares": 1, "owner": "0x" + "11" * 20}
    with write(engine) as connection:
        connection.execute(update(_position).where(_position.c.token_id == 0).values(wrong))
        connection.execute(_position.delete().where(_position.c.token_id == 1))
    code, said = run_verify(environment)
    assert code == 1
    assert said.startswith("position 0: keyEpoch is 7 in the mirror, 0 on the chain\n")
    assert "compared 1 positions (18 values)" in said
    assert ": 4 differ; a running indexer repairs them" in said

    code, said = run_verify(environment, "--json")
    *found, sums = [json.loads(line) for line in said.splitlines()]
    assert code == 1
    assert [(one["token_id"], one["name"]) for one in found] == [
        (0, "keyEpoch"),
        (0, "owner"),
        (0, "shares"),
        (1, "the position"),
    ]
    assert (sums["event"], sums["positions"], sums["differences"]) == ("compared", 1, 4)


def test_verify__nothing_mirrored__says_so_and_exits_2(world: World, tmp_path: Path) -> None:
    code, said = run_verify(make_environment(world, tmp_path))

    assert code == 2
    assert said.endswith("Error: nothing is mirrored yet: start `current indexer`\n")


def run_verify(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run ``current indexer verify``; return its exit code and all that it said."""
    done = run_command("indexer", "verify", *arguments, environment={**os.environ, **environment})
    return done.returncode, done.stdout + done.stderr


def load_block(engine: Engine) -> int:
    with read(engine) as connection:
        cursor = load_mirror(connection)
    assert cursor is not None
    return cursor.block_number


def find_differences(settings: IndexerSettings) -> list[Difference]:
    found: list[Difference] = []
    verify(settings, found.append)
    return found


def test_start__position_row_is_wrong__made_again_from_its_events(
    world: World, engine: Engine, tmp_path: Path
) -> None:
    settings = settings_for(world, tmp_path)
    traffic = Traffic(world, seed=1)
    traffic.begin()
    rows = fetch_chain_rows(world)
    with running(settings):
        wait_until(lambda: is_right(engine, world, rows))
    with write(engine) as connection:
        connection.execute(update(_position).values(key_epoch=7))
    with running(settings) as health:
        wait_until(lambda: health.report().observed_at_s > 0 and not find_differences(settings))
        named = {failure for _, failure in health.report().failures}
    assert named == {NodeFailure.PARTIAL_LOGS}
    assert audit(engine, world.anvil.web3, world.deployment) == []


def read_metrics(port: int) -> dict[str, float]:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics__what_happened__is_shown() -> None:
    health, port = Health(), free_port()
    close = serve_metrics(health, host="127.0.0.1", port=port)
    try:
        before = read_metrics(port)
        health.note_position(head_number=9, mirrored_number=7, observed_at_s=0)
        health.note_mirrored(blocks=3, events=5)
        health.note_rewind(depth=3)
        health.note_rewind(depth=300)
        health.note_failure("node", NodeFailure.EMPTY_LOGS, "")
        health.note_leadership(True)
        after = read_metrics(port)
    finally:
        close()
    assert before["current_indexer_reorgs_total 4"] == 0
    assert before["current_indexer_is_leader"] == 0
    changed = {name: value for name, value in after.items() if before.get(name) != value}
    del changed["current_indexer_age_seconds"]  # not a number, which is never the same
    assert changed == {
        "current_indexer_head_block": 9,
        "current_indexer_mirrored_block": 7,
        "current_indexer_lag_blocks": 2,
        "current_indexer_events_total": 5,
        "current_indexer_blocks_total": 3,
        "current_indexer_reorgs_total 4": 1,
        "current_indexer_reorgs_total more": 1,
        "current_indexer_node_failures_total node empty_logs": 1,
        "current_indexer_is_leader": 1,
        "current_indexer_takeovers_total": 1,
    }


def test_run__with_a_metrics_port__serves_them(
    world: World, engine: Engine, tmp_path: Path
) -> None:
    port = free_port()
    rows = fetch_chain_rows(world)
    with running(settings_for(world, tmp_path, METRICS_PORT=str(port))):
        wait_until(lambda: is_right(engine, world, rows))
        shown = read_metrics(port)
    assert shown["current_indexer_mirrored_block"] == world.anvil.head().number
    assert shown["current_indexer_is_leader"] == 1


def test_log__blocks_without_events__say_nothing_above_debug(stage: Stage) -> None:
    with structlog.testing.capture_logs() as lines:
        stage.world.anvil.mine(5)
        stage.sync()
        stage.world.open_position()
        stage.sync()

    advanced = [line for line in lines if line["event"] == "advanced"]
    assert {line["log_level"] for line in advanced if not line["events"]} <= {"debug"}
    assert {line["log_level"] for line in advanced if line["events"]} == {"info"}
