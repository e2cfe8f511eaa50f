"""Measure the market: ``python -m bench.market.main``.

How many routing decisions a second one core takes over 10, 1,000 and 100,000 offers of one model;
what the market adds to a request beside calling the same seller directly, by itself and behind the
proxy; how a supplier's offer with its ceilings compares with a seller's; what it takes to pass over
a cheapest seller that is dead; and how many calls of a resold API it serves a second beside
requests for chat, answered by the same process. The market is its own composition over a real
SQLite ledger with ``synchronous=FULL``: a request is two durable writes. The seller is a bare ASGI
application in a process of its own. Prints a table and writes ``bench/results/market.json``.
"""

from __future__ import annotations

import asyncio
import shutil

import click
import structlog

from bench.market.decisions import SIZES, measure_decisions
from bench.market.requests import CONCURRENCY, measure_requests, run_seller
from bench.report import build_result, build_row, work_folder, write_result
from serving.process.command_line import command


@command("market", help=__doc__)
@click.option(
    "--requests",
    type=click.IntRange(CONCURRENCY),
    default=300,
    help="How many requests each latency is the median of.",
)
def main(requests: int) -> None:
    """Measure, print, write."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    rows = [
        build_row(f"route_{count}", round(measure_decisions(count)), "decisions/s")
        for count in SIZES
    ]
    folder = work_folder("market")
    try:
        with run_seller() as seller_url:
            rows += asyncio.run(measure_requests(seller_url, folder, requests=requests))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found = {row["name"]: row["value"] for row in rows}
    ratios = {
        "route_100k_vs_10": found["route_100000"] / found["route_10"],
        "added_p50_ms": found["market_p50"] - found["direct_p50"],
        "added_behind_proxy_p50_ms": found["proxy_to_market_p50"] - found["proxy_to_seller_p50"],
        "supplier_vs_seller": found["of_a_supplier_p50"] / found["of_a_seller_p50"],
        "failover_p50_ms": found["failover_refuses_p50"] - found["market_p50"],
        "api_vs_chat": found[f"api_{CONCURRENCY}_connections"]
        / found[f"market_{CONCURRENCY}_connections"],
    }
    ratios = {name: round(value, 3) for name, value in ratios.items()}
    for row in rows:
        print(f"{row['name']:<24} {row['value']:>14,.2f} {row['unit']}")
    for name, value in ratios.items():
        print(f"{name:<24} {value:>14,.3f}")
    write_result("market", build_result(rows, ratios, {}, requests=requests))


if __name__ == "__main__":
    main(prog_name="python -m bench.market.main")
