"""Measure the keeper: gas per settled request, and what many positions cost it.

``python -m bench.keeper.main [--positions N]``: whole transactions on anvil, then the keeper's
own reading and deciding over a ledger of real rows (SQLite) beside a node that answers from memory.
Prints three tables and writes ``bench/results/keeper.json`` and ``docs/img/bench-keeper.svg``. With
a million positions it takes 80 seconds of processor time, a few minutes on a busy machine: of more
than a thousand positions only so much of a year is simulated as brings 60,000 harvests.

The simulated positions hold from one to a million USDC (log-normal, the median 1,000) at 4.5 % a
year, with intervals of 30 to 360 minutes, on a chain with blocks of 2 seconds at 0.1 gwei. Of a
thousand positions a whole year is simulated, with a keeper that runs once a day; of more a part of
one, scaled up, with a round every minute. Times are of the processor: a busy machine and its disk
do not count.
"""

from __future__ import annotations

import json
import math
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
import structlog
from eth_abi.abi import decode, encode
from sqlalchemy import Connection, Engine, event, text
from web3 import Web3

from bench.gas.main import Chain, run_anvil
from bench.keeper.plot import draw
from contracts.bindings import bind_contracts
from contracts.blocks import BlockRef
from contracts.deployment import Deployment
from contracts.units import SECONDS_PER_DAY, USDC_ONE
from keeper.backoff import decide_rests
from keeper.decide import decide
from keeper.facts import Action, Kind, Rules, Snapshot
from keeper.fees import FeeRules, gas_cost_usdc
from keeper.snapshot import HARVEST_GAS_USUAL, ReadRules, SnapshotReader
from ledger.chain.harvests import rest_harvests
from ledger.chain.mirror import save_cursor
from ledger.database.engine import open_engine, write
from ledger.database.schema import bind_deployment, migrate
from scripts.stack.anvil_path import ROOT

RESULT: Final = ROOT / "bench" / "results" / "keeper.json"
PICTURE: Final = ROOT / "docs" / "img" / "bench-keeper.svg"
SIZES: Final = (1_000, 100_000, 1_000_000)
REQUESTS: Final = (1, 10, 100, 1_000)
ITEMS_MAX: Final = 200
HOURS_S: Final = 3_600
YEAR_S: Final = 365 * SECONDS_PER_DAY
ROOT_HASH: Final = b"\x07" * 32
NO_SMOOTHING: Final = 10_000
HOLDS_PER_BATCH: Final = 600 / 4_500
"""By default a hold in use is renewed every 4,500 s, usage is settled every 600 s."""

APY: Final = 0.045
BEGIN_S: Final = 1_800_000_000
ROUND_S: Final = 4
"""Two blocks: one to look at, one for the transaction."""
BASE_FEE_WEI: Final = 100_000_000
ETHER_PRICE_USDC: Final = 4_000 * USDC_ONE
HARVESTS_MAX: Final = 60_000
"""So many harvests are simulated of the larger sizes."""
YEAR_PACE_S: Final = SECONDS_PER_DAY
PACE_S: Final = 60
"""A round is made so often, the whole year and the part of one; at once while there is more."""
DUE: Final = 1_000
TICKS: Final = 15

DEPLOYMENT: Final = Deployment(
    chain_id=31337,
    block_number=1,
    block_hash="0x" + "01" * 32,
    position="0x" + "a1" * 20,
    adapter="0x" + "a2" * 20,
    payouts="0x" + "a3" * 20,
    usdc="0x" + "a4" * 20,
    multicall3="0x" + "a5" * 20,
    vault="0x" + "a6" * 20,
)


# --- gas ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BatchGas:
    """What a batch costs on chain: of so many requests, spread over so many positions."""

    requests: int
    positions: int
    settle: int
    hold: int

    @property
    def each(self) -> float:
        """Gas of one request where every batch needs a hold of its own."""
        return (self.settle + self.hold) / self.requests

    @property
    def each_usual(self) -> float:
        """The same at the default pace of holds and settlements."""
        return (self.settle + self.hold * HOLDS_PER_BATCH) / self.requests


def measure_gas() -> tuple[list[BatchGas], int]:
    """Return the gas of batches, and of one request that is held and settled by itself."""
    with run_anvil() as web3:
        chain = Chain(web3)
        _mint_with_credit(chain, ITEMS_MAX, 1_000 * USDC_ONE)
        numbers = iter(range(1, 1_000))
        alone = _measure_batch(chain, numbers, 1)
        cached = {1: alone}
        found: list[BatchGas] = []
        for requests in REQUESTS:
            for positions in sorted({1, min(requests, 100)}):
                if positions not in cached:
                    cached[positions] = _measure_batch(chain, numbers, positions)
                hold, settle = cached[positions]
                found.append(BatchGas(requests, positions, settle, hold))
        return found, sum(alone)


def _measure_batch(chain: Chain, numbers: Iterator[int], positions: int) -> tuple[int, int]:
    """Return the gas of holding and of settling ``positions`` at once, in the steady state."""
    position = chain.position.functions
    for _ in range(2):
        holds = [(t, USDC_ONE, chain.now_s() + HOURS_S, 0) for t in range(positions)]
        hold = chain.send(position.hold(holds), chain.settler)
        batch_id = next(numbers).to_bytes(32, "big")
        items = [(token_id, 1_000) for token_id in range(positions)]
        settle = chain.send(position.settle(batch_id, ROOT_HASH, items), chain.settler)
    return hold, settle


def _mint_with_credit(chain: Chain, count: int, amount_usdc: int) -> None:
    adapter, position = chain.adapter.address, chain.position
    chain.fund(position.address, count * amount_usdc)
    chain.request("anvil_impersonateAccount", adapter)
    for token_id in range(count):
        chain.send(position.functions.mint(chain.owner, 1, NO_SMOOTHING), adapter)
        chain.send(position.functions.creditYield(token_id, amount_usdc), adapter)


def measure_harvest_gas(count: int = 30) -> int:
    """Return the gas of each of ``count`` harvests that share a transaction."""
    with run_anvil() as web3:
        chain = Chain(web3)
        vault = chain.deploy_ours("MockVault", chain.usdc.address)
        multicall3 = chain.deploy_ours("Multicall3")
        adapter = chain.adapter.functions
        chain.fund(chain.owner, count * 1_000 * USDC_ONE)
        approve = chain.usdc.functions.approve(chain.adapter.address, count * 1_000 * USDC_ONE)
        chain.send(approve, chain.owner)
        for _ in range(count):
            opened = (1, NO_SMOOTHING, vault.address, 30, 1_000 * USDC_ONE, 0)
            chain.send(adapter.open(*opened), chain.owner)
        calls = [
            (chain.adapter.address, True, chain.adapter.encode_abi("harvest", args=[token_id]))
            for token_id in range(count)
        ]
        gas = 0
        for _ in range(2):
            chain.fund(vault.address, count * USDC_ONE)
            gas = chain.send(multicall3.functions.aggregate3(calls), chain.outsider)
        return gas // count


# --- positions ---------------------------------------------------------------------------------


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
        fee_usdc = gas_cost_usdc(HARVEST_GAS_USUAL, BASE_FEE_WEI, ether_price_usdc=ETHER_PRICE_USDC)
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
    owner, shares = "0x" + "11" * 20, f"{10**21:078d}"
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
            " hold_usdc = 5000000, drawn_usdc = 1000,"
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
            " VALUES ('r' || :token, :token, 0, 'k', 'm', 'posted', 1000, 1000, 1, 1, 1, 1,"
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


def build_reader(engine: Engine, world: World, rules: Rules) -> SnapshotReader:
    """Return the keeper's own reader beside a node that answers from memory."""
    read_rules = ReadRules(
        max_staleness_s=60,
        harvest_gas=400_000,
        ether_price_usdc=ETHER_PRICE_USDC,
        fees=FeeRules(fee_wei_max=10**12, tip_wei=10**6, tip_wei_max=10**9),
    )
    contracts = bind_contracts(Web3(), DEPLOYMENT)
    node: Any = world
    return SnapshotReader(engine, node, contracts, rules, read_rules, sender="0x" + "00" * 20)


# --- measurements ------------------------------------------------------------------------------


def measure_tick(engine: Engine, world: World, rules: Rules, *, due: int = DUE) -> dict[str, float]:
    """Return how long a look and its decisions take, the median in milliseconds."""
    reader = build_reader(engine, world, rules)
    times: list[float] = []
    snapshot: Snapshot | None = None
    actions: list[Action] = []
    for _ in range(TICKS):
        began_s = time.process_time()
        snapshot = reader.read(now_s=world.now_s)
        actions = decide(snapshot, rules)
        decide_rests(snapshot, _get_harvested(actions), rules)
        times.append(time.process_time() - began_s)
    assert snapshot is not None
    kinds = Counter[Kind]()
    for action in actions:
        kinds[action.kind] += len(action.items)
    # Otherwise something else was measured than what is meant.
    assert len(snapshot.positions) == due
    most = min(due, ITEMS_MAX)
    harvests = min(due, rules.harvests_max)
    assert (kinds[Kind.SETTLE], kinds[Kind.HOLD]) == (most, most), kinds
    assert kinds[Kind.HARVEST] > harvests // 2, kinds
    return {"tick_ms": statistics.median(times) * 1_000}


def simulate(
    engine: Engine, world: World, rules: Rules, *, harvests_max: int, pace_s: int
) -> dict[str, float]:
    """Let the keeper harvest for a year, or until ``harvests_max``; return the figures.

    A round every ``pace_s``, and every four seconds while there is more. What a transaction does is
    mirrored at once, as the indexer does it, without its events.
    """
    reader = build_reader(engine, world, rules)
    expected_hash = world.block().block_hash
    end_s = BEGIN_S + YEAR_S
    harvests = transactions = credited_usdc = 0
    lags: list[float] = []
    lag_every = max(1, min(harvests_max, 40_000) // 8)
    began_s = time.process_time()
    while world.now_s < end_s and harvests < harvests_max:
        snapshot = reader.read(now_s=world.now_s, kinds={Kind.HARVEST})
        actions = decide(snapshot, rules)
        chosen = _get_harvested(actions)
        with write(engine) as connection:
            rests = decide_rests(snapshot, chosen, rules)
            rest_harvests(connection, [(r.token_id, r.look_at_s, r.failures) for r in rests])
            if chosen:
                credited_usdc += world.harvest(chosen)
                _mirror_harvests(connection, world, chosen)
                transactions += len(actions)
                if (harvests + len(chosen)) // lag_every > harvests // lag_every:
                    lags.append(world.lag_s())
                harvests += len(chosen)
            is_full = len(snapshot.harvests) >= rules.harvests_max
            world.now_s = min(end_s, world.now_s + (ROUND_S if is_full else pace_s))
            expected_hash = move_cursor(connection, world, expected_hash=expected_hash)
    took_s = time.process_time() - began_s
    simulated_s = world.now_s - BEGIN_S
    return {
        "simulated_days": simulated_s / SECONDS_PER_DAY,
        "decisions": world.quotes,
        "decisions_per_s": world.quotes / took_s,
        "harvests_a_year": harvests * YEAR_S / simulated_s,
        "transactions_a_year": transactions * YEAR_S / simulated_s,
        "credited_usdc_a_year": credited_usdc * YEAR_S / simulated_s,
        "lag_h": (statistics.mean(lags) if lags else world.lag_s()) / HOURS_S,
        "lag_ideal_h": world.ideal_lag_s() / HOURS_S,
        "waiting": _count_waiting(engine, world),
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
    }


def _get_harvested(actions: Sequence[Action]) -> list[int]:
    return [t for action in actions if action.kind is Kind.HARVEST for t in action.token_ids]


_LOOK: Final = (
    "CASE WHEN harvest_look_at_s > last_harvest_at_s + harvest_interval_s"
    " THEN harvest_look_at_s ELSE last_harvest_at_s + harvest_interval_s END"
)


def _count_waiting(engine: Engine, world: World) -> int:
    with write(engine) as connection:
        return int(
            connection.execute(
                text(f"SELECT count(*) FROM position WHERE {_LOOK} <= {world.now_s}")
            ).scalar_one()
        )


def _mirror_harvests(connection: Connection, world: World, token_ids: Sequence[int]) -> None:
    connection.execute(
        text("UPDATE position SET last_harvest_at_s = :now WHERE token_id = :token"),
        [{"now": world.now_s, "token": token_id} for token_id in token_ids],
    )


def measure_size(count: int) -> dict[str, float]:
    """Measure one size in this process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    rules = Rules(harvest_items_max=30)
    world = World(count)
    began_s = time.process_time()
    with open_ledger(world, due=DUE) as engine:
        figures = {"built_s": time.process_time() - began_s}
        figures |= measure_tick(engine, world, rules)
        if count == SIZES[0]:
            lasts = {"harvests_max": 10**9, "pace_s": YEAR_PACE_S}
        else:
            lasts = {"harvests_max": HARVESTS_MAX, "pace_s": PACE_S}
        return figures | simulate(engine, world, rules, **lasts)


def measure_apart(count: int) -> dict[str, float]:
    """Measure one size in a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", "bench.keeper.main", "--only", str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


# --- telling -----------------------------------------------------------------------------------


def print_gas(batches: Sequence[BatchGas], alone: int) -> None:
    """Print what a request costs on chain."""
    print(f"A request held and settled on chain by itself: {alone:,} gas\n")
    print(
        "requests positions     settle       hold  gas/request   times less     usual  times less"
    )
    for b in batches:
        print(
            f"{b.requests:8,} {b.positions:9,} {b.settle:10,} {b.hold:10,} {b.each:12,.0f}"
            f" {alone / b.each:11,.1f}x {b.each_usual:9,.0f} {alone / b.each_usual:10,.1f}x"
        )
    print()


def print_sizes(found: dict[int, dict[str, float]], harvest_gas: int) -> None:
    """Print what many positions cost."""
    print(
        "positions  days  decisions  per second  harvests/year  transactions  gas/year"
        "  gas USDC  lag h  ideal  waiting  memory MB  tick ms"
    )
    for count, f in found.items():
        gas = f["harvests_a_year"] * harvest_gas
        fee_usdc = gas_cost_usdc(int(gas), BASE_FEE_WEI, ether_price_usdc=ETHER_PRICE_USDC)
        print(
            f"{count:9,} {f['simulated_days']:5.1f} {f['decisions']:10,.0f}"
            f" {f['decisions_per_s']:11,.0f} {f['harvests_a_year']:14,.0f}"
            f" {f['transactions_a_year']:13,.0f} {gas:9.2e} {fee_usdc / USDC_ONE:9,.0f}"
            f" {f['lag_h']:6.1f} {f['lag_ideal_h']:6.1f} {f['waiting']:8,.0f} {f['rss_mb']:10.0f}"
            f" {f['tick_ms']:8.1f}"
        )
    print()


def run(sizes: Sequence[int]) -> dict[str, Any]:
    """Measure everything, print it and return what is written down."""
    batches, alone = measure_gas()
    print_gas(batches, alone)
    harvest_gas = measure_harvest_gas()
    print(f"A harvest, each of 30 in a transaction: {harvest_gas:,} gas\n")
    found = {count: measure_apart(count) for count in sizes}
    print_sizes(found, harvest_gas)
    (of_100,) = [b for b in batches if (b.requests, b.positions) == (100, 1)]
    (spread,) = [b for b in batches if (b.requests, b.positions) == (100, 100)]
    ratios = {
        "gas_per_request_vs_onchain_100": alone / of_100.each,
        "gas_per_request_vs_onchain_100_usual": alone / of_100.each_usual,
        "gas_per_request_vs_onchain_100_of_100_positions": alone / spread.each,
        "tick_1m_vs_1k": found[sizes[-1]]["tick_ms"] / found[sizes[0]]["tick_ms"],
    }
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f}")
    rows = [
        {"name": f"request_of_{b.requests}_on_{b.positions}", "value": b.each, "unit": "gas"}
        for b in batches
    ]
    rows += [
        {"name": f"{name}_of_{count}", "value": value, "unit": name}
        for count, figures in found.items()
        for name, value in figures.items()
    ]
    rows += [
        {"name": "request_on_chain", "value": alone, "unit": "gas"},
        {"name": "harvest_of_30", "value": harvest_gas, "unit": "gas"},
    ]
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "system": platform.platform(),
        },
        "positions": list(sizes),
        "rows": rows,
        "ratios": ratios,
    }


@click.command(help=__doc__)
@click.option(
    "--positions", type=click.IntRange(10_000), default=SIZES[-1], help="The largest size."
)
@click.option("--only", type=int, hidden=True, help="Measure this size alone; print it as JSON.")
def main(positions: int, only: int | None) -> None:
    """Measure and write the result."""
    if only is not None:
        print(json.dumps(measure_size(only)))
        return
    sizes = [*(size for size in SIZES if size < positions), positions]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    result = run(sizes)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    picture = draw({row["name"]: row["value"] for row in result["rows"] if row["unit"] == "gas"})
    PICTURE.write_text(picture, encoding="utf-8")
    print(f"\nwritten to {RESULT.relative_to(ROOT)} and {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
