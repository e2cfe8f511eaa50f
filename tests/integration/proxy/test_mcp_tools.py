"""The tools for agents, called by the official SDK's own client.

::

    in this process   every tool answers as its schema says, amounts with their unit
    chat              never spends more than max_usdc, whatever it is called with
    current mcp       the same over standard input and output
    no key            said, not served
"""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client, StdioServerParameters

from ledger.database.engine import write
from proxy.mcp_asking import ask_api
from proxy.mcp_tools import build_server
from scripts.stack.anvil_path import ROOT
from tests.support.answers import MODEL, TEXT
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import RunningProxy, make_key, now_s, run_proxy, settings_for


@pytest.fixture
async def running(provider: FakeEndpoint, tmp_path: Path) -> AsyncIterator[RunningProxy]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    async with run_proxy(settings_for(provider, tmp_path), engine) as proxy:
        yield proxy
    engine.dispose()


def api_of(running: RunningProxy) -> str:
    return f"{running.client.base_url}/api/current"


@asynccontextmanager
async def connect(running: RunningProxy, key: str | None) -> AsyncIterator[Client]:
    """Connect the SDK's client to the tools, in this process."""
    async with httpx.AsyncClient(base_url=f"{api_of(running)}/") as http:

        async def ask(
            method: str, path: str, own: str, body: Mapping[str, Any] | None
        ) -> Mapping[str, Any]:
            return await ask_api(http, method, path, own, body)

        async with Client(build_server(ask, key=key)) as client:
            yield client


async def call(client: Client, name: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool, which succeeds; return its typed output."""
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return dict(result.structured_content)


async def test_tools__each__answer_with_amounts_that_have_their_unit(
    running: RunningProxy,
) -> None:
    async with connect(running, make_key()) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        models = await call(client, "list_models")
        quote = await call(client, "quote", model=MODEL, prompt="Say hello.", max_tokens=100)
        answer = await call(
            client, "chat", model=MODEL, prompt="Say hello.", max_usdc="0.01", max_tokens=100
        )
        receipt = await call(client, "get_receipt", request_id=answer["request_id"])
        sums = await call(client, "usage_summary", group_by="model")
        allowance = await call(client, "get_allowance")

    assert all(tool.output_schema for tool in tools.values())
    spending = [
        name
        for name, tool in tools.items()
        if tool.annotations is None or not tool.annotations.read_only_hint
    ]
    assert spending == ["chat"]  # the market's tools are not there, nor those that make keys
    assert MODEL in [model["id"] for model in models["models"]]
    assert quote["admitted"] and quote["at_most"].endswith(" USDC")
    assert (answer["text"], answer["cost"]) == (TEXT, "0.000012 USDC")
    assert (receipt["cost"], receipt["state"]) == ("0.000012 USDC", "posted")
    assert sums["groups"] == [{"name": MODEL, "requests": 1, "cost": "0.000012 USDC"}]
    assert allowance["in_flight"] == "0.000012 USDC"


@pytest.mark.parametrize("max_usdc", ["0.000001", "0", "0.00008 USDC", "a lot", "-1", "1e9"])
async def test_chat__dearer_than_max_usdc_or_an_odd_one__spends_nothing(
    running: RunningProxy, provider: FakeEndpoint, max_usdc: str
) -> None:
    async with connect(running, make_key()) as client:
        result = await client.call_tool(
            "chat", {"model": MODEL, "prompt": "Say hello.", "max_usdc": max_usdc}
        )

    assert result.is_error
    assert "USDC" in str(result.content) or "max_usdc" in str(result.content)
    assert (provider.requests, running.usage()) == ([], [])


async def test_tools__without_a_key__say_so(running: RunningProxy) -> None:
    async with connect(running, None) as client:
        result = await client.call_tool("get_allowance", {})

    assert result.is_error
    assert "Authorization: Bearer" in str(result.content)


async def test_command__over_standard_input__serves_the_sdks_client(running: RunningProxy) -> None:
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "scripts.cli", "mcp", "--api-url", api_of(running)],
        env={"CURRENT_API_KEY": make_key()},
        cwd=ROOT,
    )
    async with Client(command) as client:
        answer = await call(client, "chat", model=MODEL, prompt="Hello?", max_usdc="0.01")

    assert answer["cost"] == "0.000012 USDC"
