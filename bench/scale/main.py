"""Measure several processes on one full PostgreSQL: ``python -m bench.scale.main``.

One ledger with a million positions and ten million requests that are settled; 1, 2 and 4 proxies
on it, and 1 and 2 markets, share 64 connections, in turns, ``--rounds`` times; one proxy on a
ledger of a thousand positions beside them. Then a hold is used up through four proxies at once, and
an account's credit through two markets: what is booked is what the answers said, to the unit, and
within the limit, or the bench fails. The database, the load and the upstream run on the same
machine, so on two cores more processes do not serve more; CPU a request is theirs alone. Filling
the ledger takes most of the time. Writes ``bench/results/scale.json``.
"""

from __future__ import annotations

import shutil
from typing import Final

import click

from bench.proxy.run import KEYS
from bench.report import BenchError, build_result, work_folder, write_result
from bench.scale.run import Run
from serving.process.command_line import command
from serving.process.logs import configure_logs
from tests.support.postgres import find_programs

POSITIONS: Final = 1_000_000
USAGE: Final = 10_000_000


@command("scale", help=__doc__)
@click.option("--rounds", type=click.IntRange(1), default=5, help="How often all is measured.")
@click.option("--seconds", type=click.IntRange(1), default=4, help="How long each takes.")
@click.option("--positions", type=click.IntRange(KEYS), default=POSITIONS, help="In the ledger.")
@click.option("--usage", type=click.IntRange(0), default=USAGE, help="Settled requests in it.")
@click.option("--at-once", type=click.IntRange(4), default=64, help="Connections, of all servers.")
def main(rounds: int, seconds: int, positions: int, usage: int, at_once: int) -> None:
    """Measure, print, write."""
    if find_programs() is None:
        raise BenchError("no PostgreSQL server is installed (Debian: postgresql)")
    configure_logs(level="error")  # the market that lists the offers runs in this process
    folder = work_folder("scale")
    run = Run(
        folder, rounds=rounds, seconds=seconds, positions=positions, usage=usage, at_once=at_once
    )
    try:
        run.measure_all()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ratios = run.build_ratios()
    print("\n" + "\n".join(f"{name:30}{value:>8.3f}" for name, value in ratios.items()))
    result = build_result(
        run.build_rows(), ratios, {}, positions=positions, usage=usage, connections=at_once
    )
    write_result("scale", result)


if __name__ == "__main__":
    main(prog_name="python -m bench.scale.main")
