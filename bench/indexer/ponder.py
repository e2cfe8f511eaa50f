"""Ponder under measurement: the same holds and settlements into one table of PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from bench.indexer.backfill import Measured
from bench.indexer.chains import Generated
from bench.install import npm_stage, prepare
from bench.report import BenchError
from scripts.stack.anvil_path import ROOT
from scripts.stack.ports import free_port

PONDER: Final = Path(__file__).parent
PONDER_TIMEOUT_S: Final = 300.0


def measure_ponder(chain: Generated, database_url: str, folder: Path) -> Measured:
    """Let Ponder index holds and settlements into one table, on the same PostgreSQL.

    Its time counts from the start of its historical sync until it says that it is ready.
    """
    prepare([npm_stage(PONDER)])
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
