"""Starts the project's processes by forking one that has loaded them: a start costs no imports.

``python -m tests.support.forking`` takes one order a line of its input, as JSON, and answers each
with the number of the new process. When the input ends, it kills what it started.
"""

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Self

from scripts.stack.anvil_path import ROOT

ROOMS: Final = ("indexer", "keeper", "market", "proxy")


class Fork:
    """A process that was forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def is_running(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self) -> None:
        """Kill it at once, whatever it does; it may still be there for a moment."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


class ForkServer:
    """What forks. Use it as a context manager: none of its processes outlives the block."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forking"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def start(
        self, module: str, *, ahead_s: float, environment: Mapping[str, str], log: Path
    ) -> Fork:
        """Start ``python -m module`` with a wall clock ``ahead_s`` ahead; it writes to ``log``."""
        order = {
            "module": module,
            "ahead_s": ahead_s,
            "environment": dict(environment),
            "log": str(log),
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return Fork(int(self._process.stdout.readline()))


def _run(order: Mapping[str, Any]) -> None:
    """Become the process of an order.

    Every wall clock of the standard library is ahead; the steady one is as it is, as on a host
    whose clock somebody has set.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["environment"])
    real, real_ns, ahead_s = time.time, time.time_ns, order["ahead_s"]
    time.time = lambda: real() + ahead_s
    time.time_ns = lambda: real_ns() + int(ahead_s * 1e9)
    sys.argv = [order["module"]]
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)


def _reap(*_: object) -> None:
    """Take leave of whoever has ended: else it would count as running."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def main() -> None:
    """Load everything, then fork on demand."""
    for room in ROOMS:
        import_module(f"{room}.main")
        import_module(f"{room}.commands")
    signal.signal(signal.SIGCHLD, _reap)
    started: list[Fork] = []
    while line := sys.stdin.buffer.readline():
        pid = os.fork()
        if pid == 0:
            _run(json.loads(line))
            return
        started.append(Fork(pid))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    for fork in started:
        fork.kill()


if __name__ == "__main__":
    main()
