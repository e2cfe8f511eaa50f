"""An agent's loop with the devnet's own model: one real call of a tool through every server.

OpenAI's SDK, the proxy, the market, the model in its process. Nothing is scripted: the model
chooses the tool, the grammar keeps its arguments to the schema, and it reads the result.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from openai import AsyncOpenAI

from ledger.database.engine import write
from scripts.stack.model import MODEL_ID
from scripts.stack.processes import Stack
from scripts.stack.run_directory import claim_run_directory
from tests.support import market as markets
from tests.support import proxy as proxies
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.waiting import LIMIT_S

pytestmark = pytest.mark.slow

READY: Final = re.compile(r"ready on (http://127\.0\.0\.1:(\d+)/v1)")
TOOLS: Final[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": said,
            "parameters": {
                "type": "object",
                "properties": {argument: {"type": "string"}},
                "required": [argument],
            },
        },
    }
    for name, said, argument in (
        ("read_file", "Read a file", "path"),
        ("get_weather", "Get the weather of a city", "city"),
    )
]


async def test_agent_loop__calls_a_tool_and_reads_its_result__both_charged(tmp_path: Path) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=proxies.now_s()))
        put_cursor(connection, now_s=proxies.now_s())
    command = [sys.executable, "-m", "scripts.stack.model", "--port", "0"]
    with (
        claim_run_directory("model", root=tmp_path) as directory,
        Stack(directory, say=lambda _: None) as stack,
    ):
        stack.start("model", command, ready=READY)
        match = stack.child("model").match
        assert match is not None
        sellers = markets.make_settings(tmp_path)
        async with markets.run_market(sellers, engine) as market:
            await market.list_offer(await market.get_key(), match[1])
            buys = proxies.make_settings(
                upstream_url=f"{market.client.base_url}/v1",
                upstream_key=await market.get_buyer_key(),
                minimum_grade="D",
            )
            async with proxies.run_proxy(buys, engine) as proxy:
                said = await run_loop(f"{proxy.client.base_url}/api/current/v1")
                charged = [row["cost_usdc"] for row in proxy.usage()]
            sold = [sale["cost_usdc"] for sale in market.sales()]
    engine.dispose()

    assert "21" in said
    assert len(charged) == 2
    assert charged == sold
    assert min(charged) > 0


async def run_loop(url: str) -> str:
    """Ask, carry out the call, and return what the model makes of the result."""
    asked: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
    async with AsyncOpenAI(
        base_url=url, api_key=proxies.make_key(), max_retries=0, timeout=LIMIT_S
    ) as client:
        first = await client.chat.completions.create(
            model=MODEL_ID, messages=asked, tools=TOOLS, max_tokens=60, temperature=0
        )
        assert first.choices[0].finish_reason == "tool_calls"
        calls = first.choices[0].message.tool_calls or []
        assert len(calls) == 1
        call = calls[0]
        assert call.type == "function"
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments) == {"city": "Paris"}
        told = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees."}
        asked += [first.choices[0].message.model_dump(exclude_none=True), told]
        second = await client.chat.completions.create(
            model=MODEL_ID, messages=asked, tools=TOOLS, max_tokens=60, temperature=0
        )
    return second.choices[0].message.content or ""
