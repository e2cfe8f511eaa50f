"""One run of the indexer bench: every chain generated, every indexer measured on it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench.indexer.backfill import Measured, measure
from bench.indexer.chains import Generated, Shape, generate
from bench.indexer.heads import Latency, look_in_postgres, look_in_sqlite, measure_head
from bench.indexer.ponder import measure_ponder
from bench.report import BenchError, build_row
from tests.support.postgres import Postgres, find_programs

RUNS: Final = 3
DENSE: Final = Shape("dense", blocks=2_000, items=50, every=1, block_time_s=30)
SPARSE: Final = Shape("sparse", blocks=20_000, items=2, every=25, block_time_s=2)


class Run:
    """All measurements of one run, and what was left out of it."""

    def __init__(self, folder: Path, *, blocks: int = DENSE.blocks) -> None:
        self._folder = folder
        self._ledgers = 0
        self._dense = replace(DENSE, blocks=blocks)
        self._sparse = replace(SPARSE, blocks=SPARSE.blocks * blocks // DENSE.blocks)
        self.rows: list[dict[str, Any]] = []
        self.skipped: dict[str, str] = {}
        self.rates: dict[str, float] = {}
        self.heads: dict[str, Latency] = {}

    def measure_all(self) -> None:
        """Measure everything that can be measured here."""
        server: Postgres | None = None
        if find_programs() is None:
            self.skipped["PostgreSQL"] = self.skipped["Ponder"] = "no PostgreSQL server installed"
        else:
            server = Postgres(durable=True)
        try:
            with generate(self._dense, self._folder) as chain:
                self._measure_backfill(chain, server)
                self._measure_heads(chain, server)
            with generate(self._sparse, self._folder) as chain:
                self._measure_sparse(chain, server)
        finally:
            if server is not None:
                server.close()

    def _measure_backfill(self, chain: Generated, server: Postgres | None) -> None:
        # In turns, so that a busy moment of the machine meets all of them.
        measured: dict[str, list[Measured]] = {}
        for _ in range(RUNS):
            measured.setdefault("raw", []).append(measure("raw", chain))
            measured.setdefault("SQLite", []).append(measure("ours", chain, self._sqlite_url()))
            if server is not None:
                url = server.create_database()
                measured.setdefault("PostgreSQL", []).append(measure("ours", chain, url))
            measured.setdefault("script", []).append(measure("script", chain, self._sqlite_url()))
        for name, runs in measured.items():
            self._note(f"backfill, {name}", runs)
            self.rates[name] = statistics.median(run.events_per_s for run in runs)
        if server is not None:
            self._measure_ponder(chain, server, "backfill, Ponder")

    def _measure_ponder(self, chain: Generated, server: Postgres, name: str) -> None:
        try:
            url = server.create_database().replace("+psycopg", "", 1).replace("@/", "@localhost/")
            run = measure_ponder(chain, url, self._folder)
        except (BenchError, OSError, KeyError) as error:
            self.skipped[name] = str(error)
            return
        self._note(name, [run])
        self.rates.setdefault("Ponder", run.events_per_s)

    def _measure_sparse(self, chain: Generated, server: Postgres | None) -> None:
        self._note("sparse, raw", [measure("raw", chain)])
        runs = [measure("ours", chain, self._sqlite_url()) for _ in range(RUNS)]
        self._note("sparse, SQLite", runs)
        if server is not None:
            self._measure_ponder(chain, server, "sparse, Ponder")

    def _measure_heads(self, chain: Generated, server: Postgres | None) -> None:
        for heads in (True, False):
            how = "WebSocket" if heads else "polling"
            url = self._sqlite_url()
            measure("ours", chain, url)
            path = Path(url.removeprefix("sqlite:///"))
            latency = measure_head(chain, url, look_in_sqlite(path), heads=heads)
            self._note_head(f"head, SQLite, {how}", latency)
            if server is not None and heads:
                url = server.create_database()
                measure("ours", chain, url)
                latency = measure_head(chain, url, look_in_postgres(url), heads=heads)
                self._note_head(f"head, PostgreSQL, {how}", latency)

    def _sqlite_url(self) -> str:
        self._ledgers += 1
        return f"sqlite:///{self._folder / f'ledger-{self._ledgers}.sqlite3'}"

    def _note(self, name: str, runs: Sequence[Measured]) -> None:
        rate = statistics.median(run.events_per_s for run in runs)
        row = build_row(
            name,
            round(rate),
            "events/s",
            events=runs[0].events,
            seconds=round(statistics.median(run.elapsed_s for run in runs), 2),
            peak_mb=round(max(run.peak_mb for run in runs)),
        )
        self.rows.append(row)
        print(
            f"{name:28}{rate:>12,.0f} events/s{row['seconds']:>9} s{row['peak_mb']:>7} MB",
            flush=True,
        )

    def _note_head(self, name: str, latency: Latency) -> None:
        self.heads[name] = latency
        self.rows += [
            build_row(f"{name}, p50", round(latency.p50_ms, 2), "ms"),
            build_row(f"{name}, p95", round(latency.p95_ms, 2), "ms"),
        ]
        print(f"{name:28}{latency.p50_ms:>9.1f} ms p50{latency.p95_ms:>9.1f} ms p95", flush=True)

    def build_ratios(self) -> dict[str, float]:
        """Return ours on SQLite over each of the others (Ponder: ours on PostgreSQL)."""
        ours = self.rates["SQLite"]
        ratios = {
            "vs_raw": ours / self.rates["raw"],
            "vs_script": ours / self.rates["script"],
        }
        if "Ponder" in self.rates:
            ratios["vs_ponder"] = self.rates["PostgreSQL"] / self.rates["Ponder"]
        latency = self.heads["head, SQLite, WebSocket"]
        ratios |= {"head_p50_ms": latency.p50_ms, "head_p95_ms": latency.p95_ms}
        return {name: round(value, 3) for name, value in ratios.items()}
