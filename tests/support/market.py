"""A real market on loopback with real sellers behind it, which serve well or misbehave as told."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import uvicorn
from argon2 import PasswordHasher
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from sqlalchemy import Engine, select

from contracts.deployment import Deployment
from ledger.database.engine import read, write
from ledger.market_audit import find_market_mismatches
from ledger.selling.accounts import add_credit
from ledger.tables import MarketSale, table_of
from market.app import create_app
from market.endpoints.sealing import FileKms
from market.operator import agree_trust
from market.settings import MarketSettings
from serving.http.front import Front
from serving.http.run import build_config
from serving.models.dialing import Resolve, resolve_by_system
from tests.support.answers import MODEL, PROVIDER_KEY
from tests.support.ledgers import DEPLOYMENT
from tests.support.openapi import METRICS_TOKEN, CheckedClient, Document, get_market_document
from tests.support.waiting import LIMIT_S, until

SECRET: Final = "7f3a9c1e5b8d2046f7a1c3e5097b6d8e"
QUICK_HASHER: Final = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Passwords of tests cost nothing."""
PUBLIC_URL: Final = "http://market.test"
KMS_LINE: Final = "k1 " + "4f" * 32
PRICES: Final = """
[models."SmolLM2-135M-Instruct"]
input_usd_per_mtok = "10"
output_usd_per_mtok = "40"
context_tokens = 2048
"""

SELLER: Final[LocalAccount] = Account.from_key("0x" + "31" * 32)
BUYER: Final[LocalAccount] = Account.from_key("0x" + "32" * 32)
OUTSIDER: Final[LocalAccount] = Account.from_key("0x" + "33" * 32)


def write_kms(folder: Path, *lines: str) -> None:
    """Put keys into the folder's key file, which is nobody else's to read."""
    kms = folder / "kms"
    kms.write_text("\n".join(lines) + "\n")
    kms.chmod(0o600)


def make_settings(folder: Path, **changes: Any) -> MarketSettings:
    """Return settings for a test; pass whatever differs."""
    kms = folder / "kms"
    if not kms.exists():
        write_kms(folder, KMS_LINE)
    prices = folder / "prices.toml"
    if not prices.exists():
        prices.write_text(PRICES)
    values: dict[str, Any] = {
        "rpc_url": "http://127.0.0.1:9",
        "ledger_url": "sqlite:///unused.sqlite3",
        "deployment_file": "unused.json",
        "secret": SECRET,
        "kms": f"file:{kms}",
        "public_url": PUBLIC_URL,
        "allow_loopback": True,
        "prices_file": str(prices),
        "ledger_timeout_s": 60.0,
        "payout_interval_s": 3_600.0,
        "x402": False,
        "drain_timeout_s": 5,
        "metrics_token": METRICS_TOKEN,
        # Orders by price alone: tests of sessions say what they allow.
        "session_premium_pct": 0,
        # Fakes are of grade D: tests of vesting say how long.
        "vesting_s": 0,
        **changes,
    }
    return MarketSettings(**values)


@dataclass(frozen=True, slots=True)
class RunningMarket:
    """A market that serves, and what a test looks at from outside and from below."""

    front: Front
    client: CheckedClient
    engine: Engine

    async def issue_key(
        self,
        account: LocalAccount,
        role: str = "seller",
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> httpx.Response:
        """Sign in as a wallet does; ``headers``: what a browser says of the page."""
        prefix = f"/v1/{role}/auth"
        challenge = await self.client.get(f"{prefix}/challenge?address={account.address}")
        assert challenge.status_code == 200, challenge.text
        message = challenge.json()["message"]
        signed = account.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
        body = {"message": message, "signature": signed, **extra}
        return await self.client.post(f"{prefix}/keys", json=body, headers=headers)

    async def get_key(
        self, account: LocalAccount = SELLER, role: str = "seller", *, is_approved: bool = True
    ) -> str:
        """Return a new key's text. The operator approves the seller, unless told otherwise."""
        answer = await self.issue_key(account, role)
        assert answer.status_code == 201, answer.text
        if role == "seller" and is_approved:
            agree_trust(self.engine, account.address, is_trusted=True)
        return str(answer.json()["api_key"])

    async def get_buyer_key(
        self, *, credit_usdc: int = 1_000_000_000, wallet: LocalAccount = BUYER
    ) -> str:
        """Return a key of the buyer, whose account has this much more credit."""
        key = await self.get_key(wallet, "buyer")
        account = (await self.client.get("/v1/buyer/account", headers=bearer(key))).json()
        if credit_usdc:
            with write(self.engine) as connection:
                add_credit(
                    connection,
                    credit_id=f"test-{time.time_ns()}",
                    account_id=account["account_id"],
                    amount_usdc=credit_usdc,
                    source="test",
                    now_s=int(time.time()),
                )
        return key

    async def list_offer(self, seller_key: str, url: str, **changes: Any) -> dict[str, Any]:
        """List an offer and return it."""
        body = {
            "model": MODEL,
            "api_key": PROVIDER_KEY,
            "seller_base_url": url,
            "price_input_per_1m": 5,
            "price_output_per_1m": 20,
            **changes,
        }
        body = {name: value for name, value in body.items() if value is not ...}
        answer = await self.client.post("/v1/seller/offers", json=body, headers=bearer(seller_key))
        assert answer.status_code == 201, answer.text
        described: dict[str, Any] = answer.json()
        return described

    async def chat(
        self, key: str, *, path: str = "/v1/chat/completions", **changes: Any
    ) -> httpx.Response:
        """Ask for a completion."""
        return await self.client.post(path, json=make_body(**changes), headers=bearer(key))

    async def account(self, key: str) -> dict[str, Any]:
        """Return the buyer's account."""
        answer = await self.client.get("/v1/buyer/account", headers=bearer(key))
        described: dict[str, Any] = answer.json()
        return described

    def sales(self) -> list[dict[str, Any]]:
        """Return all sales, oldest first, after checking L7."""
        sale = table_of(MarketSale)
        with read(self.engine) as connection:
            assert find_market_mismatches(connection) == []
            rows = connection.execute(select(sale).order_by(sale.c.sale_id)).mappings()
            return [dict(row) for row in rows]

    async def settled_sales(self) -> list[dict[str, Any]]:
        """Return all sales once none is reserved any more."""

        def settled() -> list[dict[str, Any]] | None:
            sales = self.sales()
            return sales if all(sale["state"] != "reserved" for sale in sales) else None

        return await until(settled, "no sale is reserved") or []


def bearer(key: str) -> dict[str, str]:
    """Return the header that carries a key."""
    return {"authorization": f"Bearer {key}"}


def make_body(**changes: Any) -> dict[str, Any]:
    """Return a small chat request."""
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 100,
        **changes,
    }


@asynccontextmanager
async def run_market(
    settings: MarketSettings,
    engine: Engine,
    *,
    resolve: Resolve = resolve_by_system,
    deployment: Deployment = DEPLOYMENT,
    document: Document | None = None,
    host_clock: Callable[[], float] = time.time,
    port: int = 0,
) -> AsyncIterator[RunningMarket]:
    """Serve a market over ``engine`` until the block ends, then stop it as SIGTERM would.

    All answers are held against ``document``, by default the market's own. ``port``: where a
    browser is to find it; 0: any that is free.
    """
    kms = FileKms(Path(settings.kms.removeprefix("file:")))
    front = create_app(
        settings,
        deployment,
        engine,
        kms,
        resolve=resolve,
        host_clock=host_clock,
        hasher=QUICK_HASHER,
    )
    config = build_config(front, settings, host="127.0.0.1", port=port, log_level="critical")
    config.load()
    server = uvicorn.Server(config)
    # `serve` would also take over the signals of the test run.
    serving = asyncio.create_task(server._serve())
    while not server.started:
        assert not serving.done(), "the market did not start"
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    limits = httpx.Limits(max_connections=None)
    try:
        async with CheckedClient(
            document or get_market_document(),
            base_url=f"http://127.0.0.1:{port}",
            timeout=LIMIT_S,
            limits=limits,
        ) as client:
            yield RunningMarket(front, client, engine)
    finally:
        server.should_exit = True
        await serving
