"""Calls that are paid one by one by x402, on a real chain, by the package's own client.

::

    a stranger with nothing but the URL ── 402, payment, answer; the catalogue's extension is valid
    one payment ── one call: not another resource, not twice, not at once
    an answer that costs nothing ── the payment stays, as credit
"""

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select
from starlette.responses import JSONResponse, Response
from x402.extensions.bazaar import validate_discovery_extension
from x402.extensions.bazaar.types import parse_discovery_extension
from x402.http.utils import decode_payment_required_header
from x402.mechanisms.evm.signers import EthAccountSigner
from x402.mechanisms.evm.upto import UptoEvmScheme
from x402.schemas import PaymentPayload, PaymentRequired

from ledger.audit import find_violations
from ledger.database.engine import read
from ledger.tables import ApiCall, table_of
from tests.support.keepers import Stage
from tests.support.market import BUYER
from tests.support.payments import FEE_USDC, Shop, header_of, run_shop
from tests.support.resale import RunningApi, connect, run_api

PRICE_USDC = 150_000


class CallShop:
    """A market that sells calls of one API."""

    def __init__(self, shop: Shop, api: RunningApi, path: str) -> None:
        self.shop = shop
        self.api = api
        self.path = path

    async def ask(self, path: str = "v1/blocks/latest", **options: Any) -> Any:
        return await self.shop.market.client.get(f"{self.path}/{path}", **options)

    async def sign(self, path: str = "v1/blocks/latest") -> dict[str, str]:
        return header_of(await self.shop.sign(await self.ask(path)))

    def posted(self) -> list[dict[str, Any]]:
        """Return what was charged, after the ledger's own audit."""
        call = table_of(ApiCall)
        with read(self.shop.market.engine) as connection:
            assert find_violations(connection) == []
            rows = connection.execute(select(call).where(call.c.state == "posted")).mappings()
            return [dict(row) for row in rows]


def identify(payment: str, identifier: str) -> str:
    """Return a payment that names its request by the extension ``payment-identifier``."""
    stated = orjson.loads(b64decode(payment))
    named = {"info": {"required": False, "id": identifier}}
    stated["extensions"] = {**(stated.get("extensions") or {}), "payment-identifier": named}
    return b64encode(orjson.dumps(stated)).decode()


@pytest.fixture
async def calls(stage: Stage, tmp_path: Path) -> AsyncIterator[CallShop]:
    async with run_api() as api, run_shop(stage, tmp_path) as shop:
        made = await connect(shop.market, shop.seller_key, api.url)
        yield CallShop(shop, api, f"/x402/{made['sold_under']}")


async def test_stranger__with_the_url_alone__pays_and_is_answered(calls: CallShop) -> None:
    asked = await calls.ask()
    required = decode_payment_required_header(asked.headers["payment-required"])
    assert isinstance(required, PaymentRequired)
    assert required.accepts[0].amount == str(PRICE_USDC + FEE_USDC)
    assert asked.headers["cache-control"] == "no-store"
    bazaar = (required.extensions or {})["bazaar"]
    checked = validate_discovery_extension(parse_discovery_extension(bazaar))
    assert checked.valid, checked.errors

    async with calls.shop.payer() as payer:
        answer = await payer.get(f"{calls.path}/v1/blocks/latest")

    assert (answer.status_code, answer.json()["number"]) == (200, 3)
    assert "payment-response" in answer.headers
    assert calls.shop.paid_usdc() == PRICE_USDC + FEE_USDC
    (call,) = calls.posted()
    assert (call["earning_usdc"], call["fee_usdc"]) == (135_000, 15_000 + FEE_USDC)
    # To its owner a call has sold for its price, as in the reference: the transaction is no sale.
    owner = {"authorization": f"Bearer {calls.shop.seller_key}"}
    path = f"/v1/seller/connections/{call['connection_id']}/status"
    figures = (await calls.shop.market.client.get(path, headers=owner)).json()
    (period,) = (await calls.shop.market.client.get("/v1/seller/capacity", headers=owner)).json()[
        "connections"
    ]
    for shown in (figures, period):
        money = [shown[name] for name in ("revenue_usdc", "your_share_usdc", "fee_usdc")]
        assert money == [PRICE_USDC, 135_000, 15_000]
    listed = (await calls.shop.market.client.get("/discovery/resources")).json()
    assert listed["pagination"]["total"] == 4
    assert all(item["accepts"][0]["payTo"] for item in listed["items"])


async def test_payment__used_for_another_resource_twice_or_at_once__serves_one_call(
    calls: CallShop,
) -> None:
    header = await calls.sign()

    answers = await asyncio.gather(*(calls.ask(headers=header) for _ in range(4)))
    other = await calls.ask("v1/blocks/1", headers=header)
    query = await calls.ask("v1/blocks/latest?full=1", headers=header)
    again = await calls.ask(headers=header)

    served = [answer for answer in answers if answer.status_code == 200]
    assert len(served) == 1
    assert {other.status_code, query.status_code, again.status_code} == {402}
    assert len(calls.posted()) == len(calls.api.requests) == 1


async def test_payment__answer_costs_nothing_or_api_fails__is_used_for_the_next_try(
    calls: CallShop,
) -> None:
    header = await calls.sign()
    calls.api.answer_with(lambda: JSONResponse({}, 500))

    failed = await calls.ask(headers=header)
    calls.api.behave = None
    missing = await calls.sign("v1/blocks/9")
    not_found = await calls.ask("v1/blocks/9", headers=missing)

    assert failed.status_code == 502
    assert calls.posted() == []
    assert (not_found.status_code, not_found.headers["x-market-cost-usdc"]) == (404, "0")


async def test_payment__api_says_nothing_that_counts__is_free_at_once(calls: CallShop) -> None:
    latest = {"method": "GET", "path": "/v1/blocks/latest", "count_on": ["200"]}
    shop = calls.shop
    made = await connect(
        shop.market, shop.seller_key, calls.api.url, name="counts-200", operations=[latest]
    )
    calls.path = f"/x402/{made['sold_under']}"
    header = await calls.sign()
    calls.api.answer_with(lambda: Response(status_code=204))
    empty = await calls.ask(headers=header)
    calls.api.behave = None

    answer = await calls.ask(headers=header)

    assert (empty.status_code, answer.status_code) == (204, 200), answer.text
    assert len(calls.posted()) == 1


async def test_identifier__answer_was_lost__is_answered_again_and_charged_once(
    calls: CallShop,
) -> None:
    header = await calls.sign()
    named = {name: identify(value, "pay_0123456789abcdef") for name, value in header.items()}

    first = await calls.ask(headers=named)
    again = await calls.ask(headers=named)
    stranger = await calls.ask(headers=header)
    other = await calls.ask("v1/blocks/1", headers=named)

    assert (first.status_code, again.status_code) == (200, 200), (first.text, again.text)
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert stranger.status_code == 402
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert len(calls.posted()) == len(calls.api.requests) == 1


async def test_paths__refused__before_anything_is_paid(calls: CallShop) -> None:
    for path in ("v1/blocks/%2e%2e/x", "v1/none", "v1/blocks/1;x"):
        answer = await calls.ask(path)
        assert answer.status_code in (400, 404), answer.text
    assert calls.shop.payments() == []


@pytest.mark.parametrize("scheme", ["upto", "batch-settlement"])
async def test_payment__of_a_scheme_that_is_not_offered__takes_nothing(
    calls: CallShop, scheme: str
) -> None:
    asked = await calls.ask()
    required = decode_payment_required_header(asked.headers["payment-required"])
    assert isinstance(required, PaymentRequired)
    assert [one.scheme for one in required.accepts] == ["exact"]
    offered = required.accepts[0]
    extra = {**offered.extra, "facilitatorAddress": "0x" + "99" * 20}
    accepted = offered.model_copy(update={"scheme": scheme, "extra": extra})
    # What the package's own client for `upto` signs; a voucher has another form, and as little use.
    payload = UptoEvmScheme(EthAccountSigner(BUYER)).create_payment_payload(
        accepted.model_copy(update={"scheme": "upto"})
    )
    header = header_of(PaymentPayload(accepted=accepted, payload=payload))

    answer = await calls.ask(headers=header)

    assert (answer.status_code, answer.json()["error"]) == (402, "unsupported_scheme")
    assert calls.shop.payments() == []
    assert calls.api.requests == []
