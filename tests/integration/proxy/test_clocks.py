"""Two proxies on one PostgreSQL, one with a wrong clock: nobody's lease, limit or day suffers."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from ledger.database.engine import write
from ledger.tables import Usage, table_of
from tests.support.clocks import HostClock
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import Databases, make_state, put_cursor, put_positions
from tests.support.proxy import (
    CHAT,
    RunningProxy,
    make_body,
    make_key,
    now_s,
    run_proxy,
    settings_for,
)
from tests.support.waiting import until, until_probed

READY = "/api/current/readyz"


@pytest.fixture
def ledger(postgres: Databases) -> Callable[[], Engine]:
    first = postgres.open_ledger()
    with write(first) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    return lambda: postgres.open(first.url.render_as_string(hide_password=False))


@pytest.mark.parametrize("ahead_s", [400, -400])
async def test_sweep__by_a_proxy_whose_clock_is_off__voids_nothing_and_says_why(
    ledger: Callable[[], Engine], provider: FakeEndpoint, tmp_path: Path, ahead_s: int
) -> None:
    settings = settings_for(provider, tmp_path, sweep_interval_s=0.05)
    async with (
        run_proxy(settings, ledger()) as right,
        run_proxy(settings, ledger(), host_clock=HostClock(ahead_s)) as wrong,
    ):
        provider.behaviour = "slow"
        asking = asyncio.create_task(right.chat())
        await until(lambda: bool(provider.requests), "upstream is asked")
        assert await wrong.front.app.state.services.meter.sweep() == 0
        answer = await wrong.client.get(READY)
        assert answer.status_code == 503
        assert answer.json()["clock"] is False
        assert answer.json()["clock_ahead_s"] == pytest.approx(ahead_s, abs=100)
        assert (await until_probed(right.client, READY)).status_code == 200
        provider.release.set()

        assert (await asking).status_code == 200
        provider.behaviour = "normal"
        assert (await wrong.chat()).status_code == 200
        assert [row["state"] for row in right.usage()] == ["posted", "posted"]
        for row in right.usage():
            assert abs(row["reserved_at_s"] - now_s()) < 600
        right.drawn_usdc()


async def test_limits_of_a_child_key__two_clocks__are_one_minutes(
    ledger: Callable[[], Engine], provider: FakeEndpoint, tmp_path: Path
) -> None:
    settings = settings_for(provider, tmp_path)
    engine = ledger()
    async with (
        run_proxy(settings, engine) as right,
        run_proxy(settings, ledger(), host_clock=HostClock(45)) as wrong,
    ):
        key = await make_child(right, requests_per_minute_max=4)
        first = [(await ask(proxy, key)) for proxy in (right, wrong) * 4]

        # The minute may have turned in between.
        minutes = {row["reserved_at_s"] // 60 for row in right.usage()}
        assert first.count(200) <= 4 * len(minutes)
        assert first.count(200) >= 4
        # None is of the wrong clock's minute.
        assert max(row["reserved_at_s"] for row in right.usage()) <= now_s()


async def test_sweep__by_a_proxy_whose_clock_is_right__voids_what_ran_out(
    ledger: Callable[[], Engine], provider: FakeEndpoint, tmp_path: Path
) -> None:
    engine = ledger()
    async with run_proxy(settings_for(provider, tmp_path), engine) as proxy:
        provider.behaviour = "slow"
        asking = asyncio.create_task(proxy.chat())
        await until(lambda: bool(provider.requests), "upstream is asked")
        with write(engine) as connection:
            connection.execute(update(table_of(Usage)).values(lease_expires_at_s=now_s() - 10))
        assert await proxy.front.app.state.services.meter.sweep() == 1
        provider.release.set()
        assert (await asking).status_code == 502


async def make_child(proxy: RunningProxy, **limits: Any) -> str:
    headers = {"authorization": f"Bearer {make_key()}"}
    body = {"label": "of a test", **limits}
    answer = await proxy.client.post("/api/current/keys/children", json=body, headers=headers)
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["apiKey"])


async def ask(proxy: RunningProxy, key: str) -> int:
    headers = {"authorization": f"Bearer {key}"}
    return (await proxy.client.post(CHAT, json=make_body(), headers=headers)).status_code
