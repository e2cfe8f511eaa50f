"""Measure the indexer beside its limit and its peers: ``python -m bench.indexer.main``.

One generated chain with 200,000 of our events over 2,000 blocks, and a sparse one, on one anvil
each; in one run the raw ``eth_getLogs`` loop, ours on SQLite and PostgreSQL, a script as one writes
it first, and Ponder from npm (``bench/indexer``). Then how long after a block is mined its rows are
there. Prints tables and writes ``bench/results/indexer.json``.

Everything of ours runs as in production: the process's own composition root, reorg bookkeeping on,
SQLite with ``synchronous=FULL``, PostgreSQL with ``fsync``. Each measurement has a process of its
own; figures are medians of three.
"""

from __future__ import annotations

import shutil

import click

from bench.indexer.run import DENSE, Run
from bench.report import build_result, work_folder, write_result
from serving.process.command_line import command


@command("indexer", help=__doc__)
@click.option(
    "--blocks",
    type=click.IntRange(200),
    default=DENSE.blocks,
    help="How many the dense chain has; the sparse one has ten times as many.",
)
def main(blocks: int) -> None:
    """Measure, print, write."""
    folder = work_folder("indexer")
    run = Run(folder, blocks=blocks)
    try:
        run.measure_all()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ratios = run.build_ratios()
    print("\n" + "\n".join(f"{name:28}{value:>12,.3f}" for name, value in ratios.items()))
    write_result("indexer", build_result(run.rows, ratios, run.skipped, blocks=blocks))


if __name__ == "__main__":
    main(prog_name="python -m bench.indexer.main")
