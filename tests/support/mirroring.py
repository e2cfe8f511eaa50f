"""Watching an indexer from outside: traffic on the chain, and whether what is mirrored is right."""

import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select
from web3.exceptions import Web3Exception

from contracts.events import CONTRACTS, cut_log
from indexer.health import Health
from indexer.main import run
from indexer.settings import IndexerSettings
from ledger.audit import Violation
from ledger.chain.mirror import load_mirror
from ledger.database.engine import read
from ledger.tables import Event, table_of
from scripts.audit import audit
from tests.support.deploy import USDC, World
from tests.support.faults import is_lost
from tests.support.waiting import LIMIT_S

_event = table_of(Event)

HOUR_S = 3_600

Row = tuple[Any, ...]


def make_environment(world: World, folder: Path, **changes: str) -> dict[str, str]:
    """Return an indexer's environment, with a deployment record in ``folder``."""
    names = ("position", "adapter", "payouts", "usdc", "multicall3", "vault")
    deployment = world.deployment
    file = folder / "deployment.json"
    record = {
        "chain_id": deployment.chain_id,
        "block_number": deployment.block_number,
        "block_hash": deployment.block_hash,
        "contracts": {name: getattr(deployment, name) for name in names},
    }
    file.write_text(json.dumps(record))
    values = {
        "RPC_URL": world.anvil.url,
        "LEDGER_URL": f"sqlite:///{folder / 'ledger.sqlite3'}",
        "DEPLOYMENT_FILE": str(file),
        **changes,
    }
    return {f"INDEXER_{name}": value for name, value in values.items()}


@contextmanager
def running(settings: IndexerSettings) -> Iterator[Health]:
    """Run an indexer in a thread; whatever it raises is raised at the end."""
    stop, health = threading.Event(), Health()
    raised: list[BaseException] = []

    def work() -> None:
        try:
            run(settings, stop, health=health)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield health
    finally:
        stop.set()
        thread.join(timeout=LIMIT_S)
    assert not thread.is_alive()
    if raised:
        raise raised[0]


class Traffic:
    """People who do things, at random, over and over; what the contracts refuse is refused."""

    def __init__(
        self, world: World, *, seed: int, lock: AbstractContextManager[Any] | None = None
    ) -> None:
        self._world = world
        self._random = random.Random(seed)
        self._lock = lock
        self._batches = seed * 1_000_000

    def play(self, actions: int) -> None:
        """Let so many things happen, of about one block each."""
        for _ in range(actions):
            # What fails here lost its position to a reorg, or has nothing to hold or settle.
            with self._lock or nullcontext(), suppress(AssertionError, Web3Exception):
                self._act()

    def begin(self) -> None:
        """Open a position that has earned and holds."""
        with self._lock or nullcontext():
            self._open()
            self._harvest(0)
            self._hold(0)

    def _act(self) -> None:
        supply = int(self._world.contracts.position.functions.totalSupply().call())
        if supply == 0 or self._random.random() < 0.08:
            self._open()
            return
        token_id = self._random.randrange(supply)
        act = self._random.choice(
            (
                *(self._harvest, self._hold, self._hold, self._settle, self._settle),
                *(self._bump, self._give_credit, self._give_deposit),
            )
        )
        act(token_id)

    def _open(self) -> None:
        self._world.open_position(role=self._random.choice(("owner", "second_owner")))

    def _harvest(self, token_id: int) -> None:
        self._world.earn(10 * USDC)
        self._world.send("outsider", self._world.contracts.adapter.functions.harvest(token_id))

    def _give_credit(self, token_id: int) -> None:
        position = self._world.contracts.position
        self._fund_giver(position.address, USDC)
        self._world.send("outsider", position.functions.creditFor(token_id, USDC))

    def _give_deposit(self, token_id: int) -> None:
        adapter = self._world.contracts.adapter
        self._fund_giver(adapter.address, 100 * USDC)
        self._world.send("outsider", adapter.functions.depositFor(token_id, 100 * USDC, 0))

    def _fund_giver(self, spender: str, amount_usdc: int) -> None:
        self._world.fund_usdc(self._world.accounts["outsider"].address, amount_usdc)
        approve = self._world.contracts.usdc.functions.approve(spender, amount_usdc)
        self._world.send("outsider", approve)

    def _hold(self, token_id: int) -> None:
        amount_usdc = self._random.randrange(1, 5 * USDC)
        epoch = int(self._world.contracts.position.functions.accountOf(token_id).call()[7])
        request = (token_id, amount_usdc, self._world.anvil.now_s() + HOUR_S, epoch)
        self._world.send("keeper", self._world.contracts.position.functions.hold([request]))

    def _settle(self, token_id: int) -> None:
        self._batches += 1
        settle = self._world.contracts.position.functions.settle(
            self._batches.to_bytes(32, "big"),
            b"\x07" * 32,
            [(token_id, self._random.randrange(1, 100_000))],
        )
        self._world.send("keeper", settle)

    def _bump(self, token_id: int) -> None:
        owner = self._world.contracts.position.functions.ownerOf(token_id).call()
        roles = {account.address: role for role, account in self._world.accounts.items()}
        self._world.send(
            roles[owner], self._world.contracts.position.functions.bumpKeyEpoch(token_id)
        )


def fetch_chain_rows(world: World) -> list[Row]:
    """Return the event rows that there should be, out of the node's own logs."""
    names = {getattr(world.deployment, name): name for name in CONTRACTS}
    query = {"fromBlock": "0x0", "toBlock": "latest", "address": list(names)}
    rows: list[Row] = []
    for log in world.anvil.request("eth_getLogs", query):
        contract = names[log["address"].lower()]
        layout, words = cut_log(contract, log["topics"], log["data"])
        block_hash, tx_hash = (bytes.fromhex(log[n][2:]) for n in ("blockHash", "transactionHash"))
        place = (int(log["blockNumber"], 16), int(log["logIndex"], 16))
        rows.append((*place, block_hash, tx_hash, contract, layout.name, words))
    return rows


def load_mirrored_rows(engine: Engine) -> list[Row]:
    """Return the event rows that there are."""
    columns = _event.c
    with read(engine) as connection:
        rows = connection.execute(
            select(
                columns.block_number,
                columns.log_index,
                columns.block_hash,
                columns.tx_hash,
                columns.contract,
                columns.name,
                columns.words,
            ).order_by(columns.block_number, columns.log_index)
        ).all()
    return [tuple(row) for row in rows]


def is_right(
    engine: Engine,
    world: World,
    rows: list[Row],
    *,
    may_lack: Callable[[Row], bool] | None = None,
) -> bool:
    """Tell whether the mirror is at the chain's head, with exactly these event rows.

    It may lack those that ``may_lack`` names; it has none that the chain does not have.
    """
    with read(engine) as connection:
        cursor = load_mirror(connection)
    if cursor is None or cursor.block_hash != world.anvil.head().block_hash:
        return False
    mirrored = load_mirrored_rows(engine)
    seen = set(mirrored)
    needed = [row for row in rows if row in seen or may_lack is None or not may_lack(row)]
    return mirrored == needed


def find_wrong(
    engine: Engine, world: World, *, may_lack: Callable[[Row], bool] | None = None
) -> list[Violation]:
    """Audit the ledger; where events may be missing, their absence itself is no violation."""
    found = audit(engine, world.anvil.web3, world.deployment)
    if may_lack is None:
        return found
    return [one for one in found if (one.invariant, one.subject.split()[0]) != ("L6", "event")]


def was_lost(row: Row) -> bool:
    """Tell whether ``lost_logs`` leaves out this row's event."""
    return is_lost({"transactionHash": f"0x{row[3].hex()}", "logIndex": hex(row[1])})
