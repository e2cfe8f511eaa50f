"""Calls of resold APIs by markets that are killed, and by two of them at once on one PostgreSQL.

::

    two markets ── the quota's last calls are sold once each, whoever asks
    kill -9     ── while the payment settles │ the API is called │ before the charge is written
                   → the same request with the same payment is served; paid once, charged once
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Engine, func, select, text
from starlette.requests import Request
from starlette.responses import Response
from x402.http.utils import decode_payment_required_header

from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.tables import ApiCall, ApiPeriod, X402Payment, table_of
from tests.integration.market.test_crashes import Process
from tests.support.keepers import Stage
from tests.support.ledgers import Databases
from tests.support.market import BUYER, bearer, make_settings, run_market
from tests.support.payments import FEE_USDC, RunningKeeper, header_of, make_client
from tests.support.resale import LATEST, RunningApi, connect, run_api
from tests.support.waiting import LIMIT_S, until, until_it

PRICE_USDC: Final = 150_000
_call = table_of(ApiCall)


def read_calls(engine: Engine) -> list[dict[str, Any]]:
    """Return all calls, oldest first, after the ledger's own audit."""
    with read(engine) as connection:
        assert find_violations(connection) == []
        rows = connection.execute(select(_call).order_by(_call.c.call_id)).mappings()
        return [dict(row) for row in rows]


@pytest.mark.slow
async def test_two_markets__the_quotas_last_calls_asked_of_both__are_sold_once_each(
    postgres: Databases, tmp_path: Path
) -> None:
    ledger_url = postgres.create()
    markets = [Process(tmp_path, ledger_url), Process(tmp_path, ledger_url)]
    engine = postgres.open(ledger_url)
    async with run_api() as api, httpx.AsyncClient(timeout=LIMIT_S) as client:
        try:
            for market in markets:
                market.start()
                await market.serves()
            async with run_market(make_settings(tmp_path), engine) as helper:
                seller, buyer = await helper.get_key(), await helper.get_buyer_key()
                made = await connect(
                    helper,
                    seller,
                    api.url,
                    monthly_quota=9,
                    reserved=2,
                    buffer_pct=0,
                    remaining_header=...,
                    at_once=1_000,
                )
            path = f"/x402/{made['sold_under']}/{LATEST}"

            async def is_listed() -> bool:
                listed = [(await client.get(f"{one.url}/v1/apis")).json() for one in markets]
                return all(one["apis"] for one in listed)

            await until_it(is_listed)
            answers = await asyncio.gather(
                *(
                    client.get(f"{markets[number % 2].url}{path}", headers=bearer(buyer))
                    for number in range(24)
                )
            )
        finally:
            for market in markets:
                market.close()

    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 7 + [503] * 17
    codes = {one.json()["error"]["code"] for one in answers if one.status_code == 503}
    assert codes == {"quota_sold"}
    assert [one["state"] for one in read_calls(engine)].count("posted") == 7
    assert len(api.requests) == 7
    with read(engine) as connection:
        period = table_of(ApiPeriod)
        row = connection.execute(select(period.c.sold_units, period.c.reserved_units)).one()
    assert tuple(row) == (7, 0)


class Stand:
    """A market that is a process of its own, beside a chain, its keeper and an API."""

    def __init__(self, stage: Stage, market: Process, api: RunningApi, path: str) -> None:
        self.stage = stage
        self.market = market
        self.api = api
        self.path = path
        self.header: dict[str, str] = {}

    async def get(self, **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=LIMIT_S) as client:
            return await client.get(f"{self.market.url}{self.path}", headers=headers)

    async def pay(self) -> httpx.Response:
        """Send the request with its payment, which is signed the first time."""
        if not self.header:
            asked = await self.get()
            required = decode_payment_required_header(asked.headers["payment-required"])
            self.header = header_of(await make_client().create_payment_payload(required))
        return await self.get(**self.header)

    async def restart(self) -> None:
        self.market.start()
        await self.market.serves()

    def payment_states(self) -> list[str]:
        with read(self.stage.engine) as connection:
            return list(connection.execute(select(table_of(X402Payment).c.state)).scalars())

    def count_reserved(self) -> int:
        with read(self.stage.engine) as connection:
            query = select(func.count()).where(_call.c.state == "reserved")
            return int(connection.execute(query).scalar_one())


@pytest.fixture
async def stand(stage: Stage, tmp_path: Path) -> AsyncIterator[Stand]:
    stage.settings["PAYMENT_CONFIRMATIONS"] = "0"
    stage.world.fund_usdc(BUYER.address, 10_000_000)
    url = stage.engine.url.render_as_string(hide_password=False)
    market = Process(
        tmp_path,
        url,
        deployment=stage.world.deployment,
        rpc_url=stage.world.anvil.url,
        x402="true",
        x402_wait_s="60",
        sweep_interval_s="0.5",
    )
    async with run_api() as api:
        settings = make_settings(tmp_path)
        async with run_market(settings, stage.engine, deployment=stage.world.deployment) as helper:
            made = await connect(helper, await helper.get_key(), api.url, remaining_header=...)
        market.start()
        await market.serves()
        try:
            yield Stand(stage, market, api, f"/x402/{made['sold_under']}/{LATEST}")
        finally:
            market.close()


async def kill_while(stand: Stand, moment: str) -> None:
    """Send the request with its payment, and kill the market at a moment of it."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def hang(_: Request) -> Response | None:
        asked.set()
        await go_on.wait()
        return None

    stand.api.behave = hang
    request = asyncio.create_task(stand.pay())
    if moment == "paid":
        await until(lambda: stand.payment_states() == ["verified"], "the payment is taken")
        stand.market.kill()
    else:
        with RunningKeeper(stand.stage):
            await asyncio.wait_for(asked.wait(), LIMIT_S)
        assert stand.count_reserved() == 1
        if moment == "called":
            stand.market.kill()
        else:
            with write(stand.stage.engine) as connection:
                # Nobody else writes meanwhile: the API's answer is there, and cannot be charged.
                connection.execute(text("UPDATE mirror SET block_number = block_number"))
                go_on.set()
                await asyncio.sleep(0.5)
                stand.market.kill()
    go_on.set()
    stand.api.behave = None
    with contextlib.suppress(httpx.TransportError):
        await request
    assert request.done()


@pytest.mark.parametrize("moment", ["paid", "called", "answered"])
@pytest.mark.sampled(3)
async def test_killed__between_payment_call_and_post__is_served_by_the_same_payment_once(
    stand: Stand, moment: str
) -> None:
    await kill_while(stand, moment)
    assert all(one["state"] != "posted" for one in read_calls(stand.stage.engine))

    await stand.restart()
    with RunningKeeper(stand.stage):
        answers: list[httpx.Response] = []

        async def is_served() -> bool:
            # What the dead process held is free once its death is seen: 503 until then.
            answers.append(await stand.pay())
            return answers[-1].status_code != 503

        await until_it(is_served)
        again = await stand.pay()

    assert answers[-1].status_code == 200, answers[-1].text
    assert {one.json()["error"]["code"] for one in answers[:-1]} <= {
        "payment_in_use",
        "payment_pending",
        "ledger_unavailable",
    }
    assert again.status_code == 402, "one payment, one answer"
    calls = read_calls(stand.stage.engine)
    assert [one["state"] for one in calls].count("posted") == 1
    assert {one["state"] for one in calls} <= {"posted", "voided"}
    assert calls[-1]["cost_usdc"] == PRICE_USDC + FEE_USDC
    assert stand.payment_states() == ["settled"]
    contracts = stand.stage.world.contracts
    paid = contracts.usdc.functions.balanceOf(contracts.payouts.address).call()
    assert paid == PRICE_USDC + FEE_USDC
