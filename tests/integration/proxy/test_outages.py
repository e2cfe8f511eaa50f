"""What the proxy does while something below it fails: nothing is let through, and it says so.

::

    disk full │ database locked │ file deleted, empty, put back │ PostgreSQL gone and back
    ├── when it is to be reserved: 503, upstream is not asked
    └── when it is to be posted:   502, the answer is withheld and costs nothing, also later;
                                   200 where the ledger is back in time
    clock an hour ahead or behind: the mirror is as old as nobody knows
    key revoked while it is remembered as verified
"""

import asyncio
import contextlib
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text, update

from ledger.database.engine import open_engine, write
from ledger.errors import LedgerUnavailable
from ledger.spending.books import Books
from ledger.spending.metering import Reserve, Reserved
from ledger.tables import Position, table_of
from tests.support.answers import PIECES
from tests.support.clocks import HostClock, let_time_run_out
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import (
    Databases,
    make_state,
    prepare_ledger,
    put_cursor,
    put_positions,
)
from tests.support.postgres import Postgres, needs_postgres
from tests.support.proxy import (
    RunningProxy,
    make_body,
    make_key,
    make_settings,
    now_s,
    run_proxy,
    write_prices,
)
from tests.support.waiting import LIMIT_S, until

COST_USDC = 12
SETTLEMENT_FAILED = (502, "settlement_failed")
UNAVAILABLE = (503, "ledger_unavailable")


def fill(engine: Engine) -> Engine:
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    return engine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.sqlite3"
    prepare_ledger(f"sqlite:///{path}")
    return path


class Begin:
    """What is done before and at the begin of each transaction, whichever thread it is on."""

    def __init__(self) -> None:
        self.busy_timeout_ms = 60_000
        self.also: list[Callable[[Connection], None]] = []

    def set_patience(self, driver: Any, *_: object) -> None:
        driver.execute(f"PRAGMA busy_timeout = {self.busy_timeout_ms}")

    def act(self, connection: Connection) -> None:
        for act in tuple(self.also):
            act(connection)


@pytest.fixture
def begin() -> Begin:
    return Begin()


@pytest.fixture
def engine(path: Path, begin: Begin) -> Iterator[Engine]:
    engine = fill(open_engine(f"sqlite:///{path}"))
    event.listen(engine, "checkout", begin.set_patience)
    event.listen(engine, "begin", begin.act)
    yield engine
    engine.dispose()


@asynccontextmanager
async def serving(
    engine: Engine,
    provider: FakeEndpoint,
    folder: Path,
    *,
    retry_delays_s: Sequence[float] = (0.05, 0.1),
    host_clock: Callable[[], float] = time.time,
    **changes: Any,
) -> AsyncIterator[RunningProxy]:
    settings = make_settings(upstream_url=provider.url, prices_file=write_prices(folder), **changes)
    async with run_proxy(
        settings, engine, retry_delays_s=retry_delays_s, host_clock=host_clock
    ) as running:
        yield running


@pytest.fixture
def clock() -> HostClock:
    return HostClock()


@pytest.fixture
async def proxy(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path, clock: HostClock
) -> AsyncIterator[RunningProxy]:
    async with serving(engine, provider, tmp_path, host_clock=clock) as running:
        yield running


async def ask(proxy: RunningProxy, **changes: Any) -> tuple[int, str]:
    """Ask once; return status and code. Whatever fails costs nothing."""
    response = await proxy.chat(**changes)
    code = "ok" if response.status_code == 200 else response.json()["error"]["code"]
    assert response.headers["x-current-cost-usdc"] == (str(COST_USDC) if code == "ok" else "0")
    return response.status_code, code


async def ask_slowly(
    proxy: RunningProxy, provider: FakeEndpoint
) -> "asyncio.Task[tuple[int, str]]":
    """Ask, and return when upstream has been asked but has not answered."""
    provider.behaviour = "slow"
    asked = len(provider.requests)
    asking = asyncio.create_task(ask(proxy))
    await until(lambda: len(provider.requests) > asked)
    return asking


@contextmanager
def locked(path: Path, begin: Begin | None = None) -> Iterator[None]:
    """Keep the file locked; who does ``begin`` waits for it only briefly meanwhile."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=LIMIT_S)) as other:
        if begin is not None:
            begin.busy_timeout_ms = 50
        other.execute("BEGIN IMMEDIATE")
        yield
        if begin is not None:
            begin.busy_timeout_ms = 60_000
        other.execute("ROLLBACK")


# ------------------------------------------------------------------------------------- SQLite


async def test_disk__full__refused_until_there_is_room(
    proxy: RunningProxy, provider: FakeEndpoint, engine: Engine, begin: Begin
) -> None:
    def fill_disk(connection: Connection) -> None:
        # No less than what there is already, so: no page more.
        connection.exec_driver_sql("PRAGMA max_page_count = 1")

    begin.also.append(fill_disk)
    outcomes = []
    while UNAVAILABLE not in outcomes:
        outcomes.append(await ask(proxy))
        assert len(outcomes) < 500
    assert set(outcomes) <= {(200, "ok"), SETTLEMENT_FAILED, UNAVAILABLE}
    # Upstream is asked only for what was reserved, and what was answered was charged.
    assert len(provider.requests) == len(outcomes) - outcomes.count(UNAVAILABLE)
    states = [row["state"] for row in proxy.usage()]
    assert states.count("posted") == outcomes.count((200, "ok"))
    proxy.drawn_usdc()

    begin.also.remove(fill_disk)
    with write(engine) as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    engine.dispose()
    assert await ask(proxy) == (200, "ok")


async def test_database__locked__refused_until_it_is_free(
    proxy: RunningProxy, provider: FakeEndpoint, begin: Begin, path: Path
) -> None:
    with locked(path, begin):
        assert await ask(proxy) == UNAVAILABLE
        assert await ask(proxy, stream=True) == UNAVAILABLE
    assert provider.requests == []
    assert await ask(proxy) == (200, "ok")
    assert proxy.drawn_usdc() == COST_USDC


async def test_database__locked_when_it_is_to_be_posted__withheld_and_given_back_later(
    proxy: RunningProxy, provider: FakeEndpoint, begin: Begin, path: Path
) -> None:
    asking = await ask_slowly(proxy, provider)
    with locked(path, begin):
        provider.release.set()
        assert await asking == SETTLEMENT_FAILED
    [usage] = proxy.usage()
    assert usage["state"] == "reserved"
    assert proxy.drawn_usdc() == usage["ceiling_usdc"]


async def test_database__free_again_before_the_last_try__posted(
    engine: Engine, provider: FakeEndpoint, begin: Begin, path: Path, tmp_path: Path
) -> None:
    delays_s = (0.05,) * 5_000
    refused: list[object] = []
    event.listen(engine, "handle_error", refused.append)
    async with serving(engine, provider, tmp_path, retry_delays_s=delays_s) as proxy:
        asking = await ask_slowly(proxy, provider)
        with locked(path, begin):
            provider.release.set()
            await until(lambda: len(refused) > 1, "it is tried again")
            assert not asking.done()
        assert await asking == (200, "ok")
        assert proxy.drawn_usdc() == COST_USDC


async def test_database__free_after_the_answer_was_withheld__not_charged_either(
    provider: FakeEndpoint, path: Path, tmp_path: Path
) -> None:
    # The writer waits for the lock for longer than anybody waits for the writer.
    patient = fill(open_engine(f"sqlite:///{path}"))
    async with serving(patient, provider, tmp_path) as proxy:
        asking = await ask_slowly(proxy, provider)
        meter = proxy.front.app.state.services.meter
        with locked(path):
            meter._ledger._timeout_s = 0.1
            provider.release.set()
            assert await asking == SETTLEMENT_FAILED
        # Whatever the writer had begun is written by now.
        provider.behaviour = "normal"
        while True:
            with contextlib.suppress(LedgerUnavailable):
                await meter.write(lambda _: None)
                break
        [usage] = proxy.usage()
        assert (usage["state"], usage["cost_usdc"]) == ("reserved", None)
    patient.dispose()


async def test_reservation__written_after_nobody_waits__given_back_at_once(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide, begun, proceed = Reserve.decide, threading.Event(), threading.Event()

    def decide_slowly(call: Reserve, books: Books) -> Reserved:
        reserved = decide(call, books)
        begun.set()
        assert proceed.wait(LIMIT_S)
        return reserved

    monkeypatch.setattr(Reserve, "decide", decide_slowly)
    async with serving(engine, provider, tmp_path) as proxy:
        asking = asyncio.create_task(ask(proxy))
        await until(begun.is_set, "the reservation is being made")
        let_time_run_out(proxy.front.app.state.services.meter._ledger)
        assert await asking == UNAVAILABLE
        proceed.set()
        await until(lambda: [row["void_reason"] for row in proxy.usage()] == ["abandoned"])
        assert proxy.drawn_usdc() == 0
        assert provider.requests == []


async def test_file__deleted_and_put_back__refused_meanwhile(
    proxy: RunningProxy, provider: FakeEndpoint, engine: Engine, path: Path, tmp_path: Path
) -> None:
    assert await ask(proxy) == (200, "ok")
    with write(engine) as connection:
        connection.exec_driver_sql("SELECT 1")
    backup = tmp_path / "backup.sqlite3"
    with closing(sqlite3.connect(path)) as there, closing(sqlite3.connect(backup)) as copy:
        there.backup(copy)
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)

    # What connections that are still open would write is lost to everybody else.
    assert await ask(proxy) == UNAVAILABLE
    # And what is opened anew is an empty file.
    assert (await proxy.client.get("/api/current/positions/0")).status_code == 503
    assert path.exists()
    assert await ask(proxy) == UNAVAILABLE
    assert len(provider.requests) == 1

    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    shutil.move(backup, path)
    assert await ask(proxy) == (200, "ok")
    assert proxy.drawn_usdc() == 2 * COST_USDC


async def test_file__not_writable_any_more__refused(
    proxy: RunningProxy, provider: FakeEndpoint, engine: Engine, begin: Begin
) -> None:
    def forbid(connection: Connection) -> None:
        connection.exec_driver_sql("PRAGMA query_only = ON")

    assert await ask(proxy) == (200, "ok")
    begin.also.append(forbid)
    assert await ask(proxy) == UNAVAILABLE
    assert len(provider.requests) == 1
    begin.also.remove(forbid)
    engine.dispose()
    assert await ask(proxy) == (200, "ok")


# ---------------------------------------------------------------------------------- PostgreSQL


@needs_postgres
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_postgres__gone_and_back__refused_meanwhile(
    provider: FakeEndpoint, tmp_path: Path, how: signal.Signals
) -> None:
    with Postgres() as server:
        engine = fill(open_engine(server.create_copy(prepare_ledger)))
        async with serving(engine, provider, tmp_path) as proxy:
            assert await ask(proxy) == (200, "ok")
            asking = await ask_slowly(proxy, provider)
            server.stop(how)
            assert await ask(proxy) == UNAVAILABLE
            provider.release.set()
            assert await asking == SETTLEMENT_FAILED
            assert (await proxy.client.get("/api/current/readyz")).status_code == 503
            server.start()
            provider.behaviour = "normal"
            assert await ask(proxy) == (200, "ok")
            states = [row["state"] for row in proxy.usage()]
            assert states == ["posted", "reserved", "posted"]
            proxy.drawn_usdc()
        engine.dispose()


# -------------------------------------------------------------------------------- clock and mirror


@pytest.mark.parametrize("jump_s", [3_600, -3_600])
async def test_clock__jumps__nothing_is_let_through_until_the_mirror_has_moved(
    proxy: RunningProxy,
    provider: FakeEndpoint,
    engine: Engine,
    jump_s: int,
    clock: HostClock,
) -> None:
    assert await ask(proxy) == (200, "ok")
    clock.ahead_s = jump_s

    assert await ask(proxy) == (503, "chain_state_stale")
    assert (await proxy.client.get("/api/current/readyz")).status_code == 503
    assert len(provider.requests) == 1
    with write(engine) as connection:
        put_cursor(connection, number=11, now_s=int(clock()))
    # The indexer's clock has jumped, too; the chain's has not, and by it the hold lives.
    assert await ask(proxy) == (200, "ok")
    assert proxy.drawn_usdc() == 2 * COST_USDC


async def test_clock__jumps_ahead_while_upstream_works__withheld_once_it_was_swept(
    proxy: RunningProxy, provider: FakeEndpoint, clock: HostClock
) -> None:
    asking = await ask_slowly(proxy, provider)
    clock.ahead_s = 3_600
    assert await proxy.front.app.state.services.meter.sweep() == 1
    provider.release.set()

    assert await asking == SETTLEMENT_FAILED
    assert [row["state"] for row in proxy.usage()] == ["voided"]
    assert proxy.drawn_usdc() == 0


async def test_clock__behind_the_chain__the_chains_decides_when_a_hold_lapses(
    proxy: RunningProxy, engine: Engine, clock: HostClock
) -> None:
    at_s = now_s()
    with write(engine) as connection:
        # The hold has lapsed by the chain's clock, ours is two hours behind.
        put_positions(connection, make_state(now_s=at_s - 7_200, hold_lives_s=7_200))
        put_cursor(connection, number=11, now_s=at_s)
        connection.execute(text("UPDATE mirror SET observed_at_s = :at"), {"at": at_s - 7_200})
    clock.ahead_s = -7_200
    assert await ask(proxy) == (503, "hold_pending")


# ------------------------------------------------------------------------------------ revocation


def bump_epoch(engine: Engine) -> None:
    with write(engine) as connection:
        connection.execute(update(table_of(Position)).values(key_epoch=1))


async def test_key__revoked_while_it_is_remembered__refused_at_once_and_everywhere(
    databases: Databases, provider: FakeEndpoint, tmp_path: Path
) -> None:
    engine = fill(databases.open_ledger())
    async with serving(engine, provider, tmp_path) as proxy:
        headers = {"authorization": f"Bearer {make_key()}"}
        known = proxy.front.app.state.services.known_keys
        for _ in range(2):
            assert await ask(proxy) == (200, "ok")
        assert len(known._claims) == 1
        bump_epoch(engine)

        assert await ask(proxy) == (401, "key_revoked")
        assert await ask(proxy, stream=True) == (401, "key_revoked")
        # Nothing else that is wrong comes before it, and no other route has it otherwise.
        assert await ask(proxy, model="gpt-99") == (401, "key_revoked")
        assert await ask(proxy, max_tokens=0) == (401, "key_revoked")
        for path in ("keys/self", "usage", "usage.csv", "receipts/x", "keys/children"):
            response = await proxy.client.get(f"/api/current/{path}", headers=headers)
            assert response.json()["error"]["code"] == "key_revoked", path
        quote = await proxy.client.post("/api/current/v1/quote", json=make_body(), headers=headers)
        assert quote.json()["error"]["code"] == "key_revoked"
        assert len(known._claims) == 1  # it was remembered all the time
        assert len(provider.requests) == 2
        assert proxy.drawn_usdc() == 2 * COST_USDC


async def test_key__revoked_between_its_reservation_and_its_answer__answered_and_charged(
    proxy: RunningProxy, provider: FakeEndpoint, engine: Engine
) -> None:
    asking = await ask_slowly(proxy, provider)
    bump_epoch(engine)
    provider.release.set()
    # It was good when it was let through, and upstream has worked for it.
    assert await asking == (200, "ok")
    assert proxy.drawn_usdc() == COST_USDC
    assert await ask(proxy) == (401, "key_revoked")


async def test_key__revoked_in_mid_stream_from_a_warm_cache__cut_and_charged(
    proxy: RunningProxy, provider: FakeEndpoint, engine: Engine
) -> None:
    assert await ask(proxy) == (200, "ok")
    provider.behaviour = "stream_stalls"
    streaming = asyncio.create_task(proxy.chat(stream=True))
    await until(lambda: provider.sent_pieces == PIECES)
    bump_epoch(engine)

    response = await asyncio.wait_for(streaming, LIMIT_S)

    assert '"code":"key_revoked"' in response.text
    assert "[DONE]" not in response.text
    _, streamed = proxy.usage()
    assert streamed["state"] == "posted"
    assert f'"cost_usdc":{streamed["cost_usdc"]}' in response.text
