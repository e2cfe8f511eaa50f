"""One leader at a time, on both databases, and who leads after the leader is gone."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from ledger.database.engine import PostgresLimits, open_engine, write
from ledger.database.leadership import Leadership
from ledger.errors import LedgerUnavailable
from tests.support.ledgers import Databases
from tests.support.postgres import Postgres, needs_postgres
from tests.support.waiting import wait_until

LEADER = """
import sys
import time
from ledger.database.engine import open_engine
from ledger.database.leadership import Leadership

leadership = Leadership(open_engine(sys.argv[1]), "keeper")
print(leadership.acquire(), flush=True)
time.sleep(600)
"""
DISCONNECT = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
def engine(databases: Databases) -> Engine:
    return databases.open_ledger()


@contextmanager
def start_leader(engine: Engine) -> Iterator[subprocess.Popen[str]]:
    """Run another process that leads."""
    url = engine.url.render_as_string(hide_password=False)
    with subprocess.Popen(
        [sys.executable, "-c", LEADER, url], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "True\n"
            yield process
        finally:
            process.kill()


def wait_to_lead(leadership: Leadership) -> None:
    wait_until(leadership.acquire, "somebody makes room")


def test_acquire__free__leads_until_released(engine: Engine) -> None:
    first, second = Leadership(engine, "keeper"), Leadership(engine, "keeper")
    with first, second:
        assert first.acquire()
        assert first.acquire()
        assert first.is_leader()
        assert not second.acquire()
        assert not second.is_leader()
        first.release()
        assert not first.is_leader()
        assert second.acquire()


def test_acquire__another_role__does_not_meet(engine: Engine) -> None:
    with Leadership(engine, "keeper") as keeper, Leadership(engine, "indexer") as indexer:
        assert keeper.acquire()
        assert indexer.acquire()


def test_acquire__another_ledger__does_not_meet(databases: Databases) -> None:
    first, second = databases.open_ledger(), databases.open_ledger()
    with Leadership(first, "keeper") as here, Leadership(second, "keeper") as there:
        assert here.acquire()
        assert there.acquire()


def test_acquire__sqlite_named_in_several_ways__is_one_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "ledger.db").touch()
    (tmp_path / "linked.db").symlink_to(tmp_path / "real" / "ledger.db")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path / "real")
    names = (tmp_path / "real" / "ledger.db", tmp_path / "linked.db", "ledger.db")
    with Leadership(open_engine(f"sqlite:///{tmp_path}/folder/ledger.db"), "keeper") as first:
        assert first.acquire()
        for name in names:
            with Leadership(open_engine(f"sqlite:///{name}"), "keeper") as other:
                assert not other.acquire()


def test_is_leader__sqlite_lock_file_was_deleted__no_longer_and_one_leads_again(
    tmp_path: Path,
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/ledger.db")
    with Leadership(engine, "keeper") as first, Leadership(engine, "keeper") as second:
        assert first.acquire()
        (tmp_path / "ledger.db.keeper.lock").unlink()
        assert second.acquire()
        assert not first.is_leader()
        assert not first.acquire()
        assert second.is_leader()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_acquire__the_leader_is_killed__the_standby_takes_over(
    engine: Engine, how: signal.Signals
) -> None:
    with start_leader(engine) as process, Leadership(engine, "keeper") as standby:
        assert not standby.acquire()
        os.kill(process.pid, how)
        wait_to_lead(standby)
        assert standby.is_leader()


def test_acquire__the_leader_is_frozen__it_still_leads(engine: Engine) -> None:
    with start_leader(engine) as process, Leadership(engine, "keeper") as standby:
        os.kill(process.pid, signal.SIGSTOP)
        assert not standby.acquire()
        os.kill(process.pid, signal.SIGKILL)
        wait_to_lead(standby)


def test_is_leader__the_connection_is_cut__no_longer_and_can_be_won_again(
    postgres: Databases,
) -> None:
    engine = postgres.open_ledger()
    with Leadership(engine, "keeper") as leadership:
        assert leadership.acquire()
        with write(engine) as connection:
            connection.execute(DISCONNECT)
        assert not leadership.is_leader()
        assert leadership.acquire()


def test_acquire__leading__takes_no_connection_from_the_pool(postgres: Databases) -> None:
    engine = postgres.open_ledger(limits=PostgresLimits(connections_max=1, checkout_timeout_s=0.1))
    with Leadership(engine, "keeper") as leadership:
        assert leadership.acquire()
        with write(engine) as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1


@needs_postgres
def test_leadership__the_server_restarts__nobody_leads_until_it_is_asked_again() -> None:
    with Postgres() as server:
        engine = open_engine(server.create_database())
        with Leadership(engine, "keeper") as leadership:
            assert leadership.acquire()
            server.stop()
            assert not leadership.is_leader()
            with pytest.raises(LedgerUnavailable):
                leadership.acquire()
            server.start()
            assert leadership.acquire()
        engine.dispose()
