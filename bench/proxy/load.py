"""Load on a server: what is sent, how hard, and what one measurement gives.

wrk sends it, or where wrk is not installed a small client of our own:
``python -m bench.proxy.load URL CONNECTIONS SECONDS``.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pyreqwest.client import ClientBuilder

from bench.proxy.peers import PEER_KEY
from bench.proxy.servers import Server
from bench.proxy.upstream import MODEL
from bench.report import BenchError
from scripts.stack.anvil_path import ROOT

WRK_SCRIPT: Final = Path(__file__).with_name("load.lua")


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
        command = [sys.executable, "-m", "bench.proxy.load", url]
        command += [str(target.connections), str(seconds)]
    else:
        command = ["wrk", "-t1", f"-c{target.connections}", f"-d{seconds:.0f}s", "--timeout", "30s"]
        command += ["-s", str(WRK_SCRIPT), url]
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


if __name__ == "__main__":
    figures = asyncio.run(put_load(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
    print(json.dumps(figures))
