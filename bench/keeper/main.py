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
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
import structlog

from bench.bars import Bar, Picture, draw
from bench.keeper.batches import BatchGas, measure_gas, measure_harvest_gas
from bench.keeper.rounds import DUE, measure_tick, simulate
from bench.keeper.world import BASE_FEE_WEI, ETHER_PRICE_USDC, World, open_ledger
from bench.report import build_result, build_row, write_result
from contracts.units import SECONDS_PER_DAY, USDC_ONE
from keeper.duties.registry import Rules
from keeper.gas import gas_cost_usdc
from scripts.stack.anvil_path import ROOT
from serving.process.command_line import command

SIZES: Final = (1_000, 100_000, 1_000_000)
HARVESTS_MAX: Final = 60_000
"""So many harvests are simulated of the larger sizes."""
YEAR_PACE_S: Final = SECONDS_PER_DAY
PACE_S: Final = 60
"""A round is made so often, the whole year and the part of one; at once while there is more."""

ALONE: Final = "request_on_chain"
BARS: Final = (
    (ALONE, "each by itself, on chain"),
    ("request_of_10_on_1", "10 of one position"),
    ("request_of_100_on_1", "100 of one position"),
    ("request_of_1000_on_1", "1,000 of one position"),
    ("request_of_10_on_10", "10 of 10 positions"),
    ("request_of_100_on_100", "100 of 100 positions"),
    ("request_of_1000_on_100", "1,000 of 100 positions"),
)
PICTURE: Final = Picture(
    title="Gas of a request, by how many are held and settled at once",
    heading="Gas of a request",
    subtitle=("Held and settled together, a hold for every batch; whole transactions, logarithmic"),
    is_logarithmic=True,
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
    rows = [build_row(f"request_of_{b.requests}_on_{b.positions}", b.each, "gas") for b in batches]
    rows += [
        build_row(f"{name}_of_{count}", value, name)
        for count, figures in found.items()
        for name, value in figures.items()
    ]
    rows += [build_row(ALONE, alone, "gas"), build_row("harvest_of_30", harvest_gas, "gas")]
    return build_result(rows, ratios, {}, positions=list(sizes))


@command("keeper", help=__doc__)
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
    result = run(sizes)
    gas = {row["name"]: row["value"] for row in result["rows"] if row["unit"] == "gas"}
    is_whole = positions >= SIZES[-1]
    write_result("keeper", result, picture=draw_gas(gas) if is_whole else None)


def draw_gas(gas: Mapping[str, float]) -> str:
    """Return the gas of a request as bars, in SVG; ``gas`` is by the name of a result's row."""
    alone = gas[ALONE]
    bars = []
    for name, label in BARS:
        if name in gas:
            times = alone / gas[name]
            less = "" if name == ALONE else f" ({times:,.{0 if times >= 10 else 1}f} x)"
            bars.append(Bar(label, gas[name], f"{gas[name]:,.0f}{less}", name != ALONE))
    return draw(PICTURE, bars)


if __name__ == "__main__":
    main(prog_name="python -m bench.keeper.main")
