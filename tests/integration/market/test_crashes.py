"""Two markets on one PostgreSQL ledger, killed at any moment: no limit is ever passed, L1 to L8."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Engine, select

from contracts.deployment import Deployment
from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.selling.sales import sweep_sales
from ledger.tables import MarketAccount, MarketOffer, MarketSale, table_of
from scripts.stack.ports import free_port
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import DEPLOYMENT, Databases
from tests.support.market import (
    KMS_LINE,
    SECRET,
    bearer,
    make_body,
    make_settings,
    run_market,
    write_kms,
)
from tests.support.waiting import LIMIT_S, until

ROOT: Final = Path(__file__).resolve().parents[3]
CREDIT_USDC: Final = 300_000
CAP_USD: Final = "0.02"
KILLS: Final = 3
BUYERS: Final = 24
WAITING: Final = 12
"""Requests under way when a market dies. By chance, hardly all of them asked the other."""


class Process:
    """``python -m market``, to be killed and started again on the same port.

    ``changes``: further settings, without their prefix.
    """

    def __init__(
        self,
        folder: Path,
        ledger_url: str,
        *,
        deployment: Deployment = DEPLOYMENT,
        **changes: str,
    ) -> None:
        facts: dict[str, Any] = asdict(deployment)
        record = {name: facts.pop(name) for name in ("chain_id", "block_number", "block_hash")}
        (folder / "deployment.json").write_text(json.dumps({**record, "contracts": facts}))
        write_kms(folder, KMS_LINE)
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MARKET_")}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = {
            **ours,
            "MARKET_RPC_URL": "http://127.0.0.1:9",
            "MARKET_LEDGER_URL": ledger_url,
            "MARKET_DEPLOYMENT_FILE": str(folder / "deployment.json"),
            "MARKET_SECRET": SECRET,
            "MARKET_KMS": f"file:{folder}/kms",
            "MARKET_PORT": str(self.port),
            "MARKET_ALLOW_LOOPBACK": "true",
            "MARKET_X402": "false",
            "MARKET_PAYOUT_INTERVAL_S": "0.2",
            "MARKET_REFRESH_INTERVAL_S": "0.1",
            "MARKET_SELLER_CONCURRENCY_MAX": "1000",
            **{f"MARKET_{name.upper()}": value for name, value in changes.items()},
        }
        self._log = (folder / f"market-{self.port}.log").open("ab")
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._running = subprocess.Popen(
            [sys.executable, "-m", "market"],
            cwd=ROOT,
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
        )

    def kill(self) -> None:
        assert self._running is not None
        self._running.send_signal(signal.SIGKILL)
        self._running.wait()

    def close(self) -> None:
        """Kill it for good."""
        self.kill()
        self._log.close()

    async def serves(self) -> None:
        assert self._running is not None
        async with httpx.AsyncClient(base_url=self.url, timeout=LIMIT_S) as client:
            while True:
                assert self._running.poll() is None, "it did not start"
                try:
                    if (await client.get("/readyz")).status_code == 200:
                        return
                except httpx.TransportError:
                    await asyncio.sleep(0.05)


def check_limits(engine: Engine) -> None:
    """No more is spent and reserved than was credited, sold than is capped; and all adds up."""
    account, offer = table_of(MarketAccount), table_of(MarketOffer)
    with read(engine) as connection:
        assert find_violations(connection) == []
        for row in connection.execute(select(account)).mappings():
            assert row["spent_usdc"] + row["reserved_usdc"] <= row["credited_usdc"]
        for row in connection.execute(select(offer)).mappings():
            cap_usdc = row["cap_daily_usdc"]
            assert cap_usdc is None or row["day_used_usdc"] <= cap_usdc


@pytest.mark.slow
async def test_killed__two_processes_at_random_moments__no_limit_is_passed_and_all_adds_up(
    postgres: Databases, tmp_path: Path
) -> None:
    ledger_url = postgres.create()
    markets = [Process(tmp_path, ledger_url), Process(tmp_path, ledger_url)]
    chance = random.Random(7)
    engine = postgres.open(ledger_url)
    bought, stop, going = [0], asyncio.Event(), asyncio.Event()
    going.set()

    async def buy(key: str, seed: int) -> None:
        """Ask one process or the other, in turn, for completions and streams."""
        mine = random.Random(seed)
        async with httpx.AsyncClient(timeout=LIMIT_S) as client:
            while not stop.is_set():
                # Nobody buys while a market starts again: the credit would be gone by then.
                await going.wait()
                url = mine.choice(markets).url
                body = make_body(stream=mine.random() < 0.5, max_tokens=mine.randint(1, 60))
                try:
                    answer = await client.post(
                        f"{url}/v1/chat/completions", json=body, headers=bearer(key)
                    )
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
                    continue
                assert answer.status_code in (200, 402, 502, 503), answer.text
                bought[0] += answer.status_code == 200
                if answer.status_code != 200:
                    await asyncio.sleep(0.02)

    async with FakeEndpoint() as seller, FakeEndpoint() as other:
        seller.delay_s = other.delay_s = 0.05
        try:
            for market in markets:
                market.start()
                await market.serves()  # the first one migrates the ledger
            async with run_market(make_settings(tmp_path), engine) as helper:
                seller_key = await helper.get_key()
                await helper.list_offer(seller_key, seller.url, cap_daily_usd=CAP_USD)
                await helper.list_offer(seller_key, other.url, price_output_per_1m=40)
                key = await helper.get_buyer_key(credit_usdc=CREDIT_USDC)
            buyers = [asyncio.create_task(buy(key, seed)) for seed in range(BUYERS)]
            for number in range(KILLS):
                await asyncio.sleep(chance.uniform(0.3, 1.0))
                victim = markets[number % 2]
                # Sellers are silent while the victim dies: it leaves sales under way.
                for one in (seller, other):
                    one.release.clear()
                    one.behaviour = "slow"
                await until(lambda: seller.open + other.open >= WAITING, "sellers are asked")
                going.clear()
                victim.kill()
                for one in (seller, other):
                    one.behaviour = "normal"
                    one.release.set()
                check_limits(engine)
                victim.start()
                await victim.serves()
                going.set()
            await asyncio.sleep(0.3)
            stop.set()
            await asyncio.gather(*buyers)
        finally:
            stop.set()
            going.set()
            for market in markets:
                market.close()
    check_limits(engine)
    # What the dead left is given back when its lease has run out.
    with write(engine) as connection:
        sweep_sales(connection, now_s=int(time.time()) + 86_400)
    check_limits(engine)
    sale, account = table_of(MarketSale), table_of(MarketAccount)
    with read(engine) as connection:
        states = list(connection.execute(select(sale.c.state)).scalars())
        reserved = connection.execute(select(account.c.reserved_usdc)).scalars().all()
    assert set(states) == {"posted", "voided"}, "some were under way when their process died"
    assert set(reserved) == {0}
    assert states.count("posted") >= bought[0] > 0, "an answer that was read is charged"
