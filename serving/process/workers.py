"""Several processes of one server on one port, and the process that keeps them running.

::

    current proxy, PROXY_PROCESSES=2 ──┬── worker: takes connections of a socket of its own
      opens a socket for each worker,  ├── worker: the same; the kernel spreads the connections
      serves nothing                   └── one that ends is started again, later and later

The sockets stay open while a worker is started again, so nobody else can have the port, and its
connections wait for it. A worker has a pipe from the first process: when that one is gone,
``kill -9`` included, the pipe closes and the worker stops as by SIGTERM. Their counts lie in one
folder, so that each worker's ``/metrics`` speaks for all of them.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from prometheus_client.multiprocess import mark_process_dead

from contracts.errors import Fatal
from serving.process.exit_codes import ExitCode

log = structlog.get_logger("serving")

WORKER: Final = "CURRENT_WORKER_FDS"
"""The variable that tells a process that it is a worker: the numbers of its pipe and its socket."""
COUNTS: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which the metrics' library counts in files of a folder."""
_LOOK_S: Final = 0.1
_WELL_S: Final = 60.0
"""A worker that lived so long had started well: the next one waits for the shortest time again."""
_PAUSE_S: Final = 0.5
_PAUSE_S_MAX: Final = 30.0
_DOUBLINGS_MAX: Final = 6
_KILL_AFTER_S: Final = 10.0
"""After its requests' time to finish, a worker has so long to end by itself."""


class WorkerUnusable(Fatal):
    """A worker cannot run as it is configured; its own last line says why."""


def is_worker() -> bool:
    """Tell whether this process is one of several that share a port."""
    return WORKER in os.environ


def end_with_parent() -> None:
    """Stop as by SIGTERM once the process that started this worker is gone."""

    def wait(life_fd: int) -> None:
        os.read(life_fd, 1)  # returns only at end of file: nobody ever writes
        os.kill(os.getpid(), signal.SIGTERM)

    life_fd, _ = _read_fds()
    threading.Thread(target=wait, args=(life_fd,), daemon=True).start()


def open_own_socket() -> socket.socket | None:
    """Return the socket that this worker takes connections of; None: it is no worker."""
    return socket.socket(fileno=_read_fds()[1]) if is_worker() else None


def _read_fds() -> tuple[int, int]:
    life_fd, socket_fd = os.environ[WORKER].split(",")
    return int(life_fd), int(socket_fd)


@dataclass(slots=True)
class _Worker:
    """One place among the workers: who has it now, and how often its holders failed."""

    socket_fd: int
    process: subprocess.Popen[bytes] | None = None
    started_s: float = 0.0
    starts_at_s: float = 0.0
    failures: int = 0


class Workers:
    """Runs a worker for each listening socket until SIGTERM or SIGINT."""

    def __init__(
        self,
        command: Sequence[str],
        sockets: Sequence[socket.socket],
        *,
        environment: Mapping[str, str],
        drain_timeout_s: float,
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._drain_timeout_s = drain_timeout_s
        self._sockets = sockets
        self._workers = [_Worker(one.fileno()) for one in sockets]
        self._has_started_well = False
        self._stopping = threading.Event()
        self._life_fds: tuple[int, int] = (-1, -1)
        self._counts = Path()

    def run(self) -> None:
        """Start all of them, and again those that end. Raises ``WorkerUnusable``."""
        self._counts = Path(tempfile.mkdtemp(prefix="current-counts-"))
        self._life_fds = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        try:
            while not self._stopping.wait(_LOOK_S):
                for worker in self._workers:
                    self._look_after(worker)
        finally:
            self._stop()
            for fd in self._life_fds:
                os.close(fd)
            shutil.rmtree(self._counts, ignore_errors=True)

    def _look_after(self, worker: _Worker) -> None:
        now_s = time.monotonic()
        if worker.process is None:
            if now_s >= worker.starts_at_s:
                self._start(worker, now_s)
            return
        code = worker.process.poll()
        lived_well = now_s - worker.started_s > _WELL_S
        self._has_started_well |= lived_well
        if code is None:
            return
        mark_process_dead(worker.process.pid, str(self._counts))  # type: ignore[no-untyped-call]
        # Later it may be a node that shows another chain for a moment, or an upgrade under way.
        if code == ExitCode.UNUSABLE and not self._has_started_well:
            raise WorkerUnusable("a worker cannot run as it is configured; see its last line")
        pid, worker.process = worker.process.pid, None
        pause_s = self._put_off(worker, now_s, failures=1 if lived_well else worker.failures + 1)
        log.warning("worker_ended", pid=pid, code=code, starts_again_in_s=pause_s)

    def _put_off(self, worker: _Worker, now_s: float, *, failures: int) -> float:
        """Note a failure; return how long its place stays empty, in seconds."""
        worker.failures = failures
        pause_s: float = min(_PAUSE_S_MAX, _PAUSE_S * 2 ** min(failures - 1, _DOUBLINGS_MAX))
        worker.starts_at_s = now_s + pause_s
        return pause_s

    def _start(self, worker: _Worker, now_s: float) -> None:
        reading_fd = self._life_fds[0]
        environment = {
            **self._environment,
            WORKER: f"{reading_fd},{worker.socket_fd}",
            COUNTS: str(self._counts),
        }
        try:
            worker.process = subprocess.Popen(
                self._command,
                env=environment,
                pass_fds=(reading_fd, worker.socket_fd),
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:  # no memory or no process number just now
            pause_s = self._put_off(worker, now_s, failures=worker.failures + 1)
            log.warning("worker_not_started", error=error.strerror, starts_again_in_s=pause_s)
            return
        worker.started_s = now_s

    def _stop(self) -> None:
        """Let requests finish, as every server does on SIGTERM; then end what is left."""
        for one in self._sockets:
            one.close()
        running = [one.process for one in self._workers if one.process is not None]
        for process in running:
            process.terminate()
        ends_s = time.monotonic() + self._drain_timeout_s + _KILL_AFTER_S
        for process in running:
            try:
                process.wait(max(0.0, ends_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("worker_killed", pid=process.pid)
                process.kill()
                process.wait()


def build_command() -> list[str]:
    """Return the command that this process was started by, for a worker to be started alike."""
    return [sys.executable, *sys.orig_argv[1:]]
