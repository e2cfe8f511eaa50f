"""One run of the proxy bench: every server started, measured in turns, then compared."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from bench.proxy.load import Sample, Target, take_sample
from bench.proxy.ours import build_keys, prepare_ledger, serve_bare, serve_ours
from bench.proxy.peers import serve_litellm, serve_portkey
from bench.proxy.servers import Server
from bench.proxy.upstream import MODEL, STREAM_PATH, serve_upstream
from bench.report import BenchError, build_row
from tests.support.postgres import Postgres, find_programs

CONNECTIONS: Final = (1, 16, 64, 256)
FULL: Final = 64
"""The connections of every measurement that is not about their number."""
KEYS: Final = 1_000
WARM_UP_S: Final = 2.0
MANY: Final = ", 1,000 keys of many positions"
CHAT_PATH: Final = "/v1/chat/completions"


class Run:
    """All measurements of one run, and what was left out of it."""

    def __init__(self, folder: Path, *, rounds: int, seconds: float, positions: int) -> None:
        self._folder = folder
        self._rounds = rounds
        self._seconds = seconds
        self._positions = positions
        self._targets: list[Target] = []
        self.samples: dict[str, list[Sample]] = {}
        self.skipped: dict[str, str] = {}

    def measure_all(self) -> None:
        """Start everything that can be started here, and measure it in turns."""
        with ExitStack() as stack:
            upstream = stack.enter_context(serve_upstream(self._folder))
            self._add_bare(stack.enter_context(serve_bare(upstream, self._folder)))
            self._add_ours("SQLite", stack, upstream, self._make_sqlite)
            if find_programs() is None:
                self.skipped["PostgreSQL"] = "no PostgreSQL server installed"
            else:
                postgres = Postgres(durable=True)
                stack.callback(postgres.close)
                self._add_ours("PostgreSQL", stack, upstream, postgres.create_database)
            self._add_peers(stack, upstream)
            for number in range(self._rounds):
                for target in self._targets:
                    self._measure(target, is_last=number == self._rounds - 1)

    def _make_sqlite(self) -> str:
        number = sum(1 for _ in self._folder.glob("*.sqlite3"))
        return f"sqlite:///{self._folder / f'ledger-{number}.sqlite3'}"

    def _add_bare(self, server: Server) -> None:
        for connections in CONNECTIONS:
            name = f"bare, {connections}"
            self._targets.append(Target(name, "bare", server, CHAT_PATH, connections))
        path = f"{STREAM_PATH}/chat/completions"
        for connections in (1, FULL):
            name = f"bare, streams, {connections}"
            self._targets.append(Target(name, "bare", server, path, connections, stream=True))

    def _add_ours(
        self, kind: str, stack: ExitStack, upstream: Server, make: Callable[[], str]
    ) -> None:
        servers: list[Server] = []
        for positions in (KEYS, self._positions):
            url = make()
            prepare_ledger(url, positions=positions)
            name = f"{kind}-{len(servers)}"
            servers.append(stack.enter_context(serve_ours(name, url, upstream, self._folder)))
        few = build_keys(KEYS, step=1)
        many = build_keys(KEYS, step=self._positions // KEYS)
        path = f"/api/current{CHAT_PATH}"

        def add(what: str, connections: int, **changes: Any) -> None:
            settings = {"server": servers[0], "keys": few[:1], **changes}
            name = f"{kind}{what}, {connections}"
            target = Target(name, kind, path=path, connections=connections, **settings)
            self._targets.append(target)

        for connections in CONNECTIONS:
            add("", connections)
        for connections in (1, FULL):
            add(", streams", connections, stream=True)
        add(", 1,000 keys", FULL, keys=few)
        add(MANY, FULL, server=servers[1], keys=many)

    def _add_peers(self, stack: ExitStack, upstream: Server) -> None:
        connections = (1, FULL)
        try:
            server = stack.enter_context(serve_litellm(upstream, self._folder))
            for count in connections:
                name = f"LiteLLM, {count}"
                self._targets.append(Target(name, "LiteLLM", server, CHAT_PATH, count))
            name, model = f"LiteLLM, streams, {FULL}", f"{MODEL}-stream"
            streams = Target(name, "LiteLLM", server, CHAT_PATH, FULL, model=model, stream=True)
            self._targets.append(streams)
        except (BenchError, OSError) as error:
            self.skipped["LiteLLM"] = str(error)
        try:
            server = stack.enter_context(serve_portkey(self._folder))
            for count in connections:
                target = Target(f"Portkey, {count}", "Portkey", server, CHAT_PATH, count)
                self._targets.append(_at_portkey(target, f"{upstream.url}/v1"))
            name = f"Portkey, streams, {FULL}"
            streams = Target(name, "Portkey", server, CHAT_PATH, FULL, stream=True)
            self._targets.append(_at_portkey(streams, upstream.url + STREAM_PATH))
        except (BenchError, OSError) as error:
            self.skipped["Portkey"] = str(error)

    def _measure(self, target: Target, *, is_last: bool) -> None:
        if target.name in self.skipped:
            return
        try:
            if target.name not in self.samples:
                with suppress(BenchError):  # some need seconds for their first answer
                    take_sample(target, seconds=WARM_UP_S, folder=self._folder)
            sample = take_sample(target, seconds=self._seconds, folder=self._folder)
        except BenchError as error:
            self.skipped[target.name] = str(error)
            return
        self.samples.setdefault(target.name, []).append(sample)
        if is_last:
            median = self.get_median(target.name)
            print(_format_line(target.name, median), flush=True)

    def get_median(self, name: str) -> Sample:
        """Return the medians of a line's figures."""
        columns = zip(*(asdict(sample).values() for sample in self.samples[name]), strict=True)
        return Sample(*(statistics.median(column) for column in columns))

    def build_rows(self) -> list[dict[str, Any]]:
        """Return the lines as the report has them."""
        rows = []
        for name, samples in self.samples.items():
            median = self.get_median(name)
            rates = [round(sample.requests_per_s) for sample in samples]
            facts = {key: round(value, 3) for key, value in asdict(median).items()}
            value = round(facts.pop("requests_per_s"))
            rows.append(build_row(name, value, "requests/s", **facts, runs=rates))
        return rows

    def build_ratios(self) -> dict[str, float]:
        """Return ours on SQLite over each of the others, both at ``FULL`` connections."""
        pairs = {
            "vs_bare": ("SQLite, 64", "bare, 64"),
            "vs_litellm": ("SQLite, 64", "LiteLLM, 64"),
            "vs_portkey": ("SQLite, 64", "Portkey, 64"),
            "postgres_vs_bare": ("PostgreSQL, 64", "bare, 64"),
            "streams_vs_bare": ("SQLite, streams, 64", "bare, streams, 64"),
            "streams_vs_litellm": ("SQLite, streams, 64", "LiteLLM, streams, 64"),
            "streams_vs_portkey": ("SQLite, streams, 64", "Portkey, streams, 64"),
            "many_positions_vs_thousand": (
                f"SQLite{MANY}, 64",
                "SQLite, 1,000 keys, 64",
            ),
            "postgres_many_positions_vs_thousand": (
                f"PostgreSQL{MANY}, 64",
                "PostgreSQL, 1,000 keys, 64",
            ),
        }
        ratios = {
            name: self.get_median(ours).requests_per_s / self.get_median(theirs).requests_per_s
            for name, (ours, theirs) in pairs.items()
            if ours in self.samples and theirs in self.samples
        }
        bare_ms = self.get_median("bare, 1").p50_ms
        for name, kind in (("added_p50_ms", "SQLite"), ("postgres_added_p50_ms", "PostgreSQL")):
            if f"{kind}, 1" in self.samples:
                ratios[name] = self.get_median(f"{kind}, 1").p50_ms - bare_ms
        ours = [samples for name, samples in self.samples.items() if name.startswith("SQLite")]
        ratios["memory_mb"] = max(sample.memory_mb for samples in ours for sample in samples)
        return {name: round(value, 3) for name, value in ratios.items()}


def _at_portkey(target: Target, base: str) -> Target:
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": base}
    return replace(target, headers=headers)


def _format_line(name: str, sample: Sample) -> str:
    return (
        f"{name:50}{sample.requests_per_s:>9,.0f}/s{sample.p50_ms:>9.2f} ms p50"
        f"{sample.p99_ms:>9.2f} ms p99{sample.cpu_ms:>8.3f} ms CPU{sample.memory_mb:>6.0f} MB"
    )
