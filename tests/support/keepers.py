"""A keeper, an indexer and a ledger around one real chain, for tests."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eth_utils.address import to_checksum_address
from sqlalchemy import Engine, select, text
from sqlmodel import SQLModel

from contracts.chain import Web3Transport
from contracts.deployment import Deployment
from contracts.pool import ChainPool
from contracts.reader import ChainReader
from contracts.transport import Transport
from indexer.sync import Follower, Outcome, SyncRules
from keeper.node import Node
from keeper.rehearsal import Rehearsal
from keeper.rounds import Keeper, RoundReport
from keeper.settings import KeeperSettings
from keeper.transactor.means import no_checkpoint
from keeper.wiring import House, build_keeper, build_rehearsal
from ledger.chain.drawn import load_drawn_mismatches
from ledger.chain.position_rows import load_states
from ledger.chain.positions import PositionState
from ledger.database.engine import is_postgres, read, write
from ledger.database.schema import bind_deployment
from ledger.database.statements import insert_or_ignore
from ledger.intents.record import IntentRecord, load_intent
from ledger.spending.admission import AdmissionRules
from ledger.spending.demand import note_demand
from ledger.spending.metering import Post, Reserve
from ledger.tables import (
    Batch,
    Intent,
    MarketAccount,
    MarketCredit,
    MarketOffer,
    MarketPayout,
    MarketSale,
    MarketSeller,
    PayoutBatch,
    PayoutItem,
    Usage,
    table_of,
)
from ledger.tables.usage import Charge, Reservation
from tests.support.clocks import LaterClock
from tests.support.deploy import USDC, World
from tests.support.ledgers import make_unbound_ledger

SYNC_RULES = SyncRules(
    confirmations=0, window_blocks=100, range_blocks_max=50, blocks_per_step_max=64
)
ADMISSION = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=300)


class Crash(BaseException):
    """The process dies here: no handler of the keeper may catch it."""


def crash_at(name: str) -> Callable[[str], None]:
    """Return a checkpoint that dies the first time it is reached by ``name``."""
    left = [name]

    def checkpoint(reached: str) -> None:
        if reached in left:
            left.remove(reached)
            raise Crash(reached)

    return checkpoint


@dataclass
class Stage:
    """One ledger beside one chain. ``ahead_s`` is added to the keeper's ledger clock.

    ``endpoints`` are what keepers reach the chain through; without them: anvil itself.
    """

    world: World
    engine: Engine
    settings: dict[str, str] = field(default_factory=dict)
    ahead_s: int = 0
    endpoints: list[Transport] = field(default_factory=list)
    reads_by: Transport | None = None
    """What the indexer reaches the chain through; without it: anvil itself."""

    # -------------------------------------------------------------------------------- the processes

    def sync(self) -> None:
        """Let the indexer catch up."""
        reader = ChainReader(self.reads_by or Web3Transport(self.world.anvil.web3))
        follower = Follower(self.engine, reader, self.world.deployment, SYNC_RULES)
        outcomes: list[Outcome] = []
        while outcomes[-3:] != [Outcome.NOTHING_NEW] * 3:
            outcomes.append(follower.converge())
            assert len(outcomes) < 200

    def keeper_settings(self, **changes: str) -> KeeperSettings:
        """Return settings that act at once and wait for nothing, with ``changes``."""
        key = self.world.accounts["keeper"].key.hex()
        # A busy machine's node takes a while to mine what it has accepted.
        patience_s = "30" if self.world.anvil.mines_at_once else "0.3"
        values = {
            "RPC_URL": self.world.anvil.url,
            "LEDGER_URL": self.engine.url.render_as_string(hide_password=False),
            "DEPLOYMENT_FILE": "unused",
            "PRIVATE_KEY": key,
            "CONFIRMATIONS": "2",
            "GIVE_UP_BLOCKS": "2",
            "RECEIPT_TIMEOUT_S": patience_s,
            "RECEIPT_POLL_S": "0.01",
            "SETTLE_MAX_AGE_S": "0",
            "ETHER_PRICE_USDC": "0",
            **self.settings,
            **changes,
        }
        return KeeperSettings.from_environment({f"KEEPER_{k}": v for k, v in values.items()})

    def house(self) -> House:
        node = Node(self.world.anvil.web3)
        if self.endpoints:
            named = {str(number): endpoint for number, endpoint in enumerate(self.endpoints)}
            pool = ChainPool(named, chain_id=self.world.deployment.chain_id)
            node = Node(pool.transport, endpoints=self.endpoints, on_nonsense=pool.suspect)
        return House(self.world.deployment, self.world.contracts, self.engine, node)

    def keeper(self, checkpoint: Callable[[str], None] = no_checkpoint) -> Keeper:
        """Start a keeper: a new process, as far as its memory goes."""
        return build_keeper(
            self.keeper_settings(),
            self.house(),
            threading.Event(),
            clock=LaterClock(self.engine, later_s=lambda: self.ahead_s),
            checkpoint=checkpoint,
        )

    def rehearsal(self) -> Rehearsal:
        return build_rehearsal(self.keeper_settings(), self.house())

    def tick(self) -> RoundReport:
        """Let a fresh keeper make one round, and the indexer see it."""
        report = self.keeper().tick()
        self.sync()
        return report

    # ------------------------------------------------------------------------------------ the world

    def open_earning(self, yield_usdc: int = 20 * USDC) -> int:
        """Open a position whose deposit has earned ``yield_usdc``, due for harvest."""
        token_id = self.world.open_position()
        self.world.earn(yield_usdc)
        self.world.anvil.warp(1_800)
        self.sync()
        return token_id

    def open_credited(self, yield_usdc: int = 20 * USDC) -> int:
        """Open a position with harvested credit."""
        token_id = self.open_earning(yield_usdc)
        self.world.send("outsider", self.world.contracts.adapter.functions.harvest(token_id))
        self.sync()
        return token_id

    def want(self, token_id: int, required_usdc: int = 0) -> None:
        """Note demand, as the proxy does when a key is used."""
        with write(self.engine) as connection:
            note_demand(
                connection,
                token_id=token_id,
                required_usdc=required_usdc,
                now_s=int(time.time()),
            )

    def open_held(self) -> int:
        """Open a position with credit and a hold on a part of it, mirrored."""
        token_id = self.open_credited()
        self.want(token_id)
        report = self.tick()
        assert report.acted == {"hold": 1}, report
        return token_id

    def spend(self, token_id: int, cost_usdc: int, *, request_id: str = "request-1") -> None:
        """Reserve and post, as the proxy does for a request."""
        reservation = Reservation(
            request_id=request_id,
            token_id=token_id,
            key_epoch=self.state(token_id).key_epoch,
            key_id="key",
            model="model",
            ceiling_usdc=cost_usdc,
            input_usdc_per_mtok=1,
            output_usdc_per_mtok=1,
        )
        now_s = int(time.time())
        with write(self.engine) as connection:
            Reserve(reservation, ADMISSION, now_s)(connection)
        with write(self.engine) as connection:
            Post(request_id, Charge(cost_usdc, 1, 1), now_s)(connection)

    # ---------------------------------------------------------------------------------- what is so

    def state(self, token_id: int) -> PositionState:
        """Return the mirrored position."""
        with read(self.engine) as connection:
            return load_states(connection, [token_id])[token_id]

    def chain_spent(self, token_id: int) -> int:
        """Return what the contract says was settled for a position."""
        return int(self.world.contracts.position.functions.accountOf(token_id).call()[1])

    def settlements(self) -> list[str]:
        """Return the batch ids that the chain settled."""
        events = self.world.contracts.position.events.BatchSettled.get_logs(from_block=0)
        return ["0x" + event["args"]["batchId"].hex() for event in events]

    def usage_states(self) -> dict[str, str]:
        with read(self.engine) as connection:
            usage = table_of(Usage)
            rows = connection.execute(select(usage.c.request_id, usage.c.state)).all()
        return {str(request_id): str(state) for request_id, state in rows}

    def batch_states(self) -> list[str]:
        with read(self.engine) as connection:
            batch = table_of(Batch)
            rows = connection.execute(select(batch.c.state).order_by(batch.c.batch_id))
            return [str(state) for state in rows.scalars()]

    def intents(self) -> list[IntentRecord]:
        """Return every intent, oldest first."""
        intent = table_of(Intent)
        # SQLite's own order of insertion: the clock's seconds are too coarse.
        order = intent.c.created_at_s if is_postgres(self.engine) else text("rowid")
        with read(self.engine) as connection:
            ids = connection.execute(select(intent.c.intent_id).order_by(order)).scalars()
            found = [load_intent(connection, str(intent_id)) for intent_id in ids]
        return [intent for intent in found if intent is not None]

    def intent_states(self, kind: str) -> list[str]:
        return [str(i.state) for i in self.intents() if i.kind == kind]

    # ---------------------------------------------------------------------------------- the payouts

    def allow_paying(self, treasury_usdc: int = 10 * USDC) -> None:
        """Let the keeper pay, at once, from a treasury of so much."""
        payouts = self.world.contracts.payouts
        keeper = self.world.accounts["keeper"].address
        self.world.send("admin", payouts.functions.setPayer(keeper, True))
        self.world.fund_usdc(payouts.address, treasury_usdc)
        self.settings["PAYOUT_MAX_AGE_S"] = "0"
        self.sync()

    def owe(self, *payouts: tuple[str, str, int]) -> None:
        """Make (payout id, payee, amount) payable, as the market does: each of one sale."""
        with write(self.engine) as connection:
            for place, (payout_id, payee, amount_usdc) in enumerate(payouts):
                for row in _sell(payout_id, payee, amount_usdc, at_s=1_000 + place):
                    insert_or_ignore(connection, table_of(type(row)), row.model_dump())

    def payout_states(self) -> dict[str, list[str]]:
        """Return the states of each payout's items, in the order of their batches."""
        item = table_of(PayoutItem)
        with read(self.engine) as connection:
            rows = connection.execute(
                select(item.c.payout_id, item.c.state).order_by(item.c.payout_id, item.c.batch_id)
            ).all()
        found: dict[str, list[str]] = {}
        for payout_id, state in rows:
            found.setdefault(str(payout_id), []).append(str(state))
        return found

    def payout_batch_states(self) -> list[str]:
        batch = table_of(PayoutBatch)
        with read(self.engine) as connection:
            rows = connection.execute(select(batch.c.state).order_by(batch.c.batch_id))
            return [str(state) for state in rows.scalars()]

    def received(self, payee: str) -> tuple[int, int]:
        """Return the USDC that a payee has, and what is credited to it."""
        address = to_checksum_address(payee)
        balance = self.world.contracts.usdc.functions.balanceOf(address).call()
        credited = self.world.contracts.payouts.functions.credited(address).call()
        return int(balance), int(credited)

    def assert_sound(self) -> None:
        """Check L1, and that every position's spending is what the chain says."""
        with read(self.engine) as connection:
            assert load_drawn_mismatches(connection) == []


def _sell(payout_id: str, payee: str, amount_usdc: int, *, at_s: int) -> list[SQLModel]:
    """Return the rows of a sale that earned its seller all of a payout."""
    buyer, offer_id = f"buyer-{payout_id}", f"offer-{payout_id}"
    used: dict[str, Any] = {"day": 0, "day_used_usdc": amount_usdc, "total_used_usdc": amount_usdc}
    split: dict[str, Any] = {"cost_usdc": amount_usdc, "earning_usdc": amount_usdc}
    split |= {"fee_usdc": 0, "margin_usdc": 0}
    return [
        MarketAccount(
            account_id=buyer,
            kind="prepaid",
            credited_usdc=amount_usdc,
            spent_usdc=amount_usdc,
            reserved_usdc=0,
            created_at_s=at_s,
        ),
        MarketCredit(
            credit_id=buyer,
            account_id=buyer,
            amount_usdc=amount_usdc,
            source="test",
            credited_at_s=at_s,
        ),
        MarketSeller(address=payee, created_at_s=at_s),
        MarketOffer(
            offer_id=offer_id,
            seller=payee,
            model="model",
            upstream_model="model",
            label="",
            seller_base_url="https://example.com",
            price_input_usdc_per_mtok=1,
            price_output_usdc_per_mtok=1,
            payout_address=payee,
            status="active",
            version=1,
            created_at_s=at_s,
            changed_at_s=at_s,
            **used,
        ),
        MarketSale(
            sale_id=payout_id,
            request_id=payout_id,
            attempt=0,
            account_id=buyer,
            key_id="key",
            offer_id=offer_id,
            seller=payee,
            payout_address=payee,
            endpoint="chat/completions",
            model="model",
            state="posted",
            input_usdc_per_mtok=1,
            output_usdc_per_mtok=1,
            fee_bps=0,
            ceiling_usdc=amount_usdc,
            day=0,
            reserved_at_s=at_s,
            lease_expires_at_s=at_s,
            resolved_at_s=at_s,
            payout_id=payout_id,
            **split,
        ),
        MarketPayout(
            payout_id=payout_id,
            seller=payee,
            payee=payee,
            amount_usdc=amount_usdc,
            planned_at_s=at_s,
        ),
    ]


def write_record(deployment: Deployment, folder: Path) -> Path:
    """Write a deployment record, as the deploy script does; return its path."""
    path = folder / f"{deployment.chain_id}.json"
    names = ("position", "adapter", "payouts", "usdc", "multicall3", "vault")
    record = {
        "chain_id": deployment.chain_id,
        "block_number": deployment.block_number,
        "block_hash": deployment.block_hash,
        "contracts": {name: getattr(deployment, name) for name in names},
    }
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def make_stage(world: World, path: Path) -> Stage:
    """Return a stage with a fresh ledger in ``path``."""
    return make_stage_on(world, make_unbound_ledger(path / "ledger.sqlite3"))


def make_stage_on(world: World, engine: Engine) -> Stage:
    """Return a stage on a migrated database that no deployment has claimed."""
    with write(engine) as connection:
        bind_deployment(connection, world.deployment)
    stage = Stage(world, engine)
    stage.sync()
    return stage
