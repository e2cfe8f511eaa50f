"""Runs a session's tests in forks of the process that collected them, file by file.

``pytest -p tests.support.forked --forks 4``. A worker of xdist imports and collects everything by
itself, which takes a core half a minute each time; a fork has it already, and with it what every
worker would make once: both servers' documents, a migrated ledger.

::

    the process that collected ──┬── forks, each takes the next file from one pipe
              ▲                  └── a fork that dies: its test has failed, another goes on with the
              └──── reports ─────────                   rest of its file
"""

import atexit
import gc
import os
import pickle
import random
import selectors
import signal
import struct
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, groupby
from types import SimpleNamespace
from typing import IO, Any, Final, cast

import pytest
from _pytest.unraisableexception import collect_unraisable, gc_collect_harder

_NUMBER: Final = struct.Struct("=I")
"""How the number of a file stands in its pipe, where whoever reads so few bytes gets all of them;
and the length of a message before it."""
_WARM_FROM: Final = 500
"""From so many tests on, what every fork would make is made before: a few seconds."""
_POLL_S: Final = 5.0
_READ_BYTES: Final = 65_536


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--forks", type=int, default=0, help="run the tests in so many forks")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run all tests; None, and so not here, without ``--forks``."""
    count = session.config.getoption("--forks")
    if not count or session.config.option.collectonly or session.testsfailed:
        return None
    _Run(session).run(count)
    if session.shouldfail:
        raise session.Failed(session.shouldfail)
    return True


def _warm_up() -> None:
    """Make what every fork would. The plugin by itself needs none of the project."""
    from tests.support.ledgers import record_ledgers
    from tests.support.openapi import get_market_document, get_proxy_document

    get_market_document()
    get_proxy_document()
    record_ledgers()


@dataclass
class _Fork:
    """One fork, seen from the process that made it."""

    number: int
    pid: int
    reports_fd: int
    heard: bytes = b""
    """What it has said that is no whole message yet."""
    running: int | None = None
    """Which item it is at."""
    error: str = ""
    """What went wrong in it beside its tests."""
    is_done: bool = False
    """Whether it has told that it is at the end: one that ends before that has died."""
    node: Any = field(init=False)
    """What the terminal takes for a worker."""

    def __post_init__(self) -> None:
        name = f"fork{self.number}"
        info = {
            "id": name,
            "version_info": sys.version_info,
            "sysplatform": sys.platform,
            "executable": sys.executable,
        }
        self.node = SimpleNamespace(gateway=SimpleNamespace(id=name), workerinfo=info)


class _Run:
    """A session's tests by files, and the forks that run them."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._items = session.items
        indexes = range(len(self._items))
        files = groupby(indexes, key=lambda index: self._items[index].path)
        self._files = [list(file) for _, file in files]
        self._queue_fd = -1
        self._forks: dict[int, _Fork] = {}
        self._selector = selectors.DefaultSelector()
        self._begun = 0
        self._ran: set[int] = set()
        self._first_capture: Any = None
        self._pid = os.getpid()

    def run(self, count: int) -> None:
        """Run every test. Raises ``RuntimeError`` where a fork failed beside its tests."""
        config = self._session.config
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.showfspath = False
        # Each makes its folders below the session's.
        config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        if len(self._items) >= _WARM_FROM:
            _warm_up()
        gc.collect()
        # What is there now is never garbage, so no fork need look at it, nor copy its pages.
        gc.freeze()
        self._queue_fd, filling_fd = os.pipe()
        with os.fdopen(filling_fd, "wb") as filling:
            filling.write(b"".join(map(_NUMBER.pack, range(len(self._files)))))
        errors = []
        try:
            for _ in range(min(count, len(self._files))):
                self._begin([])
            while self._forks:
                for key, _ in self._selector.select(_POLL_S):
                    errors += self._hear(key.data)
                if self._session.shouldfail:
                    self._skip_the_rest()
        finally:
            # There are some only where this process was interrupted, and they may be already.
            for pid in self._forks:
                os.kill(pid, signal.SIGINT)
            for pid in self._forks:
                os.waitpid(pid, 0)
            self._selector.close()
            os.close(self._queue_fd)
        if not errors and not self._session.shouldfail:
            left = [item.nodeid for n, item in enumerate(self._items) if n not in self._ran]
            errors += [f"never run: {', '.join(left)}"] if left else []
        if errors:
            raise RuntimeError("\n".join(errors))

    def _begin(self, rest: list[int]) -> None:
        """Start a fork that first runs these items, then file after file."""
        sys.stdout.flush()
        sys.stderr.flush()
        reading_fd, writing_fd = os.pipe()
        number, self._begun = self._begun, self._begun + 1
        pid = os.fork()
        if pid == 0:
            os.close(reading_fd)
            self._work(number, rest, os.fdopen(writing_fd, "wb"))
        os.close(writing_fd)
        self._forks[pid] = fork = _Fork(number, pid, reading_fd)
        self._selector.register(reading_fd, selectors.EVENT_READ, fork)

    def _hear(self, fork: _Fork) -> list[str]:
        """Take what a fork says; return what went wrong beside its tests once it has ended."""
        said = os.read(fork.reports_fd, _READ_BYTES)
        if not said:
            return self._end(fork)
        fork.heard += said
        while len(fork.heard) >= _NUMBER.size:
            end = _NUMBER.size + _NUMBER.unpack_from(fork.heard)[0]
            if len(fork.heard) < end:
                break
            kind, what = pickle.loads(fork.heard[_NUMBER.size : end])
            fork.heard = fork.heard[end:]
            if kind == "begins":
                fork.running = what
                self._ran.add(what)
            elif kind == "done":
                fork.is_done = True
            elif kind == "error":
                fork.error = what
            else:
                self._pass_on(fork, what)
        return []

    def _pass_on(self, fork: _Fork, written: dict[str, Any]) -> None:
        hook = self._session.config.hook
        report = hook.pytest_report_from_serializable(config=self._session.config, data=written)
        report.node = fork.node
        hook.pytest_runtest_logreport(report=report)

    def _end(self, fork: _Fork) -> list[str]:
        self._selector.unregister(fork.reports_fd)
        os.close(fork.reports_fd)
        del self._forks[fork.pid]
        _, status = os.waitpid(fork.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if fork.error:
            return [fork.error]
        if fork.is_done:
            return []
        if fork.running is None:
            return [f"a fork ended with {code} before its first test"]
        item = self._items[fork.running]
        report = pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords={},
            outcome="failed",
            longrepr=f"the process of this test ended with {code}",
            when="call",
        )
        report.node = fork.node  # type: ignore[attr-defined]
        self._session.config.hook.pytest_runtest_logreport(report=report)
        file = next(file for file in self._files if fork.running in file)
        self._begin(file[file.index(fork.running) + 1 :])
        return []

    def _skip_the_rest(self) -> None:
        while os.read(self._queue_fd, 4_096):
            pass

    # --------------------------------------------------------------------------------- in the fork

    def _work(self, number: int, rest: list[int], out: IO[bytes]) -> None:
        """Run what there is to run, tell of it, and end this process."""
        code = 1
        try:
            # What the first process has yet to do at its end is not this one's.
            atexit._clear()
            random.seed()
            self._settle_in(number)
            self._session.config.pluginmanager.register(_Reporter(self._session.config, out))
            for file in chain([rest] if rest else [], self._take_files()):
                self._run_file(file, out)
                if self._session.shouldfail or os.getppid() != self._pid:
                    break
            self._end_stands()
            gc_collect_harder(2)
            collect_unraisable(self._session.config)
            _send(out, "done", None)
            code = 0
        except BaseException:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            said = traceback.format_exc()
            # Nobody may be there any more to tell.
            with suppress(BaseException):
                _send(out, "error", said)
            with suppress(BaseException):
                self._end_stands()
        finally:
            os._exit(code)

    def _end_stands(self) -> None:
        self._session._setupstate.teardown_exact(None)
        atexit._run_exitfuncs()

    def _settle_in(self, number: int) -> None:
        """Share neither terminal, nor captured output, nor folders with the other forks."""
        config = self._session.config
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter._tw._file = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
        capturing: Any = config.pluginmanager.get_plugin("capturemanager")
        if capturing is not None:
            # What is said between two tests is of none.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for descriptor in (1, 2):
                os.dup2(nowhere, descriptor)
            # Left open: a library may have kept the output that was there when it was imported.
            self._first_capture, capturing._global_capturing = capturing._global_capturing, None
            capturing.start_global_capturing()
            capturing.suspend_global_capture(in_=True)
        factory = config._tmp_path_factory  # type: ignore[attr-defined]
        factory._basetemp = factory.getbasetemp() / f"fork{number}"
        factory._basetemp.mkdir(mode=0o700)

    def _take_files(self) -> Iterator[list[int]]:
        while number := os.read(self._queue_fd, _NUMBER.size):
            yield self._files[_NUMBER.unpack(number)[0]]

    def _run_file(self, file: list[int], out: IO[bytes]) -> None:
        hook = self._session.config.hook
        # After the last one everything ends that is not the whole session's.
        following = [*(self._items[index] for index in file[1:]), self._session]
        for index, nextitem in zip(file, following, strict=True):
            _send(out, "begins", index)
            hook.pytest_runtest_protocol(
                item=self._items[index], nextitem=cast(pytest.Item, nextitem)
            )
            if self._session.shouldfail:
                return


class _Reporter:
    """Sends a fork's reports to the process that prints them."""

    def __init__(self, config: pytest.Config, out: IO[bytes]) -> None:
        self._config = config
        self._out = out

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook
        _send(
            self._out,
            "report",
            hook.pytest_report_to_serializable(config=self._config, report=report),
        )


def _send(out: IO[bytes], kind: str, what: Any) -> None:
    message = pickle.dumps((kind, what))
    out.write(_NUMBER.pack(len(message)) + message)
    out.flush()
