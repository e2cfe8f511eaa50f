"""Processes that hold leases show that they live; what a dead one held is freed in seconds.

A reservation or a claim names the process that made it, its **holder**. A holder shows that it
lives in two ways: by a lock that ends with it, however it ends (``ledger.database.leadership``),
and on PostgreSQL by a count that it moves every second. Once its count has stood still for
``SILENT_S``, its lock is tried; it is dead where the lock could be had at each of several looks
over ``FREE_S`` *and* its count has not moved meanwhile:

- a process that is killed loses its lock at once: its leases are free after ``DEAD_S``;
- one whose machine was frozen loses its session after ``PostgresLimits.silence_s``, and may wake
  up and post what it has served: it has until ``DEAD_S`` to move its count again;
- one that is slow, stopped or cut off from its own event loop keeps its lock: nothing is freed,
  and its leases end by their time;
- one whose lock's session was cut moves its count, and takes its lock again with the next beat;
- a failover cuts all sessions at once: whoever lives notices within ``PostgresLimits.silence_s``,
  which is no longer than ``FREE_S``, and moves its count.

How long a count has stood still is measured by the watcher's steady clock between looks of its own
that followed each other closely: a wrong clock, a watcher that was stopped or a database that was
away frees nothing. On SQLite all processes share a host, and its kernel's lock alone says it all.
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Engine, delete, select, update

from contracts.errors import Retryable
from ledger.database.clock import LedgerClock
from ledger.database.engine import is_postgres, read, write
from ledger.database.leadership import Leadership, find_lock_path
from ledger.database.statements import insert_or_ignore
from ledger.tables import LeaseHolder, table_of

log = structlog.get_logger("ledger")

BEAT_S: Final = 1.0
"""Pause between two beats, and between two looks at the others', in seconds."""
SILENT_S: Final = 5.0
"""How long a count must stand still before its process's lock is tried, in seconds."""
FREE_S: Final = 55.0
"""For how long the lock must be free at each look before its process is dead, in seconds.

Longer than machines are frozen when they are moved or saved: whoever is buried too early has
served what nobody pays. What is truly dead holds its leases no longer than a minute.
"""
TRY_S: Final = 5.0
"""Pause between two tries of the same lock, in seconds: each takes a session, and the lock."""
DEAD_S: Final = SILENT_S + FREE_S
"""After this many seconds what a dead process held is free."""
GAP_MAX_S: Final = 3.0
"""Looks that are further apart do not follow each other: what was seen before is forgotten."""

_holder = table_of(LeaseHolder)

Free = Callable[[str, int], int]
"""Frees what a holder leased, given its id and the time (Unix seconds); returns how many leases."""


@dataclass(slots=True)
class _Sight:
    """What is known of another process; times by the steady clock."""

    beats: int
    since_s: float
    """Since when its count is so."""
    free_since_s: float | None = None
    """Since when its lock was free whenever it was tried; None: not tried yet."""
    tried_at_s: float = float("-inf")


class Heartbeat:
    """One process's sign of life, and its look at the others'. Has a thread of its own."""

    def __init__(
        self,
        engine: Engine,
        *,
        role: str,
        clock: LedgerClock,
        free: Free,
        steady_clock: Callable[[], float] = time.monotonic,
        beat_s: float = BEAT_S,
    ) -> None:
        """``free`` is called with one holder at a time, on this thread."""
        self.holder_id = secrets.token_hex(8)
        self._engine = engine
        self._role = role
        self._clock = clock
        self._free = free
        self._steady_clock = steady_clock
        self._beat_s = beat_s
        self._silent_s = SILENT_S if is_postgres(engine) else 0.0
        self._free_s = FREE_S if is_postgres(engine) else 0.0
        self._lock = Leadership(engine, _lock_of(self.holder_id))
        self._is_known = False
        self._seen: dict[str, _Sight] = {}
        """By holder."""
        self._looked_at_s = float("-inf")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Show that this process lives, then go on in the background. Blocks for a moment."""
        self._step()
        self._thread.start()

    def close(self) -> None:
        """End: free what this process still holds, and its row. Blocks for a moment."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        try:
            if self._is_known:
                self._bury(self.holder_id)
        except Retryable as error:
            log.warning("leases_not_freed", error=str(error))
        self._lock.release()
        self._forget_file(self.holder_id)

    def beat(self) -> None:
        """Move the count, and hold the lock. Raises ``LedgerUnavailable``.

        The count moves first: a lock that cannot be had again must not make a living process look
        dead. Only the first row waits for the lock: until then there is nothing to free.
        """
        if not self._is_known:
            if self._lock.acquire():
                self._move_count()
                self._is_known = True
            return
        if is_postgres(self._engine):
            self._move_count()
        self._lock.acquire()  # not had: a watcher tries it just now

    def _move_count(self) -> None:
        now_s = self._clock.now_s()
        with write(self._engine) as connection:
            moved = connection.execute(
                update(_holder)
                .where(_holder.c.holder_id == self.holder_id)
                .values(beats=_holder.c.beats + 1, beat_at_s=now_s)
            ).rowcount
            if not moved:
                row = {"holder_id": self.holder_id, "role": self._role, "beats": 0}
                times = {"started_at_s": now_s, "beat_at_s": now_s}
                insert_or_ignore(connection, _holder, {**row, **times})

    def look(self) -> int:
        """Free what dead processes hold; return how many leases. Raises ``LedgerUnavailable``."""
        now_s = self._steady_clock()
        if now_s - self._looked_at_s > GAP_MAX_S:
            self._seen.clear()
        try:
            with read(self._engine) as connection:
                rows = connection.execute(select(_holder.c.holder_id, _holder.c.beats)).all()
            self._looked_at_s = now_s
            counts = {str(row[0]): int(row[1]) for row in rows if row[0] != self.holder_id}
            silent = self._note(counts, now_s=now_s)
            if not self._clock.may_sweep:
                return 0
            return sum(self._bury_if_dead(holder_id, now_s=now_s) for holder_id in silent)
        except Retryable:
            # Whatever keeps us from asking may keep the others from showing that they live.
            self._seen.clear()
            raise

    def _note(self, counts: Mapping[str, int], *, now_s: float) -> list[str]:
        """Return whose count has stood still for long enough that its lock is to be tried now."""
        self._seen = {
            holder_id: before
            if (before := self._seen.get(holder_id)) is not None and before.beats == beats
            else _Sight(beats, now_s)
            for holder_id, beats in counts.items()
        }
        return [
            holder_id
            for holder_id, sight in self._seen.items()
            if sight.since_s < now_s
            and now_s - sight.since_s >= self._silent_s
            and now_s - sight.tried_at_s >= TRY_S
        ]

    def _bury_if_dead(self, holder_id: str, *, now_s: float) -> int:
        """Try a silent process's lock; free its leases where that was free for long enough."""
        with Leadership(self._engine, _lock_of(holder_id)) as lock:
            if not lock.acquire(creates=False):
                # It lives, and is slow: to ask again at once would say the same.
                del self._seen[holder_id]
                return 0
            sight = self._seen[holder_id]
            sight.tried_at_s = now_s
            if sight.free_since_s is None:
                sight.free_since_s = now_s
            if now_s - sight.free_since_s < self._free_s:
                return 0
            freed = self._bury(holder_id)
            log.warning("process_died", holder_id=holder_id, leases_freed=freed)
        self._forget_file(holder_id)
        return freed

    def _bury(self, holder_id: str) -> int:
        freed = self._free(holder_id, self._clock.now_s())
        with write(self._engine) as connection:
            connection.execute(delete(_holder).where(_holder.c.holder_id == holder_id))
        self._seen.pop(holder_id, None)
        return freed

    def _forget_file(self, holder_id: str) -> None:
        """Delete the lock's file on SQLite. Only of a process that is dead, or of our own."""
        database = self._engine.url.database
        if is_postgres(self._engine) or not database:
            return
        path = find_lock_path(database, _lock_of(holder_id))
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()

    def _run(self) -> None:
        while not self._stopping.wait(self._beat_s):
            self._step()

    def _step(self) -> None:
        try:
            self.beat()
            self.look()
        except Retryable as error:
            log.warning("heartbeat_failed", error=str(error))
        except Exception:
            log.exception("heartbeat_failed")


def _lock_of(holder_id: str) -> str:
    return f"holder-{holder_id}"
