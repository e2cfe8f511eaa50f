"""Strangers of all kinds against a running stack, while honest people ask, buy and are paid.

::

    honest    a depositor through the proxy; a buyer on credit, and one who pays each request, at
              the market; the seller of the model
    strangers tests/support/strangers.py, from addresses of their own
    then      honest people were served; what strangers cost in gas is no more than they paid; the
              processes' memory is flat; the audit finds nothing

``HOSTILE_S`` says for how many seconds, 600 without it; ``--log-cli-level=info`` shows the figures.
"""

import asyncio
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from sqlalchemy import Engine, func, select
from x402 import x402Client
from x402.http.clients.httpx import x402AsyncTransport
from x402.mechanisms.evm.exact import register_exact_evm_client
from x402.mechanisms.evm.signers import EthAccountSigner

from contracts.units import USDC_ONE
from keeper.duties.x402_choice import X402_KIND
from ledger.database.engine import open_engine, read
from ledger.tables import Intent, PayoutBatch, X402Payment, table_of
from scripts.audit import audit
from scripts.stack.devnet import Devnet, send, start_devnet
from scripts.stack.model import MODEL_ID
from scripts.stack.processes import Stack
from scripts.stack.run_directory import temporary_run_directory
from scripts.stack.up import prepare_position
from tests.support.endpoint import FakeEndpoint
from tests.support.strangers import CHAT, STRANGERS, TOPUP, Target
from tests.support.waiting import LIMIT_S, wait_until

_LOG: Final = logging.getLogger(__name__)
HOSTILE_S: Final = float(os.environ.get("HOSTILE_S", "600"))
ETHER_PRICE_USDC: Final = 4_000 * USDC_ONE
"""At the devnet's 0.001 gwei a payment's 60,000 gas cost 240 of 1e-6 USDC, as on a rollup."""
SETTINGS: Final = {
    "KEEPER_ETHER_PRICE_USDC": str(ETHER_PRICE_USDC),
    # Honest sellers are paid within the campaign: their earnings are small here.
    "KEEPER_PAYOUT_OVERDUE_S": "60",
}
BURNING_CODE: Final = "0x5b600056"
"""Loops for ever, whatever it is asked."""
BURNER: Final = "0x00000000000000000000000000000000000b0b0b"
WEI_PER_ETHER: Final = 10**18
GOOD_SHARE_MIN: Final = 0.99
MEMORY_GROWTH_MAX: Final = 1.25
EARNING_REQUESTS: Final = 10
"""At a hundred times the reference price a request of 30 tokens earns 600 of 1e-6 USDC."""
PROCESSES: Final = ("proxy", "market", "keeper", "indexer")


@dataclass
class Honest:
    """What one honest person asked for and got."""

    name: str
    served: int = 0
    refused: list[str] = field(default_factory=list)


def _body() -> dict[str, Any]:
    return {
        "model": MODEL_ID,
        "max_tokens": 2,
        "messages": [{"role": "user", "content": "Say hello."}],
    }


async def _go_on_asking(
    person: Honest, ask: Callable[[], Awaitable[httpx.Response]], until_s: float
) -> None:
    while time.monotonic() < until_s:
        try:
            answer = await ask()
        except httpx.HTTPError as error:
            person.refused.append(repr(error))
            continue
        if answer.status_code == 200:
            person.served += 1
        else:
            person.refused.append(f"{answer.status_code} {answer.text[:300]}")
        await asyncio.sleep(0.2)


async def _buyer_key(http: httpx.AsyncClient, account: LocalAccount) -> dict[str, str]:
    asked = await http.get(f"/v1/buyer/auth/challenge?address={account.address}")
    message = asked.json()["message"]
    signature = account.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    made = await http.post("/v1/buyer/auth/keys", json={"message": message, "signature": signature})
    assert made.status_code == 201, made.text
    return {"authorization": f"Bearer {made.json()['api_key']}"}


def _memory_bytes(devnet: Devnet) -> dict[str, int]:
    """Return each process's resident memory."""
    found = {}
    for name in PROCESSES:
        pid = (devnet.directory.pids / name).read_text()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        found[name] = pages * os.sysconf("SC_PAGE_SIZE")
    return found


async def _play(devnet: Devnet, api_key: str, people: list[Honest]) -> dict[str, Any]:
    """Let everybody at it; return what was seen of memory and strangers."""
    buyer, payer = Account.create(), Account.create()
    usdc = devnet.contracts.usdc.functions
    for account in (buyer, payer):
        await asyncio.to_thread(
            send, devnet, devnet.depositor, usdc.faucet(account.address, 100 * USDC_ONE)
        )
    until_s = time.monotonic() + HOSTILE_S

    def paying(account: LocalAccount) -> httpx.AsyncClient:
        client = register_exact_evm_client(x402Client(), EthAccountSigner(account))
        transport = x402AsyncTransport(client.set_spend_controls(False))
        return httpx.AsyncClient(transport=transport, base_url=devnet.market_url, timeout=LIMIT_S)

    async with (
        FakeEndpoint() as hostile,
        httpx.AsyncClient(base_url=devnet.market_url, timeout=LIMIT_S) as market,
        httpx.AsyncClient(base_url=devnet.api_url, timeout=LIMIT_S) as proxy,
        paying(buyer) as topping,
        paying(payer) as single,
    ):
        hostile.behaviour = "hang"
        topped = await topping.post(TOPUP, json={"amount_usd": 20})
        assert topped.status_code == 200, topped.text
        key = await _buyer_key(market, buyer)
        target = Target(
            proxy_url=devnet.api_url,
            market_url=devnet.market_url,
            model=MODEL_ID,
            hostile_url=hostile.url,
            burner=BURNER,
            luck=random.Random(7),
        )
        strangers = [asyncio.create_task(one(target)) for one in STRANGERS]
        depositor, on_credit, by_request = people
        bearer = {"authorization": f"Bearer {api_key}"}
        asking = [
            asyncio.create_task(
                _go_on_asking(
                    depositor, lambda: proxy.post(CHAT, json=_body(), headers=bearer), until_s
                )
            ),
            asyncio.create_task(
                _go_on_asking(
                    on_credit, lambda: market.post(CHAT, json=_body(), headers=key), until_s
                )
            ),
            asyncio.create_task(
                _go_on_asking(by_request, lambda: single.post(CHAT, json=_body()), until_s)
            ),
        ]
        await asyncio.sleep(HOSTILE_S / 4)
        before = _memory_bytes(devnet)
        await asyncio.gather(*asking)
        after = _memory_bytes(devnet)
        stopped = [one for one in strangers if one.done()]
        for one in strangers:
            one.cancel()
        for one in strangers:
            with suppress(asyncio.CancelledError):
                await one
        assert not stopped, "a stranger gave up"
        await _earn_a_payout(devnet, market, key)
        return {"before": before, "after": after, "answered": target.answered}


async def _earn_a_payout(devnet: Devnet, market: httpx.AsyncClient, key: dict[str, str]) -> None:
    """Have the honest seller earn what is worth its transfer, however few requests a busy machine
    served: it raises its price, and is asked a little more."""
    seller_key = (devnet.directory.path / "market_seller_key").read_text(encoding="ascii")
    seller = {"authorization": f"Bearer {seller_key}"}
    offers = (await market.get("/v1/seller/offers", headers=seller)).json()["offers"]
    path = f"/v1/seller/offers/{offers[0]['id']}"
    raised = await market.patch(path, json={"cost_multiplier": "100"}, headers=seller)
    assert raised.status_code == 200, raised.text
    for _ in range(EARNING_REQUESTS):
        answer = await market.post(CHAT, json=_body(), headers=key)
        assert answer.status_code == 200, answer.text


def _strangers_gas_usdc(engine: Engine) -> int:
    """Return what the keeper paid for transactions that carry others' payments."""
    intent = table_of(Intent)
    with read(engine) as connection:
        fees = connection.execute(
            select(intent.c.fee_wei).where(
                intent.c.kind == X402_KIND, intent.c.fee_wei.is_not(None)
            )
        ).scalars()
        wei = sum(int(fee) for fee in fees)
    return wei * ETHER_PRICE_USDC // WEI_PER_ETHER


def _brought_usdc(engine: Engine) -> int:
    """Return what arrived with those payments."""
    payment = table_of(X402Payment)
    with read(engine) as connection:
        found = connection.execute(
            select(func.sum(payment.c.value_usdc)).where(payment.c.state == "settled")
        ).scalar()
    return int(found or 0)


@pytest.mark.slow  # ten minutes of it
def test_strangers__of_all_kinds__cost_honest_people_nothing() -> None:
    people = [Honest("depositor"), Honest("buyer on credit"), Honest("payer by request")]
    notes = list[str]()
    with (
        temporary_run_directory("hostile", say=notes.append) as directory,
        Stack(directory, say=notes.append) as stack,
    ):
        devnet = start_devnet(stack, say=notes.append, persistent=False, settings=SETTINGS)
        api_key = prepare_position(devnet, stack, notes.append)
        devnet.web3.provider.make_request("anvil_setCode", [BURNER, BURNING_CODE])  # type: ignore[arg-type]
        seen = asyncio.run(_play(devnet, api_key, people))
        engine = open_engine(devnet.ledger_url)
        for person in people:
            _LOG.info("%s: %d served; refused: %s", person.name, person.served, person.refused[:5])
        _LOG.info("strangers: %s", {name: dict(got) for name, got in seen["answered"].items()})
        _LOG.info("bytes: %s, then %s", seen["before"], seen["after"])

        for person in people:
            asked = person.served + len(person.refused)
            assert person.served >= GOOD_SHARE_MIN * asked > 0, (person.name, person.refused[:5])
        gas_usdc, brought_usdc = _strangers_gas_usdc(engine), _brought_usdc(engine)
        _LOG.info("1e-6 USDC: gas %d, brought %d", gas_usdc, brought_usdc)
        assert gas_usdc <= brought_usdc
        for name, then in seen["before"].items():
            assert seen["after"][name] <= MEMORY_GROWTH_MAX * then, (name, seen)

        payout = table_of(PayoutBatch)

        def is_seller_paid() -> bool:
            with read(engine) as connection:
                states = connection.execute(select(payout.c.state)).scalars().all()
            return "paid" in states

        wait_until(is_seller_paid, "the seller is paid", limit_s=3 * LIMIT_S, poll_s=0.5)

        def is_clean() -> bool:
            return not audit(engine, devnet.web3, devnet.deployment)

        # What is on its way is booked first: the ledger is never audited between two looks.
        wait_until(is_clean, "the audit finds nothing", limit_s=LIMIT_S, poll_s=1.0)
        engine.dispose()
