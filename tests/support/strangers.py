"""Strangers of every kind against a running stack, each with a fresh wallet and no deposit.

::

    silent, slow_heads, heavy_bodies   before any key: connections, heads and bodies that never end
    wrong_keys, sign_in_floods         keys that were invented, nonces and signatures by the dozen
    listers                            wallets that list known and invented models, far too cheap
    hangers                            buyers' own providers that hang, many requests at a time
    dust, bad_checks                   payments of a millionth, without funds, forged, of contracts
    nonsense                           bodies and paths that nobody means

A stranger goes on until its task is cancelled. What it is answered is counted, never judged: what
counts is what honest people notice meanwhile.
"""

import asyncio
import base64
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from x402 import x402Client
from x402.http.utils import decode_payment_required_header, encode_payment_signature_header
from x402.mechanisms.evm.exact import register_exact_evm_client
from x402.mechanisms.evm.signers import EthAccountSigner

CHAT: Final = "/v1/chat/completions"
TOPUP: Final = "/v1/buyer/credit/topup"
PATIENCE_S: Final = 20.0
"""How long a stranger waits for an answer before it goes and comes again."""


@dataclass
class Target:
    """What strangers know of a stack, and what they were answered."""

    proxy_url: str
    """The proxy's API, ``…/api/current``."""
    market_url: str
    model: str
    hostile_url: str
    """A provider of the strangers' own: it takes requests and never answers."""
    burner: str
    """The address of a contract that burns all gas whenever it is asked for a signature."""
    luck: random.Random
    answered: dict[str, Counter[str]] = field(default_factory=dict)

    def note(self, stranger: str, answer: str) -> None:
        self.answered.setdefault(stranger, Counter())[answer] += 1

    def body(self, **changes: Any) -> dict[str, Any]:
        """Return a small request."""
        messages = [{"role": "user", "content": "hello"}]
        return {"model": self.model, "max_tokens": 2, "messages": messages, **changes}


Stranger = Callable[[Target], Coroutine[Any, Any, None]]


def _client(**more: Any) -> httpx.AsyncClient:
    """Return a client of one more address: strangers do not share theirs with honest people."""
    address = f"127.0.{random.randint(1, 250)}.{random.randint(2, 250)}"
    limits = httpx.Limits(max_connections=60)
    transport = httpx.AsyncHTTPTransport(verify=False, local_address=address, limits=limits)
    return httpx.AsyncClient(transport=transport, **more)


async def _connect(url: str, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parsed = httpx.URL(url)
    return await asyncio.open_connection(parsed.host, parsed.port or 80, local_addr=(address, 0))


def _code_of(answer: httpx.Response) -> str:
    """Return the error's code, where the answer has one."""
    if answer.is_success or "json" not in answer.headers.get("content-type", ""):
        return ""
    said = answer.json()
    error = said.get("error")
    return f"{error['code']} {error['param'] or ''}".strip() if isinstance(error, dict) else ""


async def _ask(
    target: Target, name: str, client: httpx.AsyncClient, method: str, url: str, **more: Any
) -> httpx.Response | None:
    try:
        answer = await client.request(method, url, timeout=PATIENCE_S, **more)
    except httpx.HTTPError as error:
        target.note(name, type(error).__name__)
        return None
    target.note(name, f"{answer.status_code} {_code_of(answer)}".rstrip())
    return answer


async def _sign_in(
    target: Target, name: str, client: httpx.AsyncClient, account: LocalAccount, role: str
) -> dict[str, str] | None:
    """Return the header of a new key at the market."""
    prefix = f"{target.market_url}/v1/{role}/auth"
    asked = await _ask(target, name, client, "GET", f"{prefix}/challenge?address={account.address}")
    if asked is None or asked.status_code != 200:
        return None
    message = asked.json()["message"]
    signature = account.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
    body = {"message": message, "signature": signature}
    made = await _ask(target, name, client, "POST", f"{prefix}/keys", json=body)
    if made is None or made.status_code != 201:
        return None
    return {"authorization": f"Bearer {made.json()['api_key']}"}


async def silent(target: Target) -> None:
    """Open connections to both servers and say nothing, or half a head, byte by byte."""
    while True:
        writers: list[asyncio.StreamWriter] = []
        try:
            for url in [target.proxy_url] * 40 + [target.market_url] * 40:
                with suppress(OSError):
                    _, writer = await _connect(url, "127.0.0.2")
                    writers.append(writer)
            for _ in range(20):
                await asyncio.sleep(0.5)
                for writer in writers[::2]:
                    with suppress(OSError):
                        writer.write(b"x")
            target.note("silent", f"{len(writers)} connections")
        finally:
            for writer in writers:
                writer.close()


async def heavy_bodies(target: Target) -> None:
    """Begin bodies of megabytes without a key and stop in the middle."""
    head = (
        "POST {path} HTTP/1.1\r\nhost: stranger\r\ncontent-type: application/json\r\n"
        "content-length: 4000000\r\n\r\n"
    )
    while True:
        for url, path in (
            (target.proxy_url, "/api/current/v1/chat/completions"),
            (target.market_url, CHAT),
        ):
            with suppress(OSError, TimeoutError):
                reader, writer = await _connect(url, "127.0.0.3")
                try:
                    writer.write(head.format(path=path).encode() + b"[" * 200_000)
                    async with asyncio.timeout(2):
                        said = await reader.read(200)
                    target.note("heavy_bodies", said[9:12].decode() or "closed")
                finally:
                    writer.close()
        await asyncio.sleep(0.1)


async def wrong_keys(target: Target) -> None:
    """Ask with invented keys, much too often."""
    async with _client() as client:
        while True:
            for url in (f"{target.proxy_url}{CHAT}", f"{target.market_url}{CHAT}"):
                headers = {"authorization": f"Bearer current_sk_{os.urandom(24).hex()}"}
                asked = {"json": target.body(), "headers": headers}
                await _ask(target, "wrong_keys", client, "POST", url, **asked)
            await asyncio.sleep(0.05)


async def sign_in_floods(target: Target) -> None:
    """Take nonces and challenges for wallets that never sign, and sign for positions of others."""
    async with _client() as client:
        while True:
            account = Account.create()
            await _ask(target, "sign_in", client, "GET", f"{target.proxy_url}/keys/nonce")
            await _sign_in(target, "sign_in", client, account, "buyer")
            body = {
                "tokenId": "0",
                "signature": "0x" + "11" * 65,
                "timestamp": int(time.time() * 1000),
            }
            await _ask(target, "sign_in", client, "POST", f"{target.proxy_url}/keys", json=body)
            await asyncio.sleep(0.1)


async def listers(target: Target) -> None:
    """List the model that honest people ask for, and invented ones, at next to nothing."""
    async with _client() as client:
        while True:
            headers = await _sign_in(target, "listers", client, Account.create(), "seller")
            for index in range(20 if headers else 0):
                name = target.model if index % 2 else f"zz-{os.urandom(4).hex()}"
                offer = {
                    "model": name,
                    "api_key": "a-strangers",
                    "seller_base_url": target.hostile_url,
                    "price_input_per_1m": 0.000001,
                    "price_output_per_1m": 0.000001,
                    "provider": target.luck.choice(("openai", "local-model", "anthropic")),
                }
                url = f"{target.market_url}/v1/seller/offers"
                asked = {"json": offer, "headers": headers}
                await _ask(target, "listers", client, "POST", url, **asked)
            await asyncio.sleep(0.5)


async def hangers(target: Target) -> None:
    """Send many requests at once through an own provider that never answers."""
    async with _client() as client:
        while True:
            headers = await _sign_in(target, "hangers", client, Account.create(), "buyer")
            if headers is not None:
                own = {
                    "base_url": target.hostile_url,
                    "api_key": "mine",
                    "models": {target.model: target.model},
                    "position": "priority",
                }
                url = f"{target.market_url}/v1/buyer/providers"
                await _ask(target, "hangers", client, "POST", url, json=own, headers=headers)
                asked = {"json": target.body(), "headers": headers}
                await asyncio.gather(
                    *(
                        _ask(target, "hangers", client, "POST", target.market_url + CHAT, **asked)
                        for _ in range(50)
                    )
                )
            await asyncio.sleep(0.5)


async def bad_checks(target: Target) -> None:
    """Sign payments that will never come: no funds, forged, dust, a contract that burns gas."""
    async with _client() as client:
        while True:
            account = Account.create()
            dust = {"amount_usd": "0.000001"}
            for url, body in (
                (target.market_url + TOPUP, dust),
                (target.market_url + CHAT, target.body()),
            ):
                asked = await _ask(target, "bad_checks", client, "POST", url, json=body)
                if asked is None or asked.status_code != 402:
                    continue
                required = decode_payment_required_header(asked.headers["payment-required"])
                paying = register_exact_evm_client(x402Client(), EthAccountSigner(account))
                paying = paying.set_spend_controls(False)
                payload = await paying.create_payment_payload(required)
                authorization = payload.payload["authorization"]
                if target.luck.random() < 0.5:
                    authorization["from"] = target.burner
                    payload.payload["signature"] = "0x" + os.urandom(65).hex()
                header = {"PAYMENT-SIGNATURE": encode_payment_signature_header(payload)}
                await _ask(target, "bad_checks", client, "POST", url, json=body, headers=header)
            await asyncio.sleep(0.1)


async def nonsense(target: Target) -> None:
    """Send what nobody means, to every kind of path."""
    paths = ("/", "/v1/models", "/api/markets/%00", "/feed?limit=-1", CHAT, "/min999" + CHAT)
    async with _client() as client:
        while True:
            url = target.luck.choice((target.market_url, target.proxy_url))
            junk = base64.b64encode(os.urandom(target.luck.randint(0, 2_000)))
            headers = {"authorization": "Bearer \x7f", "content-type": "application/json"}
            for method in ("GET", "POST", "PATCH", "DELETE"):
                asked = {"content": b'{"model":' + junk, "headers": headers}
                path = target.luck.choice(paths)
                await _ask(target, "nonsense", client, method, url + path, **asked)
            await asyncio.sleep(0.05)


STRANGERS: Final[tuple[Stranger, ...]] = (
    silent,
    heavy_bodies,
    wrong_keys,
    sign_in_floods,
    listers,
    hangers,
    bad_checks,
    nonsense,
)
