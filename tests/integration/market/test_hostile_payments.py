"""Payers who try to be served twice, or for less; by two processes at once, on a real chain.

::

    one payment
    ├── on two paths, of two processes, many times at once → one is served; L7
    ├── its nonce again, over another value or with other times → 402, with what to sign instead
    └── of a wallet that is yet to be deployed → 402, in words that say so
    numbers of any size and kind, in any field → 402; nothing is taken
"""

import asyncio
import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

import httpx
import orjson
from eth_abi.abi import encode
from eth_utils.address import to_checksum_address
from x402.http.utils import decode_payment_required_header

from contracts.signatures import ERC6492_SUFFIX
from tests.support.authorizations import authorize
from tests.support.keepers import Stage
from tests.support.market import BUYER, OUTSIDER, make_body, make_settings, run_market
from tests.support.payments import CHAT, FUNDS_USDC, Shop, build_header, run_shop

USED = "invalid_exact_evm_nonce_already_used"


async def quote(shop: Shop) -> int:
    """Return what the usual request is asked for."""
    return int((await shop.ask()).json()["accepts"][0]["maxAmountRequired"])


async def test_payment__on_two_paths_of_two_processes_at_once__serves_one_request(
    stage: Stage, tmp_path: Path
) -> None:
    rules = {"rpc_url": stage.world.anvil.url, "x402": True, "x402_wait_s": 10.0}
    deployment = stage.world.deployment
    async with (
        run_shop(stage, tmp_path) as shop,
        run_market(make_settings(tmp_path, **rules), stage.engine, deployment=deployment) as other,
    ):
        shop.seller.delay_s = 0.05
        paths = (CHAT, "/min0" + CHAT, "/v1/completions")
        for count in range(1, 4):
            signed = authorize(stage.world, await quote(shop), account=BUYER, lives_s=300)
            header = build_header(shop, signed)

            def send(
                market: Any, path: str, header: dict[str, str] = header
            ) -> "asyncio.Task[httpx.Response]":
                body = make_body() if "chat" in path else {"model": make_body()["model"]}
                body |= {} if "chat" in path else {"prompt": "Hello", "max_tokens": 100}
                return asyncio.create_task(market.client.post(path, json=body, headers=header))

            sent = [
                send(market, path) for _ in range(3) for market in (shop.market, other)
                for path in paths
            ]  # fmt: skip
            answers = await asyncio.gather(*sent)
            said = [answer.status_code for answer in answers]
            assert said.count(200) == 1, said
            assert set(said) <= {200, 402, 503}
            posted = [
                sale for sale in await shop.market.settled_sales() if sale["state"] == "posted"
            ]
            assert len(posted) == len(shop.payments()) == count
        assert shop.paid_usdc() == sum(one["value_usdc"] for one in shop.payments())


async def test_nonce__again_over_something_else__is_told_what_to_sign_instead(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path) as shop:
        asked = await quote(shop)
        shop.seller.behaviour = "status_500"
        first = authorize(stage.world, asked, account=BUYER, lives_s=300)
        kept = await shop.pay(build_header(shop, first))
        assert kept.status_code == 502, "paid and not served: it may be sent again"
        shop.seller.behaviour = "normal"
        await shop.market.client.patch(
            f"/v1/seller/offers/{shop.offer['id']}",
            json={"price_input_per_1m": 5},  # mended: its seller is healthy again
            headers={"authorization": f"Bearer {shop.seller_key}"},
        )
        others = [
            authorize(stage.world, value, account=BUYER, lives_s=lives_s, nonce=first.nonce)
            for value, lives_s in ((asked, 200), (asked - 1, 300), (1, 300), (asked * 2, 300))
        ]
        others.append(dataclasses.replace(first, signature=first.signature[::-1]))
        for other in others:
            refused = await shop.pay(build_header(shop, other))
            assert refused.status_code == 402
            assert refused.json()["error"] == USED
            required = decode_payment_required_header(refused.headers["payment-required"])
            (accepted,) = required.accepts
            assert int(accepted.amount) == asked, "what is to be signed is never nothing"  # type: ignore[union-attr]
        assert [sale["state"] for sale in shop.market.sales()] == ["voided"]

        served = await shop.pay(build_header(shop, first))
        assert served.status_code == 200, served.text
        assert len(shop.payments()) == 1
        await shop.market.settled_sales()


async def test_wallet__not_deployed_yet__is_told_so_and_nothing_is_taken(
    stage: Stage, tmp_path: Path
) -> None:
    async with run_shop(stage, tmp_path, is_kept=False) as shop:
        wallet = to_checksum_address("0x" + "5a" * 20)
        stage.world.fund_usdc(wallet, FUNDS_USDC)
        asked = await quote(shop)
        inner = authorize(stage.world, asked, account=BUYER, payer=wallet, lives_s=300)
        wrapped = encode(
            ["address", "bytes", "bytes"], [OUTSIDER.address, b"\x01\x02", inner.signature]
        )
        for signature in (wrapped + ERC6492_SUFFIX, inner.signature):
            signed = dataclasses.replace(inner, signature=signature)
            refused = await shop.pay(build_header(shop, signed))
            assert refused.status_code == 402, refused.text
            assert refused.json()["error"] == "invalid_exact_evm_payload_signature"
            assert "once it is deployed" in refused.json()["message"]
        assert shop.payments() == []


async def test_fields__of_any_size_and_kind__take_nothing(stage: Stage, tmp_path: Path) -> None:
    odd: list[Any] = [
        None, True, -1, 0, 1.5, 2**63, 2**64, 2**255, 10**77, "", "-1", "0x10", "1e3", " 1", "01",
        "1" * 78, "1" * 5_000, "٣", "\ud800".encode("utf-16", "surrogatepass").hex(), [], {},
        "0x" + "00" * 20, "0x" + "00" * 32, "0x" + "zz" * 20, "0x", "a\x00b", 1e308,
    ]  # fmt: skip
    async with run_shop(stage, tmp_path, is_kept=False) as shop:
        asked = await quote(shop)
        good = authorize(stage.world, asked, account=BUYER, lives_s=300)
        text = build_header(shop, good)["PAYMENT-SIGNATURE"]

        def spoil(where: tuple[str, ...], value: Any) -> dict[str, str]:
            body = orjson.loads(base64.b64decode(text))
            place = body
            for name in where[:-1]:
                place = place[name]
            place[where[-1]] = value
            # Python's own writer: it writes integers of any size.
            return {"PAYMENT-SIGNATURE": base64.b64encode(json.dumps(body).encode()).decode()}

        fields: list[tuple[str, ...]] = [
            ("x402Version",), ("accepted",), ("payload",), ("payload", "signature"),
            ("payload", "authorization"),
        ]  # fmt: skip
        fields += [("accepted", name) for name in ("scheme", "network", "asset", "amount", "payTo")]
        names = ("from", "to", "value", "validAfter", "validBefore", "nonce")
        fields += [("payload", "authorization", name) for name in names]
        headers = [
            spoil(where, value)
            for where in fields
            for value in odd
            # Valid from the beginning of time on: that is what was signed.
            if (where[-1], value) != ("validAfter", 0)
        ]
        for header in headers:
            answer = await shop.pay(header)
            assert answer.status_code == 402, (header, answer.text)
            required = decode_payment_required_header(answer.headers["payment-required"])
            assert int(required.accepts[0].amount) == asked  # type: ignore[union-attr]
        assert shop.payments() == []
        assert shop.market.sales() == []
