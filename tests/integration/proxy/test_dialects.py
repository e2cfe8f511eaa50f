"""Messages and responses over HTTP, asked by the official SDKs as their users have them.

::

    POST /v1/messages, POST /v1/responses
    ├── whole and streamed: the SDK reads it, and the charge is a chat completion's
    ├── calls: parallel, whole; their results go back as the common form has them
    ├── broken off, refused, without allowance: the SDK raises its own class
    ├── keys: bearer, x-api-key, both, two
    └── fields that cost nothing pass; hosted tools and stored state are refused with a reason
"""

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio

from ledger.database.engine import write
from serving.process.hops import HOPS_HEADER
from tests.support.answers import MODEL, TEXT, USAGE, make_completion, make_event
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.proxy import (
    CHAT,
    RunningProxy,
    make_body,
    make_key,
    now_s,
    run_proxy,
    settings_for,
)
from tests.support.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "/api/current"
ASKED: list[Any] = [{"role": "user", "content": "Say hello."}]
WEATHER: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}


ALIAS = "claude-of-ours"


@dataclass
class Stand:
    """One proxy for all tests here, and its clients; ``charges`` are those of the test."""

    proxy: RunningProxy
    provider: FakeEndpoint
    claude: anthropic.AsyncAnthropic
    gpt: openai.AsyncOpenAI
    seen: int = 0

    @property
    def bearer(self) -> dict[str, str]:
        """The header with the key."""
        return {"authorization": f"Bearer {make_key()}"}

    def charges(self) -> list[dict[str, Any]]:
        """Return the usage rows of this test, oldest first."""
        return self.proxy.usage()[self.seen :]

    async def costs_usdc(self) -> list[int]:
        """Return what this test was charged, once nothing is open any more."""
        await until(lambda: all(row["state"] != "reserved" for row in self.charges()))
        return [row["cost_usdc"] for row in self.charges()]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stand]:
    folder = tmp_path_factory.mktemp("dialects")
    engine = make_ledger(folder / "ledger.sqlite3")
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=now_s()))
        put_cursor(connection, now_s=now_s())
    async with FakeEndpoint() as provider:
        settings = settings_for(
            provider,
            folder,
            max_staleness_s=3_600,
            max_tokens_cap=32_000,
            model_aliases=f"{ALIAS}={MODEL},claude-*={MODEL}",
        )
        async with run_proxy(settings, engine) as proxy:
            url, key = f"{proxy.client.base_url}{BASE}", make_key()
            claude = anthropic.AsyncAnthropic(base_url=url, api_key=key, max_retries=0)
            gpt = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
            async with claude, gpt:
                yield Stand(proxy, provider, claude, gpt)
    engine.dispose()


@pytest.fixture
def stand(running: Stand) -> Stand:
    provider = running.provider
    provider.behaviour, provider.events, provider.whole = "normal", None, None
    provider.requests.clear()
    provider.script.clear()
    running.seen = len(running.proxy.usage())
    return running


def make_delta(finish: str | None = None, usage: Any = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "c-1", "object": "chat.completion.chunk", "model": MODEL, "choices": [choice]}
    return make_event(chunk if usage is None else {**chunk, "usage": usage})


def make_call(index: int, arguments: str, call_id: str | None = None) -> dict[str, Any]:
    said = {"arguments": arguments} if call_id is None else {"name": "f", "arguments": arguments}
    return {"index": index, "function": said, **({} if call_id is None else {"id": call_id})}


TWO_CALLS = [
    make_delta(role="assistant", content=""),
    make_delta(reasoning_content="Let me "),
    make_delta(reasoning_content="look."),
    make_delta(content="I look."),
    make_delta(tool_calls=[make_call(0, '{"city"', "call_a")]),
    make_delta(tool_calls=[make_call(0, ': "Lisbon"}')]),
    make_delta(tool_calls=[make_call(1, '{"city": "Porto"}', "call_b")]),
    make_delta(finish="tool_calls"),
    make_event({"id": "c-1", "choices": [], "usage": USAGE}),
    b"data: [DONE]\n\n",
]


async def test_messages__whole__is_read_and_charged_as_a_chat_is(stand: Stand) -> None:
    raw = await stand.claude.messages.with_raw_response.create(
        model=MODEL, max_tokens=100, messages=ASKED, system="Be kind."
    )
    await stand.proxy.chat()

    message = await raw.parse()
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": TEXT}]
    assert (message.stop_reason, message.model) == ("end_turn", MODEL)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (20, 10)
    assert message.usage.to_dict()["cost"] == 12
    assert raw.headers["request-id"] == raw.headers["x-request-id"]
    assert await stand.costs_usdc() == [12, 12]
    assert stand.provider.requests[0] == {
        "model": MODEL,
        "max_tokens": 100,
        "messages": [{"role": "system", "content": "Be kind."}, *ASKED],
    }


async def test_messages__stream__is_read_by_the_sdk_and_charged(stand: Stand) -> None:
    stand.provider.events = TWO_CALLS
    kinds = []

    async with stand.claude.messages.stream(model=MODEL, max_tokens=100, messages=ASKED) as stream:
        async for event in stream:
            kinds.append(event.type)
        message = await stream.get_final_message()

    assert kinds.count("message_start") == kinds.count("message_stop") == 1
    thinking, text, first, second = (block.to_dict() for block in message.content)
    assert thinking["thinking"] == "Let me look."
    assert text == {"type": "text", "text": "I look."}
    assert (first["id"], first["input"]) == ("call_a", {"city": "Lisbon"})
    assert (second["id"], second["input"]) == ("call_b", {"city": "Porto"})
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (20, 10)
    assert await stand.costs_usdc() == [12]


async def test_messages__next_turn__brings_calls_results_and_reasoning_back(stand: Stand) -> None:
    stand.provider.events = TWO_CALLS
    async with stand.claude.messages.stream(model=MODEL, max_tokens=100, messages=ASKED) as stream:
        message = await stream.get_final_message()
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": "call_a", "content": "21"},
        {"type": "tool_result", "tool_use_id": "call_b", "content": "No.", "is_error": True},
    ]
    turns: list[Any] = [
        *ASKED,
        {"role": "assistant", "content": [block.to_dict() for block in message.content]},
        {"role": "user", "content": results},
    ]

    await stand.claude.messages.create(
        model=MODEL, max_tokens=100, messages=turns, tools=[{"name": "f", "input_schema": WEATHER}]
    )

    calls = [
        {"id": i, "type": "function", "function": {"name": "f", "arguments": a}}
        for i, a in (("call_a", '{"city":"Lisbon"}'), ("call_b", '{"city":"Porto"}'))
    ]
    assert stand.provider.requests[1]["messages"] == [
        *ASKED,
        {
            "role": "assistant",
            "reasoning_content": "Let me look.",
            "content": "I look.",
            "tool_calls": calls,
        },
        {"role": "tool", "tool_call_id": "call_a", "content": "21"},
        {"role": "tool", "tool_call_id": "call_b", "content": "Error: No."},
    ]


async def test_responses__whole__is_read_and_charged_as_a_chat_is(stand: Stand) -> None:
    response = await stand.gpt.responses.create(
        model=MODEL, max_output_tokens=100, input="Say hello.", instructions="Be kind."
    )

    assert response.output_text == TEXT
    assert response.status == "completed"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (20, 10)
    assert await stand.costs_usdc() == [12]
    assert stand.provider.requests[0]["messages"] == [
        {"role": "system", "content": "Be kind."},
        *ASKED,
    ]
    assert stand.provider.requests[0]["max_tokens"] == 100


async def test_responses__stream__numbers_opens_and_closes_everything(stand: Stand) -> None:
    stand.provider.events = TWO_CALLS
    numbers, opened, closed = [], 0, 0

    async with stand.gpt.responses.stream(model=MODEL, input="Say hello.") as stream:
        async for event in stream:
            numbers.append(event.sequence_number)
            opened += event.type == "response.output_item.added"
            closed += event.type == "response.output_item.done"
        response = await stream.get_final_response()

    assert numbers == list(range(len(numbers)))
    assert opened == closed == 4
    reasoning, message, first, second = response.output
    assert reasoning.type == "reasoning" and reasoning.summary[0].text == "Let me look."
    assert message.type == "message" and response.output_text == "I look."
    assert first.type == "function_call" and first.arguments == '{"city": "Lisbon"}'
    assert second.type == "function_call" and second.call_id == "call_b"
    assert await stand.costs_usdc() == [12]


@pytest.mark.parametrize("behaviour", ["stream_dies", "stream_error"])
async def test_stream__broken_off__each_sdk_learns_it_and_the_charge_is_the_same(
    stand: Stand, behaviour: str
) -> None:
    stand.provider.behaviour = behaviour
    with pytest.raises(anthropic.APIError, match="charged"):
        async with stand.claude.messages.stream(
            model=MODEL, max_tokens=100, messages=ASKED
        ) as stream:
            await stream.get_final_message()

    kinds = [
        event.type
        async for event in await stand.gpt.responses.create(
            model=MODEL, max_output_tokens=100, input="Say hello.", stream=True
        )
    ]

    await stand.proxy.chat(stream=True)
    assert kinds[-1] == "response.failed"
    costs = await stand.costs_usdc()
    assert len(costs) == 3 and len(set(costs)) == 1 and costs[0] > 0


async def test_messages__client_leaves__what_came_is_charged(stand: Stand) -> None:
    with suppress(anthropic.APIError):
        async with stand.claude.messages.stream(
            model=MODEL, max_tokens=100, messages=ASKED
        ) as stream:
            async for _ in stream:
                break

    assert await stand.costs_usdc() == [12]


async def test_messages__keys__bearer_and_x_api_key_one_of_them_or_the_same(stand: Stand) -> None:
    body = {"model": MODEL, "max_tokens": 100, "messages": ASKED}
    key, other = make_key(), make_key(key_id="11" * 8)
    expected = [
        ({"authorization": f"Bearer {key}"}, 200),
        ({"x-api-key": key}, 200),
        ({"x-api-key": key, "authorization": f"Bearer {key}"}, 200),
        ({"x-api-key": key, "authorization": f"Bearer {other}"}, 401),
        ({"x-api-key": "sk-ant-nothing"}, 401),
        ({}, 401),
    ]

    for headers, status in expected:
        answer = await stand.proxy.client.post(f"{BASE}/v1/messages", json=body, headers=headers)
        assert answer.status_code == status, headers
        if status == 401:
            assert answer.json()["type"] == "error"
            assert answer.json()["error"]["type"] == "authentication_error"


async def test_messages__betas_and_unknown_fields__never_refused(stand: Stand) -> None:
    body = {
        "model": MODEL,
        "max_tokens": 100,
        "messages": ASKED,
        "context_management": {"edits": []},
        "service_tier": "auto",
        "speed": "standard",
        "future_field": {"deep": [1]},
        "thinking": {"type": "adaptive"},
        "metadata": {"user_id": "u-1"},
        "timeout": 5,
    }
    headers = {
        "x-api-key": make_key(),
        "anthropic-beta": "a-2030-01-01,b",
        "anthropic-version": "1",
    }

    answer = await stand.proxy.client.post(
        f"{BASE}/v1/messages?beta=true", json=body, headers=headers
    )

    assert answer.status_code == 200
    assert stand.provider.requests[0].keys() == {"model", "max_tokens", "messages", "user"}


async def test_count_tokens__anything_a_client_sends__is_a_number_and_free(stand: Stand) -> None:
    image = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "aGk="}
    contents: list[Any] = [
        "Say hello.",
        [{"type": "image", "source": image}],
        [{"type": "document", "source": pdf}],
    ]
    for content in contents:
        turns: list[Any] = [{"role": "user", "content": content}]
        search: Any = {"type": "web_search_20250305", "name": "web_search"}
        every: list[Any] = [[], [search], [{"name": "f", "input_schema": WEATHER}]]
        for tools in every:
            counted = await stand.claude.messages.count_tokens(
                model="unknown", messages=turns, tools=tools
            )
            assert counted.input_tokens > 0

    assert stand.provider.requests == []
    assert stand.charges() == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "cannot be bounded"),
        ({"mcp_servers": [{"type": "url", "url": "https://a.example"}]}, "cannot be bounded"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}
                ]
            },
            "no call 'x'",
        ),
        (
            {
                "messages": [
                    *ASKED,
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}],
                    },
                    {"role": "user", "content": "Well?"},
                ]
            },
            "without a result",
        ),
        ({"model": "unknown"}, "no model"),
    ],
)
async def test_messages__refused__in_its_own_shape_and_before_anything_is_reserved(
    stand: Stand, changes: dict[str, Any], said: str
) -> None:
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 100, "messages": ASKED}
    extra = {name: changes.pop(name) for name in list(changes) if name == "mcp_servers"}

    with pytest.raises(anthropic.APIStatusError, match=said) as raised:
        await stand.claude.messages.create(**{**asked, **changes}, extra_body=extra or None)

    body: Any = raised.value.body
    assert body["type"] == "error"
    assert body["error"]["type"] in ("invalid_request_error", "not_found_error")
    assert stand.charges() == []


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "1"}]},
            "input[0].call_id",
        ),
    ],
)
async def test_responses__stored_state_and_hosted_tools__refused_with_a_reason(
    stand: Stand, changes: dict[str, Any], param: str
) -> None:
    asked: dict[str, Any] = {"model": MODEL, "input": "Say hello."}

    with pytest.raises(openai.BadRequestError) as raised:
        await stand.gpt.responses.create(**{**asked, **changes})

    assert raised.value.param == param
    assert stand.charges() == []


async def test_responses__of_before__is_refused_as_nothing_is_stored(stand: Stand) -> None:
    with pytest.raises(openai.NotFoundError, match="No response is stored"):
        await stand.gpt.responses.retrieve("resp_1")


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v1/messages", {}, 405),
        ("PUT", "/v1/messages/count_tokens", {}, 405),
        ("POST", "/v1/messages/batches", {}, 404),
        ("POST", "/v1/messages", {"x-long": "a" * 40_000}, 431),
        ("POST", "/v1/messages/count_tokens", {"x-long": "a" * 40_000}, 431),
        ("POST", "/v1/messages/batches", {HOPS_HEADER: "99"}, 508),
    ],
)
async def test_messages__refused_by_the_server_around__in_its_own_shape(
    stand: Stand, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await stand.proxy.client.request(method, f"{BASE}{path}", headers=headers)

    assert answer.status_code == status
    body = answer.json()
    assert body["type"] == "error" and body["error"]["message"]
    assert body["request_id"] == answer.headers["request-id"]


async def test_messages__context_overflow__says_the_words_that_clients_act_on(stand: Stand) -> None:
    stand.provider.behaviour = "status_400"

    with pytest.raises(anthropic.BadRequestError, match="prompt is too long") as raised:
        await stand.claude.messages.create(model=MODEL, max_tokens=100, messages=ASKED)

    body: Any = raised.value.body
    assert body["error"]["code"] == "context_length_exceeded"


async def test_models__first_fails__the_next_serves_and_alone_is_charged(stand: Stand) -> None:
    stand.provider.script.append("status_500")
    body = make_body(models=["nobody-has-this", MODEL, "gpt-4o"], model="gpt-4o")

    answer = await stand.proxy.client.post(CHAT, json=body, headers=stand.bearer)

    assert answer.status_code == 200, answer.text
    assert answer.headers["x-current-model"] == MODEL
    rows = stand.charges()
    assert [(row["model"], row["state"], row["cost_usdc"]) for row in rows] == [
        ("gpt-4o", "voided", None),
        (MODEL, "posted", 12),
    ]
    assert rows[1]["request_id"] == answer.headers["x-current-request-id"]
    assert [asked["model"] for asked in stand.provider.requests] == ["gpt-4o", MODEL]
    assert "models" not in stand.provider.requests[1]


async def test_models__all_fail__the_first_ones_error_and_nothing_is_charged(stand: Stand) -> None:
    stand.provider.script.extend(["status_500", "status_400"])
    body = {**make_body(models=["gpt-4o", MODEL], stream=True)}
    del body["model"]

    answer = await stand.proxy.client.post(CHAT, json=body, headers=stand.bearer)

    assert answer.json()["error"]["code"] == "upstream_error"
    assert [row["state"] for row in stand.charges()] == ["voided", "voided"]


@pytest.mark.parametrize("models", ["gpt-4o", [1], [""], ["m"] * 9, {"a": 1}])
async def test_models__of_a_wrong_type__are_refused(stand: Stand, models: Any) -> None:
    body = make_body(models=models)

    answer = await stand.proxy.client.post(CHAT, json=body, headers=stand.bearer)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "models")


async def test_alias__asked_for_in_any_dialect__is_its_model(stand: Stand) -> None:
    await stand.claude.messages.create(model=ALIAS, max_tokens=100, messages=ASKED)
    await stand.claude.messages.create(model="claude-9-opus", max_tokens=100, messages=ASKED)
    await stand.gpt.responses.create(model=ALIAS, input="Hello")
    await stand.gpt.chat.completions.create(model=ALIAS, messages=ASKED)

    assert [row["model"] for row in stand.charges()] == [MODEL] * 4
    assert [asked["model"] for asked in stand.provider.requests] == [MODEL] * 4


async def test_models__asked_by_anthropics_sdk__in_its_shape_with_aliases(stand: Stand) -> None:
    listed = [model.id async for model in stand.claude.models.list()]
    one = await stand.claude.models.retrieve(ALIAS)

    assert listed[0] == ALIAS
    assert MODEL in listed
    assert (one.id, one.type) == (ALIAS, "model")
    assert ALIAS not in [model.id async for model in stand.gpt.models.list()]


async def test_limits__raised_by_the_operator__reach_the_model(stand: Stand) -> None:
    await stand.claude.messages.create(
        model="gpt-4o", max_tokens=32_000, messages=ASKED, timeout=600
    )
    await stand.gpt.chat.completions.create(model="gpt-4o", max_tokens=64_000, messages=ASKED)
    await stand.gpt.chat.completions.create(model="gpt-4o", messages=ASKED)

    limits = [asked["max_tokens"] for asked in stand.provider.requests]
    assert limits == [32_000, 32_000, 4_096]


async def test_usage__grouped__sums_what_was_charged(stand: Stand) -> None:
    since = now_s()
    for user, tag in (("ann", "a"), ("ann", "b"), (None, "a")):
        extra: dict[str, Any] = {} if user is None else {"user": user}
        await stand.gpt.chat.completions.create(
            model=MODEL, max_tokens=10, messages=ASKED, metadata={"tag": tag}, **extra
        )
    await stand.claude.messages.create(
        model=MODEL, max_tokens=10, messages=ASKED, metadata={"user_id": "bob"}
    )
    charged = {}
    for by in ("user", "metadata.tag", "model", "key", "day"):
        answer = await stand.proxy.client.get(
            f"{BASE}/usage?from={since}&group_by={by}", headers=stand.bearer
        )
        charged[by] = {one["name"]: one["cost_usdc"] for one in answer.json()["groups"]}
        assert answer.json()["data"] == []

    assert charged["user"]["ann"] == 24
    assert charged["user"]["bob"] == 12
    assert charged["metadata.tag"]["a"] == 24
    assert charged["metadata.tag"]["b"] == 12
    assert sum(charged["model"].values()) == sum(charged["user"].values())
    assert sum(charged["day"].values()) == sum(charged["key"].values())
    odd = await stand.proxy.client.get(f"{BASE}/usage?group_by=price", headers=stand.bearer)
    assert odd.json()["error"]["param"] == "group_by"


async def test_key_credits_generation__as_openrouters_clients_ask__in_dollars(stand: Stand) -> None:
    raw = await stand.gpt.chat.completions.with_raw_response.create(model=MODEL, messages=ASKED)
    request_id = raw.headers["x-request-id"]

    async def ask(path: str) -> dict[str, Any]:
        answer = await stand.proxy.client.get(f"{BASE}/v1/{path}", headers=stand.bearer)
        told: dict[str, Any] = answer.json()["data"]
        return told

    generation = await ask(f"generation?id={request_id}")
    key, credits = await ask("key"), await ask("credits")
    assert generation["total_cost"] == 0.000012
    assert (generation["tokens_prompt"], generation["tokens_completion"]) == (20, 10)
    everything = sum(row["cost_usdc"] or 0 for row in stand.proxy.usage())
    assert round(key["usage"] * 1_000_000) == everything
    assert key["limit"] is None
    assert credits["total_credits"] > credits["total_usage"] > 0


async def test_stream__upstream_answers_whole__is_a_stream_in_every_dialect(stand: Stand) -> None:
    calls = [
        {"id": i, "type": "function", "function": {"name": "f", "arguments": '{"city": "Porto"}'}}
        for i in ("call_a", "call_b")
    ]
    completion = make_completion("I look.")
    completion["choices"][0]["message"]["tool_calls"] = calls
    stand.provider.whole = json.dumps(completion).encode()

    async with stand.claude.messages.stream(
        model=MODEL, max_tokens=100, messages=ASKED
    ) as messages:
        message = await messages.get_final_message()
    async with stand.gpt.responses.stream(model=MODEL, input="Hello") as responses:
        response = await responses.get_final_response()
    chunks = [
        chunk
        async for chunk in await stand.gpt.chat.completions.create(
            model=MODEL, messages=ASKED, stream=True
        )
    ]

    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert [item.type for item in response.output] == ["message", "function_call", "function_call"]
    assert chunks[0].choices[0].delta.content == "I look."
    assert await stand.costs_usdc() == [12, 12, 12]
