"""One run of the scale bench: so many processes, in turns, then their limits."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import select

from bench.proxy.load import Sample, Target, take_sample
from bench.proxy.ours import build_keys, prepare_ledger, serve_ours
from bench.proxy.run import CHAT_PATH, KEYS, WARM_UP_S
from bench.proxy.servers import Server
from bench.proxy.upstream import serve_upstream
from bench.report import BenchError, build_row
from bench.scale.full_ledger import prepare_full_ledger
from bench.scale.limits import spend_all
from bench.scale.servers import list_and_credit, serve_market
from ledger.audit import find_violations
from ledger.database.engine import open_engine, read
from ledger.tables import MarketAccount, Position, table_of
from tests.support.postgres import Postgres

PROXIES: Final = (1, 2, 4)
MARKETS: Final = (1, 2)
OWN_PATH: Final = f"/api/current{CHAT_PATH}"
SPENT_USDC: Final = 20_000
"""What the limits' part spends: 0.02 USDC, some two thousand requests."""
CREDIT_USDC: Final = 10**12


@dataclass(frozen=True, slots=True)
class Setup:
    """One line of the table: servers that share the load."""

    name: str
    servers: Sequence[Server]
    path: str
    keys: Sequence[str]


class Run:
    """All measurements of one run."""

    def __init__(
        self, folder: Path, *, rounds: int, seconds: float, positions: int, usage: int, at_once: int
    ) -> None:
        self._folder = folder
        self._rounds = rounds
        self._seconds = seconds
        self._positions = positions
        self._usage = usage
        self._at_once = at_once
        self.samples: dict[str, list[Sample]] = {}
        self.limits: list[dict[str, Any]] = []

    def measure_all(self) -> None:
        """Fill the ledgers, measure everything in turns, use limits up. Raises ``BenchError``."""
        with ExitStack() as stack:
            postgres = stack.enter_context(Postgres(durable=True, connections_max=200))
            upstream = stack.enter_context(serve_upstream(self._folder))
            small, full = postgres.create_database(), postgres.create_database()
            prepare_ledger(small, positions=KEYS)
            prepare_full_ledger(full, positions=self._positions, usage=self._usage)
            self._measure_proxies(small, full, upstream)
            self._measure_markets(full, upstream)
            self._use_up(postgres, upstream)

    # ------------------------------------------------------------------------------------ rates

    def _measure_proxies(self, small: str, full: str, upstream: Server) -> None:
        few, many = build_keys(KEYS, step=1), build_keys(KEYS, step=self._positions // KEYS)
        with ExitStack() as stack:
            alone = stack.enter_context(serve_ours("small", small, upstream, self._folder))
            servers = [
                stack.enter_context(serve_ours(f"full-{number}", full, upstream, self._folder))
                for number in range(max(PROXIES))
            ]
            setups = [Setup("1 proxy, small ledger", [alone], OWN_PATH, few)]
            for count in PROXIES:
                name = f"{count} {'proxy' if count == 1 else 'proxies'}"
                setups.append(Setup(name, servers[:count], OWN_PATH, many))
            self._measure_in_turns(setups)

    def _measure_markets(self, full: str, upstream: Server) -> None:
        key = list_and_credit(full, self._folder, f"{upstream.url}/v1", credit_usdc=CREDIT_USDC)
        with ExitStack() as stack:
            servers = [
                stack.enter_context(serve_market(f"market-{number}", full, self._folder))
                for number in range(max(MARKETS))
            ]
            self._measure_in_turns(
                Setup(f"{count} market{'s' * (count > 1)}", servers[:count], CHAT_PATH, [key])
                for count in MARKETS
            )

    def _measure_in_turns(self, setups: Any) -> None:
        setups = list(setups)
        for setup in setups:
            self._take(setup, WARM_UP_S)
        for _ in range(self._rounds):
            for setup in setups:
                sample = self._take(setup, self._seconds)
                self.samples.setdefault(setup.name, []).append(sample)
        for setup in setups:
            print(_format_line(setup.name, self.get_median(setup.name)), flush=True)

    def _take(self, setup: Setup, seconds: float) -> Sample:
        """Put the load on all servers at once, each a share of the connections."""
        share = self._at_once // len(setup.servers)

        def take(number: int) -> Sample:
            folder = self._folder / f"load-{number}"
            folder.mkdir(exist_ok=True)
            name = f"{setup.name}, server {number}"
            target = Target(name, "ours", setup.servers[number], setup.path, share, keys=setup.keys)
            return take_sample(target, seconds=seconds, folder=folder)

        with ThreadPoolExecutor(len(setup.servers)) as pool:
            samples = list(pool.map(take, range(len(setup.servers))))
        rate = sum(sample.requests_per_s for sample in samples)
        weights = [sample.requests_per_s / rate for sample in samples]
        return Sample(
            requests_per_s=rate,
            p50_ms=max(sample.p50_ms for sample in samples),
            p99_ms=max(sample.p99_ms for sample in samples),
            cpu_ms=sum(w * sample.cpu_ms for w, sample in zip(weights, samples, strict=True)),
            memory_mb=max(sample.memory_mb for sample in samples),
        )

    # ----------------------------------------------------------------------------------- limits

    def _use_up(self, postgres: Postgres, upstream: Server) -> None:
        """Spend a hold through four proxies, and an account's credit through two markets."""
        url = postgres.create_database()
        prepare_ledger(url, positions=1, hold_usdc=SPENT_USDC)
        with ExitStack() as stack:
            servers = [
                stack.enter_context(serve_ours(f"limit-{number}", url, upstream, self._folder))
                for number in range(max(PROXIES))
            ]
            spending = spend_all(servers, OWN_PATH, build_keys(1, step=1)[0])
        position = table_of(Position)
        self._note_limit("a hold, 4 proxies", url, position.c.drawn_usdc, spending)
        url = postgres.create_database()
        prepare_ledger(url, positions=1)
        key = list_and_credit(url, self._folder, f"{upstream.url}/v1", credit_usdc=SPENT_USDC)
        with ExitStack() as stack:
            servers = [
                stack.enter_context(serve_market(f"credit-{number}", url, self._folder))
                for number in range(max(MARKETS))
            ]
            spending = spend_all(servers, CHAT_PATH, key)
        account = table_of(MarketAccount)
        self._note_limit("credit, 2 markets", url, account.c.spent_usdc, spending)

    def _note_limit(self, name: str, url: str, column: Any, spending: Any) -> None:
        engine = open_engine(url)
        try:
            with read(engine) as connection:
                booked_usdc = max(int(one) for one in connection.execute(select(column)).scalars())
                violations = find_violations(connection)
        finally:
            engine.dispose()
        if booked_usdc != spending.cost_usdc or booked_usdc > SPENT_USDC or violations:
            raise BenchError(
                f"{name}: {spending.cost_usdc} were told, {booked_usdc} are booked of"
                f" {SPENT_USDC}; {violations}"
            )
        row = build_row(
            name,
            booked_usdc,
            f"of {SPENT_USDC} (1e-6 USDC)",
            served=spending.served,
            refused=spending.refused,
        )
        self.limits.append(row)
        print(f"{name}: {booked_usdc} of {SPENT_USDC} spent by {spending.served} requests, exact")

    # ----------------------------------------------------------------------------------- report

    def get_median(self, name: str) -> Sample:
        """Return the medians of a line's figures."""
        samples = self.samples[name]
        return Sample(
            *(
                statistics.median(getattr(sample, field) for sample in samples)
                for field in ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms", "memory_mb")
            )
        )

    def build_rows(self) -> list[dict[str, Any]]:
        """Return the lines as the report has them."""
        rows = []
        for name, samples in self.samples.items():
            median = self.get_median(name)
            rows.append(
                build_row(
                    name,
                    round(median.requests_per_s),
                    "requests/s",
                    p50_ms=round(median.p50_ms, 2),
                    p99_ms=round(median.p99_ms, 2),
                    cpu_ms=round(median.cpu_ms, 3),
                    memory_mb=round(median.memory_mb),
                    runs=[round(sample.requests_per_s) for sample in samples],
                )
            )
        return [*rows, *self.limits]

    def build_ratios(self) -> dict[str, float]:
        """Return each count's rate over one process's, and a full ledger's over a small one's."""
        pairs = {
            "full_vs_small": ("1 proxy", "1 proxy, small ledger"),
            "proxies_2_vs_1": ("2 proxies", "1 proxy"),
            "proxies_4_vs_1": ("4 proxies", "1 proxy"),
            "markets_2_vs_1": ("2 markets", "1 market"),
        }
        return {
            name: round(
                statistics.median(
                    one.requests_per_s / other.requests_per_s
                    for one, other in zip(self.samples[ours], self.samples[base], strict=True)
                ),
                3,
            )
            for name, (ours, base) in pairs.items()
        }


def _format_line(name: str, sample: Sample) -> str:
    return (
        f"{name:30}{sample.requests_per_s:>9,.0f}/s{sample.p50_ms:>9.2f} ms p50"
        f"{sample.p99_ms:>9.2f} ms p99{sample.cpu_ms:>8.3f} ms CPU{sample.memory_mb:>6.0f} MB"
    )
