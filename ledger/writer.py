"""One thread that writes for many: concurrent calls share a transaction and its ``fsync``.

Durability is paid once a group. Each call runs in a savepoint of the group's transaction, so one
that raises takes back only its own writes. A call's result is handed over after the commit.
"""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from ledger.engine import write
from ledger.errors import LedgerUnavailable

T = TypeVar("T")

_Call = tuple[Callable[[Connection], Any], "Future[Any]"]


class GroupWriter:
    """Runs ledger functions in grouped transactions on its own thread.

    ``submit`` never blocks. A call whose group could not be committed gets ``LedgerUnavailable``
    and left nothing behind.
    """

    def __init__(self, engine: Engine, *, group_size_max: int = 256) -> None:
        self._engine = engine
        self._group_size_max = group_size_max
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[Connection], T]) -> "Future[T]":
        """Queue ``call``; the future holds its result once it is durable."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise LedgerUnavailable("the ledger's writer is closed")
            self._calls.put((call, future))
        return future

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
        # From here on a waiter can no longer cancel: its call will have been run.
        group = [pair for pair in calls if pair[1].set_running_or_notify_cancel()]
        outcomes: list[tuple[Future[Any], Any, Exception | None]] = []
        try:
            with write(self._engine) as connection:
                for call, future in group:
                    outcomes.append(_run_one(connection, call, future))
        except Exception as error:
            lost = error if isinstance(error, LedgerUnavailable) else LedgerUnavailable(str(error))
            for _, future in group:
                future.set_exception(lost)
            return
        for future, result, failure in outcomes:
            if failure is None:
                future.set_result(result)
            else:
                future.set_exception(failure)


def _run_one(
    connection: Connection, call: Callable[[Connection], T], future: "Future[T]"
) -> tuple["Future[T]", T | None, Exception | None]:
    savepoint = connection.begin_nested()
    try:
        result = call(connection)
    except OperationalError:
        raise  # the database itself failed: the whole group is lost
    except Exception as error:
        savepoint.rollback()
        return future, None, error
    savepoint.commit()
    return future, result, None
