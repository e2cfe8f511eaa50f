"""Two keepers on one PostgreSQL ledger: one works, the other takes over, nothing is sent twice.

::

    leader
    ├── killed while its transaction is in no block → the other sends the very same one
    ├── killed again and again under load → everything is settled once
    ├── its lock's session cut between storing and sending → it sends nothing
    │   └── and sends all the same, later → the chain takes it once
    └── its lock's session cut while it works → one of the two goes on
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from contracts.node_errors import NodeRefused
from keeper.errors import LeadershipLost, LockHeld
from keeper.lock import build_fence, hold_lock
from keeper.rounds import Keeper
from keeper.wiring import build_keeper
from ledger.database.engine import read
from ledger.database.leadership import Leadership
from ledger.intents.queries import load_open_intents
from ledger.intents.record import IntentRecord
from scripts.audit import audit
from tests.support.deploy import World
from tests.support.keepers import Stage, make_stage_on, write_record
from tests.support.ledgers import Databases
from tests.support.waiting import wait_until

COST = 300_000
CUT_THE_LOCK = text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@pytest.fixture
def stage(world: World, postgres: Databases) -> Stage:
    return make_stage_on(world, postgres.open_unbound())


@pytest.fixture
def token_id(stage: Stage) -> int:
    """Return a position with a live hold and posted usage."""
    token_id = stage.open_held()
    stage.spend(token_id, COST)
    return token_id


class Daemon:
    """A keeper in a process of its own. ``said`` grows while it runs."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "keeper"], env=environment, stderr=subprocess.PIPE, text=True
        )
        self.said: list[dict[str, object]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.said.append(json.loads(line))

    def has_said(self, event: str) -> bool:
        return any(line["event"] == event for line in self.said)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        assert self._process.stderr is not None
        self._process.stderr.close()


@pytest.fixture
def start(stage: Stage, tmp_path: Path) -> Iterator[Callable[[], Daemon]]:
    """Return what starts a daemon; all of them are killed at the end."""
    url = stage.engine.url.render_as_string(hide_password=False)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("KEEPER_")},
        "KEEPER_RPC_URL": stage.world.anvil.url,
        "KEEPER_LEDGER_URL": url,
        "KEEPER_DEPLOYMENT_FILE": str(write_record(stage.world.deployment, tmp_path)),
        "KEEPER_PRIVATE_KEY": stage.world.accounts["keeper"].key.hex(),
        "KEEPER_ETHER_PRICE_USDC": "0",
        "KEEPER_POLL_INTERVAL_S": "0.05",
        "KEEPER_RECEIPT_POLL_S": "0.01",
        "KEEPER_SETTLE_MAX_AGE_S": "0",
    }
    started: list[Daemon] = []

    def start_one() -> Daemon:
        started.append(Daemon(environment))
        return started[-1]

    yield start_one
    for daemon in started:
        daemon.kill()


def wait_for(condition: Callable[[], bool], stage: Stage | None = None) -> None:
    """Wait until something is so, with an indexer at work on ``stage``."""

    def is_so() -> bool:
        if stage is not None:
            stage.sync()
        return condition()

    wait_until(is_so, poll_s=0.05)


def open_intents(engine: Engine) -> list[IntentRecord]:
    with read(engine) as connection:
        return load_open_intents(connection)


def cut_the_lock(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(CUT_THE_LOCK)


def assert_settled_once(stage: Stage, token_id: int, cost_usdc: int) -> None:
    assert set(stage.usage_states().values()) == {"settled"}
    assert stage.chain_spent(token_id) == cost_usdc
    assert stage.batch_states() == ["settled"] * len(stage.settlements())
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []


def test_daemons__leader_killed_while_it_waits__the_other_sends_the_very_same(
    stage: Stage, token_id: int, start: Callable[[], Daemon]
) -> None:
    anvil = stage.world.anvil
    anvil.set_automine(False)
    first = start()
    wait_for(lambda: first.has_said("intent_sent"), stage)
    second = start()
    wait_for(lambda: second.has_said("standing_by"), stage)
    [sent] = [intent for intent in open_intents(stage.engine) if intent.kind == "settle"]
    assert sent.tx_hash is not None
    assert not second.has_said("leading")

    first.kill()
    anvil.drop_transaction(sent.tx_hash)
    wait_for(lambda: second.has_said("leading"), stage)
    anvil.set_automine(True)
    wait_for(lambda: set(stage.usage_states().values()) == {"settled"}, stage)

    assert_settled_once(stage, token_id, COST)
    receipt = anvil.web3.eth.get_transaction_receipt(sent.tx_hash)  # type: ignore[arg-type]
    assert receipt["status"] == 1


@pytest.mark.slow
def test_daemons__killed_again_and_again__everything_is_settled_once(
    stage: Stage, token_id: int, start: Callable[[], Daemon]
) -> None:
    daemons = [start(), start()]
    spent = COST
    for number in range(1, 5):
        wait_for(lambda: any(daemon.has_said("leading") for daemon in daemons), stage)
        leader = next(daemon for daemon in daemons if daemon.has_said("leading"))
        seen = len(leader.said)
        spent += number
        stage.spend(token_id, number, request_id=f"more-{number}")
        wait_for(lambda: len(leader.said) > seen, stage)  # noqa: B023 - called before they change
        leader.kill()
        daemons.remove(leader)
        daemons.append(start())
    wait_for(lambda: set(stage.usage_states().values()) == {"settled"}, stage)

    assert_settled_once(stage, token_id, spent)


@pytest.mark.slow
def test_daemons__their_locks_cut_while_they_work__one_goes_on(
    stage: Stage, token_id: int, start: Callable[[], Daemon]
) -> None:
    daemons = [start(), start()]
    spent = COST
    for number in range(1, 6):
        wait_for(lambda: any(daemon.has_said("leading") for daemon in daemons), stage)
        spent += number
        stage.spend(token_id, number, request_id=f"more-{number}")
        cut_the_lock(stage.engine)
        stage.sync()
    wait_for(lambda: set(stage.usage_states().values()) == {"settled"}, stage)

    assert_settled_once(stage, token_id, spent)


def keeper_of(stage: Stage, leadership: Leadership, checkpoint: Callable[[str], None]) -> Keeper:
    return build_keeper(
        stage.keeper_settings(),
        stage.house(),
        threading.Event(),
        fence=build_fence(leadership),
        checkpoint=checkpoint,
    )


@pytest.mark.parametrize("step", ["planned", "simulated", "stored"])
@pytest.mark.sampled(2)
def test_leader__its_lock_is_cut_in_the_middle__sends_nothing_and_the_next_one_goes_on(
    stage: Stage, token_id: int, step: str
) -> None:
    anvil = stage.world.anvil

    def cut_at(reached: str) -> None:
        if reached == step:
            cut_the_lock(stage.engine)

    before = anvil.head().number
    with hold_lock(stage.engine) as lost, pytest.raises(LeadershipLost):
        keeper_of(stage, lost, cut_at).tick()
    assert anvil.head().number == before, "nothing reached the chain"
    stored = [intent.raw_tx for intent in open_intents(stage.engine) if intent.raw_tx is not None]

    with hold_lock(stage.engine) as leadership:
        keeper_of(stage, leadership, lambda _: None).tick()
        with pytest.raises(LockHeld), hold_lock(stage.engine):
            pass
    stage.sync()
    assert_settled_once(stage, token_id, COST)
    # The one that was replaced wakes up late, past its fence: what it can send is what is stored.
    for raw_tx in stored:
        with suppress(NodeRefused):
            stage.house().node.send_raw(raw_tx)
    anvil.mine()
    stage.sync()
    assert_settled_once(stage, token_id, COST)
