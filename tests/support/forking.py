"""Starts the project's processes by forking one that has loaded them: a start costs no imports.

``python -m tests.support.forking`` takes one order a line of its input, as JSON, and answers each
with the number of the new process. When the input ends, it kills what it started.

``run_command`` is ``subprocess.run`` of ``python -m room …`` by such a process, shared by a test
process: a command costs milliseconds instead of the three seconds in which its room is loaded.
"""

import atexit
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

from scripts.stack.anvil_path import ROOT
from tests.support.waiting import LIMIT_S, wait_until

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
        return self._order(module, (), environment, ahead_s=ahead_s, out=log, err=log)

    def run(
        self, module: str, *arguments: str, environment: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        """Run ``python -m module arguments`` to its end. Fails after ``LIMIT_S``."""
        with TemporaryDirectory(prefix="current-run-") as folder:
            out, err, code = (Path(folder) / name for name in ("out", "err", "code"))
            out.touch()
            err.touch()
            fork = self._order(module, arguments, environment, out=out, err=err, code=code)
            wait_until(lambda: not fork.is_running, f"{module} {arguments} ends", limit_s=LIMIT_S)
            # Whoever died of a signal left no code.
            returncode = int(code.read_text()) if code.exists() else -signal.SIGKILL
            return subprocess.CompletedProcess(
                ["python", "-m", module, *arguments], returncode, out.read_text(), err.read_text()
            )

    def _order(
        self,
        module: str,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        *,
        out: Path,
        err: Path,
        code: Path | None = None,
        ahead_s: float = 0,
    ) -> Fork:
        order = {
            "module": module,
            "arguments": arguments,
            "ahead_s": ahead_s,
            "environment": dict(environment),
            "out": str(out),
            "err": str(err),
            "code": None if code is None else str(code),
        }
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return Fork(int(self._process.stdout.readline()))


def run_command(
    module: str, *arguments: str, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run ``python -m module arguments`` to its end, by a fork of what has loaded every room."""
    return _shared_server().run(module, *arguments, environment=environment)


@cache
def _shared_server() -> ForkServer:
    server = ForkServer().__enter__()
    atexit.register(server.__exit__)
    return server


def _run(order: Mapping[str, Any]) -> None:
    """Become the process of an order.

    Every wall clock of the standard library is ahead; the steady one is as it is, as on a host
    whose clock somebody has set.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    nothing = os.open(os.devnull, os.O_RDONLY)
    out, err = (os.open(order[name], flags, 0o600) for name in ("out", "err"))
    for source, target in ((nothing, 0), (out, 1), (err, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(order["environment"])
    real, real_ns, ahead_s = time.time, time.time_ns, order["ahead_s"]
    time.time = lambda: real() + ahead_s
    time.time_ns = lambda: real_ns() + int(ahead_s * 1e9)
    sys.argv = [order["module"], *order["arguments"]]
    returncode = 0
    try:
        runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        returncode = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
    except BaseException:
        traceback.print_exc()
        returncode = 1
    if order["code"] is not None:
        Path(order["code"]).write_text(str(returncode))
    # Tearing down all that was loaded takes longer than most commands.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(returncode)


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
    gc.freeze()
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
