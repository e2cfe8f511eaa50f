"""``current sell …`` and ``current buy …`` at a real market, paid on a real chain.

::

    sell   key, models, offer, offers, price, pause, resume, rotate, remove: as the market has it
           earnings, payouts: what was sold, to the unit
           no key, no provider's key: exit 2; what the market refuses: its words, exit 1
    buy    topup: one signed transfer, credit of the wallet or of the key's account
           ask, call by key or paid alone (--pay-max); balance; withdraw what is left

What a hostile market asks to sign: ``tests/unit/scripts/test_signed_payments.py``.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result
from eth_account.signers.local import LocalAccount
from structlog.testing import capture_logs

from scripts.cli import commands
from scripts.stack.anvil import CHAIN_ID
from tests.support.answers import MODEL, PROVIDER_KEY
from tests.support.keepers import Stage, write_record
from tests.support.market import BUYER, PUBLIC_URL, SELLER
from tests.support.payments import FEE_USDC, Shop, run_shop


class Person:
    """Runs commands with a wallet's key, beside the market that the test serves."""

    def __init__(self, shop: Shop, account: LocalAccount, folder: Path) -> None:
        self.shop = shop
        self.account = account
        self.key_file = folder / f"{account.address}.key"
        self.key_file.write_text(account.key.hex())
        record = write_record(shop.stage.world.deployment, folder)
        self.chain = ["--rpc-url", shop.stage.world.anvil.url, "--deployment-file", str(record)]
        self.environment: dict[str, str] = {"CURRENT_MARKET_URL": shop.url}

    async def run(self, *words: str, wallet: bool = False, chain: bool = False) -> Result:
        given = [*words, *(["--private-key-file", str(self.key_file)] if wallet else [])]
        given += self.chain if chain else []
        if wallet and not chain:
            # This market calls itself by another name than its address.
            given += ["--domain", urlsplit(PUBLIC_URL).netloc, "--chain-id", str(CHAIN_ID)]
        runner = CliRunner(mix_stderr=False)
        return await asyncio.to_thread(runner.invoke, commands, given, env=self.environment)

    async def do(self, *words: str, **options: bool) -> dict[str, Any]:
        done = await self.run(*words, "--json", **options)
        assert done.exit_code == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def usdc(self) -> int:
        functions = self.shop.stage.world.contracts.usdc.functions
        return int(functions.balanceOf(self.account.address).call())


@pytest.fixture
async def shop(stage: Stage, tmp_path: Path) -> AsyncIterator[Shop]:
    # What the market logs beside a command would else be among what that command prints.
    with capture_logs():
        async with run_shop(stage, tmp_path) as shop:
            yield shop


async def test_sell__from_a_key_to_a_removed_offer__is_as_the_market_has_it(
    shop: Shop, tmp_path: Path
) -> None:
    seller = Person(shop, SELLER, tmp_path)
    issued = await seller.run("sell", "key", "--label", "scripts", wallet=True)
    assert issued.stdout.startswith("si_seller_"), issued.stderr
    seller.environment["CURRENT_SELLER_KEY"] = issued.stdout.strip()
    provider = ["--provider-url", shop.seller.url]

    missing = await seller.run("sell", "models", *provider)
    assert (missing.exit_code, "CURRENT_PROVIDER_KEY" in missing.stderr) == (2, True)
    seller.environment["CURRENT_PROVIDER_KEY"] = PROVIDER_KEY
    found = await seller.do("sell", "models", *provider)
    assert MODEL in {one["model"] for one in found["models"]}

    words = ("sell", "offer", MODEL, *provider, "--input", "4.5", "--output", "18")
    made = await seller.do(*words, "--idempotency-key", "once")
    assert await seller.do(*words, "--idempotency-key", "once") == made
    assert (made["price_input_per_1m"], made["price_output_per_1m"]) == (4.5, 18.0)
    offer_id = made["id"]
    priced = await seller.do("sell", "price", offer_id, "--multiplier", "0.25", "--cap-day", "3")
    assert (priced["cost_multiplier"], priced["cap_daily_usd"]) == (0.25, 3.0)
    assert (await seller.do("sell", "pause", offer_id))["status"] == "paused"
    assert (await seller.do("sell", "resume", offer_id))["status"] == "active"
    assert (await seller.do("sell", "rotate", offer_id))["id"] == offer_id
    listed = (await seller.run("sell", "offers")).stdout
    assert offer_id in listed and shop.offer["id"] in listed
    assert (await seller.do("sell", "remove", offer_id))["deleted"] is True
    again = await seller.run("sell", "pause", offer_id)
    assert (again.exit_code, "Traceback" in again.stderr) == (1, False)
    nothing = await seller.run("sell", "price", offer_id)
    assert nothing.exit_code == 2


async def test_buy__topped_up__asks_and_calls_and_takes_the_rest_back(
    shop: Shop, tmp_path: Path
) -> None:
    buyer, seller = Person(shop, BUYER, tmp_path), Person(shop, SELLER, tmp_path)
    seller.environment["CURRENT_SELLER_KEY"] = shop.seller_key
    before = buyer.usdc()

    tried = await buyer.do("buy", "topup", "2.5", "--dry-run", wallet=True, chain=True)
    assert (tried, buyer.usdc()) == ({"would_pay_usdc": 2_500_000, "dry_run": True}, before)
    paid = await buyer.do("buy", "topup", "2.5", wallet=True, chain=True)
    assert (paid["paid_usdc"], paid["available_usdc"]) == (2_500_000, 2_500_000)
    assert buyer.usdc() == before - 2_500_000

    buyer.environment["CURRENT_MARKET_KEY"] = (
        await buyer.run("buy", "key", wallet=True)
    ).stdout.strip()
    asked = await buyer.run("buy", "ask", MODEL, "Say hello.")
    assert (asked.exit_code, "cost: 0." in asked.stderr) == (0, True), asked.stderr
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]})
    called = await buyer.run("buy", "call", "/v1/chat/completions", "--body", body)
    assert json.loads(called.stdout)["choices"], called.stderr

    # Another wallet's call, paid alone: no key, no account of its own.
    words = ("buy", "call", "/v1/chat/completions", "--body", body, "--pay-max", "1")
    alone = await buyer.run(*words, wallet=True, chain=True)
    assert (alone.exit_code, "choices" in alone.stdout) == (0, True), alone.stderr
    told = await buyer.do("buy", "balance")
    sold = await seller.do("sell", "earnings")
    assert sold["requests"] == 3
    # The call that was paid alone bore the transaction's fee too.
    assert sold["cost_usdc"] - FEE_USDC == sold["fee_usdc"] + sold["earning_usdc"]
    assert told["spent_usdc"] >= sold["cost_usdc"] > 0
    assert (told["on_its_way_usdc"], told["reserved_usdc"]) == (0, 0)
    waiting = await seller.do("sell", "payouts", "--policy", "daily")
    assert waiting["policy"] == "daily"
    assert [(one["state"], one["earning_usdc"]) for one in waiting["payouts"]] == [
        ("accrued", sold["earning_usdc"])
    ]

    # Nothing is final enough yet to be taken back.
    young = await buyer.run("buy", "withdraw", wallet=True)
    assert (young.exit_code, "Traceback" in young.stderr) == (1, False)
    shop.stage.world.anvil.mine(300)
    await shop.until(lambda: is_final(shop), rounds=False)
    would = await buyer.do("buy", "withdraw", "0.5", "--dry-run", wallet=True)
    assert would["would_sign"].startswith("Withdraw 0.500000 USDC")
    back = await buyer.do("buy", "withdraw", "0.5", wallet=True)
    assert (back["amount_usdc"], back["wallet"]) == (500_000, BUYER.address.lower())


def is_final(shop: Shop) -> bool:
    return all(one["is_final"] for one in shop.payments())


async def test_topup__key_of_an_account__is_that_accounts_credit(
    shop: Shop, tmp_path: Path
) -> None:
    buyer = Person(shop, BUYER, tmp_path)
    other = Person(shop, shop.stage.world.accounts["owner"], tmp_path)
    shop.fund(other.account)
    key_file = tmp_path / "market-key"
    key_file.write_text((await buyer.run("buy", "key", wallet=True)).stdout)

    given = await other.do(
        "buy", "topup", "1", "--key-file", str(key_file), wallet=True, chain=True
    )
    told = await buyer.do("buy", "balance", "--key-file", str(key_file))

    assert (given["credited_usdc"], told["available_usdc"]) == (1_000_000, 1_000_000)
