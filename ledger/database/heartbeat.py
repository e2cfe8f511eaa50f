"""Processes that hold leases show that they live; what a dead one held is freed in seconds.

A reservation or a claim names the process that made it, its **holder**. A holder shows that it
lives in two ways: by a lock that ends with it, however it ends (``ledger.database.leadership``),
and on PostgreSQL by a count that it moves every second. It is dead where its lock can be had *and*
its count has stood still for ``SILENT_S``:

- a process that is killed loses its lock at once: its leases are free after ``SILENT_S``;
- one that is slow, stopped or cut off from its own event loop keeps its lock: nothing is freed,
  and its leases end by their time;
- one whose lock's session was cut moves its count, and takes its lock again with the next beat.

How long a count has stood still is measured by the watcher's steady clock between looks of its own
that followed each other closely: a wrong clock, a watcher that was stopped or a database that was
away frees nothing. On SQLite all processes share a host, and its kernel's lock alone says it all.
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Engine, delete, select, update

from contracts.errors import Retryable
from ledger.database.clock import LedgerClock
from ledger.database.engine import is_postgres, read, write
from ledger.database.leadership import Leadership
from ledger.database.statements import insert_or_ignore
from ledger.tables import LeaseHolder, table_of

log = structlog.get_logger("ledger")

BEAT_S: Final = 1.0
"""Pause between two beats, and between two looks at the others', in seconds."""
SILENT_S: Final = 5.0
"""How long a count must stand still before its process may be dead, in seconds."""
GAP_MAX_S: Final = 3.0
"""Looks that are further apart do not follow each other: what was seen before is forgotten."""

_holder = table_of(LeaseHolder)

Free = Callable[[str, int], int]
"""Frees what a holder leased, given its id and the time (Unix seconds); returns how many leases."""


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
        self._lock = Leadership(engine, _lock_of(self.holder_id))
        self._is_known = False
        self._seen: dict[str, tuple[int, float]] = {}
        """By holder, its count, and since when it is so by the steady clock."""
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
        self._thread.join()
        try:
            if self._is_known:
                self._bury(self.holder_id)
        except Retryable as error:
            log.warning("leases_not_freed", error=str(error))
        self._lock.release()
        self._forget_file(self.holder_id)

    def beat(self) -> None:
        """Hold the lock and move the count. Raises ``LedgerUnavailable``."""
        if not self._lock.acquire():
            return  # a watcher tries it just now
        if self._is_known and not is_postgres(self._engine):
            return
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
        self._is_known = True

    def look(self) -> int:
        """Free what dead processes hold; return how many leases. Raises ``LedgerUnavailable``."""
        now_s = self._steady_clock()
        if now_s - self._looked_at_s > GAP_MAX_S:
            self._seen.clear()
        with read(self._engine) as connection:
            rows = connection.execute(select(_holder.c.holder_id, _holder.c.beats)).all()
        self._looked_at_s = now_s
        counts = {str(row[0]): int(row[1]) for row in rows if row[0] != self.holder_id}
        silent = self._note(counts, now_s=now_s)
        if not self._clock.may_sweep:
            return 0
        return sum(self._bury_if_dead(holder_id) for holder_id in silent)

    def _note(self, counts: Mapping[str, int], *, now_s: float) -> list[str]:
        """Return whose count has stood still for long enough."""
        self._seen = {
            holder_id: before
            if (before := self._seen.get(holder_id)) is not None and before[0] == beats
            else (beats, now_s)
            for holder_id, beats in counts.items()
        }
        return [
            holder_id
            for holder_id, (_, since_s) in self._seen.items()
            if since_s < now_s and now_s - since_s >= self._silent_s
        ]

    def _bury_if_dead(self, holder_id: str) -> int:
        with Leadership(self._engine, _lock_of(holder_id)) as lock:
            if not lock.acquire():
                # It lives, and is slow: to ask again at once would say the same.
                del self._seen[holder_id]
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
        if not is_postgres(self._engine) and database and database != ":memory:":
            with contextlib.suppress(OSError):
                Path(f"{database}.{_lock_of(holder_id)}.lock").unlink()

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
