"""Measure revocations: from the block of ``bumpKeyEpoch`` to the first 401 at the proxy's door.

``python -m bench.revocation.main [--rounds N] [--no-postgres]``: the stack of ``make up``, on
SQLite and, where a server is installed, on PostgreSQL. In each round the owner revokes while one
client asks for a quote again and again (admission is the same as for a completion, and costs
nothing) and another one reads a stream. The clock starts when the node announces the block. What
one of these quotes takes while nothing is revoked is measured beside it: on a machine that other
work shares, the ratio of the two tells more than either. Prints a table and writes
``bench/results/revocation.json``.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click
import httpx
import orjson
from rich.console import Console
from rich.table import Table
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bench.report import BenchError, build_result, build_row, write_result
from scripts.stack.devnet import Devnet, issue_key, send, start_devnet
from scripts.stack.model import MODEL_ID
from scripts.stack.processes import Stack
from scripts.stack.run_directory import claim_run_directory
from scripts.stack.up import TOKEN_ID, prepare_position
from serving.process.command_line import command
from tests.support.postgres import Postgres, find_programs

PATIENCE_S: Final = 30.0
DOOR_PAUSE_S: Final = 0.001
WARM_UP: Final = 3
"""Rounds that do not count."""


@dataclass
class Heads:
    """When the node announced each block, by the steady clock."""

    url: str
    at_s: dict[int, float] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def listen(self) -> None:
        """Note every block until the connection ends."""
        ask = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}
        with (
            suppress(ConnectionClosed),
            connect(self.url.replace("http", "ws", 1), compression=None, proxy=None) as socket,
        ):
            socket.send(orjson.dumps(ask).decode())
            for message in socket:
                now_s = time.monotonic()
                params = orjson.loads(message).get("params")
                if params is not None:
                    with self._changed:
                        self.at_s[int(params["result"]["number"], 16)] = now_s
                        self._changed.notify_all()

    def wait_for(self, number: int) -> float:
        """Return when a block was announced. Raises ``BenchError``."""
        with self._changed:
            if not self._changed.wait_for(lambda: number in self.at_s, PATIENCE_S):
                raise BenchError(f"the node did not announce block {number}")
            return self.at_s[number]


@dataclass
class Client:
    """A thread that asks until it is refused, and when that was."""

    refused_at_s: float | None = None
    served_s: list[float] = field(default_factory=list)
    """How long each quote took that was given."""
    last_text_at_s: float | None = None
    """When a stream last brought some of the answer."""
    problem: str | None = None
    begun: threading.Event = field(default_factory=threading.Event)

    def knock(self, url: str, key: str) -> None:
        """Ask for a quote again and again."""
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(headers=headers, timeout=PATIENCE_S) as client:
            until_s = time.monotonic() + PATIENCE_S
            while time.monotonic() < until_s:
                asked_s = time.monotonic()
                answer = client.post(f"{url}/v1/quote", json=_build_body())
                if answer.status_code == 401:
                    self.refused_at_s = time.monotonic()
                    return
                if answer.status_code != 200:
                    self.problem = answer.text[:300]
                    return
                self.served_s.append(time.monotonic() - asked_s)
                self.begun.set()
                time.sleep(DOOR_PAUSE_S)
        self.problem = "not refused"

    def read(self, url: str, key: str) -> None:
        """Read a stream to its end."""
        headers = {"authorization": f"Bearer {key}"}
        body = {**_build_body(), "stream": True, "max_tokens": 600}
        with (
            httpx.Client(headers=headers, timeout=PATIENCE_S) as client,
            client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer,
        ):
            for line in answer.iter_lines():
                if "key_revoked" in line:
                    self.refused_at_s = time.monotonic()
                    return
                if '"content"' in line:
                    self.last_text_at_s = time.monotonic()
                    self.begun.set()
        self.problem = "the stream was over before"


def _build_body() -> dict[str, Any]:
    text = "Tell a very long story about the sea, with every detail."
    return {
        "model": MODEL_ID,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": 16,
    }


def measure_round(devnet: Devnet, heads: Heads) -> dict[str, float]:
    """Revoke once; return what was measured, in ms after the block. Raises ``BenchError``.

    ``door``: the first 401; ``quote``: one that was given before, the median. ``stream``: the last
    piece of an answer that was under way, at most as exact as the model is quick; ``told``: its
    last event, with the charge, which a market says only after it has read its seller on. Without
    the last two, the stream was over before.
    """
    key = _get_key(devnet)
    door, stream = Client(), Client()
    threads = [
        threading.Thread(target=door.knock, args=(devnet.api_url, key), daemon=True),
        threading.Thread(target=stream.read, args=(devnet.api_url, key), daemon=True),
    ]
    for thread in threads:
        thread.start()
    for client in (door, stream):
        if not client.begun.wait(PATIENCE_S):
            raise BenchError(f"a client was not served: {client.problem}")
    bump = devnet.contracts.position.functions.bumpKeyEpoch(TOKEN_ID)
    receipt = send(devnet, devnet.depositor, bump)
    for thread in threads:
        thread.join(2 * PATIENCE_S)
    mined_s = heads.wait_for(int(receipt["blockNumber"]))
    if door.refused_at_s is None:
        raise BenchError(f"the door: {door.problem}")
    found = {
        "door": 1000 * (door.refused_at_s - mined_s),
        "quote": 1000 * statistics.median(door.served_s),
    }
    if stream.refused_at_s is not None and stream.last_text_at_s is not None:
        found["stream"] = 1000 * max(0.0, stream.last_text_at_s - mined_s)
        found["told"] = 1000 * (stream.refused_at_s - mined_s)
    return found


def _get_key(devnet: Devnet) -> str:
    """Return a key of the current epoch that is served."""
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        key = issue_key(devnet.api_url, devnet.depositor, TOKEN_ID)
        headers = {"authorization": f"Bearer {key}"}
        url = f"{devnet.api_url}/v1/quote"
        if httpx.post(url, json=_build_body(), headers=headers).status_code == 200:
            return key
        time.sleep(0.1)
    raise BenchError("no key is served")


def measure(ledger_url: str | None, rounds: int, console: Console) -> dict[str, list[float]]:
    """Run a stack; return what each kind of client measured, in ms."""
    found: dict[str, list[float]] = {"door": [], "quote": [], "stream": [], "told": []}

    def say(text: str) -> None:
        console.print(f"[dim]{text}[/dim]", soft_wrap=True)

    with (
        tempfile.TemporaryDirectory(prefix="current-bench-") as root,
        claim_run_directory("revocation", fresh=True, say=say, root=Path(root)) as directory,
        Stack(directory, say=say) as stack,
    ):
        devnet = start_devnet(stack, say=say, persistent=False, ledger_url=ledger_url)
        prepare_position(devnet, stack, say)
        heads = Heads(devnet.rpc_url)
        threading.Thread(target=heads.listen, daemon=True).start()
        for number in range(WARM_UP + rounds):
            measured = measure_round(devnet, heads)
            if number >= WARM_UP:
                for client, value in measured.items():
                    found[client].append(value)
    return found


@contextmanager
def open_ledgers(with_postgres: bool) -> Iterator[dict[str, str | None]]:
    """Yield the ledgers to measure on: name to URL, None for the stack's own file."""
    if not with_postgres or find_programs() is None:
        yield {"sqlite": None}
        return
    with Postgres(durable=True) as server:
        yield {"sqlite": None, "postgresql": server.create_database()}


def _take(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@command("revocation", help=__doc__)
@click.option("--rounds", default=40, show_default=True, help="revocations on each ledger")
@click.option("--postgres/--no-postgres", default=True, help="also on PostgreSQL")
def main(rounds: int, postgres: bool) -> None:
    console, rows = Console(highlight=False), []
    ratios: dict[str, float] = {}
    table = Table("ledger", "client", "p50, ms", "p95, ms", "rounds")
    with open_ledgers(postgres) as ledgers:
        for name, url in ledgers.items():
            measured = measure(url, rounds, console)
            ratios[f"{name}_door_vs_quote"] = statistics.median(
                door / quote
                for door, quote in zip(measured["door"], measured["quote"], strict=True)
            )
            for client, values in measured.items():
                if not values:
                    raise BenchError(f"{client}: nothing was measured")
                p50_ms, p95_ms = statistics.median(values), _take(values, 0.95)
                facts = {"ledger": name, "client": client, "rounds": len(values)}
                rows.append(build_row(f"{name}_{client}_p50", p50_ms, "ms", **facts))
                rows.append(build_row(f"{name}_{client}_p95", p95_ms, "ms", **facts))
                table.add_row(name, client, f"{p50_ms:.0f}", f"{p95_ms:.0f}", str(len(values)))
        skipped = {} if "postgresql" in ledgers else {"postgresql": "no server is installed"}
    console.print(table)
    for name, ratio in ratios.items():
        console.print(
            f"{name.removesuffix('_door_vs_quote')}: the first 401 after {ratio:.1f} quotes' time"
        )
    write_result("revocation", build_result(rows, ratios, skipped))


if __name__ == "__main__":
    main()
