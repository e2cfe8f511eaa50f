"""From a mined block to its rows: how long the indexer's process takes at the head."""

from __future__ import annotations

import os
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from bench.indexer.backfill import build_environment
from bench.indexer.chains import Generated, wait_until
from bench.report import BenchError
from scripts.stack.anvil_path import ROOT

HEADS: Final = 100
HEADS_POLLED: Final = 30


@dataclass(frozen=True, slots=True)
class Latency:
    """From the node's answer that a block of three events is mined to its rows being readable."""

    p50_ms: float
    p95_ms: float


def measure_head(
    chain: Generated, ledger_url: str, is_there: Callable[[int], bool], *, heads: bool
) -> Latency:
    """Run the indexer's process on a ledger that is at the head, and mine blocks."""
    environment = {**os.environ, **build_environment(chain.url, chain.record, ledger_url)}
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


def look_in_sqlite(path: Path) -> Callable[[int], bool]:
    """Return what tells whether a block's rows are in this ledger."""
    connection = sqlite3.connect(path, isolation_level=None)
    query = "SELECT 1 FROM event WHERE block_number = ? LIMIT 1"
    return lambda number: connection.execute(query, (number,)).fetchone() is not None


def look_in_postgres(ledger_url: str) -> Callable[[int], bool]:
    """Return what tells whether a block's rows are in this ledger."""
    connection = psycopg.connect(ledger_url.replace("+psycopg", "", 1), autocommit=True)
    query = "SELECT 1 FROM event WHERE block_number = %s LIMIT 1"
    return lambda number: connection.execute(query, (number,)).fetchone() is not None
