"""One thread that writes for many: concurrent calls share a transaction and its ``fsync``.

Durability is paid once a group. Neighbouring calls that can run as one set (``GroupCall``) do; any
other call runs in a savepoint, or in a transaction of its own on PostgreSQL and where it is alone.
A call that raises takes back only its own writes. A call's result is handed over after the commit.
"""

import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from ledger.database.engine import is_postgres, write_until_through
from ledger.errors import LedgerUnavailable

T = TypeVar("T")

Outcome = tuple[Any, Exception | None]
"""A call's result, or why it failed."""
GroupRunner = Callable[[Connection, Sequence[Any]], list[Outcome]]
"""Runs calls in their order as one set; returns the outcome of each.

It raises only the database's own failures, which leave nothing of any call behind.
"""

CROWD: Final = 8
"""Calls of a group after which the next one waits for more."""
CROWD_WAIT_S: Final = 0.0007
"""For how long. Longer costs more at 16 connections than it brings at 256."""


class GroupCall(Protocol):
    """A call that can run among others as one set: those with the same ``run_group``."""

    def __call__(self, connection: Connection) -> Any:
        """Run alone."""
        ...

    @property
    def run_group(self) -> GroupRunner:
        """What runs calls of this kind together."""
        ...


class Ticket(Protocol):
    """The handle of a submitted call at an inbox."""

    def done(self) -> bool:
        """Whether the caller has stopped waiting: such a call is not begun."""
        ...


class Inbox(Protocol):
    """Where the outcomes of a whole group are handed over in one piece."""

    def deliver(self, outcomes: Sequence[tuple[Any, Any, Exception | None]]) -> None:
        """Take (ticket, result, failure) of calls that have been run. On the writer's thread."""
        ...


class _Futures:
    """The inbox of callers that each wait for a future."""

    def deliver(self, outcomes: Sequence[tuple["Future[Any]", Any, Exception | None]]) -> None:
        for future, result, failure in outcomes:
            if not future.set_running_or_notify_cancel():
                continue
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)


_FUTURES = _Futures()

_Call = tuple[Callable[[Connection], Any], Ticket, Inbox]


class GroupWriter:
    """Runs ledger functions in grouped transactions on its own thread.

    ``submit`` never blocks. A call whose group could not be committed gets ``LedgerUnavailable``;
    where the connection broke in the middle of the commit, it may have been written all the same.
    A call may be run more than once, of which one run counts: it must have no effect but on its
    connection.
    """

    def __init__(self, engine: Engine, *, group_size_max: int = 256) -> None:
        self._engine = engine
        self._file = _DatabaseFile(engine)
        self._group_size_max = group_size_max
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._size_before = 0
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[Connection], T]) -> "Future[T]":
        """Queue ``call``; the future holds its result once it is durable."""
        future: Future[T] = Future()
        self.submit_for(_FUTURES, future, call)
        return future

    def submit_for(self, inbox: Inbox, ticket: Ticket, call: Callable[[Connection], Any]) -> None:
        """Queue ``call``; what became of it is delivered to ``inbox`` once it is durable.

        Nothing is delivered of a call whose ticket was done before it was begun.
        """
        with self._lock:
            if self._closed:
                raise LedgerUnavailable("the ledger's writer is closed")
            self._calls.put((call, ticket, inbox))

    def close(self) -> None:
        """Finish what was submitted, then stop."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._calls.get()) is not None:
            group, is_last = self._gather(first)
            self._write(group)
            if is_last:
                return

    def _gather(self, first: _Call) -> tuple[list[_Call], bool]:
        # Callers just answered will submit again at once: wait briefly, so that most of them share
        # the next commit instead of paying one for each small part of the crowd.
        if self._size_before >= CROWD:
            time.sleep(CROWD_WAIT_S)
        group, is_last = self._take(first)
        self._size_before = len(group)
        return group, is_last

    def _take(self, first: _Call) -> tuple[list[_Call], bool]:
        group = [first]
        while len(group) < self._group_size_max:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                break
            if call is None:
                return group, True
            group.append(call)
        return group, False

    def _write(self, calls: list[_Call]) -> None:
        if not is_postgres(self._engine):
            self._write_together(calls)
            return
        # There a transaction costs less than a lock held for longer or out of order.
        for part in _split(calls):
            self._write_together(part)

    def _write_together(self, calls: list[_Call]) -> None:
        calls = _select_awaited(calls)
        if not calls:
            return
        begun = calls
        refused = self._file.find_problem()
        if refused is not None:
            _deliver(begun, [(None, refused)] * len(begun))
            return

        def run(connection: Connection) -> list[Outcome]:
            nonlocal begun
            # Again: it may have taken as long as anybody waits until the transaction began.
            begun = _select_awaited(calls)
            return _run(connection, begun)

        try:
            outcomes = write_until_through(self._engine, run)
        except LedgerUnavailable as lost:
            outcomes = [(None, lost)] * len(begun)
        except Exception as error:
            # The database refused one of the calls (a number that it cannot hold): find that call.
            if len(begun) > 1:
                middle = len(begun) // 2
                self._write_together(begun[:middle])
                self._write_together(begun[middle:])
                return
            outcomes = [(None, error)] * len(begun)
        _deliver(begun, outcomes)


class _DatabaseFile:
    """The SQLite file that was opened; tells whether it is still at its path.

    A file that was deleted or replaced lives on, unseen, in the connections that have it open:
    whatever they write is lost.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        path = None if is_postgres(engine) else engine.url.database
        is_file = path and path != ":memory:" and not path.startswith("file:")
        self._path = os.path.abspath(path) if path and is_file else None
        self._seen = self._look()

    def find_problem(self) -> LedgerUnavailable | None:
        """Return why nothing can be written. Lets go of a file that another has replaced."""
        found = self._look()
        if found == self._seen:
            return None
        self._engine.dispose()
        if found is None:
            return LedgerUnavailable("the database file is gone")
        self._seen = found
        return None

    def _look(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_dev, found.st_ino


def _select_awaited(calls: Sequence[_Call]) -> list[_Call]:
    """Return the calls that somebody still waits for."""
    return [call for call in calls if not call[1].done()]


def _deliver(calls: Sequence[_Call], outcomes: Sequence[Outcome]) -> None:
    delivered: dict[Inbox, list[tuple[Any, Any, Exception | None]]] = {}
    for (_, ticket, inbox), (result, failure) in zip(calls, outcomes, strict=True):
        delivered.setdefault(inbox, []).append((ticket, result, failure))
    for inbox, letters in delivered.items():
        inbox.deliver(letters)


def _split(calls: Sequence[_Call]) -> list[list[_Call]]:
    """Return the calls in their order, neighbours that can run as one set together."""
    parts: list[list[_Call]] = []
    runner_before: GroupRunner | None = None
    for call in calls:
        runner = _get_runner(call[0])
        if runner is not None and runner is runner_before:
            parts[-1].append(call)
        else:
            parts.append([call])
        runner_before = runner
    return parts


def _get_runner(call: GroupCall | Callable[[Connection], Any]) -> GroupRunner | None:
    return getattr(call, "run_group", None)


def _run(connection: Connection, calls: Sequence[_Call]) -> list[Outcome]:
    if len(calls) == 1 and _get_runner(calls[0][0]) is None:
        # Its transaction is its own: what it raises takes that back, without a savepoint.
        return [(calls[0][0](connection), None)]
    outcomes: list[Outcome] = []
    for part in _split(calls):
        runner = _get_runner(part[0][0])
        if runner is None:
            outcomes.append(_run_one(connection, part[0][0]))
        else:
            outcomes += runner(connection, [call for call, _, _ in part])
    return outcomes


def _run_one(connection: Connection, call: Callable[[Connection], Any]) -> Outcome:
    # Only on SQLite, see ``_write``. SQLAlchemy's savepoint costs as much as the call it guards.
    driver: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
    driver.execute("SAVEPOINT one_call")
    try:
        result = call(connection)
    except (DBAPIError, sqlite3.Error):
        raise  # the transaction is spoilt: the others are run again without this call
    except Exception as error:
        driver.execute("ROLLBACK TO one_call")
        driver.execute("RELEASE one_call")
        return None, error
    driver.execute("RELEASE one_call")
    return result, None
