"""The devnet as ``current up`` starts it: a stranger without key or position pays by x402."""

import asyncio

import httpx
import pytest
from eth_account import Account
from x402 import x402Client
from x402.http.clients import wrapHttpxWithPayment
from x402.http.utils import decode_payment_response_header
from x402.mechanisms.evm.exact import register_exact_evm_client

from contracts.units import USDC_ONE
from scripts.stack.devnet import Devnet, send, start_devnet, warp_to_now
from scripts.stack.model import MODEL_ID
from scripts.stack.processes import Stack
from scripts.stack.run_directory import temporary_run_directory

ASK = {"model": MODEL_ID, "max_tokens": 8, "messages": [{"role": "user", "content": "Hello"}]}


async def pay(devnet: Devnet, client: x402Client) -> httpx.Response:
    async with wrapHttpxWithPayment(client, base_url=devnet.market_url, timeout=120) as http:
        answer: httpx.Response = await http.post("/v1/chat/completions", json=ASK)
    return answer


@pytest.mark.slow  # the demo's own sale to a stranger is the quick test of it
def test_devnet__as_it_starts__is_paid_by_the_packages_own_client() -> None:
    stranger, notes = Account.create(), list[str]()
    client = register_exact_evm_client(x402Client(), stranger).set_spend_controls(False)
    with (
        temporary_run_directory("test", say=notes.append) as directory,
        Stack(directory, say=notes.append) as stack,
    ):
        devnet = start_devnet(stack, say=notes.append, persistent=False)
        warp_to_now(devnet)
        usdc = devnet.contracts.usdc.functions
        send(devnet, devnet.depositor, usdc.faucet(stranger.address, USDC_ONE))
        answer = asyncio.run(pay(devnet, client))

        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"]
        receipt = decode_payment_response_header(answer.headers["payment-response"])
        assert receipt.success
        mined = devnet.web3.eth.get_transaction_receipt(receipt.transaction)  # type: ignore[arg-type]
        assert mined["status"] == 1
        paid_usdc = USDC_ONE - usdc.balanceOf(stranger.address).call()
        assert usdc.balanceOf(devnet.contracts.payouts.address).call() == paid_usdc
        cost_usdc = int(answer.headers["x-market-cost-usdc"])
        assert 0 < cost_usdc == paid_usdc - int(answer.headers["x-market-credit-usdc"])
