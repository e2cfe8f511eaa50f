"""Whose clock decides, and how a process learns that its host's is wrong.

::

    PostgreSQL   the server's, whatever the host says and however it is set
    SQLite       the host's; the indexer's new stamps tell that it is another one
    commands     the server's, too
    not asked    PostgreSQL: nothing may be swept before the server has answered once
"""

import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from ledger.database.clock import FAR_OFF_S, LedgerClock
from ledger.database.engine import read, write
from ledger.errors import LedgerUnavailable
from ledger.tables import MarketCredit, table_of
from market.operator import OPERATOR_ACCOUNT, credit, issue_operator_key
from tests.support.clocks import HostClock
from tests.support.ledgers import Databases, make_ledger, put_cursor

BUSY_S = 100.0
"""More than a busy machine may take between two looks at a clock, less than any clock is off."""


def stamp(engine: Engine, *, number: int, now_s: float) -> None:
    with write(engine) as connection:
        put_cursor(connection, number=number, now_s=int(now_s))


@pytest.mark.parametrize("ahead_s", [400, -400])
def test_now__host_is_off__the_servers_clock_decides(postgres: Databases, ahead_s: int) -> None:
    clock = LedgerClock(postgres.open_ledger(), host_clock=HostClock(ahead_s))
    clock.measure()

    assert abs(clock.now() - time.time()) < BUSY_S
    assert clock.ahead_s == pytest.approx(ahead_s, abs=BUSY_S)
    assert clock.is_far_off
    assert not clock.may_sweep


def test_now__host_is_set_while_the_process_runs__goes_on_and_is_told_at_the_next_look(
    postgres: Databases,
) -> None:
    host = HostClock()
    clock = LedgerClock(postgres.open_ledger(), host_clock=host)
    clock.measure()
    assert clock.may_sweep
    host.ahead_s = 3_600

    assert abs(clock.now() - time.time()) < BUSY_S
    clock.measure()
    assert clock.ahead_s > FAR_OFF_S
    host.ahead_s = 0
    clock.measure()
    assert not clock.is_far_off


def test_may_sweep__server_never_asked__no(postgres: Databases) -> None:
    clock = LedgerClock(postgres.open_ledger())

    assert [clock.may_sweep] == [False]
    with pytest.raises(LedgerUnavailable):
        clock.check_known()
    assert abs(clock.measured_now() - time.time()) < BUSY_S
    assert [clock.may_sweep] == [True]
    clock.check_known()


def test_measure__server_is_gone__what_is_known_stands(postgres: Databases) -> None:
    engine = postgres.open_ledger()
    steady_s = [0.0]
    clock = LedgerClock(engine, steady_clock=lambda: steady_s[0])
    first_s = clock.measured_now()
    gone = LedgerClock(postgres.open(engine.url.set(database="nobody").render_as_string(False)))
    clock._engine = gone._engine
    steady_s[0] += 60

    assert clock.measured_now() == first_s + 60


@pytest.mark.parametrize("ahead_s", [400, -400])
def test_sqlite__other_time_than_the_indexers_new_stamp__far_off(
    tmp_path: Path, ahead_s: int
) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    clock = LedgerClock(engine, host_clock=HostClock(ahead_s))
    stamp(engine, number=10, now_s=time.time() - 50)
    clock.measure()
    assert not clock.is_far_off, "an old stamp says nothing: the indexer may have stopped"
    stamp(engine, number=11, now_s=time.time())
    clock.measure()

    assert clock.ahead_s == pytest.approx(ahead_s, abs=BUSY_S)
    assert not clock.may_sweep
    assert clock.now() == pytest.approx(time.time() + ahead_s, abs=BUSY_S)


def test_sqlite__the_indexers_clock__is_not_far_off(tmp_path: Path) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    clock = LedgerClock(engine)
    for number in (10, 11, 12):
        clock.measure()
        stamp(engine, number=number, now_s=time.time())
    clock.measure()

    assert not clock.is_far_off


def test_command__its_host_is_an_hour_ahead__writes_the_servers_time(
    postgres: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, ahead_s = postgres.open_ledger(), time.time() + 3_600
    monkeypatch.setattr(time, "time", lambda: ahead_s)

    issue_operator_key(engine)
    credit(engine, OPERATOR_ACCOUNT, 1_000_000, "of a test")

    with read(engine) as connection:
        (at_s,) = connection.execute(select(table_of(MarketCredit).c.credited_at_s)).scalars()
    assert at_s < ahead_s - 1_800
