"""A backfill against a real anvil: what it writes is what following writes, however it is broken.

Each test ends in ``assert_mirror_is_chain`` of ``current audit``: L1 to L6.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from contracts.node_errors import NodeRefused, NodeUnavailable, NotYet, RangeRefused
from contracts.reader import ChainReader
from contracts.transport import Call, HttpTransport
from indexer.backfill import Backfill
from indexer.sync import Follower, SyncRules
from ledger.chain.mirror import load_mirror, load_window
from ledger.database.engine import open_engine, read, write
from ledger.database.schema import bind_deployment, migrate
from scripts.audit import audit
from scripts.stack.anvil_path import ROOT
from tests.support.deploy import USDC, World
from tests.support.postgres import find_programs, shared_server

RULES = SyncRules(confirmations=1, window_blocks=5, range_blocks_max=40, blocks_per_step_max=64)
HOUR_S = 3_600


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        ledger = open_engine(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    elif find_programs() is None:
        pytest.skip("no PostgreSQL server")
    else:
        ledger = open_engine(shared_server().create_database())
    migrate(ledger)
    with write(ledger) as connection:
        bind_deployment(connection, world.deployment)
    yield ledger
    ledger.dispose()


@pytest.fixture
def transport(world: World) -> Iterator[HttpTransport]:
    http = HttpTransport(world.anvil.url)
    yield http
    http.close()


class Node:
    """The test's anvil, with something between that changes its answers to ``eth_getLogs``."""

    def __init__(self, transport: HttpTransport, change: Callable[[list[Any], Any], Any]) -> None:
        self._transport = transport
        self._change = change

    def request(self, method: str, params: list[Any]) -> Any:
        return self._transport.request(method, params)

    def request_batch(self, calls: Sequence[Call]) -> list[Any | NodeUnavailable | NodeRefused]:
        answers = self._transport.request_batch(calls)
        return [
            self._change(params, answer) if method == "eth_getLogs" else answer
            for (method, params), answer in zip(calls, answers, strict=True)
        ]


def live(world: World) -> None:
    """Give the chain a history: a position with holds and settlements, and empty blocks between."""
    position = world.contracts.position.functions
    world.open_position()
    world.earn(10 * USDC)
    world.send("outsider", world.contracts.adapter.functions.harvest(0))
    for number in range(6):
        expires_at_s = world.anvil.now_s() + HOUR_S
        world.send("keeper", position.hold([(0, 1 * USDC, expires_at_s, 0)]))
        batch_id = (number + 1).to_bytes(32, "big")
        world.send("keeper", position.settle(batch_id, b"\x01" * 32, [(0, 1_000 + number)]))
        world.anvil.mine(20)


def make_follower(world: World, engine: Engine, node: Any) -> Follower:
    return Follower(engine, ChainReader(node), world.deployment, RULES)


def sync(follower: Follower, world: World, engine: Engine) -> None:
    """Converge until the mirror is at the head."""
    head = world.anvil.head()
    for _ in range(200):
        follower.converge()
        with read(engine) as connection:
            cursor = load_mirror(connection)
        if cursor is not None and cursor.block_hash == head.block_hash:
            return
    raise AssertionError(f"not at {head}: {cursor}")


def cursor_number(engine: Engine) -> int:
    with read(engine) as connection:
        cursor = load_mirror(connection)
    return -1 if cursor is None else cursor.block_number


def assert_mirror_is_chain(world: World, engine: Engine) -> None:
    assert audit(engine, world.anvil.web3, world.deployment) == []


def test_backfill__whole_history__mirror_is_chain(
    world: World, engine: Engine, transport: HttpTransport
) -> None:
    live(world)
    sync(make_follower(world, engine, transport), world, engine)
    assert_mirror_is_chain(world, engine)


def test_backfill__node_takes_three_blocks_at_most__halved_until_they_fit(
    world: World, engine: Engine, transport: HttpTransport
) -> None:
    asked: list[int] = []

    def refuse(params: list[Any], answer: Any) -> Any:
        query = params[0]
        if "fromBlock" not in query:
            return answer
        asked.append(int(query["toBlock"], 16) - int(query["fromBlock"], 16) + 1)
        return answer if asked[-1] <= 3 else RangeRefused(-32005, "up to a 3 block range")

    live(world)
    sync(make_follower(world, engine, Node(transport, refuse)), world, engine)
    assert max(asked) > 3
    assert_mirror_is_chain(world, engine)


def test_backfill__node_leaves_a_settlement_out__nothing_of_the_range_is_written(
    world: World, engine: Engine, transport: HttpTransport
) -> None:
    is_lossy = True

    def lose(params: list[Any], answer: Any) -> Any:
        if not is_lossy or "fromBlock" not in params[0]:
            return answer
        return [log for log in answer if log["data"][2:66] != f"{1_002:064x}"]

    live(world)
    follower = make_follower(world, engine, Node(transport, lose))
    with pytest.raises(NotYet, match="spentAfter"):
        sync(follower, world, engine)
    assert cursor_number(engine) < world.anvil.head().number - RULES.window_blocks
    is_lossy = False
    sync(follower, world, engine)
    follower.close()
    assert_mirror_is_chain(world, engine)


def test_backfill__chain_without_the_cursor__writes_nothing(
    world: World, engine: Engine, transport: HttpTransport
) -> None:
    live(world)
    follower = make_follower(world, engine, transport)
    follower.converge()
    with read(engine) as connection:
        [tip] = load_window(connection)
    other = type(tip)(tip.number, "0x" + "ee" * 32, tip.parent_hash, tip.timestamp_s)
    backfill = Backfill(engine, transport, world.deployment, range_blocks_max=200)
    head = world.anvil.head()
    assert backfill.step(other, tip.number + 10, head) is None
    backfill.close()
    with read(engine) as connection:
        assert load_window(connection) == [tip]


CHILD = """
import json, sys
from contextlib import suppress
from contracts.errors import Retryable
from contracts.reader import ChainReader
from contracts.deployment import Deployment
from contracts.transport import HttpTransport
from indexer import backfill
from indexer.sync import Follower, SyncRules
from ledger.database.engine import open_engine

backfill.STEP_EVENTS_AIM = 1  # a transaction for each range that has events
job = json.loads(sys.argv[1])
rules = SyncRules(confirmations=1, window_blocks=5, range_blocks_max=4, blocks_per_step_max=64)
reader = ChainReader(HttpTransport(job["url"]))
follower = Follower(open_engine(job["ledger"]), reader, Deployment(**job["deployment"]), rules)
while True:
    with suppress(Retryable):  # a busy machine answers late
        follower.converge()
"""


@pytest.mark.slow
def test_backfill__killed_at_any_point__the_next_process_goes_on(
    world: World, tmp_path: Path, transport: HttpTransport
) -> None:
    live(world)
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    engine = open_engine(url)
    migrate(engine)
    with write(engine) as connection:
        bind_deployment(connection, world.deployment)
    job = {
        "url": world.anvil.url,
        "ledger": url,
        "deployment": {
            name: getattr(world.deployment, name) for name in world.deployment.__slots__
        },
    }
    for reached in (5, 40, 80, 120):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, json.dumps(job)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
        )
        while child.poll() is None and cursor_number(engine) < reached:
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    sync(make_follower(world, engine, transport), world, engine)
    assert_mirror_is_chain(world, engine)
    engine.dispose()
