"""Measure the proxy beside a bare pass-through and its peers: ``python -m bench.proxy.main``.

In one run, with one upstream of fixed answers and one load tool: the same server and client without
any metering, ours on SQLite and on PostgreSQL, LiteLLM's proxy and Portkey's gateway, each in
processes of its own. The peers keep no budgets, which is in their favour. Everything runs in turns,
``--rounds`` times; figures are medians. Prints a table, writes ``bench/results/proxy.json`` and
draws ``docs/img/bench-proxy.svg``, the picture by whole runs only.
"""

from __future__ import annotations

import shutil
from typing import Final

import click

from bench.bars import Bar, Picture, draw
from bench.proxy.run import KEYS, Run
from bench.proxy.upstream import find_nginx
from bench.report import build_result, work_folder, write_result
from serving.process.command_line import command

ROUNDS: Final = 3
POSITIONS: Final = 1_000_000
PICTURE: Final = Picture(
    title="Requests a second through each stack, one process, 64 connections",
    heading="Chat completions a second, one process",
    subtitle="64 connections, the same upstream; Current with every request durably metered",
)
BARS: Final = (
    ("LiteLLM, 64", "LiteLLM, no budgets"),
    ("Portkey, 64", "Portkey, no budgets"),
    ("PostgreSQL, 64", "Current on PostgreSQL"),
    ("SQLite, 64", "Current on SQLite"),
    ("bare, 64", "bare pass-through"),
)


def draw_rates(run: Run) -> str:
    """Return the requests a second at 64 connections as bars, in SVG."""
    rates = {name: run.get_median(name).requests_per_s for name, _ in BARS if name in run.samples}
    bars = [
        Bar(label, rates[name], f"{rates[name]:,.0f}", name.startswith(("SQLite", "PostgreSQL")))
        for name, label in BARS
        if name in rates
    ]
    return draw(PICTURE, bars)


@command("proxy", help=__doc__)
@click.option("--rounds", type=click.IntRange(1), default=ROUNDS, help="How often all is measured.")
@click.option("--seconds", type=click.IntRange(1), default=3, help="How long each takes.")
@click.option(
    "--positions",
    type=click.IntRange(KEYS),
    default=POSITIONS,
    help="How many the larger of the two ledgers holds.",
)
def main(rounds: int, seconds: int, positions: int) -> None:
    """Measure, print, write."""
    folder = work_folder("proxy")
    run = Run(folder, rounds=rounds, seconds=seconds, positions=positions)
    try:
        run.measure_all()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ratios = run.build_ratios()
    print("\n" + "\n".join(f"{name:50}{value:>12,.3f}" for name, value in ratios.items()))
    result = build_result(
        run.build_rows(),
        ratios,
        run.skipped,
        upstream="a small server of our own" if find_nginx() is None else "nginx",
        load="a small client of our own" if shutil.which("wrk") is None else "wrk",
        positions=positions,
    )
    is_whole = rounds >= ROUNDS and positions >= POSITIONS
    write_result("proxy", result, picture=draw_rates(run) if is_whole else None)


if __name__ == "__main__":
    main(prog_name="python -m bench.proxy.main")
