"""Measure the proxy beside a bare pass-through and its peers: ``python -m bench.proxy.main``.

In one run, with one upstream of fixed answers (nginx) and one load tool (wrk): the same server and
client without any metering, ours on SQLite and on PostgreSQL, LiteLLM's proxy and Portkey's
gateway, each in processes of its own. Prints a table, writes ``bench/results/proxy.json`` and draws
``docs/img/bench-proxy.svg``.

Ours runs as in production: ``python -m proxy`` with its default settings, its log on, SQLite with
``synchronous=FULL``, PostgreSQL with ``fsync``. The peers keep no budgets, which is in their
favour. Everything runs in turns, ``--rounds`` times; figures are medians.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import uvicorn
from pyreqwest.client import ClientBuilder
from sqlalchemy import Engine

from bench.gas.main import BenchError
from contracts.blocks import BlockRef
from contracts.deployment import Deployment
from ledger.chain.mirror import confirm_holds, save_cursor, save_states
from ledger.chain.positions import PositionState
from ledger.database.engine import is_postgres, open_engine, write
from ledger.database.schema import bind_deployment, migrate
from ledger.spending.books import POSITION_COLUMNS
from proxy.keys.tokens import KeyClaims, KeyRing
from scripts.setup import SetupError, check_node
from scripts.stack.anvil_path import ROOT
from scripts.stack.ports import free_port
from tests.support.postgres import Postgres, find_programs

RESULT: Final = ROOT / "bench" / "results" / "proxy.json"
PICTURE: Final = ROOT / "docs" / "img" / "bench-proxy.svg"
HERE: Final = ROOT / "bench" / "proxy"
PORTKEY: Final = HERE / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
LITELLM: Final = ROOT / ".cache" / "bench-proxy" / "litellm"
LITELLM_TIMEOUT_S: Final = 120.0

MODEL: Final = "gpt-4o-mini"
CONNECTIONS: Final = (1, 16, 64, 256)
FULL: Final = 64
"""The connections of every measurement that is not about their number."""
KEYS: Final = 1_000
POSITIONS: Final = 1_000_000
PIECES: Final = 32
"""Events with text in a stream."""
START_TIMEOUT_S: Final = 90.0
WARM_UP_S: Final = 2.0
SECRET: Final = "7f3a9c1e5b8d2046f7a1c3e5097b6d8e"
PEER_KEY: Final = "sk-bench-0123456789"

CHAT_PATH: Final = "/v1/chat/completions"
STREAM_PATH: Final = "/stream/v1"
"""Under it the upstream streams whatever is asked of it: peers' clients do not say ``accept``."""

_USAGE: Final = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
_FACTS: Final = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": MODEL}
_TEXT: Final = "The yield of a deposit pays for this answer, token by token, until it is spent."

DEPLOYMENT: Final = Deployment(
    chain_id=31337,
    block_number=1,
    block_hash="0x" + "01" * 32,
    position="0x" + "a1" * 20,
    adapter="0x" + "a2" * 20,
    payouts="0x" + "a3" * 20,
    usdc="0x" + "a4" * 20,
    multicall3="0x" + "a5" * 20,
    vault="0x" + "a6" * 20,
)


# --- processes ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its address, and the session that its processes are in."""

    url: str
    session_id: int

    def cpu_s(self) -> float:
        """Return the CPU time of its processes so far, in seconds."""
        ticks = sum(int(stat[11]) + int(stat[12]) for stat in _read_session(self.session_id))
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        """Return what its biggest process keeps in memory now."""
        pages = max((int(stat[21]) for stat in _read_session(self.session_id)), default=0)
        return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def _read_session(session_id: int) -> Iterator[list[str]]:
    """Yield the fields of ``/proc/<pid>/stat`` from the state on, for each process."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            stat = path.read_text().rpartition(")")[2].split()
            if int(stat[3]) == session_id:
                yield stat


@contextmanager
def serve(
    name: str,
    command: Sequence[str],
    *,
    port: int,
    ready: str,
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run a server until the block ends. ``ready`` is a path that answers once it serves."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("PROXY_")}
    said = folder / f"{name}.log"
    with said.open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**ours, **(environment or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not _answers(url + ready):
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise BenchError(f"{name} did not start: {said.read_text()[-500:]}")
            time.sleep(0.1)
        yield Server(url, process.pid)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code < 500
    except httpx.HTTPError:
        return False


def _run_here(role: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "bench.proxy.main", "--role", role, *arguments]


# --- the upstream ------------------------------------------------------------------------------


def _build_piece() -> str:
    choice = {"index": 0, "delta": {"content": "token by "}, "finish_reason": None}
    chunk = {**_FACTS, "object": "chat.completion.chunk", "choices": [choice]}
    return f"data: {json.dumps(chunk)}\n\n"


def _build_stream_end() -> str:
    choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
    facts = {**_FACTS, "object": "chat.completion.chunk"}
    chunks = [{**facts, "choices": [choice]}, {**facts, "choices": [], "usage": _USAGE}]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def _build_completion() -> str:
    message = {"role": "assistant", "content": _TEXT}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    facts = {**_FACTS, "object": "chat.completion"}
    return json.dumps({**facts, "choices": [choice], "usage": _USAGE})


def _build_models() -> str:
    return json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]})


@contextmanager
def serve_upstream(folder: Path) -> Iterator[Server]:
    """Run nginx with fixed answers, or where it is not installed a small server of our own."""
    port = free_port()
    nginx = find_nginx()
    if nginx is None:
        command = _run_here("upstream", str(port))
    else:
        words = {
            "FOLDER": str(folder),
            "PORT": str(port),
            "MODELS": _build_models(),
            "COMPLETION": _build_completion(),
            "PIECE": _build_piece().replace("\n", "\\n"),
            "EVENTS": "${piece}" * PIECES
            + _build_stream_end().replace('"', '\\"').replace("\n", "\\n"),
        }
        text = (HERE / "nginx.conf").read_text()
        for word, value in words.items():
            text = text.replace(word, value)
        settings = folder / "nginx.conf"
        settings.write_text(text)
        command = [nginx, "-e", str(folder / "nginx.log"), "-p", str(folder), "-c", str(settings)]
    with serve("upstream", command, port=port, ready="/v1/models", folder=folder) as server:
        yield server


def find_nginx() -> str | None:
    """Return nginx's path, or None. Debian keeps it where only root looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def run_upstream(port: int) -> None:
    """Serve the fixed answers with our own server."""
    stream = (_build_piece() * PIECES + _build_stream_end()).encode()
    answers = {"models": _build_models().encode(), "completions": _build_completion().encode()}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        is_stream = scope["path"].startswith(STREAM_PATH) or any(
            name == b"accept" and b"event-stream" in value for name, value in scope["headers"]
        )
        kind = b"text/event-stream" if is_stream else b"application/json"
        body = stream if is_stream else answers[scope["path"].rpartition("/")[2]]
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    uvicorn.run(app, host="127.0.0.1", port=port, lifespan="off", log_level="critical")


# --- the stacks --------------------------------------------------------------------------------


@contextmanager
def serve_bare(upstream: Server, folder: Path) -> Iterator[Server]:
    """Run the proxy's server and client with nothing between them."""
    port = free_port()
    command = [sys.executable, str(HERE / "bare.py"), str(port), upstream.url]
    with serve("bare", command, port=port, ready="/v1/models", folder=folder) as server:
        yield server


def prepare_ledger(url: str, *, positions: int) -> None:
    """Make a ledger of so many positions, each with a hold that the bench cannot use up."""
    engine = open_engine(url)
    try:
        migrate(engine)
        _fill(engine, positions)
    finally:
        engine.dispose()


def _fill(engine: Engine, positions: int) -> None:
    now_s = int(time.time())
    with write(engine) as connection:
        bind_deployment(connection, DEPLOYMENT)
        save_states(connection, [_make_state(now_s)])
        confirm_holds(connection, confirmed_block=0, changed_tokens=[0])
        block = BlockRef(10, f"0x{10:064x}", f"0x{9:064x}", now_s)
        save_cursor(
            connection,
            chain_id=DEPLOYMENT.chain_id,
            expected_hash=None,
            block=block,
            head_number=10,
            observed_at_s=now_s,
        )
        # All others are copies of the first.
        columns = ", ".join(POSITION_COLUMNS)
        copied = ", ".join("n" if name == "token_id" else name for name in POSITION_COLUMNS)
        numbers = (
            f"generate_series(1, {positions - 1}) AS numbers (n)"
            if is_postgres(engine)
            else "(WITH RECURSIVE numbers (n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM numbers"
            f" WHERE n < {positions - 1}) SELECT n FROM numbers)"
        )
        if positions > 1:
            connection.exec_driver_sql(
                f"INSERT INTO position ({columns}) SELECT {copied} FROM position, {numbers}"
                " WHERE token_id = 0"
            )
    if is_postgres(engine):
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE position")


def _make_state(now_s: int) -> PositionState:
    credited_usdc = 10**15
    return PositionState(
        token_id=0,
        owner="0x" + "11" * 20,
        model_tier=0,
        daily_smoothing_bps=10_000,
        vault=DEPLOYMENT.vault,
        principal_usdc=10**15,
        shares=10**21,
        harvest_interval_s=1_800,
        last_harvest_at_s=now_s,
        key_epoch=0,
        credited_usdc=credited_usdc,
        hold_usdc=credited_usdc,
        hold_expires_at_s=now_s + 86_400,
        day=now_s // 86_400,
        day_base_usdc=credited_usdc,
    )


@contextmanager
def serve_ours(name: str, ledger_url: str, upstream: Server, folder: Path) -> Iterator[Server]:
    """Run ``python -m proxy``. No node and no indexer: the mirror may be old here."""
    port = free_port()
    record = folder / "deployment.json"
    facts: dict[str, Any] = asdict(DEPLOYMENT)
    ahead = {key: facts.pop(key) for key in ("chain_id", "block_number", "block_hash")}
    record.write_text(json.dumps({**ahead, "contracts": facts}))
    environment = {
        "PROXY_RPC_URL": "http://127.0.0.1:9",
        "PROXY_LEDGER_URL": ledger_url,
        "PROXY_DEPLOYMENT_FILE": str(record),
        "PROXY_KEY_SECRET": SECRET,
        "PROXY_UPSTREAM_URL": f"{upstream.url}/v1",
        "PROXY_PORT": str(port),
        "PROXY_MAX_STALENESS_S": "86400",
    }
    command = [sys.executable, "-m", "proxy"]
    with serve(
        name,
        command,
        port=port,
        ready="/api/current/healthz",
        folder=folder,
        environment=environment,
    ) as server:
        yield server


@contextmanager
def serve_litellm(upstream: Server, folder: Path) -> Iterator[Server]:
    """Run LiteLLM's proxy: one worker, a master key, no database."""
    install_litellm()
    port = free_port()
    streams = f"{upstream.url}{STREAM_PATH}"
    settings = {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {"model": f"openai/{MODEL}", "api_base": base, "api_key": "none"},
            }
            for name, base in ((MODEL, f"{upstream.url}/v1"), (f"{MODEL}-stream", streams))
        ],
        "general_settings": {"master_key": PEER_KEY},
    }
    path = folder / "litellm.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    command = [str(LITELLM / "bin" / "litellm"), "--config", str(path), "--port", str(port)]
    command += ["--host", "127.0.0.1", "--num_workers", "1"]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
    with serve(
        "LiteLLM",
        command,
        port=port,
        ready="/health/liveliness",
        folder=folder,
        environment=environment,
    ) as server:
        yield server


def install_litellm() -> None:
    """Install LiteLLM's proxy from PyPI into a folder that `make clean` deletes."""
    if (LITELLM / "bin" / "litellm").exists():
        return
    LITELLM.parent.mkdir(parents=True, exist_ok=True)
    uv = str(ROOT / ".venv" / "bin" / "uv")
    python = str(LITELLM / "bin" / "python")
    deadline_s = time.monotonic() + LITELLM_TIMEOUT_S
    for command in (
        [uv, "venv", "--quiet", "--clear", str(LITELLM)],
        [uv, "pip", "install", "--quiet", "--python", python, "litellm[proxy]"],
    ):
        left_s = max(1.0, deadline_s - time.monotonic())
        _install(command, timeout_s=left_s)


@contextmanager
def serve_portkey(folder: Path) -> Iterator[Server]:
    """Run Portkey's gateway; requests say which upstream they want."""
    if not PORTKEY.exists():
        check_node()
        command = ["npm", "ci", "--prefix", str(HERE), "--ignore-scripts", "--no-audit"]
        _install([*command, "--no-fund"], timeout_s=LITELLM_TIMEOUT_S)
    port = free_port()
    command = ["node", str(PORTKEY), f"--port={port}", "--headless"]
    with serve("Portkey", command, port=port, ready="/", folder=folder) as server:
        yield server


def _install(command: Sequence[str], *, timeout_s: float) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        raise BenchError(f"not installed within {timeout_s:.0f} s") from None
    if done.returncode != 0:
        raise BenchError(f"not installed: {done.stderr.strip().splitlines()[-1:]}")


# --- the load ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """One line of the table: a server, how it is asked, and how hard."""

    name: str
    stack: str
    server: Server
    path: str
    connections: int
    headers: Mapping[str, str] = field(default_factory=dict)
    keys: Sequence[str] = (PEER_KEY,)
    model: str = MODEL
    stream: bool = False

    def write_request(self, folder: Path) -> dict[str, str]:
        """Write what is sent, and return the environment that names it."""
        message = {"role": "user", "content": "Say in one sentence who pays for this answer."}
        body = {"model": self.model, "messages": [message], "max_tokens": 64, "stream": self.stream}
        headers = {"content-type": "application/json", **self.headers}
        lines = [
            json.dumps(body, separators=(",", ":")),
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        request, keys = folder / "request.txt", folder / "keys.txt"
        request.write_text("\n".join(lines) + "\n")
        keys.write_text("\n".join(self.keys) + "\n")
        return {"BENCH_REQUEST": str(request), "BENCH_KEYS": str(keys)}


@dataclass(frozen=True, slots=True)
class Sample:
    """What one measurement gave."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """CPU time of the server's processes per request; a database server's is not in it."""
    memory_mb: float


def take_sample(target: Target, *, seconds: float, folder: Path) -> Sample:
    """Put load on a target. Raises ``BenchError`` where a request fails."""
    environment = {**os.environ, **target.write_request(folder)}
    url = target.server.url + target.path
    if shutil.which("wrk") is None:
        command = _run_here("load", url, str(target.connections), str(seconds))
    else:
        command = ["wrk", "-t1", f"-c{target.connections}", f"-d{seconds:.0f}s", "--timeout", "30s"]
        command += ["-s", str(HERE / "load.lua"), url]
    before_s = target.server.cpu_s()
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    used_s = target.server.cpu_s() - before_s
    try:
        said = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise BenchError(f"{target.name}: no figures: {done.stderr[-300:]}") from None
    if said["failed"] or not said["requests"]:
        raise BenchError(f"{target.name}: {said['failed']} of {said['requests']} failed")
    return Sample(
        requests_per_s=said["requests"] / said["elapsed_s"],
        p50_ms=said["p50_ms"],
        p99_ms=said["p99_ms"],
        cpu_ms=1_000 * used_s / said["requests"],
        memory_mb=target.server.memory_mb(),
    )


async def put_load(url: str, connections: int, seconds: float) -> dict[str, float]:
    """Do what wrk does, slower: as many requests at a time as there are connections."""
    first, *rest = Path(os.environ["BENCH_REQUEST"]).read_text().splitlines()
    keys = Path(os.environ["BENCH_KEYS"]).read_text().splitlines()
    body, took_ms, failed = first.encode(), list[float](), 0
    started_s = time.monotonic()

    async def ask(client: Any, number: int) -> None:
        nonlocal failed
        while time.monotonic() < started_s + seconds:
            request = client.post(url).body_bytes(body)
            for name, _, value in (line.partition(": ") for line in rest):
                request = request.header(name, value)
            request = request.header("authorization", f"Bearer {keys[number % len(keys)]}")
            number += connections
            sent_s = time.monotonic()
            response = await request.build().send()
            await response.bytes()
            failed += response.status != 200
            took_ms.append(1_000 * (time.monotonic() - sent_s))

    async with ClientBuilder().http1_only().build() as client:
        await asyncio.gather(*(ask(client, number) for number in range(connections)))
    elapsed_s = time.monotonic() - started_s
    took_ms.sort()
    return {
        "requests": len(took_ms),
        "elapsed_s": elapsed_s,
        "p50_ms": statistics.median(took_ms),
        "p99_ms": took_ms[int(0.99 * len(took_ms))],
        "failed": failed,
    }


# --- the run -----------------------------------------------------------------------------------


class Run:
    """All measurements of one run, and what was left out of it."""

    def __init__(self, folder: Path, *, rounds: int, seconds: float) -> None:
        self._folder = folder
        self._rounds = rounds
        self._seconds = seconds
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

    def _add_ours(self, kind: str, stack: ExitStack, upstream: Server, make: Any) -> None:
        servers = []
        for positions in (KEYS, POSITIONS):
            url = make()
            prepare_ledger(url, positions=positions)
            name = f"{kind}-{positions}"
            servers.append(stack.enter_context(serve_ours(name, url, upstream, self._folder)))
        ring = KeyRing([SECRET.encode()], DEPLOYMENT.chain_id, DEPLOYMENT.position)
        step = POSITIONS // KEYS
        few = [ring.build_key(KeyClaims(n, 0, f"{n:016x}")) for n in range(KEYS)]
        many = [ring.build_key(KeyClaims(n * step, 0, f"{n:016x}")) for n in range(KEYS)]
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
        add(", 1,000 keys of 1,000,000 positions", FULL, server=servers[1], keys=many)

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
        except (BenchError, SetupError, OSError) as error:
            self.skipped["LiteLLM"] = str(error)
        try:
            server = stack.enter_context(serve_portkey(self._folder))
            for count in connections:
                target = Target(f"Portkey, {count}", "Portkey", server, CHAT_PATH, count)
                self._targets.append(_at_portkey(target, f"{upstream.url}/v1"))
            name = f"Portkey, streams, {FULL}"
            streams = Target(name, "Portkey", server, CHAT_PATH, FULL, stream=True)
            self._targets.append(_at_portkey(streams, upstream.url + STREAM_PATH))
        except (BenchError, SetupError, OSError) as error:
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
            rows.append(
                {"name": name, "value": value, "unit": "requests/s", **facts, "runs": rates}
            )
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
            "million_vs_thousand": (
                "SQLite, 1,000 keys of 1,000,000 positions, 64",
                "SQLite, 1,000 keys, 64",
            ),
            "postgres_million_vs_thousand": (
                "PostgreSQL, 1,000 keys of 1,000,000 positions, 64",
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
    facts = {name: getattr(target, name) for name in target.__slots__}
    return Target(**{**facts, "headers": headers})


def _format_line(name: str, sample: Sample) -> str:
    return (
        f"{name:50}{sample.requests_per_s:>9,.0f}/s{sample.p50_ms:>9.2f} ms p50"
        f"{sample.p99_ms:>9.2f} ms p99{sample.cpu_ms:>8.3f} ms CPU{sample.memory_mb:>6.0f} MB"
    )


# --- the picture -------------------------------------------------------------------------------

BARS: Final = (
    ("LiteLLM, 64", "LiteLLM, no budgets"),
    ("Portkey, 64", "Portkey, no budgets"),
    ("PostgreSQL, 64", "Current on PostgreSQL"),
    ("SQLite, 64", "Current on SQLite"),
    ("bare, 64", "bare pass-through"),
)


def draw(run: Run) -> str:
    """Return the requests a second at ``FULL`` connections as bars, in SVG."""
    bars = [
        (label, run.get_median(name).requests_per_s, name)
        for name, label in BARS
        if name in run.samples
    ]
    widest = max(rate for _, rate, _ in bars)
    left, width, line, top = 190, 400, 34, 64
    height = top + line * len(bars) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 {height}" width="720"'
        f' height="{height}" role="img" aria-labelledby="title"'
        ' font-family="system-ui, sans-serif" font-size="14">',
        '<title id="title">Requests a second through each stack, one process, 64 connections'
        "</title>",
        "<style>text{fill:#1b1f24}.dim{fill:#59636e}.back{fill:#fff}.ours{fill:#0b7a5c}"
        ".other{fill:#b7bfc8}@media(prefers-color-scheme:dark){text{fill:#f0f3f6}"
        ".dim{fill:#9aa4af}.back{fill:#0d1117}.ours{fill:#2bb58c}.other{fill:#566070}}</style>",
        f'<rect class="back" width="720" height="{height}"/>',
        '<text x="16" y="26" font-size="16" font-weight="600">Chat completions a second, one'
        " process</text>",
        '<text class="dim" x="16" y="46" font-size="13">64 connections, the same nginx upstream;'
        " Current with every request durably metered</text>",
    ]
    for place, (label, rate, name) in enumerate(bars):
        y = top + line * place
        kind = "ours" if name.startswith(("SQLite", "PostgreSQL")) else "other"
        length = max(2.0, width * rate / widest)
        parts += [
            f'<text x="{left - 12}" y="{y + 17}" text-anchor="end">{label}</text>',
            f'<rect class="{kind}" x="{left}" y="{y + 2}" width="{length:.1f}" height="22"'
            ' rx="3"/>',
            f'<text x="{left + length + 8:.1f}" y="{y + 18}">{rate:,.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measure, print, write. Exit code 0 whatever the figures are."""
    parser = argparse.ArgumentParser(prog="bench.proxy.main")
    parser.add_argument("--rounds", type=int, default=3, help="how often all is measured")
    parser.add_argument("--seconds", type=int, default=3, help="how long each measurement takes")
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    match options.role:
        case ["upstream", port]:
            run_upstream(int(port))
            return 0
        case ["load", url, connections, seconds]:
            print(json.dumps(asyncio.run(put_load(url, int(connections), float(seconds)))))
            return 0
    (ROOT / ".cache").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-proxy-", dir=ROOT / ".cache"))
    run = Run(folder, rounds=options.rounds, seconds=options.seconds)
    try:
        run.measure_all()
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _write_report(run)
    return 0


def _write_report(run: Run) -> None:
    ratios = run.build_ratios()
    report = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "python": platform.python_version(),
        "upstream": "a small server of our own" if find_nginx() is None else "nginx",
        "load": "a small client of our own" if shutil.which("wrk") is None else "wrk",
        "rows": run.build_rows(),
        "ratios": ratios,
        "skipped": run.skipped,
    }
    for path, text in ((RESULT, json.dumps(report, indent=2) + "\n"), (PICTURE, draw(run))):
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(path)
    print("\n" + "\n".join(f"{name:50}{value:>12,.3f}" for name, value in ratios.items()))
    for name, reason in run.skipped.items():
        print(f"skipped {name}: {reason}")
    print(f"\nwritten to {RESULT.relative_to(ROOT)} and {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
