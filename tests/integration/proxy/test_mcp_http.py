"""``POST /mcp``: the tools over HTTP, by the official SDK's client in both generations, and badly.

::

    both generations ── list, spend within max_usdc, the key in the header; nothing is kept between
    without a key, with another's, by GET, without a session, in an old or unknown protocol
    from a page: of this server, of a listed origin, of another; a body that is too long, no JSON
    the market's APIs ── listed, called by a key or by x402, never above max_usdc, nowhere else
    keys ── made where the operator lets agents make them, by a root key
"""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from ledger.database.engine import write
from tests.support.answers import MODEL, TEXT
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.market import make_settings as make_market_settings
from tests.support.market import run_market
from tests.support.proxy import RunningProxy, make_key, now_s, run_proxy, settings_for
from tests.support.resale import LATEST, connect, run_api

PAGE = "https://app.example"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}
ACCEPT = {"accept": "application/json, text/event-stream"}


@asynccontextmanager
async def running(
    provider: FakeEndpoint, folder: Path, **changes: Any
) -> AsyncIterator[RunningProxy]:
    engine = make_ledger(folder / "ledger.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    settings = settings_for(provider, folder, cors_origins=PAGE, **changes)
    async with run_proxy(settings, engine) as proxy:
        yield proxy
    engine.dispose()


@pytest.fixture
async def proxy(provider: FakeEndpoint, tmp_path: Path) -> AsyncIterator[RunningProxy]:
    async with running(provider, tmp_path, mcp_creates_keys=True) as proxy:
        yield proxy


@asynccontextmanager
async def attach(
    proxy: RunningProxy, mode: Any = "auto", key: str | None = None, **headers: str
) -> AsyncIterator[Client]:
    """Connect the SDK's own client over HTTP."""
    own = make_key() if key is None else key
    sent = {"authorization": f"Bearer {own}", **headers} if own else headers
    async with httpx2.AsyncClient(headers=sent, timeout=30) as http:
        transport = streamable_http_client(f"{proxy.client.base_url}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


async def call(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    return dict(result.structured_content)


async def post(proxy: RunningProxy, body: Any = HELLO, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient() as http:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"content-type": "application/json", **ACCEPT, **headers}
        return await http.post(f"{proxy.client.base_url}/mcp", content=raw, headers=sent)


# ------------------------------------------------------------------------------ both generations


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_client__of_either_generation__spends_within_its_bound(
    proxy: RunningProxy, provider: FakeEndpoint, mode: str
) -> None:
    async with attach(proxy, mode) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        answer = await call(client, "chat", model=MODEL, prompt="Say hello.", max_usdc="0.01")
        dear = await client.call_tool(
            "chat", {"model": MODEL, "prompt": "Say hello.", "max_usdc": "0.000001"}
        )
        allowance = await call(client, "get_allowance")
        proof = await call(client, "verify_receipt", request_id=answer["request_id"])

    assert {"chat", "quote", "create_child_key", "verify_receipt"} <= names
    assert not {"list_apis", "call_api"} & names  # the operator names no market
    assert (answer["text"], answer["cost"]) == (TEXT, "0.000012 USDC")
    assert dear.is_error
    assert len(provider.requests) == len(proxy.usage()) == 1
    assert allowance["in_flight"] == "0.000012 USDC"
    assert (proof["holds"], proof["transaction"]) == (False, None)
    assert "posted" in proof["reason"]


async def test_clients__with_keys_of_their_own__see_their_own(proxy: RunningProxy) -> None:
    async with attach(proxy) as root:
        made = await call(root, "create_child_key", label="helper", max_usdc="0.001")
    async with attach(proxy, key=made["api_key"]) as child:
        await call(child, "chat", model=MODEL, prompt="Hi", max_usdc="0.0009", max_tokens=50)
        refused = await child.call_tool("create_child_key", {"label": "x", "max_usdc": "1"})
        spent = await child.call_tool(
            "chat", {"model": MODEL, "prompt": "Hi", "max_usdc": "1", "max_tokens": 2_000}
        )
    assert made["lifetime_limit"] == "0.001000 USDC"
    assert refused.is_error
    assert "root key" in str(refused.content)
    assert spent.is_error  # by the key's own limit, whatever the agent would pay
    assert [row["key_id"] for row in proxy.usage()] == [made["key_id"]]


async def test_key__missing_or_wrong__tools_say_so(proxy: RunningProxy) -> None:
    async with attach(proxy, key="") as client:
        result = await client.call_tool("get_allowance", {})
        assert "Authorization: Bearer" in str(result.content)
    async with attach(proxy, key="current_0_0_wrong") as client:
        result = await client.call_tool("usage_summary", {})
        assert result.is_error
        assert "not valid" in str(result.content)


# ----------------------------------------------------------------------------------------- badly


async def test_request__without_a_session__answered_as_nothing_is_kept(
    proxy: RunningProxy,
) -> None:
    listed = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
    for headers in ({}, {"mcp-session-id": "of-yesterday"}, {"mcp-protocol-version": "2025-03-26"}):
        answer = await post(proxy, listed, **headers)
        assert answer.status_code == 200, answer.text
        assert "get_allowance" in answer.text
        assert "mcp-session-id" not in answer.headers


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "1999-01-01"])
async def test_protocol__old_or_unknown__one_that_both_know_is_agreed(
    proxy: RunningProxy, version: str
) -> None:
    asked = {**HELLO, "params": {**HELLO["params"], "protocolVersion": version}}  # type: ignore[dict-item]
    answer = await post(proxy, asked)
    assert answer.status_code == 200
    (data,) = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    agreed = json.loads(data)["result"]["protocolVersion"]
    assert agreed == version or version == "1999-01-01"


async def test_protocol__of_the_future__refused_as_json_rpc(proxy: RunningProxy) -> None:
    answer = await post(proxy, **{"mcp-protocol-version": "2099-01-01"})
    assert answer.status_code == 400
    assert "error" in answer.json()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        (PAGE, 200),
        ("https://evil.example", 403),
        ("null", 403),
        (f"{PAGE}.evil.example", 403),
    ],
)
async def test_page__of_another_origin__403(
    proxy: RunningProxy, origin: str | None, status: int
) -> None:
    answer = await post(proxy, **({} if origin is None else {"origin": origin}))
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["error"]["code"] == "wrong_origin"


async def test_http__what_is_no_request__refused(proxy: RunningProxy) -> None:
    url = f"{proxy.client.base_url}/mcp"
    async with httpx.AsyncClient() as http:
        for method in ("GET", "DELETE", "PUT"):
            answer = await http.request(method, url)
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert (await post(proxy, b"{")).status_code == 400
    assert (await post(proxy, b"{}", **{"content-type": "text/plain"})).status_code == 400
    assert (await post(proxy, b" " * (5 * 1024**2))).status_code == 413


async def test_setting__off__there_is_no_such_path(provider: FakeEndpoint, tmp_path: Path) -> None:
    async with running(provider, tmp_path, mcp=False) as proxy:
        assert (await post(proxy)).status_code == 404


# ------------------------------------------------------------------------------ the market's APIs


@asynccontextmanager
async def with_market(
    provider: FakeEndpoint, folder: Path
) -> AsyncIterator[tuple[RunningProxy, Any, Any, str]]:
    """A proxy whose agents may call the APIs of a market, which sells one."""
    (folder / "market").mkdir()
    engine = make_ledger(folder / "market" / "ledger.sqlite3")
    async with run_api() as api, run_market(make_market_settings(folder), engine) as market:
        connection = await connect(market, await market.get_key(), api.url, name="weather")
        url = str(market.client.base_url)
        async with running(provider, folder, mcp_market_url=url) as proxy:
            yield proxy, market, api, connection["sold_under"]
    engine.dispose()


async def test_apis__listed_and_called_by_a_market_key__at_most_max_usdc(
    provider: FakeEndpoint, tmp_path: Path
) -> None:
    async with with_market(provider, tmp_path) as (proxy, market, api, name):
        key = await market.get_buyer_key()
        async with attach(proxy, **{"x-market-key": key}) as client:
            listed = await call(client, "list_apis")
            wish = {"api": name, "path": f"/{LATEST}", "max_usdc": "0.15"}
            answer = await call(client, "call_api", **wish)
            called = len(api.requests)
            dear = await client.call_tool("call_api", {**wish, "max_usdc": "0.149999"})
            wrong = [
                await client.call_tool("call_api", {**wish, **changes})
                for changes in (
                    {"api": "../v1/buyer"},
                    {"path": "/../../v1/buyer/account"},
                    {"path": "//evil.example/"},
                    {"path": "latest"},
                    {"query": "a=1 HTTP/1.1\r\nx: y"},
                    {"method": "CONNECT"},
                    {"max_usdc": "-1"},
                    {"api": "nobody-sells-this"},
                )
            ]

    assert [one["name"] for one in listed["apis"]] == [name]
    assert listed["apis"][0]["operations"][0]["price"] == "0.150000 USDC a call"
    assert (answer["status"], answer["cost"]) == (200, "0.150000 USDC")
    assert dear.is_error
    assert "above" in str(dear.content)
    assert all(one.is_error for one in wrong)
    assert len(api.requests) == called == 1


async def test_apis__without_a_key__the_market_refuses_and_payments_are_bounded(
    provider: FakeEndpoint, tmp_path: Path
) -> None:
    async with (
        with_market(provider, tmp_path) as (proxy, _, api, name),
        attach(proxy) as client,
    ):
        wish = {"api": name, "path": f"/{LATEST}", "max_usdc": "0.15"}
        unpaid = await client.call_tool("call_api", wish)
        payments: list[tuple[Any, str]] = [
            ({"payload": {"authorization": {"value": "150001"}}}, "above max_usdc"),
            ("not base64", "no payment"),
            ({"payload": {"authorization": {"value": 150_000}}}, "no payment"),
            ({"payload": {"authorization": {"value": "-1"}}}, "no payment"),
            (b64encode(b"{}").decode(), "no payment"),
        ]
        for payment, words in payments:
            meta = {"x402/payment": payment}
            refused = await client.call_tool("call_api", wish, meta=meta)  # type: ignore[arg-type]
            assert refused.is_error
            assert words in str(refused.content)
    assert unpaid.is_error
    assert api.requests == []
