"""Many simulated positions, in a ledger of real rows and beside a node that answers from memory."""

from __future__ import annotations

import math
import random
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from eth_abi.abi import decode, encode
from sqlalchemy import Connection, Engine, event, text
from web3 import Web3

from contracts.bindings import bind_contracts
from contracts.blocks import BlockRef
from contracts.units import SECONDS_PER_DAY, USDC_ONE
from keeper.duties.duty import Tools
from keeper.duties.positions import PositionsReader
from keeper.duties.registry import Duties, Rules
from keeper.gas import gas_cost_usdc
from keeper.snapshot import ReadRules, SnapshotReader
from keeper.worth import SIZES
from ledger.chain.mirror import save_cursor
from ledger.database.engine import open_engine, write
from ledger.database.schema import bind_deployment, migrate
from tests.support.ledgers import DEPLOYMENT, OWNER

NO_SMOOTHING: Final = 10_000
YEAR_S: Final = 365 * SECONDS_PER_DAY
APY: Final = 0.045
BEGIN_S: Final = 1_800_000_000
BASE_FEE_WEI: Final = 100_000_000
ETHER_PRICE_USDC: Final = 4_000 * USDC_ONE


class World:
    """Many positions: what they hold and when they were last harvested. Answers as a node would."""

    def __init__(self, count: int) -> None:
        dice = random.Random(7)
        self.count = count
        self.now_s = BEGIN_S
        self.principal_usdc = array(
            "q",
            (
                min(10**12, max(USDC_ONE, int(1_000 * USDC_ONE * math.exp(dice.gauss(0, 1.5)))))
                for _ in range(count)
            ),
        )
        self.interval_s = array("q", (60 * dice.randint(30, 360) for _ in range(count)))
        # As after a long time: each at another point of its way to the next harvest.
        self.look_s = array("q", (self._get_way_s(token_id) for token_id in range(count)))
        self.last_s = array("q", (BEGIN_S - dice.randint(0, way_s - 1) for way_s in self.look_s))
        for token_id in range(count):
            self.look_s[token_id] += self.last_s[token_id]
        self.quotes = 0

    def _get_way_s(self, token_id: int) -> int:
        """Return how long a position's yield grows from one harvest to the next."""
        a_year_usdc = self.principal_usdc[token_id] * APY
        gas = SIZES["harvest"].item_gas
        fee_usdc = gas_cost_usdc(gas, BASE_FEE_WEI, ether_price_usdc=ETHER_PRICE_USDC)
        worth_s = int(3 * fee_usdc / a_year_usdc * YEAR_S)
        a_cent_s = int(10_000 / a_year_usdc * YEAR_S)
        interval_s = self.interval_s[token_id]
        return max(a_cent_s, interval_s, min(worth_s, interval_s + SECONDS_PER_DAY)) + 1

    def pending_usdc(self, token_id: int) -> int:
        """Return the yield since the last harvest."""
        grown_s = self.now_s - self.last_s[token_id]
        return int(self.principal_usdc[token_id] * APY * grown_s / YEAR_S)

    def harvest(self, token_ids: Sequence[int]) -> int:
        """Harvest positions now; return what was credited."""
        credited_usdc = sum(self.pending_usdc(token_id) for token_id in token_ids)
        for token_id in token_ids:
            self.last_s[token_id] = self.now_s
        return credited_usdc

    def lag_s(self) -> float:
        """Return how old the yield is, on average by USDC, that is not allowance yet."""
        principal = self.principal_usdc
        waiting = sum(p * (self.now_s - s) for p, s in zip(principal, self.last_s, strict=True))
        return waiting / sum(principal)

    def ideal_lag_s(self) -> float:
        """Return what that is where each position is harvested the moment it is worth it."""
        principal = self.principal_usdc
        half = sum(p * self._get_way_s(token_id) / 2 for token_id, p in enumerate(principal))
        return half / sum(principal)

    # What a ``Node`` offers, as far as a snapshot asks.

    def has_block(self, number: int, block_hash: str) -> bool:
        """Know the block that the mirror is at."""
        return self._block(number).block_hash == block_hash

    def fetch_base_fee_wei(self) -> int:
        """Return the base fee."""
        return BASE_FEE_WEI

    def has_code(self, address: str, *, block: str) -> bool:  # noqa: ARG002
        """Have no L1 fee oracle: these chains post nothing to Ethereum."""
        return False

    def find_contracts(self, addresses: Sequence[str], *, block: str) -> frozenset[str]:  # noqa: ARG002
        """Have payers that are only keys."""
        return frozenset()

    def try_call(self, request: dict[str, str], *, block: str) -> bytes:  # noqa: ARG002
        """Answer ``aggregate3`` of harvests."""
        (calls,) = decode(("(address,bool,bytes)[]",), bytes.fromhex(request["data"][10:]))
        self.quotes += len(calls)
        credits = [self.pending_usdc(int.from_bytes(data[4:36])) for _, _, data in calls]
        answers = [(True, credited_usdc.to_bytes(32)) for credited_usdc in credits]
        return encode(("(bool,bytes)[]",), [answers])

    def block(self) -> BlockRef:
        """Return the block of this moment."""
        return self._block((self.now_s - BEGIN_S) // 2 + 10)

    def _block(self, number: int) -> BlockRef:
        return BlockRef(number, f"0x{number:064x}", f"0x{number - 1:064x}", self.now_s)


@contextmanager
def open_ledger(world: World, *, due: int) -> Iterator[Engine]:
    """Write the positions into a ledger; ``due`` of them have everything due at the beginning."""
    with tempfile.TemporaryDirectory(prefix="current-bench-") as folder:
        engine = open_engine(f"sqlite:///{Path(folder) / 'ledger.sqlite3'}")
        # The disk is not what is measured here.
        event.listen(engine, "connect", lambda db, _: db.execute("PRAGMA synchronous = OFF"))
        migrate(engine)
        with write(engine) as connection:
            bind_deployment(connection, DEPLOYMENT)
            _insert_positions(connection, world)
            _make_due(connection, world, due)
        with write(engine) as connection:
            connection.execute(text("ANALYZE"))
            move_cursor(connection, world, expected_hash=None)
        yield engine
        engine.dispose()


def _insert_positions(connection: Connection, world: World) -> None:
    owner, shares = OWNER, f"{10**21:078d}"
    constants = (1, NO_SMOOTHING, DEPLOYMENT.vault, shares)
    names = (
        "owner, model_tier, daily_smoothing_bps, vault, shares, token_id, principal_usdc,"
        " harvest_interval_s, last_harvest_at_s, credited_usdc, key_epoch, spent_usdc,"
        " withdrawn_usdc, hold_usdc, hold_expires_at_s, day, day_base_usdc, day_spent_usdc,"
        " hold_unconfirmed_usdc, hold_confirmed_expires_at_s, drawn_usdc, harvest_look_at_s"
    )
    values = "?, ?, ?, ?, ?, ?, ?, ?, ?, 100000000, 0, 0, 0, 0, 0, 0, 100000000, 0, 0, 0, 0, ?"
    # The transaction begins with SQLAlchemy's first statement; the rows go past it, for speed.
    connection.execute(text("SELECT 1"))
    cursor: Any = connection.connection.cursor()
    cursor.executemany(
        f"INSERT INTO position ({names}) VALUES ({values})",
        (
            (owner, *constants, token_id, *figures)
            for token_id, figures in enumerate(
                zip(world.principal_usdc, world.interval_s, world.last_s, world.look_s, strict=True)
            )
        ),
    )


def _make_due(connection: Connection, world: World, due: int) -> None:
    """Let ``due`` positions be due for a harvest, a settlement and a renewal of their hold."""
    tokens = range(0, world.count, max(1, world.count // due))[:due]
    for token_id in tokens:
        world.last_s[token_id] = BEGIN_S - world.interval_s[token_id] - SECONDS_PER_DAY
    rows = [{"token": token_id, "last": world.last_s[token_id]} for token_id in tokens]
    expires_s = BEGIN_S + 1_000
    connection.execute(
        text(
            "UPDATE position SET last_harvest_at_s = :last, harvest_look_at_s = 0,"
            " hold_usdc = 5000000, drawn_usdc = 500000,"
            f" hold_expires_at_s = {expires_s}, hold_confirmed_expires_at_s = {expires_s}"
            " WHERE token_id = :token"
        ),
        rows,
    )
    connection.execute(
        text(
            "INSERT INTO usage (request_id, token_id, key_epoch, key_id, model, state,"
            " ceiling_usdc, cost_usdc, input_usdc_per_mtok, output_usdc_per_mtok, prompt_tokens,"
            " completion_tokens, reserved_at_s, lease_expires_at_s, resolved_at_s)"
            " VALUES ('r' || :token, :token, 0, 'k', 'm', 'posted', 500000, 500000, 1, 1, 1, 1,"
            f" {BEGIN_S - 900}, {BEGIN_S - 600}, {BEGIN_S - 700})"
        ),
        rows,
    )
    connection.execute(
        text(f"INSERT INTO demand VALUES (:token, 0, {BEGIN_S - 60})"),
        rows,
    )


def move_cursor(connection: Connection, world: World, *, expected_hash: str | None) -> str:
    """Mirror the block of this moment; return its hash."""
    block = world.block()
    save_cursor(
        connection,
        chain_id=DEPLOYMENT.chain_id,
        expected_hash=expected_hash,
        block=block,
        head_number=block.number,
        observed_at_s=world.now_s,
    )
    return block.block_hash


def build_keeper(engine: Engine, world: World, rules: Rules) -> tuple[SnapshotReader, Duties]:
    """Return the keeper's own reader and duties beside a node that answers from memory."""
    read_rules = ReadRules(
        max_staleness_s=60, ether_price_usdc=ETHER_PRICE_USDC, tip_wei=10**6, l1_fee_wei_max=10**16
    )
    node: Any = world
    contracts = bind_contracts(Web3(), DEPLOYMENT)
    tools = Tools(engine, node, contracts, PositionsReader(rules), sender="0x" + "00" * 20)
    duties = Duties(tools, rules)
    return SnapshotReader(engine, node, duties, read_rules), duties
