"""Unused credit that its wallet takes back, on a real chain with a keeper beside the market.

::

    a stranger who paid by x402 ── signs, and has its leftover in its wallet
    the same message again, or many at once ── one payout
    not final yet ── refused, and says so
    a signature of another, another text, another purpose ── refused
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from sqlalchemy import update

from keeper.duties.moment import REORGS_DEEPEST
from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.tables import X402Payment, table_of
from tests.support.deploy import USDC
from tests.support.keepers import Stage
from tests.support.market import BUYER, OUTSIDER, RunningMarket, bearer
from tests.support.payments import TOPUP, Shop, run_shop
from tests.support.waiting import until_it

PATH = "/v1/buyer/withdrawals"
FEE_USDC = 1_000


async def challenge(market: RunningMarket, account: LocalAccount, **asked: str) -> str:
    params = {"address": account.address, **asked}
    answer = await market.client.get(f"{PATH}/challenge", params=params)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["message"])


def sign(account: LocalAccount, message: str) -> dict[str, str]:
    signed = account.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    return {"message": message, "signature": signed}


async def withdraw(
    market: RunningMarket, account: LocalAccount = BUYER, **asked: str
) -> httpx.Response:
    body = sign(account, await challenge(market, account, **asked))
    return await market.client.post(PATH, json=body)


def make_final(stage: Stage) -> None:
    """Take all payments for final, as the keeper does once they are deep enough."""
    with write(stage.engine) as connection:
        connection.execute(update(table_of(X402Payment)).values(is_final=True))


@pytest.fixture
async def shop(stage: Stage, tmp_path: Path) -> AsyncIterator[Shop]:
    stage.allow_paying(treasury_usdc=1)
    async with run_shop(stage, tmp_path) as shop:
        yield shop


async def test_leftover__of_a_stranger_by_x402__is_back_in_the_wallet_that_signs(
    shop: Shop,
) -> None:
    async with shop.payer() as payer:
        answer = await payer.post(TOPUP, json={"amount_usd": 2})
    assert answer.status_code == 200, answer.text
    before_usdc, _ = shop.stage.received(BUYER.address)

    early = await withdraw(shop.market)
    shop.stage.world.anvil.mine(REORGS_DEEPEST + 1)

    async def made() -> dict[str, Any] | None:
        answer = await withdraw(shop.market)
        return answer.json() if answer.status_code == 201 else None

    found: list[dict[str, Any]] = []

    async def is_made() -> bool:
        one = await made()
        if one is not None:
            found.append(one)
        return bool(found)

    await until_it(is_made)

    assert early.status_code == 409
    assert early.json()["error"]["pending_usdc"] == 2 * USDC
    assert (found[0]["amount_usdc"], found[0]["fee_usdc"]) == (2 * USDC, FEE_USDC)
    key = await shop.market.get_key(BUYER, "buyer")

    async def is_paid() -> bool:
        shop.stage.world.anvil.mine()
        shown = (await shop.market.client.get(PATH, headers=bearer(key))).json()
        return [one["state"] for one in shown["withdrawals"]] == ["paid"]

    await until_it(is_paid)
    assert shop.stage.received(BUYER.address)[0] - before_usdc == 2 * USDC - FEE_USDC
    account = await shop.market.account(key)
    assert (account["credited_usdc"], account["available_usdc"]) == (0, 0)
    with read(shop.stage.engine) as connection:
        assert find_violations(connection) == []


async def test_message__again_and_many_at_once__is_one_payout(shop: Shop) -> None:
    async with shop.payer() as payer:
        await payer.post(TOPUP, json={"amount_usd": 1})
    make_final(shop.stage)
    same = sign(BUYER, await challenge(shop.market, BUYER, amount_usd="0.6"))
    others = [sign(BUYER, await challenge(shop.market, BUYER)) for _ in range(3)]

    answers = await asyncio.gather(
        *(shop.market.client.post(PATH, json=body) for body in (*(same,) * 4, *others))
    )

    made = [one.json() for one in answers if one.status_code == 201]
    assert {one.status_code for one in answers} <= {201, 409}
    distinct = {one["withdrawal_id"]: one["amount_usdc"] for one in made}
    assert sum(distinct.values()) == USDC
    with read(shop.stage.engine) as connection:
        assert find_violations(connection) == []


async def test_signature__not_the_wallets_or_not_for_this__pays_nobody(
    shop: Shop,
) -> None:
    market = shop.market
    message = await challenge(market, BUYER, amount_usd="0.5")
    sign_in = (await market.client.get(f"/v1/buyer/auth/challenge?address={BUYER.address}")).json()
    tampered = {
        "another's": (sign(OUTSIDER, message), 401),
        "another amount": (sign(BUYER, message.replace("0.500000", "5.500000")), 409),
        "another statement": (sign(BUYER, message.replace("Withdraw", "Keep")), 400),
        "another fee": (sign(BUYER, message.replace("0.001000", "0.000000")), 409),
        "a sign-in": (sign(BUYER, sign_in["message"]), 401),
        "not signed": ({"message": message, "signature": "0x" + "00" * 65}, 401),
        "not hex": ({"message": message, "signature": "hello"}, 400),
        "a field too many": ({**sign(BUYER, message), "to": OUTSIDER.address}, 400),
    }

    for name, (body, status) in tampered.items():
        answer = await market.client.post(PATH, json=body)
        assert answer.status_code == status, (name, answer.text)
    as_key = await market.client.post("/v1/buyer/auth/keys", json=sign(BUYER, message))
    assert (as_key.status_code, as_key.json()["error"]["code"]) == (401, "challenge_expired")


@pytest.mark.parametrize("amount", ["0", "-1", "1e3", "0.0000001", "NaN", "999999999999"])
async def test_challenge__amount_is_none__is_refused(market: RunningMarket, amount: str) -> None:
    answer = await market.client.get(
        f"{PATH}/challenge", params={"address": BUYER.address, "amount_usd": amount}
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_amount")


async def test_withdrawal__less_than_a_transfer_is_worth__is_refused(shop: Shop) -> None:
    async with shop.payer() as payer:
        await payer.post(TOPUP, json={"amount_usd": 1})
    make_final(shop.stage)

    answer = await withdraw(shop.market, amount_usd="0.010999")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "withdrawal_too_small")
    assert (await withdraw(shop.market, amount_usd="0.011")).status_code == 201
    metrics = (await shop.market.client.get("/metrics")).text
    assert 'current_market_withdrawals_total{result="taken"} 1.0' in metrics
    assert 'current_market_withdrawals_total{result="withdrawal_too_small"} 1.0' in metrics
