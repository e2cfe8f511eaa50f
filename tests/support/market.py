"""A real market on loopback with real sellers behind it, which serve well or misbehave as told."""

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from struct import pack
from typing import Any, Final, Self

import httpx
import uvicorn
from aiohttp import web
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
from market.endpoints.dialing import Resolve, resolve_by_system
from market.endpoints.sealing import FileKms
from market.http.front import Front
from market.settings import MarketSettings
from tests.support.ledgers import DEPLOYMENT

SECRET: Final = "7f3a9c1e5b8d2046f7a1c3e5097b6d8e"
MODEL: Final = "SmolLM2-135M-Instruct"
PROVIDER_KEY: Final = "sk-provider-0123456789abcdef-unmistakable"
PUBLIC_URL: Final = "http://market.test"
KMS_LINE: Final = "k1 " + "4f" * 32
PRICES: Final = """
[models."SmolLM2-135M-Instruct"]
input_usd_per_mtok = "10"
output_usd_per_mtok = "40"
context_tokens = 2048
"""
USAGE: Final = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}

SELLER: Final[LocalAccount] = Account.from_key("0x" + "31" * 32)
BUYER: Final[LocalAccount] = Account.from_key("0x" + "32" * 32)
OUTSIDER: Final[LocalAccount] = Account.from_key("0x" + "33" * 32)


def make_settings(folder: Path, **changes: Any) -> MarketSettings:
    """Return settings for a test; pass whatever differs."""
    kms = folder / "kms"
    if not kms.exists():
        kms.write_text(KMS_LINE + "\n")
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
        "connect_timeout_s": 1.0,
        "read_timeout_s": 1.0,
        "whole_timeout_s": 2.0,
        "stream_timeout_s": 5.0,
        "stream_drain_s": 0.5,
        "ledger_timeout_s": 5.0,
        "payout_interval_s": 3_600.0,
        "x402": False,
        "drain_timeout_s": 5,
        **changes,
    }
    return MarketSettings(**values)


class FakeSeller:
    """An OpenAI-compatible server. Set ``behaviour``; read ``requests``."""

    def __init__(self, *, usage: Any = USAGE, text: str = "Hello! I am glad to help.") -> None:
        self.behaviour = "normal"
        self.usage = usage
        self.text = text
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.release = asyncio.Event()
        self.open = 0
        self.peak = 0
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_get("/v1/models", self._list_models)
        for path in ("chat/completions", "completions", "responses", "embeddings"):
            app.router.add_post(f"/v1/{path}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL, with /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release.set()
        await self._runner.cleanup()

    async def _list_models(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("authorization"))
        return web.json_response({"data": [{"id": MODEL}, {"id": "gpt-4o"}, {"id": "unknown"}]})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.requests.append(body)
        self.keys.append(request.headers.get("authorization"))
        self.open += 1
        self.peak = max(self.peak, self.open)
        try:
            failed = await self._misbehave(request)
            if failed is not None:
                return failed
            if body.get("stream"):
                return await self._stream(request, request.path)
            return web.json_response(self._build(request.path, body))
        finally:
            self.open -= 1

    async def _misbehave(self, request: web.Request) -> web.StreamResponse | None:
        match self.behaviour:
            case "hang":
                await self.release.wait()
            case "slow":
                await asyncio.sleep(0.05)
            case (
                "status_400"
                | "status_401"
                | "status_402"
                | "status_404"
                | "status_429"
                | ("status_500")
            ):
                status = int(self.behaviour.removeprefix("status_"))
                message = f"boom at {self.url} with {PROVIDER_KEY}"
                headers = {"retry-after": "7"}
                return web.json_response(
                    {"error": {"message": message, "param": "messages"}},
                    status=status,
                    headers=headers,
                )
            case "redirect":
                return web.Response(status=302, headers={"location": f"{self.url}/models"})
            case "bad_json":
                return web.Response(body=b'{"choices": [', content_type="application/json")
            case "not_an_answer":
                return web.json_response({"error": {"message": "oops"}})
            case "huge_body":
                return web.Response(body=b'"' + b"x" * (2 * 1024**2) + b'"')
            case "disconnect":
                assert request.transport is not None
                request.transport.close()
        return None

    def _build(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        usage = {} if self.usage is None else {"usage": self.usage}
        if path.endswith("/embeddings"):
            is_packed = body.get("encoding_format") == "base64"
            vector = b64encode(pack("<f", 0.5)).decode() if is_packed else [0.5]
            return {"object": "list", "data": [{"embedding": vector}], **usage}
        if path.endswith("/responses"):
            part = {"type": "output_text", "text": self.text}
            output = [{"type": "message", "role": "assistant", "content": [part]}]
            return {"id": "r-1", "object": "response", "output": output, **usage}
        if path.endswith("/chat/completions"):
            message = {"role": "assistant", "content": self.text}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return {"id": "c-1", "object": "chat.completion", "choices": [choice], **usage}
        choice = {"index": 0, "text": self.text, "finish_reason": "stop"}
        return {"id": "c-1", "object": "text_completion", "choices": [choice], **usage}

    async def _stream(self, request: web.Request, path: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        assert request.transport is not None
        if self.behaviour == "stream_dies_at_once":
            request.transport.close()
            return response
        if self.behaviour == "stream_error_first":
            await response.write(b'data: {"error": {"message": "no"}}\n\n')
            return response
        for event in self._build_events(path):
            await response.write(event)
            await asyncio.sleep(0)
        match self.behaviour:
            case "stream_dies":
                request.transport.close()
                return response
            case "stream_stalls":
                await self.release.wait()
            case "stream_endless":
                while not request.transport.is_closing():
                    await response.write(_chunk(path, "and so on " * 100))
                    await asyncio.sleep(0)
                return response
        for event in self._build_last_events(path):
            await response.write(event)
        return response

    def _build_events(self, path: str) -> list[bytes]:
        return [_chunk(path, word + " ") for word in self.text.split()]

    def _build_last_events(self, path: str) -> list[bytes]:
        if path.endswith("/responses"):
            response = {"usage": self.usage} if self.usage else {}
            return [_event({"type": "response.completed", "response": response})]
        last = {"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}]}
        events = [_event(last)]
        if self.usage is not None:
            events.append(_event({"choices": [], "usage": self.usage}))
        return [*events, b"data: [DONE]\n\n"]


def _chunk(path: str, text: str) -> bytes:
    if path.endswith("/responses"):
        return _event({"type": "response.output_text.delta", "delta": text})
    if path.endswith("/chat/completions"):
        return _event({"choices": [{"index": 0, "delta": {"content": text}}]})
    return _event({"choices": [{"index": 0, "text": text}]})


def _event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


@dataclass(frozen=True, slots=True)
class RunningMarket:
    """A market that serves, and what a test looks at from outside and from below."""

    front: Front
    client: httpx.AsyncClient
    engine: Engine

    async def issue_key(
        self, account: LocalAccount, role: str = "seller", **extra: Any
    ) -> httpx.Response:
        """Sign in as a wallet does."""
        prefix = f"/v1/{role}/auth"
        challenge = await self.client.get(f"{prefix}/challenge?address={account.address}")
        assert challenge.status_code == 200, challenge.text
        message = challenge.json()["message"]
        signed = account.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
        body = {"message": message, "signature": signed, **extra}
        return await self.client.post(f"{prefix}/keys", json=body)

    async def get_key(self, account: LocalAccount = SELLER, role: str = "seller") -> str:
        """Return a new key's text."""
        answer = await self.issue_key(account, role)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["api_key"])

    async def get_buyer_key(self, *, credit_usdc: int = 1_000_000_000) -> str:
        """Return a key of the buyer, whose account has this much more credit."""
        key = await self.get_key(BUYER, "buyer")
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
        for _ in range(500):
            sales = self.sales()
            if all(sale["state"] != "reserved" for sale in sales):
                return sales
            await asyncio.sleep(0.01)
        raise AssertionError("a sale stays reserved")


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
) -> AsyncIterator[RunningMarket]:
    """Serve a market over ``engine`` until the block ends, then stop it as SIGTERM would."""
    kms = FileKms(Path(settings.kms.removeprefix("file:")))
    front = create_app(settings, deployment, engine, kms, resolve=resolve)
    config = uvicorn.Config(
        front,
        host="127.0.0.1",
        port=0,
        lifespan="on",
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=settings.drain_timeout_s,
    )
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
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=20, limits=limits
        ) as client:
            yield RunningMarket(front, client, engine)
    finally:
        server.should_exit = True
        await serving
