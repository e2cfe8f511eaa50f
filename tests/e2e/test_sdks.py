"""Buyers' own programs against a proxy: OpenAI's SDKs, Python and JavaScript, LiteLLM, and curl.

::

    each of them
    ├── models, a completion, a stream with its usage and cost, a tool call
    └── refusals: the class that its users catch, with our code and param
        ├── 400, 401, 404
        ├── 429 about money: asked once, and never again by itself
        └── 502: asked again, as its users expect
"""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import openai
import pytest

from bench.proxy.peers import LITELLM
from ledger.database.engine import write
from tests.support.answers import MODEL, TEXT, USAGE, make_answer, make_completion
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import SQLITE, Databases, make_state, put_cursor, put_positions
from tests.support.proxy import (
    RunningProxy,
    make_key,
    make_settings,
    now_s,
    run_proxy,
    write_prices,
)
from tests.support.sdk import SDK
from tests.support.waiting import LIMIT_S

COST_USDC: Final = 12  # 20 x 0.20 + 10 x 0.80 USD a million tokens
RICH, POOR, FRESH = range(3)
"""Positions with a hold, with spent credit, and never harvested."""

CHAT: Final = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Say hello."}],
    "max_tokens": 50,
}
TOOL: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "the weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALLED: Final = {"name": "get_weather", "arguments": '{"city": "Lisbon"}'}


def call_tool(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Answer as a model that calls the first tool that it is given."""
    if not body.get("tools"):
        return make_answer(path, body, text=TEXT, usage=USAGE)
    completion = make_completion()
    called = {"id": "call-1", "type": "function", "function": CALLED}
    message = {"role": "assistant", "content": None, "tool_calls": [called]}
    completion["choices"] = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
    return completion


@pytest.fixture
async def provider() -> AsyncIterator[FakeEndpoint]:
    async with FakeEndpoint(build=call_tool) as provider:
        yield provider


@pytest.fixture
async def proxy(provider: FakeEndpoint, tmp_path: Path) -> AsyncIterator[RunningProxy]:
    settings = make_settings(upstream_url=provider.url, prices_file=write_prices(tmp_path))
    with Databases(SQLITE, tmp_path) as databases:
        engine = databases.open_ledger()
        with write(engine) as connection:
            put_positions(
                connection,
                make_state(RICH, now_s=now_s()),
                make_state(POOR, now_s=now_s(), credited_usdc=5, hold_usdc=5),
                make_state(FRESH, now_s=now_s(), credited_usdc=0, hold_usdc=0),
            )
            put_cursor(connection, now_s=now_s())
        async with run_proxy(settings, engine) as running:
            yield running


Ask = Callable[..., Awaitable[dict[str, Any]]]
"""``ask(base_url, key, what, request)`` returns what came of it, the same for every client."""


async def ask_python(url: str, key: str, what: str, request: dict[str, Any]) -> dict[str, Any]:
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=2) as client:
        try:
            return await _call(client, what, request)
        except openai.APIStatusError as error:
            return {
                "error": type(error).__name__,
                "status": error.status_code,
                "code": error.code,
                "param": error.param,
            }


async def _call(client: openai.AsyncOpenAI, what: str, request: dict[str, Any]) -> dict[str, Any]:
    match what:
        case "models":
            return {"ids": [model.id async for model in client.models.list()]}
        case "chat":
            completion = await client.chat.completions.create(**request)
            message = completion.choices[0].message
            tool = message.tool_calls[0].function.model_dump() if message.tool_calls else None
            usage = completion.usage.model_dump(exclude_none=True)
            return {"text": message.content, "tool": tool, "usage": usage}
        case _:
            text, usage = "", None
            stream = await client.chat.completions.create(
                **request, stream=True, stream_options={"include_usage": True}
            )
            async for chunk in stream:
                text += chunk.choices[0].delta.content or "" if chunk.choices else ""
                usage = chunk.usage or usage
            return {"text": text, "usage": usage.model_dump(exclude_none=True)}


async def ask_javascript(url: str, key: str, what: str, request: dict[str, Any]) -> dict[str, Any]:
    command = ["node", str(SDK / "buyer.mjs"), url, key, what, json.dumps(request)]
    answer: dict[str, Any] = json.loads(await run(command))
    return answer


async def ask_curl(url: str, key: str, what: str, request: dict[str, Any]) -> dict[str, Any]:
    """What a shell script does: it has no classes, so the type stands for one."""
    path = "/models" if what == "models" else "/chat/completions"
    command = ["curl", "-sS", "-N", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {key}"]
    if what == "stream":
        request = {**request, "stream": True, "stream_options": {"include_usage": True}}
    if what != "models":
        command += ["-d", json.dumps(request)]
    body, _, status = (await run([*command, url + path])).rpartition("\n")
    if status != "200":
        error = json.loads(body)["error"]
        facts = {"code": error["code"], "param": error["param"]}
        return {"error": error["type"], "status": int(status), **facts}
    if what == "models":
        return {"ids": [model["id"] for model in json.loads(body)["data"]]}
    if what == "chat":
        completion = json.loads(body)
        message = completion["choices"][0]["message"]
        tool = message["tool_calls"][0]["function"] if message.get("tool_calls") else None
        return {"text": message["content"], "tool": tool, "usage": completion["usage"]}
    *events, last = re.findall("^data: (.*)$", body, re.MULTILINE)
    assert last == "[DONE]"
    chunks = [json.loads(event) for event in events]
    pieces = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1]]
    return {"text": "".join(pieces), "usage": chunks[-1]["usage"]}


@pytest.fixture(scope="module")
def litellm() -> Iterator["subprocess.Popen[str]"]:
    """Start LiteLLM's SDK in its own environment; skip where `make bench-proxy` has made none."""
    python = LITELLM / "bin" / "python"
    if not python.exists():
        pytest.skip("LiteLLM is not installed: `make bench-proxy` installs it")
    command = [str(python), str(SDK / "buyer_litellm.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


async def ask_litellm(
    process: "subprocess.Popen[str]", url: str, key: str, what: str, request: dict[str, Any]
) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    line = json.dumps({"url": url, "key": key, "what": what, "request": request})
    process.stdin.write(line + "\n")
    process.stdin.flush()
    said = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), LIMIT_S)
    answer: dict[str, Any] = json.loads(said)
    return answer


async def run(command: list[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complained = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode == 0, complained.decode()
    return said.decode()


@dataclass(frozen=True, slots=True)
class Client:
    """A buyer's program."""

    name: str
    ask: Ask
    retries: bool
    """Whether it asks again by itself where that may help."""
    tells_code: bool = True
    """Whether its errors have our code and param."""

    def is_refusal(
        self, answer: dict[str, Any], error: str, error_type: str, facts: dict[str, Any]
    ) -> bool:
        """Tell whether the answer is what its users know the refusal by."""
        known_by = error if self.retries else error_type
        told = facts if self.tells_code else {"status": facts["status"]}
        return answer["error"] == known_by and {name: answer[name] for name in told} == told


@pytest.fixture(params=["python", "javascript", "litellm", "curl"])
def client(request: pytest.FixtureRequest) -> Client:
    if request.param == "python":
        return Client("python", ask_python, retries=True)
    if request.param == "javascript":
        request.getfixturevalue("installed_sdk")
        return Client("javascript", ask_javascript, retries=True)
    if request.param == "litellm":
        ask = partial(ask_litellm, request.getfixturevalue("litellm"))
        return Client("litellm", ask, retries=True, tells_code=False)
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    return Client("curl", ask_curl, retries=False)


async def ask(
    client: Client, proxy: RunningProxy, what: str, *, key: str | None = None, **changes: Any
) -> dict[str, Any]:
    url = f"{proxy.client.base_url}/api/current/v1"
    return await client.ask(url, make_key(RICH) if key is None else key, what, {**CHAT, **changes})


async def test_models__listed(client: Client, proxy: RunningProxy) -> None:
    answer = await ask(client, proxy, "models")
    assert answer == {"ids": [MODEL, "gpt-4o", "unpriced-model"]}


async def test_completion__answered_and_charged_once(client: Client, proxy: RunningProxy) -> None:
    answer = await ask(client, proxy, "chat")

    assert answer == {"text": TEXT, "tool": None, "usage": USAGE}
    assert [row["cost_usdc"] for row in proxy.usage()] == [COST_USDC]


async def test_stream__passed_on_with_its_cost(client: Client, proxy: RunningProxy) -> None:
    answer = await ask(client, proxy, "stream")

    assert answer["text"] == TEXT
    assert answer["usage"] == {**USAGE, "cost": COST_USDC}
    assert [row["cost_usdc"] for row in proxy.usage()] == [COST_USDC]


async def test_tool__called(client: Client, proxy: RunningProxy, provider: FakeEndpoint) -> None:
    answer = await ask(client, proxy, "chat", tools=[TOOL], tool_choice="required")

    assert answer["tool"] == CALLED
    assert provider.requests[-1]["tools"] == [TOOL]
    assert provider.requests[-1]["tool_choice"] == "required"


@pytest.mark.parametrize(
    ("key", "changes", "error", "error_type", "facts"),
    [
        (
            "sk-not-ours",
            {},
            "AuthenticationError",
            "authentication_error",
            {"status": 401, "code": "invalid_api_key", "param": None},
        ),
        (
            make_key(RICH, key_epoch=3),
            {},
            "AuthenticationError",
            "authentication_error",
            {"status": 401, "code": "key_revoked", "param": None},
        ),
        (
            make_key(RICH),
            {"model": "gpt-99"},
            "NotFoundError",
            "invalid_request_error",
            {"status": 404, "code": "model_not_found", "param": "model"},
        ),
        (
            make_key(RICH),
            {"max_tokens": 0},
            "BadRequestError",
            "invalid_request_error",
            {"status": 400, "code": "invalid_type", "param": "max_tokens"},
        ),
        (
            make_key(POOR),
            {},
            "RateLimitError",
            "insufficient_quota",
            {"status": 429, "code": "allowance_spent", "param": None},
        ),
        (
            make_key(FRESH),
            {},
            "RateLimitError",
            "insufficient_quota",
            {"status": 429, "code": "never_harvested", "param": None},
        ),
    ],
    ids=["not ours", "revoked", "no such model", "bad field", "spent", "never harvested"],
)
@pytest.mark.sampled(2)
async def test_refusal__known_by_its_class_and_not_asked_again(
    client: Client,
    proxy: RunningProxy,
    provider: FakeEndpoint,
    key: str,
    changes: dict[str, Any],
    error: str,
    error_type: str,
    facts: dict[str, Any],
) -> None:
    answer = await ask(client, proxy, "chat", key=key, **changes)

    assert client.is_refusal(answer, error, error_type, facts), answer
    assert await count_requests(proxy, facts["code"]) == 1
    assert provider.requests == []


async def test_stream_refused__known_by_its_class_and_not_asked_again(
    client: Client, proxy: RunningProxy
) -> None:
    answer = await ask(client, proxy, "stream", key=make_key(POOR))

    facts = {"status": 429, "code": "allowance_spent"}
    assert client.is_refusal(answer, "RateLimitError", "insufficient_quota", facts), answer
    assert await count_requests(proxy, "allowance_spent") == 1


@pytest.mark.sampled(2)
async def test_provider_fails__asked_again_and_not_charged(
    client: Client, proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.behaviour = "status_500"
    answer = await ask(client, proxy, "chat")

    error = "BadGatewayError" if client.name == "litellm" else "InternalServerError"
    facts = {"status": 502, "code": "upstream_error"}
    assert client.is_refusal(answer, error, "api_error", facts), answer
    assert len(provider.requests) == (3 if client.retries else 1)
    assert {row["state"] for row in proxy.usage()} == {"voided"}


async def count_requests(proxy: RunningProxy, code: str) -> int:
    """Return how many completions ended with ``code``, by the proxy's own count."""
    metrics = (await proxy.client.get("/api/current/metrics")).text
    found = re.search(rf'requests_total{{code="{code}"}} (\d+)', metrics)
    return 0 if found is None else int(found[1])
