"""Measure the indexer beside its limit and its peers: ``python -m bench.indexer.main``.

One generated chain with 200,000 of our events over 2,000 blocks, and a sparse one, on one anvil
each; in one run the raw ``eth_getLogs`` loop, ours on SQLite and PostgreSQL, a script as one writes
it first, and Ponder from npm (``bench/indexer``). Then how long after a block is mined its rows are
there. Prints tables and writes ``bench/results/indexer.json``.

Everything of ours runs as in production: the process's own composition root, reorg bookkeeping on,
SQLite with ``synchronous=FULL``, PostgreSQL with ``fsync``. Each measurement has a process of its
own; figures are medians of ``RUNS``.
"""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg
import sqlalchemy as sa
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from web3 import HTTPProvider, Web3

from bench.gas.main import BenchError, Chain
from contracts.bindings import load_abi
from contracts.deployment import Deployment, load_deployment
from contracts.errors import Retryable
from contracts.transport import HttpTransport
from indexer.health import Health
from indexer.main import build
from indexer.settings import IndexerSettings
from ledger.chain.mirror import load_mirror
from ledger.database.engine import read
from scripts.setup import SetupError, check_node
from scripts.stack.anvil_path import ROOT, anvil_path
from scripts.stack.ports import free_port
from tests.support.postgres import Postgres, find_programs

RESULT: Final = ROOT / "bench" / "results" / "indexer.json"
PONDER: Final = ROOT / "bench" / "indexer"
RUNS: Final = 3
RAW_BLOCKS: Final = 10
SCRIPT_BLOCKS: Final = 200
HEADS: Final = 100
HEADS_POLLED: Final = 30
WINDOW_BLOCKS: Final = 256
USDC: Final = 1_000_000
CHAIN_START_S: Final = 23_148 * 86_400
HOLD_S: Final = 20 * 3_600
PONDER_TIMEOUT_S: Final = 300.0


# --- the chains --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shape:
    """A chain to generate: a settled batch of so many positions in every so-manieth block."""

    name: str
    blocks: int
    items: int
    every: int
    block_time_s: int

    @property
    def batches(self) -> int:
        return self.blocks // self.every


DENSE: Final = Shape("dense", blocks=2_000, items=50, every=1, block_time_s=30)
SPARSE: Final = Shape("sparse", blocks=20_000, items=2, every=25, block_time_s=2)


class Generated:
    """One anvil with one generated chain on it, and the settler that goes on with it."""

    def __init__(self, url: str, shape: Shape, folder: Path) -> None:
        self.url = url
        self.shape = shape
        self.record = folder / f"{shape.name}.json"
        web3 = Web3(HTTPProvider(url, request_kwargs={"timeout": 120}))
        self._chain = Chain(web3)
        self._transport = HttpTransport(url, timeout_s=120)
        self._positions = 2 * shape.items
        self._batch = 0
        self._settler = self._chain.settler
        self._write_record(first=self._head_number())
        self._mint()
        self._chain.request("evm_setAutomine", False)
        self._chain.request("anvil_setBlockTimestampInterval", shape.block_time_s)
        self._nonce: int = web3.eth.get_transaction_count(self._settler)
        self._now_s = self._chain.now_s()
        for _ in range(shape.batches):
            self.settle(skip=shape.every - 1)
        self.last_block = self._head_number()
        # So that all of it is deep enough to be backfilled.
        self._chain.request("anvil_mine", hex(WINDOW_BLOCKS))
        self.deployment: Deployment = load_deployment(self.record)

    def settle(self, *, skip: int = 0, items: int | None = None) -> None:
        """Mine a block in which ``items`` positions get holds and are settled from them."""
        shape = self.shape
        first = (self._batch % 2) * shape.items
        ids = range(first, first + (shape.items if items is None else items))
        self._now_s += shape.block_time_s * (1 + skip)
        until_s = self._now_s + HOLD_S
        holds = [(token_id, USDC, until_s, 0) for token_id in ids]
        batch_id = (self._batch + 1).to_bytes(32, "big")
        costs = [(token_id, 1_000 + self._batch % 1_000) for token_id in ids]
        hold = _call("hold", ["(uint256,uint256,uint256,uint256)[]"], [holds])
        settle_types = ["bytes32", "bytes32", "(uint256,uint256)[]"]
        settle = _call("settle", settle_types, [batch_id, b"\x07" * 32, costs])
        if skip:
            self._chain.request("anvil_mine", hex(skip))
        calls: list[tuple[str, list[Any]]] = []
        for data in (hold, settle):
            transaction = {
                "from": self._settler,
                "to": self._chain.position.address,
                "data": data,
                "gas": hex(5_000_000),
                "gasPrice": "0x0",
                "nonce": hex(self._nonce),
            }
            calls.append(("eth_sendTransaction", [transaction]))
            self._nonce += 1
        for answer in self._transport.request_batch(calls):
            if isinstance(answer, Exception):
                raise BenchError(f"the chain could not be generated: {answer}")
        # Not in the batch, whose requests may overtake each other.
        self._transport.request("evm_mine", [])
        self._batch += 1

    def head_number(self) -> int:
        """Return the newest block's number."""
        return self._head_number()

    def _head_number(self) -> int:
        return int(self._chain.request("eth_blockNumber"), 16)

    def _mint(self) -> None:
        chain, adapter = self._chain, self._chain.adapter.address
        credit_usdc = 1_000_000 * USDC
        chain.fund(chain.position.address, credit_usdc * self._positions)
        chain.request("anvil_impersonateAccount", adapter)
        for token_id in range(self._positions):
            chain.send(chain.position.functions.mint(chain.owner, 1, 10_000), adapter)
            chain.send(chain.position.functions.creditYield(token_id, credit_usdc), adapter)

    def _write_record(self, *, first: int) -> None:
        chain = self._chain
        block = chain.request("eth_getBlockByNumber", hex(first), False)
        contracts = {
            "position": chain.position.address,
            "adapter": chain.adapter.address,
            "payouts": chain.position.functions.treasury().call(),
            "usdc": chain.usdc.address,
            "multicall3": chain.usdc.address,
            "vault": chain.usdc.address,
        }
        record = {
            "chain_id": int(chain.request("eth_chainId"), 16),
            "block_number": first,
            "block_hash": block["hash"],
            "contracts": contracts,
        }
        self.record.write_text(json.dumps(record))


def _call(name: str, types: Sequence[str], values: Sequence[Any]) -> str:
    return "0x" + (keccak(text=f"{name}({','.join(types)})")[:4] + encode(types, values)).hex()


@contextmanager
def generate(shape: Shape, folder: Path) -> Iterator[Generated]:
    """Run an anvil with a generated chain."""
    port = free_port()
    command = [str(anvil_path()), "--host", "127.0.0.1", "--port", str(port), "--prune-history"]
    command += ["--timestamp", str(CHAIN_START_S), "--gas-limit", "300000000"]
    command += ["--block-base-fee-per-gas", "0", "--gas-price", "0", "--hardfork", "cancun"]
    command += ["--accounts", "10"]
    with (folder / f"{shape.name}.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until("anvil", lambda: _answers(url), timeout_s=30)
        yield Generated(url, shape, folder)
    finally:
        process.terminate()
        process.wait(timeout=10)


def _answers(url: str) -> bool:
    with suppress(Retryable):
        return bool(HttpTransport(url).request("eth_chainId", []))
    return False


def wait_until(what: str, check: Callable[[], bool], *, timeout_s: float) -> None:
    """Wait for ``check``. Raises ``BenchError`` after ``timeout_s``."""
    deadline_s = time.monotonic() + timeout_s
    while not check():
        if time.monotonic() > deadline_s:
            raise BenchError(f"{what}: not there after {timeout_s:.0f} s")
        time.sleep(0.01)


# --- one measurement, in a process of its own --------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measured:
    """How many events were indexed in how long, and the most memory that it took."""

    events: int
    elapsed_s: float
    peak_mb: float

    @property
    def events_per_s(self) -> float:
        return self.events / self.elapsed_s


def measure_raw(url: str, record: Path, last_block: int) -> tuple[int, float]:
    """Ask for all logs, ten blocks a call, and parse the answers: what no indexer can beat."""
    deployment = load_deployment(record)
    transport = HttpTransport(url, timeout_s=30)
    addresses = [deployment.position, deployment.adapter, deployment.payouts]
    started_s, events = time.monotonic(), 0
    for first in range(deployment.block_number, last_block + 1, RAW_BLOCKS):
        last = min(last_block, first + RAW_BLOCKS - 1)
        query = {"fromBlock": hex(first), "toBlock": hex(last), "address": addresses}
        events += len(transport.request("eth_getLogs", [query]))
    return events, time.monotonic() - started_s


def measure_ours(url: str, record: Path, last_block: int, ledger_url: str) -> tuple[int, float]:
    """Run the indexer's own steps until the ledger holds ``last_block``."""
    settings = IndexerSettings.from_environment(_environment(url, record, ledger_url))
    parts = build(settings, Health())
    started_s = time.monotonic()
    try:
        reached = -1
        while reached < last_block:
            parts.follower.converge()
            with read(parts.engine) as connection:
                cursor = load_mirror(connection)
                reached = -1 if cursor is None else cursor.block_number
        elapsed_s = time.monotonic() - started_s
        with read(parts.engine) as connection:
            events = connection.exec_driver_sql("SELECT count(*) FROM event").scalar_one()
    finally:
        parts.close()
    return int(events), elapsed_s


def measure_script(url: str, record: Path, last_block: int, ledger_url: str) -> tuple[int, float]:
    """Index as one writes it first: web3.py decodes, SQLAlchemy inserts, ten blocks a call."""
    deployment = load_deployment(record)
    web3 = Web3(HTTPProvider(url))
    contract = web3.eth.contract(
        address=Web3.to_checksum_address(deployment.position), abi=load_abi("YieldFundedPosition")
    )
    names = {entry["name"] for entry in contract.abi if entry["type"] == "event"}
    processors = {
        bytes(keccak(text=event.signature)): event
        for event in (contract.events[name]() for name in names)
    }
    table = sa.Table(
        "event",
        sa.MetaData(),
        sa.Column("block_number", sa.Integer, primary_key=True),
        sa.Column("log_index", sa.Integer, primary_key=True),
        sa.Column("tx_hash", sa.String),
        sa.Column("name", sa.String),
        sa.Column("token_id", sa.Integer),
        sa.Column("args", sa.JSON),
    )
    engine = sa.create_engine(ledger_url)
    table.metadata.create_all(engine)
    started_s, events = time.monotonic(), 0
    first_block = last_block - SCRIPT_BLOCKS + 1
    for first in range(first_block, last_block + 1, RAW_BLOCKS):
        last = min(last_block, first + RAW_BLOCKS - 1)
        query: Any = {"fromBlock": first, "toBlock": last, "address": contract.address}
        rows = []
        for entry in web3.eth.get_logs(query):
            event = processors[bytes(entry["topics"][0])].process_log(entry)
            args = {
                name: value.hex() if isinstance(value, bytes) else value
                for name, value in event["args"].items()
            }
            rows.append(
                {
                    "block_number": event["blockNumber"],
                    "log_index": event["logIndex"],
                    "tx_hash": event["transactionHash"].hex(),
                    "name": event["event"],
                    "token_id": args.get("tokenId"),
                    "args": args,
                }
            )
        with engine.begin() as connection:
            connection.execute(table.insert(), rows)
        events += len(rows)
    return events, time.monotonic() - started_s


def _environment(url: str, record: Path, ledger_url: str) -> dict[str, str]:
    return {
        "INDEXER_RPC_URL": url,
        "INDEXER_LEDGER_URL": ledger_url,
        "INDEXER_DEPLOYMENT_FILE": str(record),
        "INDEXER_WINDOW_BLOCKS": str(WINDOW_BLOCKS),
    }


def _measure_here(job: dict[str, Any]) -> None:
    """Do one measurement in this process and print it."""
    url, record, last_block = job["url"], Path(job["record"]), job["last_block"]
    if job["what"] == "raw":
        events, elapsed_s = measure_raw(url, record, last_block)
    elif job["what"] == "script":
        events, elapsed_s = measure_script(url, record, last_block, job["ledger_url"])
    else:
        events, elapsed_s = measure_ours(url, record, last_block, job["ledger_url"])
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(asdict(Measured(events, elapsed_s, peak_mb))))


def measure(what: str, chain: Generated, ledger_url: str = "") -> Measured:
    """Do one measurement in a process of its own."""
    job = {
        "what": what,
        "url": chain.url,
        "record": str(chain.record),
        "last_block": chain.last_block,
        "ledger_url": ledger_url,
    }
    command = [sys.executable, "-m", "bench.indexer.main", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{what}: {done.stderr.strip().splitlines()[-1:]}")
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


# --- Ponder ------------------------------------------------------------------------------------


def measure_ponder(chain: Generated, database_url: str, folder: Path) -> Measured:
    """Let Ponder index holds and settlements into one table, on the same PostgreSQL.

    Its time counts from the start of its historical sync until it says that it is ready.
    """
    _install_ponder()
    environment = {
        **os.environ,
        "BENCH_DEPLOYMENT": str(chain.record),
        "BENCH_ABI": str(ROOT / "contracts" / "abi" / "YieldFundedPosition.json"),
        "BENCH_RPC_URL": chain.url,
        "DATABASE_URL": database_url,
        "PONDER_TELEMETRY_DISABLED": "true",
        "DO_NOT_TRACK": "1",
    }
    command = ["node", "node_modules/ponder/dist/esm/bin/ponder.js", "start"]
    command += ["--schema", "ponder", "--port", str(free_port()), "--log-format", "json"]
    said = folder / "ponder.log"
    with said.open("w") as log:
        process = subprocess.Popen(
            command, cwd=PONDER, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    peak_mb = 0.0
    try:
        deadline_s = time.monotonic() + PONDER_TIMEOUT_S
        times: dict[str, float] = {}
        while "end" not in times:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise BenchError(f"Ponder did not finish: {said.read_text()[-500:]}")
            peak_mb = max(peak_mb, _resident_mb(process.pid))
            times = _read_ponder_times(said.read_text())
            time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(timeout=30)
    events = 2 * chain.shape.batches * chain.shape.items
    return Measured(events, times["end"] - times["start"], peak_mb)


def _install_ponder() -> None:
    if (PONDER / "node_modules" / "ponder").is_dir():
        return
    check_node()
    command = ["npm", "ci", "--prefix", str(PONDER), "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"npm ci: {done.stderr.strip().splitlines()[-1:]}")


def _read_ponder_times(said: str) -> dict[str, float]:
    """Return when its historical sync started and ended, seconds, as far as its log says so."""
    found: dict[str, float] = {}
    for line in said.splitlines():
        with suppress(ValueError):
            entry = json.loads(line)
            message = entry["msg"]
            if "historical sync with" in message:
                found.setdefault("start", entry["time"] / 1000)
            if "/ready endpoint" in message:
                found["end"] = entry["time"] / 1000
    return found


def _resident_mb(pid: int) -> float:
    with suppress(OSError):
        match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        return 0.0 if match is None else int(match[1]) / 1024
    return 0.0


# --- the head ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Latency:
    """From the node's answer that a block of three events is mined to its rows being readable."""

    p50_ms: float
    p95_ms: float


def measure_head(
    chain: Generated, ledger_url: str, is_there: Callable[[int], bool], *, heads: bool
) -> Latency:
    """Run the indexer's process on a ledger that is at the head, and mine blocks."""
    environment = {**os.environ, **_environment(chain.url, chain.record, ledger_url)}
    if heads:
        environment["INDEXER_HEADS_URL"] = chain.url.replace("http", "ws", 1)
    command = [sys.executable, "-m", "indexer"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            chain.settle()
            first = chain.head_number()
            wait_until("the indexer", lambda: is_there(first), timeout_s=120)
            time.sleep(1)
            took_ms: list[float] = []
            for place in range(HEADS if heads else HEADS_POLLED):
                # Out of step with whatever polls.
                time.sleep(0.05 if heads else 0.1 + 0.5 * (place % 7) / 7)
                chain.settle(items=1)
                mined_s = time.monotonic()
                number = first + place + 1
                while not is_there(number):
                    if time.monotonic() > mined_s + 30:
                        raise BenchError(f"block {number} is not mirrored after 30 s")
                    time.sleep(0.0005)
                took_ms.append(1000 * (time.monotonic() - mined_s))
        finally:
            process.terminate()
            process.wait(timeout=30)
    took_ms.sort()
    return Latency(statistics.median(took_ms), took_ms[int(0.95 * len(took_ms))])


def _look_in_sqlite(path: Path) -> Callable[[int], bool]:
    connection = sqlite3.connect(path, isolation_level=None)
    query = "SELECT 1 FROM event WHERE block_number = ? LIMIT 1"
    return lambda number: connection.execute(query, (number,)).fetchone() is not None


def _look_in_postgres(ledger_url: str) -> Callable[[int], bool]:
    connection = psycopg.connect(ledger_url.replace("+psycopg", "", 1), autocommit=True)
    query = "SELECT 1 FROM event WHERE block_number = %s LIMIT 1"
    return lambda number: connection.execute(query, (number,)).fetchone() is not None


# --- the run -----------------------------------------------------------------------------------


class Run:
    """All measurements of one run, and what was left out of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ledgers = 0
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
            with generate(DENSE, self._folder) as chain:
                self._measure_backfill(chain, server)
                self._measure_heads(chain, server)
            with generate(SPARSE, self._folder) as chain:
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
        except (BenchError, SetupError, OSError, KeyError) as error:
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
            latency = measure_head(chain, url, _look_in_sqlite(path), heads=heads)
            self._note_head(f"head, SQLite, {how}", latency)
            if server is not None and heads:
                url = server.create_database()
                measure("ours", chain, url)
                latency = measure_head(chain, url, _look_in_postgres(url), heads=heads)
                self._note_head(f"head, PostgreSQL, {how}", latency)

    def _sqlite_url(self) -> str:
        self._ledgers += 1
        return f"sqlite:///{self._folder / f'ledger-{self._ledgers}.sqlite3'}"

    def _note(self, name: str, runs: Sequence[Measured]) -> None:
        rate = statistics.median(run.events_per_s for run in runs)
        row = {"name": name, "value": round(rate), "unit": "events/s", "events": runs[0].events}
        row["seconds"] = round(statistics.median(run.elapsed_s for run in runs), 2)
        row["peak_mb"] = round(max(run.peak_mb for run in runs))
        self.rows.append(row)
        print(
            f"{name:28}{rate:>12,.0f} events/s{row['seconds']:>9} s{row['peak_mb']:>7} MB",
            flush=True,
        )

    def _note_head(self, name: str, latency: Latency) -> None:
        self.heads[name] = latency
        self.rows += [
            {"name": f"{name}, p50", "value": round(latency.p50_ms, 2), "unit": "ms"},
            {"name": f"{name}, p95", "value": round(latency.p95_ms, 2), "unit": "ms"},
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


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write. Exit code 0 whatever the figures are."""
    if arguments:
        _measure_here(json.loads(arguments[0]))
        return 0
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-indexer-", dir=ROOT / ".cache"))
    run = Run(folder)
    try:
        run.measure_all()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ratios = run.build_ratios()
    report = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
        "rows": run.rows,
        "ratios": ratios,
        "skipped": run.skipped,
    }
    draft = RESULT.with_suffix(".draft")
    draft.write_text(json.dumps(report, indent=2) + "\n")
    draft.replace(RESULT)
    print("\n" + "\n".join(f"{name:28}{value:>12,.3f}" for name, value in ratios.items()))
    for name, reason in run.skipped.items():
        print(f"skipped {name}: {reason}")
    print(f"\nwritten to {RESULT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
