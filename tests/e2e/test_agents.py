"""Agents' libraries as their users have them: a base URL, a key, and nothing else is told.

::

    AI SDK, LangChain (Python, JavaScript), LlamaIndex, pydantic-ai, OpenAI Agents, instructor, llm
    ├── at the proxy, at the market
    └── a question, a stream with its usage, a tool and its result, a structured answer
        └── each request of theirs is charged once
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Engine

from bench.install import prepare, venv_stage
from bench.report import BenchError
from ledger.database.engine import write
from scripts.stack.anvil_path import ROOT
from tests.support import market as markets
from tests.support import proxy as proxies
from tests.support.answers import MODEL, TEXT, USAGE, make_answer
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.sdk import SDK
from tests.support.waiting import LIMIT_S

WEATHER: Final = {"city": "Lisbon", "celsius": 21}
SAID: Final = "It is 21 degrees in Lisbon."
TOKENS: Final = [20, 10]
EVERYTHING: Final = {
    "chat": TEXT,
    "stream": TEXT,
    "tokens": TOKENS,
    "tool": SAID,
    "structured": WEATHER,
}
"""What each library has to tell, as far as it has it; five requests, as a tool takes two."""
REQUESTS: Final = {"chat": 1, "stream": 1, "tokens": 0, "tool": 2, "structured": 1}


def play_model(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Answer as a model does: it calls a tool, reads its result, and keeps to a schema."""
    answer = make_answer(path, body, text=TEXT, usage=USAGE)
    (choice,) = answer["choices"]
    message = choice["message"]
    names = [tool["function"]["name"] for tool in body.get("tools") or ()]
    results = [one["content"] for one in body["messages"] if one["role"] == "tool"]
    if results:
        assert "21 degrees in Lisbon" in str(results)
        message["content"] = SAID
    elif names:
        arguments = {"city": "Lisbon"} if "get_weather" in names else WEATHER
        called = {"name": names[0], "arguments": json.dumps(arguments)}
        message["content"] = None
        message["tool_calls"] = [{"id": "call-1", "type": "function", "function": called}]
        choice["finish_reason"] = "tool_calls"
    elif body.get("response_format"):
        message["content"] = json.dumps(WEATHER)
    return answer


@dataclass(frozen=True, slots=True)
class Server:
    """A server with a model behind it, and what it has charged."""

    url: str
    key: str
    running: Any

    async def costs_usdc(self) -> list[int]:
        rows = (
            self.running.usage()
            if isinstance(self.running, proxies.RunningProxy)
            else await self.running.settled_sales()
        )
        return [row["cost_usdc"] for row in rows]


@asynccontextmanager
async def run_proxy(engine: Engine, folder: Path, upstream: str) -> AsyncIterator[Server]:
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=proxies.now_s()))
        put_cursor(connection, now_s=proxies.now_s())
    prices = proxies.write_prices(folder)
    settings = proxies.make_settings(upstream_url=upstream, prices_file=prices)
    async with proxies.run_proxy(settings, engine) as running:
        yield Server(f"{running.client.base_url}/api/current/v1", proxies.make_key(), running)


@asynccontextmanager
async def run_market(engine: Engine, folder: Path, upstream: str) -> AsyncIterator[Server]:
    (folder / "prices.toml").write_text(markets.PRICES)
    async with markets.run_market(markets.make_settings(folder), engine) as running:
        await running.list_offer(await running.get_key(), upstream)
        yield Server(f"{running.client.base_url}/v1", await running.get_buyer_key(), running)


@pytest.fixture(params=["proxy", "market"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Server]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    run = run_proxy if request.param == "proxy" else run_market
    async with FakeEndpoint(build=play_model) as model, run(engine, tmp_path, model.url) as server:
        yield server
    engine.dispose()


@pytest.mark.parametrize("client", ["ai-sdk", "langchain"])
@pytest.mark.sampled(2)
async def test_javascript__base_url_and_key__everything_works(
    installed_sdk: Path, server: Server, client: str
) -> None:
    told = await run(["node", str(installed_sdk / "agent_clients.mjs")], server, client)

    await check(told, server, EVERYTHING)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("client", "has"),
    [
        ("instructor", {"structured"}),
        ("langchain", set(EVERYTHING)),
        ("llm", {"chat", "stream"}),
        ("openai-agents", {"chat", "stream", "tool", "structured"}),
        ("pydantic-ai", {"chat", "stream", "tool", "structured"}),
        ("llama-index", {"chat", "stream", "tool"}),
    ],
)
async def test_python__base_url_and_key__everything_works(
    server: Server, client: str, has: set[str]
) -> None:
    is_llamaindex = client == "llama-index"
    python = install("llamaindex" if is_llamaindex else "clients")
    script = "agent_llamaindex.py" if is_llamaindex else "agent_clients.py"
    told = await run([str(python), str(SDK / script)], server, client)

    await check(told, server, {name: EVERYTHING[name] for name in has})


def install(lock: str) -> Path:
    """Return the Python of a lock's own environment. Skips where it cannot be had."""
    venv = ROOT / ".cache" / "sdk" / lock
    try:
        prepare([venv_stage(venv, SDK / f"{lock}.lock")])
    except BenchError as error:
        pytest.skip(str(error))
    return venv / "bin" / "python"


async def run(command: list[str], server: Server, client: str) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(*command, server.url, server.key, MODEL, client),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode == 0, complained.decode()
    told: dict[str, Any] = json.loads(said)
    return told


async def check(told: dict[str, Any], server: Server, expected: dict[str, Any]) -> None:
    assert told == expected
    costs_usdc = await server.costs_usdc()
    assert len(costs_usdc) == sum(REQUESTS[name] for name in expected)
    assert len(set(costs_usdc)) == 1, "the same tokens cost the same"
