"""A market that is paid by x402 on a real chain: its keeper runs beside it, or does not."""

import asyncio
import base64
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
from eth_account.signers.local import LocalAccount
from sqlalchemy import select
from x402 import x402Client, x402ClientSync
from x402.http.clients.httpx import x402AsyncTransport
from x402.http.utils import decode_payment_required_header, encode_payment_signature_header
from x402.mechanisms.evm.exact import register_exact_evm_client
from x402.mechanisms.evm.signers import EthAccountSigner
from x402.schemas import PaymentPayload
from x402.schemas.v1 import PaymentPayloadV1

from contracts.authorizations import Authorization
from contracts.errors import Retryable
from ledger.database.engine import read
from ledger.tables import X402Payment, table_of
from tests.support.endpoint import FakeEndpoint
from tests.support.keepers import Stage
from tests.support.market import BUYER, RunningMarket, make_body, make_settings, run_market
from tests.support.openapi import CheckedClient, Document
from tests.support.waiting import LIMIT_S, until_it

CHAT: Final = "/v1/chat/completions"
TOPUP: Final = "/v1/buyer/credit/topup"
FEE_USDC: Final = 1_000
FUNDS_USDC: Final = 100_000_000


def make_client(account: LocalAccount = BUYER) -> x402Client:
    """Return the package's own client, allowed to pay in the devnet's token."""
    client = x402Client()
    register_exact_evm_client(client, EthAccountSigner(account))
    return client.set_spend_controls(False)


def make_sync_client(account: LocalAccount = BUYER) -> x402ClientSync:
    """Return the same for blocking callers."""
    client = x402ClientSync()
    register_exact_evm_client(client, EthAccountSigner(account))
    return client.set_spend_controls(False)


@dataclass
class Shop:
    """A market with one seller, beside the chain that it is paid on."""

    stage: Stage
    market: RunningMarket
    seller: FakeEndpoint
    seller_key: str
    offer: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return str(self.market.client.base_url).rstrip("/")

    def payer(self, account: LocalAccount = BUYER) -> httpx.AsyncClient:
        """Return an HTTP client of the package that pays what it is asked for."""
        transport = x402AsyncTransport(make_client(account), httpx.AsyncHTTPTransport(verify=False))
        return CheckedClient(
            self.market.client.document, transport=transport, base_url=self.url, timeout=LIMIT_S
        )

    # ----------------------------------------------------------------------- payments, step by step

    async def ask(self, path: str = CHAT, **changes: Any) -> httpx.Response:
        """Send a request without a key and without a payment."""
        return await self.market.client.post(path, json=make_body(**changes))

    async def sign(
        self, answer: httpx.Response, account: LocalAccount = BUYER
    ) -> PaymentPayload | PaymentPayloadV1:
        """Sign what a 402 asks for."""
        assert answer.status_code == 402, answer.text
        required = decode_payment_required_header(answer.headers["payment-required"])
        return await make_client(account).create_payment_payload(required)

    async def make_payment(
        self, path: str = CHAT, account: LocalAccount = BUYER, **changes: Any
    ) -> dict[str, str]:
        """Return the header of a payment for a request."""
        return header_of(await self.sign(await self.ask(path, **changes), account))

    async def pay(self, header: dict[str, str], path: str = CHAT, **changes: Any) -> httpx.Response:
        """Send a request with a payment."""
        return await self.market.client.post(path, json=make_body(**changes), headers=header)

    # ----------------------------------------------------------------------------------- what is so

    def payments(self) -> list[dict[str, Any]]:
        """Return all payments, oldest first."""
        payment = table_of(X402Payment)
        with read(self.stage.engine) as connection:
            rows = connection.execute(select(payment).order_by(payment.c.payment_id)).mappings()
            return [dict(row) for row in rows]

    def paid_usdc(self) -> int:
        """Return what the payouts contract has."""
        contracts = self.stage.world.contracts
        return int(contracts.usdc.functions.balanceOf(contracts.payouts.address).call())

    def fund(self, account: LocalAccount, amount_usdc: int = FUNDS_USDC) -> None:
        self.stage.world.fund_usdc(account.address, amount_usdc)

    def round(self) -> None:
        """Let a fresh keeper make one round, with the indexer up to date before and after."""
        self.stage.sync()
        self.stage.tick()

    async def until(self, check: Callable[[], object], *, rounds: bool = False) -> None:
        """Wait until something is so; ``rounds`` makes the keeper's rounds meanwhile."""

        async def is_so() -> bool:
            if check():
                return True
            if rounds:
                await asyncio.to_thread(self.round)
            return False

        await until_it(is_so)


def header_of(payload: PaymentPayload | PaymentPayloadV1) -> dict[str, str]:
    """Return the header that carries a payment."""
    name = "PAYMENT-SIGNATURE" if payload.x402_version == 2 else "X-PAYMENT"
    return {name: encode_payment_signature_header(payload)}


def build_header(shop: Shop, signed: Authorization, **accepted: Any) -> dict[str, str]:
    """Return a payment as a client might make it up."""
    deployment = shop.stage.world.deployment
    body = {
        "x402Version": 2,
        "accepted": {
            "scheme": "exact",
            "network": f"eip155:{deployment.chain_id}",
            "asset": deployment.usdc,
            "amount": str(signed.value_usdc),
            "payTo": deployment.payouts,
            "maxTimeoutSeconds": 300,
            "extra": {"name": "USD Coin", "version": "2"},
            **accepted,
        },
        "payload": {
            "authorization": {
                "from": signed.payer,
                "to": signed.payee,
                "value": str(signed.value_usdc),
                "validAfter": str(signed.valid_after_s),
                "validBefore": str(signed.valid_before_s),
                "nonce": signed.nonce,
            },
            "signature": "0x" + signed.signature.hex(),
        },
    }
    return {"PAYMENT-SIGNATURE": base64.b64encode(orjson.dumps(body)).decode()}


def read_answer(answer: httpx.Response) -> dict[str, Any]:
    """Return an answer's JSON."""
    read_: dict[str, Any] = orjson.loads(answer.content)
    return read_


class RunningKeeper:
    """A keeper and an indexer that work on a stage in a thread, until the block ends."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stop = threading.Event()
        self._has_looked = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "RunningKeeper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        keeper = self._stage.keeper()
        while not self._stop.is_set():
            with suppress(Retryable):
                self._stage.sync()
                keeper.tick()
            self._has_looked.set()
            time.sleep(0.02)

    def wait_for_its_look(self) -> None:
        """Wait until it has been round once: what it says at first, such as a floor, is said."""
        self._has_looked.wait(LIMIT_S)


@asynccontextmanager
async def run_shop(
    stage: Stage,
    folder: Path,
    *,
    is_kept: bool = True,
    document: Document | None = None,
    **changes: Any,
) -> AsyncIterator[Shop]:
    """Serve a market on a stage's chain and ledger; with a keeper beside it, or without one."""
    stage.settings.setdefault("PAYMENT_CONFIRMATIONS", "0")
    values = {"rpc_url": stage.world.anvil.url, "x402": True, "x402_wait_s": 10.0, **changes}
    settings = make_settings(folder, **values)
    async with (
        FakeEndpoint() as seller,
        run_market(
            settings, stage.engine, deployment=stage.world.deployment, document=document
        ) as market,
    ):
        seller_key = await market.get_key()
        offer = await market.list_offer(seller_key, seller.url)
        shop = Shop(stage, market, seller, seller_key, offer)
        shop.fund(BUYER)
        if not is_kept:
            yield shop
            return
        with RunningKeeper(stage) as keeper:
            await asyncio.to_thread(keeper.wait_for_its_look)
            yield shop
