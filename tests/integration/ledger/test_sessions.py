"""PostgreSQL's sessions: what each is told, behind which poolers, and when the server falls silent.

::

    pooler in session mode     → processes start, their time-outs hold
    pooler in transaction mode → refused at start, each time
    no pooler                  → accepted, however many start at once
    URL names a setting        → it wins
    server frozen              → reads and probes end, others are not kept waiting
    TCP                        → a peer that does not acknowledge is given up
"""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, QueuePool, make_url, text
from sqlalchemy.exc import DBAPIError

from ledger.database.engine import PostgresLimits, open_engine, open_session, read
from ledger.database.leadership import Leadership
from ledger.database.on_loop import READERS_MAX, LoopLedger
from ledger.database.pooling import check_sessions
from ledger.database.schema import migrate
from ledger.database.writer import GroupWriter
from ledger.errors import LedgerUnavailable, SessionsShared
from tests.support.ledgers import Databases, prepare_ledger
from tests.support.pooler import Pooler
from tests.support.postgres import Postgres, needs_postgres
from tests.support.waiting import LIMIT_S, until_it, wait_until

LIMITS = PostgresLimits(
    statement_timeout_ms=1_234, lock_timeout_ms=567, idle_in_transaction_timeout_ms=8_900
)


def folder_of(url: str) -> Path:
    return Path(str(make_url(url).query["host"]))


def name_of(url: str) -> str:
    name = make_url(url).database
    assert name is not None
    return name


def show(engine: Engine, *names: str) -> list[str]:
    with read(engine) as connection:
        return [str(connection.execute(text(f"SHOW {name}")).scalar_one()) for name in names]


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    engine = open_engine(url, limits=LIMITS)
    try:
        yield engine
    finally:
        engine.dispose()


def test_session_pooler__a_process_starts__and_its_time_outs_hold(postgres: Databases) -> None:
    url = postgres.create()
    with Pooler(folder_of(url), "session") as pooler, opened(pooler.url(name_of(url))) as engine:
        migrate(engine)
        assert show(
            engine,
            "statement_timeout",
            "lock_timeout",
            "idle_in_transaction_session_timeout",
            "jit",
        ) == ["1234ms", "567ms", "8900ms", "off"]
        with Leadership(engine, "keeper") as leader, opened(url) as direct:
            assert leader.acquire()
            assert not Leadership(direct, "keeper").acquire()


def test_transaction_pooler__a_process_starts__refused_each_time(postgres: Databases) -> None:
    url = postgres.create()
    with Pooler(folder_of(url), "transaction") as pooler:
        for _ in range(3):
            with (
                opened(pooler.url(name_of(url))) as engine,
                pytest.raises(SessionsShared, match="session mode"),
            ):
                migrate(engine)


def test_no_pooler__many_start_at_once__accepted(postgres: Databases) -> None:
    url = postgres.create()
    failures: list[BaseException] = []

    def start() -> None:
        try:
            with opened(url) as engine:
                for _ in range(10):
                    check_sessions(engine)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_url__names_a_setting__it_wins_and_the_others_are_ours(postgres: Databases) -> None:
    url = f"{postgres.create()}&options=-c%20lock_timeout%3D99ms%20--jit%3Don"
    with opened(url) as engine:
        assert show(engine, "lock_timeout", "jit", "statement_timeout") == ["99ms", "on", "1234ms"]


def test_tcp__a_peer_that_does_not_acknowledge__is_given_up_after_three_intervals(
    postgres: Databases,
) -> None:
    url = postgres.create()
    with Pooler(folder_of(url), "session") as pooler, opened(pooler.url(name_of(url))) as engine:
        session = open_session(engine)
        end = socket.socket(fileno=os.dup(session.fileno()))
        try:
            level = socket.IPPROTO_TCP
            assert end.getsockopt(level, socket.TCP_USER_TIMEOUT) == 15_000
            assert end.getsockopt(level, socket.TCP_KEEPIDLE) == 5
            assert end.getsockopt(level, socket.TCP_KEEPINTVL) == 5
            assert end.getsockopt(level, socket.TCP_KEEPCNT) == 2
        finally:
            end.close()
            session.close()


def test_dispose__a_connection_is_out__closed_when_it_is_handed_back(postgres: Databases) -> None:
    engine = postgres.open_ledger()
    with read(engine) as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        engine.dispose()
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    assert driver.closed


def test_connect__the_server_refuses_a_setting__the_connection_is_closed(
    postgres: Databases,
) -> None:
    url = postgres.create()
    refusing = postgres.open(url, limits=PostgresLimits(statement_timeout_ms=-5))
    with pytest.raises(DBAPIError, match="statement_timeout"), read(refusing):
        pass
    others = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )

    def is_alone() -> bool:
        with read(asking) as connection:
            return int(connection.execute(others).scalar_one()) == 0

    asking = postgres.open(url)
    wait_until(is_alone, "the refused connection has ended")


@needs_postgres
async def test_frozen_server__reads_and_probes__end_and_keep_nobody_waiting() -> None:
    with Postgres() as server:
        engine = open_engine(server.create_copy(prepare_ledger))
        writer = GroupWriter(engine)
        ledger = LoopLedger(engine, writer, timeout_s=0.5)

        async def answers() -> bool:
            try:
                await ledger.probe()
            except LedgerUnavailable:
                return False
            return True

        await until_it(answers, "the server answers")
        server.freeze()
        try:
            asked = [ledger.read(lambda c: c.execute(text("SELECT 1")).scalar()) for _ in range(15)]
            told = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), LIMIT_S)
            assert [type(answer) for answer in told] == [LedgerUnavailable] * 15
            assert not await asyncio.wait_for(answers(), LIMIT_S)
            # Looking a seller's address up, say, takes a thread too.
            others = asyncio.to_thread(lambda: READERS_MAX)
            assert await asyncio.wait_for(others, LIMIT_S) == READERS_MAX
        finally:
            server.freeze(signal.SIGCONT)
        await until_it(answers, "the server answers again")
        await asyncio.to_thread(ledger.close)
        pool = engine.pool
        assert isinstance(pool, QueuePool)
        assert pool.checkedout() == 0
        writer.close()
        engine.dispose()
