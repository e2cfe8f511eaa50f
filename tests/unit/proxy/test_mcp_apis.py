"""Calls of APIs paid by x402 through the tools: what is asked, what is sent, what is told.

The market is a function here: what a real one answers is in tests/integration/market.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from mcp import Client

from proxy.mcp_apis import MarketAnswer
from proxy.mcp_tools import build_server

REQUIRED = {
    "x402Version": 2,
    "accepts": [{"scheme": "exact", "network": "eip155:8453", "amount": "150000"}],
}
PAYMENT = {"x402Version": 2, "payload": {"authorization": {"value": "150000"}, "signature": "0x"}}
WISH = {"api": "weather", "path": "/v1/now", "query": "city=Porto", "max_usdc": "0.15"}


def encode(said: Any) -> str:
    return b64encode(json.dumps(said).encode()).decode()


class Market:
    """Asks for a payment, and answers once it comes."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Mapping[str, str], bytes | None]] = []
        self.required: Any = encode(REQUIRED)
        self.text = '{"degrees": 21}'

    async def __call__(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> MarketAnswer:
        self.asked.append((method, path, headers, body))
        if "payment-signature" not in headers:
            return MarketAnswer(402, {"payment-required": self.required}, "{}")
        told = {
            "content-type": "application/json",
            "x-market-cost-usdc": "150000",
            "payment-response": encode({"success": True, "transaction": "0xab"}),
        }
        return MarketAnswer(200, told, self.text)


async def ask_nobody(*_: Any) -> Mapping[str, Any]:
    raise AssertionError("the proxy's API is not asked")


async def call(market: Market, payment: Any = None, **changes: Any) -> Any:
    async with Client(build_server(ask_nobody, key="k", ask_market=market)) as client:
        meta: Any = None if payment is None else {"x402/payment": payment}
        return await client.call_tool("call_api", {**WISH, **changes}, meta=meta)


async def test_call__unpaid__comes_back_with_what_must_be_paid() -> None:
    market = Market()
    result = await call(market)
    assert result.is_error
    assert result.structured_content == REQUIRED
    (method, path, headers, body) = market.asked[0]
    assert (method, path, body) == ("GET", "/x402/weather/v1/now?city=Porto", None)
    assert headers == {"x-market-max-call-usdc": "150000"}


@pytest.mark.parametrize("payment", [PAYMENT, encode(PAYMENT)])
async def test_call__paid__is_answered_with_the_payments_receipt(payment: Any) -> None:
    market = Market()
    result = await call(market, payment, method="POST", body={"a": 1})
    assert not result.is_error
    assert result.structured_content["text"] == market.text
    assert result.structured_content["cost"] == "0.150000 USDC"
    assert (result.meta or {})["x402/payment-response"]["transaction"] == "0xab"
    (method, _, headers, body) = market.asked[0]
    assert (method, body) == ("POST", b'{"a": 1}')
    assert json.loads(b64decode(headers["payment-signature"])) == PAYMENT


async def test_call__asked_for_more_than_max_usdc__no_payment_is_asked_for() -> None:
    result = await call(Market(), max_usdc="0.149999")
    assert result.is_error
    assert result.structured_content is None
    assert "0.150000 USDC, above max_usdc" in str(result.content)


async def test_call__payment_above_max_usdc__is_not_sent() -> None:
    market = Market()
    result = await call(market, PAYMENT, max_usdc="0.149999")
    assert "was not sent" in str(result.content)
    assert market.asked == []


@pytest.mark.parametrize("required", ["not base64!", encode([]), encode({"accepts": [None]})])
async def test_call__odd_words_on_the_payment__is_an_error(required: str) -> None:
    market = Market()
    market.required = required
    assert (await call(market)).is_error


async def test_call__very_long_answer__is_cut_and_says_so() -> None:
    market = Market()
    market.text = "x" * 200_000
    result = await call(market, PAYMENT)
    assert len(result.structured_content["text"]) == 100_000
    assert result.structured_content["is_cut"] is True


@pytest.mark.parametrize(
    "place",
    [
        {"api": ".."},
        {"api": "."},
        {"api": "~x/.."},
        {"api": "~../.."},
        {"api": "~0x" + "11" * 20 + "/.."},
        {"api": "Weather"},
        {"path": "/../v1/chat/completions"},
        {"path": "/v1/.."},
        {"path": "/%2e%2E/v1/chat/completions"},
        {"path": "/v1%2F..%2f..%2fv1/buyer/providers"},
        {"path": "/./v1"},
        {"path": "/..;a/v1"},
        {"path": "//evil.example/v1"},
    ],
)
async def test_call__path_that_leads_elsewhere__is_not_sent(place: dict[str, str]) -> None:
    market = Market()
    result = await call(market, PAYMENT, **place)
    assert result.is_error
    assert market.asked == []
