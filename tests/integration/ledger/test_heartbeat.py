"""Whose leases are freed: a dead process's, within seconds, and nobody else's.

::

    killed: lock gone, count still              freed
    slow or stopped: count still, lock held     not freed
    lock's session cut, count moves             not freed, and the lock is taken again
    lock's session cut, no lock to be had       not freed while the count moves
    all cut, back after some seconds            not freed, and what is silent later is
    lock file of SQLite: deleted, or missing    made again by who lives, not by who buries
    the watcher itself was away                 counts the seconds anew
    the watcher's clock is far off              frees nothing
    stopped in order                            frees its own
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text

from ledger.audit import find_violations
from ledger.database.clock import LedgerClock
from ledger.database.engine import open_engine, read, write
from ledger.database.heartbeat import BEAT_S, DEAD_S, FREE_S, SILENT_S, Heartbeat, _lock_of
from ledger.database.leadership import Leadership, find_lock_path
from ledger.database.schema import migrate
from ledger.dead_holders import free_leases_of
from ledger.errors import LedgerUnavailable
from ledger.spending.admission import AdmissionRules
from ledger.spending.metering import Post, Reserve
from ledger.tables import LeaseHolder, Usage, table_of
from ledger.tables.usage import Charge, Reservation
from tests.support.clocks import HostClock
from tests.support.ledgers import Databases, make_state, put_cursor, put_positions
from tests.support.proxy import now_s

RULES = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=300)
CUT = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_holder = table_of(LeaseHolder)
_usage = table_of(Usage)


@dataclass
class House:
    """Processes on one ledger, whose time a test moves."""

    engine: Engine
    steady_s: float = 0.0
    living: list[Heartbeat] = field(default_factory=list)

    def begin(self, *, host_ahead_s: float = 0.0) -> Heartbeat:
        """Start a process that beats and looks when it is told to."""
        clock = LedgerClock(self.engine, host_clock=HostClock(host_ahead_s))
        clock.measure()
        beating = Heartbeat(
            self.engine,
            role="proxy",
            clock=clock,
            free=lambda holder_id, at_s: free_leases_of(self.engine, holder_id, at_s),
            steady_clock=lambda: self.steady_s,
        )
        beating.beat()
        self.living.append(beating)
        return beating

    def kill(self, process: Heartbeat) -> None:
        """End a process as ``kill -9`` does: its lock is gone, and nothing else is said."""
        self.living.remove(process)
        process._lock.release()

    def reserve(self, process: Heartbeat, request_id: str) -> None:
        """Reserve 1,000 of the position's hold."""
        reservation = Reservation(request_id, 0, 0, "00" * 8, "model", 1_000, 1, 1)
        with write(self.engine) as connection:
            Reserve(reservation, RULES, now_s(), holder_id=process.holder_id)(connection)

    def pass_by(self, watcher: Heartbeat, seconds: float, *, beating: list[Heartbeat]) -> int:
        """Let time pass second by second; return how many leases the watcher has freed."""
        freed = 0
        for _ in range(int(seconds / BEAT_S)):
            self.steady_s += BEAT_S
            for process in beating:
                process.beat()
            freed += watcher.look()
        return freed

    def states(self) -> dict[str, tuple[str, str | None]]:
        """Return what has become of each request, after checking the invariants."""
        with read(self.engine) as connection:
            assert find_violations(connection) == []
            rows = connection.execute(
                select(_usage.c.request_id, _usage.c.state, _usage.c.void_reason)
            )
            return {row[0]: (row[1], row[2]) for row in rows}

    def holders(self) -> set[str]:
        """Return who has a row."""
        with read(self.engine) as connection:
            return set(connection.execute(select(_holder.c.holder_id)).scalars())


@pytest.fixture
def house(databases: Databases) -> Iterator[House]:
    house = House(databases.open_ledger())
    with write(house.engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    yield house
    for process in house.living:
        process._lock.release()


@pytest.fixture
def sqlite_house(tmp_path: Path) -> Iterator[House]:
    engine = open_engine(f"sqlite:///{tmp_path / 'ledger.db'}")
    migrate(engine)
    house = House(engine)
    with write(house.engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    yield house
    for process in house.living:
        process._lock.release()
    engine.dispose()


@pytest.fixture
def pg_house(postgres: Databases) -> Iterator[House]:
    house = House(postgres.open_ledger())
    with write(house.engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    yield house
    for process in house.living:
        process._lock.release()


def test_look__process_was_killed__its_leases_are_freed_and_no_others(house: House) -> None:
    watcher, dead, other = house.begin(), house.begin(), house.begin()
    house.reserve(dead, "left")
    house.reserve(dead, "left-too")
    house.reserve(other, "served")
    house.reserve(watcher, "own")
    house.kill(dead)

    assert house.pass_by(watcher, DEAD_S + 2, beating=[other, watcher]) == 2
    assert house.states() == {
        "left": ("voided", "process_died"),
        "left-too": ("voided", "process_died"),
        "served": ("reserved", None),
        "own": ("reserved", None),
    }
    assert house.holders() == {watcher.holder_id, other.holder_id}


def test_look__process_is_slow__keeps_its_leases_and_posts(house: House) -> None:
    watcher, slow = house.begin(), house.begin()
    house.reserve(slow, "slow")

    # Not a beat: stopped, or starved of its own database.
    assert house.pass_by(watcher, 2 * DEAD_S, beating=[watcher]) == 0
    with write(house.engine) as connection:
        Post("slow", Charge(10, 1, 1), now_s())(connection)
    assert house.states() == {"slow": ("posted", None)}


def test_look__lock_was_cut_and_the_process_beats__keeps_its_leases(pg_house: House) -> None:
    watcher, other = pg_house.begin(), pg_house.begin()
    pg_house.reserve(other, "served")
    with write(pg_house.engine) as connection:
        connection.execute(CUT)

    assert pg_house.pass_by(watcher, 2 * DEAD_S, beating=[watcher, other]) == 0
    assert pg_house.states() == {"served": ("reserved", None)}
    assert other._lock.is_leader()


def test_look__lock_was_cut_and_is_not_to_be_had__keeps_its_leases(
    pg_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher, other = pg_house.begin(), pg_house.begin()
    pg_house.reserve(other, "served")
    other._lock.release()

    def refuse() -> bool:
        raise LedgerUnavailable("no session is to be had")

    monkeypatch.setattr(other._lock, "acquire", refuse)
    freed = 0
    for _ in range(int(2 * DEAD_S / BEAT_S)):
        with pytest.raises(LedgerUnavailable):
            other.beat()
        freed += pg_house.pass_by(watcher, BEAT_S, beating=[watcher])

    assert freed == 0
    assert pg_house.states() == {"served": ("reserved", None)}


def test_look__silent_until_a_failover_is_over__is_dead_only_when_silent_again(
    pg_house: House,
) -> None:
    watcher, other = pg_house.begin(), pg_house.begin()
    pg_house.reserve(other, "served")
    other._lock.release()

    assert pg_house.pass_by(watcher, SILENT_S + FREE_S - 2, beating=[watcher]) == 0
    other.beat()
    pg_house.kill(other)
    assert pg_house.pass_by(watcher, SILENT_S + FREE_S - 2, beating=[watcher]) == 0
    assert pg_house.pass_by(watcher, 4, beating=[watcher]) == 1


def test_look__machine_was_frozen_and_its_session_dropped__posts_what_it_served(
    pg_house: House,
) -> None:
    """A virtual machine that is moved or saved: half a minute and more, and then it goes on."""
    watcher, frozen = pg_house.begin(), pg_house.begin()
    pg_house.reserve(frozen, "served")
    frozen._lock.release()

    assert pg_house.pass_by(watcher, 50, beating=[watcher]) == 0
    frozen.beat()
    with write(pg_house.engine) as connection:
        Post("served", Charge(10, 1, 1), now_s())(connection)
    assert pg_house.pass_by(watcher, 2, beating=[watcher, frozen]) == 0
    assert pg_house.states() == {"served": ("posted", None)}


def test_look__lock_was_held_at_one_try__the_count_of_tries_begins_again(pg_house: House) -> None:
    watcher, other = pg_house.begin(), pg_house.begin()
    pg_house.reserve(other, "served")
    other._lock.release()
    assert pg_house.pass_by(watcher, DEAD_S - 4, beating=[watcher]) == 0

    assert other._lock.acquire()
    assert pg_house.pass_by(watcher, DEAD_S, beating=[watcher]) == 0
    assert pg_house.states() == {"served": ("reserved", None)}


def test_look__sqlite_lock_file_is_missing__is_buried_and_no_file_is_made(
    sqlite_house: House,
) -> None:
    watcher, dead = sqlite_house.begin(), sqlite_house.begin()
    sqlite_house.reserve(dead, "left")
    sqlite_house.kill(dead)
    path = find_lock_path(str(sqlite_house.engine.url.database), _lock_of(dead.holder_id))
    assert path is not None
    path.unlink()

    watcher.look()
    sqlite_house.steady_s += BEAT_S
    with Leadership(sqlite_house.engine, _lock_of(dead.holder_id)) as lock:
        assert lock.acquire(creates=False)
        assert not path.exists()
    assert watcher.look() == 1
    assert not path.exists()


def test_beat__sqlite_lock_file_was_deleted__is_held_again(sqlite_house: House) -> None:
    watcher, other = sqlite_house.begin(), sqlite_house.begin()
    sqlite_house.reserve(other, "served")
    path = find_lock_path(str(sqlite_house.engine.url.database), _lock_of(other.holder_id))
    assert path is not None
    path.unlink()

    assert sqlite_house.pass_by(watcher, 4, beating=[other, watcher]) == 0
    assert path.exists()
    assert sqlite_house.states() == {"served": ("reserved", None)}


def test_look__the_watcher_was_away__counts_the_silence_anew(pg_house: House) -> None:
    watcher, other = pg_house.begin(), pg_house.begin()
    pg_house.reserve(other, "served")
    watcher.look()
    pg_house.kill(other)
    pg_house.steady_s += 2 * DEAD_S

    assert watcher.look() == 0, "what was before is not known"
    assert pg_house.pass_by(watcher, DEAD_S - 2, beating=[watcher]) == 0
    assert pg_house.pass_by(watcher, 4, beating=[watcher]) == 1


def test_look__the_watchers_clock_is_far_off__frees_nothing(pg_house: House) -> None:
    watcher, dead = pg_house.begin(host_ahead_s=400), pg_house.begin()
    pg_house.reserve(dead, "left")
    pg_house.kill(dead)

    assert pg_house.pass_by(watcher, 2 * DEAD_S, beating=[watcher]) == 0


def test_close__leases_left__frees_its_own(house: House) -> None:
    other, stopping = house.begin(), house.begin()
    house.reserve(stopping, "left")
    house.reserve(other, "served")
    stopping.start()
    stopping.close()

    assert house.states() == {"left": ("voided", "process_died"), "served": ("reserved", None)}
    assert house.holders() == {other.holder_id}
