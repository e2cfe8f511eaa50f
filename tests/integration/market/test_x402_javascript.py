"""The official JavaScript client of x402 (`@x402/fetch`) pays a real market on a real chain."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.support.keepers import Stage
from tests.support.market import BUYER, make_body
from tests.support.payments import CHAT, FEE_USDC, TOPUP, Shop, run_shop
from tests.support.resale import LATEST, connect, run_api
from tests.support.sdk import install_sdk
from tests.support.waiting import LIMIT_S


async def pay_for(shop: Shop, requests: list[tuple[str, Any]]) -> list[dict[str, Any]]:
    """Send requests by the client, which pays for each; return what was answered."""
    command = ["node", str(install_sdk() / "payer.mjs"), shop.url, f"0x{BUYER.key.hex()}"]
    process = await asyncio.create_subprocess_exec(
        *command,
        json.dumps(requests),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode == 0, complained.decode()
    return [json.loads(line) for line in said.splitlines()]


async def test_client__request_stream_and_topup__paid_served_and_credited(
    stage: Stage, tmp_path: Path
) -> None:
    install_sdk()
    stream = {**make_body(max_tokens=500), "stream": True}
    requests = [(CHAT, make_body()), (f"/min30{CHAT}", stream), (TOPUP, {"amount_usd": 0.5})]
    async with run_shop(stage, tmp_path) as shop:
        answers = await pay_for(shop, requests)
        sales = await shop.market.settled_sales()
        payments = shop.payments()
        paid_usdc = shop.paid_usdc()

    assert [answer["status"] for answer in answers] == [200, 200, 200], answers
    chat, streamed, topup = answers
    assert json.loads(chat["text"])["choices"][0]["message"]["content"]
    assert streamed["type"].startswith("text/event-stream")
    assert streamed["text"].endswith("data: [DONE]\n\n")
    for answer, payment in zip(answers, payments, strict=True):
        assert answer["receipt"]["success"] is True
        assert answer["receipt"]["payer"].lower() == BUYER.address.lower()
        assert answer["receipt"]["transaction"] == payment["tx_hash"]
        assert payment["state"] == "settled"
    # Every unit that was signed for has come, and what no sale took is the payer's.
    signed_usdc = sum(payment["value_usdc"] for payment in payments)
    spent_usdc = sum(sale["cost_usdc"] for sale in sales)
    assert payments[2]["value_usdc"] == 500_000
    assert paid_usdc == signed_usdc
    assert json.loads(topup["text"])["available_usdc"] == signed_usdc - spent_usdc
    assert [sale["margin_usdc"] for sale in sales] == [FEE_USDC, FEE_USDC]


async def test_client__call_of_a_resold_api__is_paid_and_answered(
    stage: Stage, tmp_path: Path
) -> None:
    install_sdk()
    async with run_api() as api, run_shop(stage, tmp_path) as shop:
        made = await connect(shop.market, shop.seller_key, api.url)
        path = f"/x402/{made['sold_under']}/{LATEST}"
        (answer,) = await pay_for(shop, [(path, None)])
        paid_usdc = shop.paid_usdc()

    assert (answer["status"], json.loads(answer["text"])["number"]) == (200, 3)
    assert answer["receipt"]["success"] is True
    assert (paid_usdc, answer["credit_usdc"]) == (150_000 + FEE_USDC, "0")
    assert len(api.requests) == 1
