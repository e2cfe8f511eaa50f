"""Measure the pages: ``python -m bench.web.main``.

What a first view and a wallet load (brotli), how long from a click to a painted page, how many
requests each view asks, whether a list of 100,000 requests scrolls without a pause and how long the
plot of that year takes, and whether completions slow down while the same process hands out pages.
The proxy is its own composition over a real SQLite ledger, before a provider that answers at once;
the browser is the tests' own. Prints a table and writes ``bench/results/web.json``.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import time
from pathlib import Path
from typing import Any, Final

import click
import structlog

from bench.report import BenchError, build_result, build_row, work_folder, write_result
from ledger.database.engine import write
from scripts.stack.anvil_path import ROOT
from scripts.stack.ports import free_port
from serving.process.command_line import command
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import SQLITE, Databases, make_state, put_cursor, put_positions
from tests.support.proxy import RunningProxy, now_s, run_proxy, settings_for

WEB: Final = ROOT / "web"
ROUNDS: Final = 6
"""Rounds with visitors, and as many without them, in turn."""
VISIT_EVERY_MS: Final = 50
"""One visitor's first view of all files so often: 20 views a second."""


@command("web", help=__doc__)
@click.option("--rows", type=click.IntRange(1_000), default=100_000, help="Requests of the year.")
@click.option(
    "--requests", type=click.IntRange(10), default=50, help="Completions of each of 12 rounds."
)
def main(rows: int, requests: int) -> None:
    """Measure, print, write."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    folder = work_folder("web")
    try:
        found = sum_sizes() + asyncio.run(_measure(folder, rows=rows, requests=requests))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    values = {row["name"]: row["value"] for row in found}
    ratios = {"completions_with_visitors": values["with_visitors_p50"] / values["alone_p50"]}
    for row in found:
        print(f"{row['name']:<28} {row['value']:>12,.1f} {row['unit']}")
    for name, ratio in ratios.items():
        print(f"{name:<28} {ratio:>12,.3f}")
    ratios = {name: round(ratio, 3) for name, ratio in ratios.items()}
    write_result("web", build_result(found, ratios, {}, list_rows=rows, requests=requests))


def load_site(server: str) -> dict[str, Any]:
    """Return what is built of a server's pages. Raises ``BenchError`` where nothing is."""
    path = ROOT / server / "site" / "site.json"
    if not path.exists():
        raise BenchError("the pages are not built: run `make setup`")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def sum_sizes() -> list[dict[str, Any]]:
    """Return what the largest page of each site loads, and what a wallet adds, brotli."""
    rows = []
    for server in ("proxy", "market"):
        site = load_site(server)
        sizes = {name: size["brotli_bytes"] for name, size in site["sizes"].items()}
        scripts = {
            view: {name for name in files if name.endswith(".js")}
            for view, files in site["needs"].items()
            if "node_modules" not in view
        }
        pages = {view: names for view, names in scripts.items() if "/wallet/" not in view}
        wallet = set().union(*(names for view, names in scripts.items() if "/wallet/" in view))
        sums = {view: sum(sizes[name] for name in names) for view, names in pages.items()}
        largest = max(sums, key=lambda view: sums[view])
        together = pages[largest] | wallet
        style = sum(size for name, size in sizes.items() if name.endswith(".css"))
        rows += [
            build_row(f"{server}_first_view", sums["entry"] / 1_000, "kB"),
            build_row(f"{server}_largest_page", sums[largest] / 1_000, "kB", view=largest),
            build_row(f"{server}_style", style / 1_000, "kB"),
        ]
        if wallet:
            with_wallet = sum(sizes[name] for name in together)
            rows.append(build_row(f"{server}_with_wallet", with_wallet / 1_000, "kB"))
    return rows


async def _measure(folder: Path, *, rows: int, requests: int) -> list[dict[str, Any]]:
    with Databases(SQLITE, folder) as databases:
        engine = databases.open_ledger()
        with write(engine) as connection:
            put_positions(
                connection, make_state(now_s=now_s(), credited_usdc=10**9, hold_usdc=10**9)
            )
            put_cursor(connection, now_s=now_s())
        port = free_port()
        async with FakeEndpoint() as provider:
            settings = settings_for(
                provider, folder, domain=f"127.0.0.1:{port}", max_staleness_s=3_600
            )
            async with run_proxy(settings, engine, port=port) as proxy:
                origin = f"http://127.0.0.1:{port}"
                seen = await _look(origin, rows)
                return [*seen, *await _compare(proxy, origin, requests)]


async def _look(origin: str, rows: int) -> list[dict[str, Any]]:
    process = await _run_node({"origin": origin, "rows": rows})
    output, errors = await process.communicate()
    if process.returncode != 0:
        raise BenchError(errors.decode().strip() or "the browser failed")
    found = json.loads(output.decode().splitlines()[-1])
    views, usage = found["views"], found["usage"]
    clicked = [view for view in views.values() if "cold_ms" in view]
    return [
        build_row("first_paint", found["first_paint_ms"], "ms"),
        build_row("click_to_paint_cold", max(view["cold_ms"] for view in clicked), "ms"),
        build_row("click_to_paint", max(view["warm_ms"] for view in clicked), "ms"),
        build_row("requests_of_a_view", max(view["requests"] for view in views.values()), ""),
        build_row("usage_loaded", usage["loaded_ms"], "ms"),
        build_row("usage_plot", usage["plot_ms"], "ms"),
        build_row("usage_rows_drawn", usage["rows_drawn"], "rows"),
        build_row("scroll_longest_frame", usage["longest_frame_ms"], "ms"),
        build_row("scroll_median_frame", usage["median_frame_ms"], "ms"),
    ]


async def _compare(proxy: RunningProxy, origin: str, requests: int) -> list[dict[str, Any]]:
    """Return the median time of a completion with visitors beside it, and without them, in turn."""
    site = load_site("proxy")
    files = ["/", *(f"/{name}" for name in site["needs"]["entry"])]
    times: dict[str, list[float]] = {"alone": [], "with_visitors": []}
    await _complete(proxy, requests)
    for _ in range(ROUNDS):
        times["alone"] += await _complete(proxy, requests)
        visiting = await _run_node({"origin": origin, "files": files, "everyMs": VISIT_EVERY_MS})
        try:
            times["with_visitors"] += await _complete(proxy, requests)
        finally:
            visiting.kill()
            await visiting.communicate()
    return [
        build_row(f"{name}_p50", statistics.median(measured), "ms")
        for name, measured in times.items()
    ]


async def _complete(proxy: RunningProxy, requests: int) -> list[float]:
    times = []
    for _ in range(requests):
        began = time.perf_counter()
        answer = await proxy.chat()
        times.append((time.perf_counter() - began) * 1_000)
        if answer.status_code != 200:
            raise BenchError(f"a completion was answered {answer.status_code}: {answer.text[:200]}")
    return times


async def _run_node(wish: dict[str, Any]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *("node", "tests/bench.mjs", json.dumps(wish)),
        cwd=WEB,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


if __name__ == "__main__":
    main(prog_name="python -m bench.web.main")
