"""Start the processes of a local stack, watch them, and stop them all.

::

    with claim_run_directory() as directory, Stack(directory) as stack:
        stack.start("indexer", [sys.executable, "-m", "indexer"], ready=re.compile("caught up"))
        stack.wait()

Whatever ends the block, an exception, Ctrl-C, SIGTERM or a closed terminal, stops the children in
reverse order; if this process is killed outright, each child's guard (``process_guard``) does it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Final, NoReturn, Self

from contracts.errors import Retryable
from scripts.stack.run_directory import RunDirectory

GUARD: Final = Path(__file__).with_name("process_guard.py")
# A guard left alone gives the command this long between SIGTERM and SIGKILL.
ORPHAN_GRACE_S: Final = 5.0
START_TIMEOUT_S: Final = 300.0
"""How long a child may take to be ready, which is said meanwhile: a busy machine takes minutes."""
POLL_S: Final = 0.05
TAIL_LINES: Final = 15
NOTHING_LOGGED: Final = "(it logged nothing)"
LOG_BYTES_MAX: Final = 64 * 1024 * 1024
PROGRESS_EVERY_S: Final = 5.0
RESTART_DELAY_S_MAX: Final = 10.0
KILLED_DELAY_S_MAX: Final = 2.0
# A signal for the whole group reaches the children at the same time as us, or a moment before.
STOPPING_TOGETHER_S: Final = 1.0
TOLD_TO_STOP: Final = frozenset({-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP})
STEADY_S: Final = 10.0

# A command, or how to build it for every start (to listen on the same port again, say).
Command = Sequence[str] | Callable[[], Sequence[str]]
# When a child is ready: a pattern in what it logged since its start, or a check of its own.
Ready = re.Pattern[str] | Callable[[], bool] | None


class ProcessError(Retryable):
    """A child does not do its work; the message says which, how it ended, and its last lines."""

    def __init__(self, name: str, what: str, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        tail = tail_of(log_path)
        super().__init__(f"{name} {what}. Its log, {log_path}, ends:\n{tail}")


class ChildDied(ProcessError):
    """A child ended by itself."""


class NotReady(ProcessError):
    """A child runs but did not become ready in time."""


class Terminated(SystemExit):
    """SIGTERM or SIGHUP reached this process."""


def tail_of(path: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, indented; a sentence when there are none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 64 * 1024))
            text = log.read().decode(errors="replace")
    except OSError:
        text = ""
    last = text.rstrip().splitlines()[-lines:]
    return "\n".join(f"    {line}" for line in last) or f"    {NOTHING_LOGGED}"


def describe_wait(child: ChildProcess, elapsed_s: float) -> str:
    """Say how long a child has been starting, how long that usually takes, and what it does."""
    usual = "" if child.usual_s is None else f", usually {child.usual_s:.0f} s on an idle machine"
    last = tail_of(child.log_path, 1).strip()
    doing = (
        "it has logged nothing yet" if last == NOTHING_LOGGED else f"its last line: {last[:100]}"
    )
    return f"{child.name} is starting, for {elapsed_s:.0f} s now{usual}; {doing}"


def describe_end(returncode: int) -> str:
    """Say how a process ended: ``stopped with exit status 1``, ``was killed (SIGKILL)``."""
    if returncode >= 0:
        return f"stopped with exit status {returncode}"
    try:
        how = "was stopped" if returncode in TOLD_TO_STOP else "was killed"
        return f"{how} ({signal.Signals(-returncode).name})"
    except ValueError:
        return f"was killed (signal {-returncode})"


class ChildProcess:
    """One command of a stack. Made by `Stack.start`; the stack alone changes it."""

    def __init__(
        self,
        name: str,
        command: Command,
        *,
        directory: RunDirectory,
        ready: Ready,
        timeout_s: float,
        env: Mapping[str, str],
        cwd: Path | None,
        restart: bool,
        usual_s: float | None,
    ) -> None:
        self.name = name
        self.command = command
        self.ready = ready
        self.timeout_s = timeout_s
        self.env = env
        self.cwd = cwd
        self.restart = restart
        self.usual_s = usual_s
        self.log_path = directory.logs / f"{name}.log"
        self.pid_path = directory.pids / name
        self.guard: subprocess.Popen[bytes] | None = None
        self.watcher: threading.Thread | None = None
        self.is_wanted = True
        self.error: ProcessError | None = None
        # What `ready` found in the log, when it is a pattern.
        self.match: re.Match[str] | None = None
        self._log_start_bytes = 0

    @property
    def pid(self) -> int | None:
        """The command's process id (not its guard's); None while it does not run."""
        try:
            return int(self.pid_path.read_text()) if self.is_running else None
        except (OSError, ValueError):
            return None

    @property
    def is_running(self) -> bool:
        return self.guard is not None and self.guard.poll() is None

    def spawn(self, *, life_fd: int, lock_fd: int) -> None:
        """Start the command under its guard, in a process group of its own."""
        command = self.command() if callable(self.command) else self.command
        guard = [sys.executable, "-IS", str(GUARD), str(life_fd), str(ORPHAN_GRACE_S)]
        self.match = None
        self.pid_path.unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            self._log_start_bytes = log.tell()
            self.guard = subprocess.Popen(
                [*guard, str(self.pid_path), "--", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.env},
                cwd=self.cwd,
                pass_fds=[life_fd, lock_fd],
                start_new_session=True,
            )

    def is_ready(self) -> bool:
        if isinstance(self.ready, re.Pattern):
            with self.log_path.open("rb") as log:
                log.seek(self._log_start_bytes)
                self.match = self.ready.search(log.read().decode(errors="replace"))
            return self.match is not None
        return self.ready is None or self.ready()

    def end_group(self, signal_number: signal.Signals) -> None:
        """Send a signal to the guard, the command, and whatever the command started."""
        if self.guard is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.guard.pid, signal_number)

    def rotate_log(self) -> None:
        """Keep the log of the run before as ``<name>.log.1``."""
        if self.log_path.exists():
            self.log_path.replace(self.log_path.with_suffix(".log.1"))


class Stack:
    """The children of one run directory, from the first start to the end of the ``with`` block.

    ``say`` gets one line for each thing worth a person's attention. ``grace_s`` is how long a child
    may take to end after SIGTERM before it is killed; a second Ctrl-C cuts it short.
    ``restarts_in_a_row_max`` is how often a child may fail to come back before the stack fails;
    None: it is tried for ever, with pauses that grow.
    """

    def __init__(
        self,
        directory: RunDirectory,
        *,
        say: Callable[[str], None] = print,
        grace_s: float = 10.0,
        restarts_in_a_row_max: int | None = None,
    ) -> None:
        self.directory = directory
        self.say = say
        self.grace_s = grace_s
        self._restarts_in_a_row_max = restarts_in_a_row_max
        self._children: dict[str, ChildProcess] = {}
        # Children and callbacks in the order of their start: the stop goes through it backwards.
        self._started: list[ChildProcess | Callable[[], object]] = []
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._changing = threading.Lock()
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        self._life_read_fd, self._life_write_fd = os.pipe()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGHUP):
                self._handlers[number] = signal.signal(number, _terminate)
            # A shell starts a job in the background with Ctrl-C ignored; the stack must still stop.
            self._handlers[signal.SIGINT] = signal.signal(signal.SIGINT, signal.default_int_handler)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        if threading.current_thread() is threading.main_thread():
            # From here on signals only shorten the wait; none may interrupt the stopping itself.
            for number in self._handlers:
                signal.signal(number, lambda *_: self._hurry.set())
        for one in reversed(self._started):
            if isinstance(one, ChildProcess):
                self._stop(one)
            else:
                try:
                    one()
                except Exception as failure:
                    self.say(f"while stopping: {failure}")
        os.close(self._life_write_fd)
        os.close(self._life_read_fd)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def start(
        self,
        name: str,
        command: Command,
        *,
        ready: Ready = None,
        timeout_s: float = START_TIMEOUT_S,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        restart: bool = False,
        usual_s: float | None = None,
    ) -> ChildProcess:
        """Start a child and wait until it is ready, or return at once if ``ready`` is None.

        ``env`` is added to our own environment. With ``restart`` a child that ends by itself is
        started again, after a delay that grows with each failure in a row. ``usual_s`` is how long
        a start takes on an idle machine: whoever waits is told. Raises ChildDied when it ends
        before it is ready, NotReady after ``timeout_s``; the name is free again then.
        """
        assert name not in self._children, f"{name} is already started"
        child = ChildProcess(
            name,
            command,
            directory=self.directory,
            ready=ready,
            timeout_s=timeout_s,
            env=env or {},
            cwd=cwd,
            restart=restart,
            usual_s=usual_s,
        )
        child.rotate_log()
        self._children[name] = child
        self._started.append(child)
        try:
            self._launch(child)
        except (ProcessError, OSError):
            self.stop(name)  # so that the caller may try again, on another port for example
            raise
        return child

    def on_exit(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` when the stack stops, before the children started earlier stop."""
        self._started.append(callback)

    def restart(self, name: str) -> None:
        """Stop a child and start it again. Raises like `start`."""
        child = self._children[name]
        self._stop(child)
        self._launch(child)

    def stop(self, name: str) -> None:
        """Stop a child for good; the name may be started again."""
        child = self._children.pop(name)
        self._started.remove(child)
        self._stop(child)

    def child(self, name: str) -> ChildProcess:
        return self._children[name]

    def check(self) -> None:
        """Raise ChildDied or NotReady if a child has failed for good."""
        for child in list(self._children.values()):
            if child.error is not None:
                raise child.error

    def wait(self, *, timeout_s: float | None = None) -> None:
        """Return after ``timeout_s``, or never; raises as soon as a child has failed for good.

        Ctrl-C and SIGTERM leave it as KeyboardInterrupt and Terminated. Keeps the logs bounded.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while deadline_s is None or time.monotonic() < deadline_s:
            self.check()
            for child in list(self._children.values()):
                _bound_log(child.log_path)
            time.sleep(POLL_S)

    # --- inside ---

    def _launch(self, child: ChildProcess) -> None:
        child.error = None
        child.is_wanted = True
        began_s = time.monotonic()
        child.spawn(life_fd=self._life_read_fd, lock_fd=self.directory.lock_fd)
        self._wait_until_ready(child, show=True)
        if child.ready is not None:
            self.say(f"{child.name} is ready after {time.monotonic() - began_s:.1f} s")
        child.watcher = threading.Thread(
            target=self._watch, args=(child,), name=f"watch-{child.name}", daemon=True
        )
        child.watcher.start()

    def _wait_until_ready(self, child: ChildProcess, *, show: bool) -> None:
        began_s = time.monotonic()
        next_report_s = PROGRESS_EVERY_S
        while not self._stopping.is_set() and child.is_wanted:
            # Asked before the check: what ended may have been ready a moment ago, and is not now.
            has_ended = not child.is_running
            if not has_ended and child.is_ready():
                return
            if has_ended:
                raise self._died(child)
            elapsed_s = time.monotonic() - began_s
            if elapsed_s > child.timeout_s:
                raise NotReady(
                    child.name, f"was not ready after {child.timeout_s:.0f} s", child.log_path
                )
            if show and elapsed_s >= next_report_s:
                next_report_s += PROGRESS_EVERY_S
                self.say(describe_wait(child, elapsed_s))
            time.sleep(POLL_S)

    def _died(self, child: ChildProcess) -> ChildDied:
        assert child.guard is not None
        return ChildDied(child.name, describe_end(child.guard.wait()), child.log_path)

    def _watch(self, child: ChildProcess) -> None:
        """Follow one child until it is stopped on purpose or has failed for good."""
        failures_in_a_row = short_lives = 0
        while True:
            assert child.guard is not None
            spawned_s = time.monotonic()
            returncode = child.guard.wait()
            ended_s = time.monotonic()
            if self._stopping.is_set() or not child.is_wanted:
                return
            if (returncode == 0 or returncode in TOLD_TO_STOP) and self._stopping.wait(
                STOPPING_TOGETHER_S
            ):
                return
            # The guard may have been the one that was killed, and its command still there.
            child.end_group(signal.SIGKILL)
            end = describe_end(returncode)
            most = self._restarts_in_a_row_max
            if not child.restart or (most is not None and failures_in_a_row >= most):
                child.error = ChildDied(child.name, end, child.log_path)
                return
            # One that is killed again and again is not started faster than it can be of use.
            short_lives = short_lives + 1 if ended_s - spawned_s < STEADY_S else 0
            delay_s = min(0.1 * 2.0 ** min(failures_in_a_row, 10), RESTART_DELAY_S_MAX)
            delay_s = max(delay_s, min(0.05 * 2.0 ** min(short_lives, 10), KILLED_DELAY_S_MAX))
            if self._stopping.wait(delay_s) or not child.is_wanted:
                return
            try:
                with self._changing:
                    if self._stopping.is_set() or not child.is_wanted:
                        return
                    child.spawn(life_fd=self._life_read_fd, lock_fd=self.directory.lock_fd)
                self._wait_until_ready(child, show=False)
            except (ProcessError, OSError, LookupError) as error:
                failures_in_a_row += 1
                self.say(f"{child.name} {end}, and did not come back (try {failures_in_a_row})")
                if isinstance(error, NotReady):
                    child.end_group(signal.SIGKILL)
                continue
            # One that ends by itself soon after its start has not come back; a killed one has.
            gave_up = returncode > 0 and ended_s - spawned_s < STEADY_S
            failures_in_a_row = failures_in_a_row + 1 if gave_up else 0
            if not self._stopping.is_set() and child.is_wanted:
                gone_s = time.monotonic() - ended_s
                self.say(f"{child.name} {end}; it is back after {gone_s:.1f} s")

    def _stop(self, child: ChildProcess) -> None:
        with self._changing:  # so that its watcher does not start it again meanwhile
            child.is_wanted = False
        child.end_group(signal.SIGTERM)
        deadline_s = time.monotonic() + self.grace_s
        while child.is_running and time.monotonic() < deadline_s and not self._hurry.is_set():
            time.sleep(POLL_S / 5)
        if child.is_running:
            self.say(f"{child.name} did not stop in time and is killed")
        child.end_group(signal.SIGKILL)
        if child.guard is not None:
            child.guard.wait()
        child.pid_path.unlink(missing_ok=True)
        if child.watcher is not None:
            child.watcher.join()


def _terminate(signal_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated(128 + signal_number)


def _bound_log(path: Path) -> None:
    """Start a log over when it has grown too big; the child goes on appending to it."""
    with suppress(OSError):
        if path.stat().st_size > LOG_BYTES_MAX:
            shutil.copyfile(path, path.with_suffix(".log.1"))
            os.truncate(path, 0)
