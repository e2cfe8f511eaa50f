"""A server under measurement: start it, know its CPU time and memory, end it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from bench.report import BenchError
from scripts.stack.anvil_path import ROOT

START_TIMEOUT_S: Final = 180.0


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
    given = os.environ.items()
    ours = {key: value for key, value in given if not key.startswith(("PROXY_", "MARKET_"))}
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
