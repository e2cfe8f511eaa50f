"""What passes through the proxy unchanged, and what nobody gets past it.

::

    request   reaches upstream with the same meaning, whatever JSON it is written in
    answer    comes back byte for byte; a stream's events, too
    usage     any report that makes sense is charged as it is; nonsense is counted by us
    cheating  declared sizes, several limits, many choices, tools, images: the ceiling covers them
    sockets   a body in chunks, without length, cut short, with two lengths, compressed
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import Engine

from ledger.database.engine import write
from serving.models.bounds import TEMPLATE_TOKENS_TOOLS
from tests.support.answers import MODEL, make_completion
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import SQLITE, Databases, make_state, put_cursor, put_positions
from tests.support.proxy import (
    CHAT,
    RunningProxy,
    make_body,
    make_key,
    make_settings,
    now_s,
    run_proxy,
    write_prices,
)
from tests.support.waiting import LIMIT_S, until

PRICES: Final = """
[models."SmolLM2-135M-Instruct"]
input_usd_per_mtok = "1.00"
cached_input_usd_per_mtok = "0.25"
output_usd_per_mtok = "2.00"
image_tokens = 1000
context_tokens = 131072
"""
AUTHORIZATION: Final = {"authorization": f"Bearer {make_key()}"}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Databases(SQLITE, tmp_path) as databases:
        engine = databases.open_ledger()
        with write(engine) as connection:
            state = make_state(now_s=now_s(), credited_usdc=10**9, hold_usdc=10**9)
            put_positions(connection, state)
            put_cursor(connection, now_s=now_s())
        yield engine


@pytest.fixture
async def proxy(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> AsyncIterator[RunningProxy]:
    settings = make_settings(
        upstream_url=provider.url,
        prices_file=write_prices(tmp_path, PRICES),
        body_timeout_s=2.0,
        stream_drain_s=0.5,
    )
    async with run_proxy(settings, engine) as running:
        yield running


async def post(proxy: RunningProxy, body: bytes, **headers: str) -> Any:
    return await proxy.client.post(CHAT, content=body, headers={**AUTHORIZATION, **headers})


def ceiling_of(response: Any) -> int:
    return int(response.headers["x-current-reserved-usdc"])


# --------------------------------------------------------------------------------- the request


def describe(value: Any) -> Any:
    """Return the value so that 1, 1.0 and True are three different things."""
    if isinstance(value, dict):
        return {name: describe(item) for name, item in value.items()}
    return [describe(item) for item in value] if isinstance(value, list) else repr(value)


IMAGE: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "x": 1.0}}
FUNCTION: Final = {"name": "f", "parameters": {"type": "object"}, "strict": True}
TOOL: Final = {"type": "function", "function": FUNCTION}


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("spelling", [{}, {"separators": (",", ":")}, {"indent": 2}])
async def test_request__any_field_and_spelling__reaches_upstream_in_meaning(
    proxy: RunningProxy, provider: FakeEndpoint, limit: str, spelling: dict[str, Any]
) -> None:
    text = {"type": "text", "text": 'é 😀 \u0000 \u2028 \\ud800 "quoted" \x7f'}
    told = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "be kind", "name": "s"},
            {"role": "user", "content": [text, IMAGE]},
            {"role": "assistant", "content": None, "tool_calls": []},
        ],
        limit: 50,
        "n": 2,
        "seed": 2**63 - 1,
        "temperature": 1.0,
        "top_p": 1e-7,
        "stop": ["\n\n", "é"],
        "logprobs": True,
        "top_logprobs": 20,
        "logit_bias": {"50256": -100, "1": 0.5},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": False},
        },
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "user": "somebody",
        "metadata": {"a": 18_446_744_073_709_551_615, "b": -9_223_372_036_854_775_808},
        "future": [None, True, 0, -0.0, 1.0, 1, 5e-324, 1.7976931348623157e308, {"": {}}],
    }
    response = await post(proxy, json.dumps(told, **spelling).encode())

    assert response.status_code == 200, response.text
    assert describe(json.loads(provider.bodies[0])) == describe(told)


@pytest.mark.parametrize(
    "extra",
    [
        '"a":1,"a":1',
        '"model":"gpt-4o"',
        '"a":NaN',
        '"a":-Infinity',
        '"a":1e999',
        '"a":18446744073709551616',
        r'"a":"\ud800"',
        '"a":' + "[" * 400 + "]" * 400,
        "'a':1",
        '"a":1,',
        '"a":01',
    ],
)
@pytest.mark.sampled(2)
async def test_request__json_of_two_meanings__refused_before_upstream(
    proxy: RunningProxy, provider: FakeEndpoint, extra: str
) -> None:
    written = json.dumps(make_body())
    response = await post(proxy, f"{written[:-1]},{extra}}}".encode())
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")
    assert response.headers["x-current-cost-usdc"] == "0"
    assert provider.bodies == []


async def test_request__byte_order_mark__refused(proxy: RunningProxy) -> None:
    response = await post(proxy, b"\xef\xbb\xbf" + json.dumps(make_body()).encode())
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_json")


# ---------------------------------------------------------------------------------- the answer


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(make_completion(), indent=3).encode() + b"\n\n",
        b'{"choices":[{}],"usage":{"prompt_tokens":20,"completion_tokens":10},"x":1.0,"x":1e-7}',
    ],
    ids=["spaced", "twice"],
)
async def test_answer__however_it_is_written__comes_back_byte_for_byte(
    proxy: RunningProxy, provider: FakeEndpoint, answer: bytes
) -> None:
    provider.body = answer
    response = await proxy.chat()
    assert response.status_code == 200
    assert response.content == answer
    assert response.headers["x-current-cost-usdc"] == "40"


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (
            b'{"choices":[{"message":{"content":"\\ud83d\\u00e9"}}],'
            b'"usage":{"prompt_tokens":20,"completion_tokens":10}}',
            b'{"choices": [{"message": {"content": "\\ud83d\\u00e9"}}],'
            b' "usage": {"prompt_tokens": 20, "completion_tokens": 10}}',
        ),
        (
            b'{"choices":[{"logprobs":{"content":[{"logprob":-Infinity,"t":NaN}]}}],'
            b'"usage":{"prompt_tokens":20,"completion_tokens":10},'
            b'"big":123456789012345678901234567890}',
            b'{"choices": [{"logprobs": {"content": [{"logprob": null, "t": null}]}}],'
            b' "usage": {"prompt_tokens": 20, "completion_tokens": 10},'
            b' "big": 123456789012345678901234567890}',
        ),
        (
            b'\xef\xbb\xbf{"choices":[{}],"usage":{"prompt_tokens":20,"completion_tokens":10}}',
            b'{"choices":[{}],"usage":{"prompt_tokens":20,"completion_tokens":10}}',
        ),
    ],
    ids=["half a surrogate pair", "no numbers", "byte order mark"],
)
async def test_answer__that_only_lenient_clients_read__comes_back_so_that_all_do(
    proxy: RunningProxy, provider: FakeEndpoint, answer: bytes, shown: bytes
) -> None:
    provider.body = answer
    response = await proxy.chat()
    assert response.status_code == 200
    assert response.content == shown
    assert response.headers["x-current-cost-usdc"] == "40"


async def test_answer__without_usage_and_half_a_pair__counted_by_us(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.body = b'{"choices":[{"message":{"content":"\\ud83d!","x":["\\ud83d"]}}]}'
    response = await proxy.chat()
    assert response.status_code == 200
    [usage] = proxy.usage()
    assert usage["completion_tokens"] > 0
    assert int(response.headers["x-current-cost-usdc"]) == usage["cost_usdc"]


@pytest.mark.parametrize(
    "answer", [b"", b"\xff", b"[]", b"{", b'{"choices":' + b"[" * 100_000, b'"choices"']
)
async def test_answer__no_completion__not_passed_on_and_not_charged(
    proxy: RunningProxy, provider: FakeEndpoint, answer: bytes
) -> None:
    provider.body = answer or b" "
    response = await proxy.chat()
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_invalid_response"
    assert proxy.drawn_usdc() == 0


async def test_answer__compressed_without_being_asked__never_unpacked(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    provider.body = gzip.compress(b" " * 50_000_000 + json.dumps(make_completion()).encode())
    provider.answer_headers = {"content-encoding": "gzip"}
    response = await proxy.chat()
    assert response.json()["error"]["code"] == "upstream_invalid_response"
    assert proxy.drawn_usdc() == 0


async def test_stream__odd_events__come_back_as_every_client_reads_them(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    odd = [
        b": a comment\n\n",
        b'event: x\nid: 7\nretry: 10\ndata:{"choices":[{"delta":{"content":"a"}}]}\n\n',
        b'data: {"choices": [\ndata: {"delta": {"content": "\\ud83d"}, "x": 1.0, "x": 1e-7}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"b"},"logprobs":{"p":NaN}}]}\r\n\r\n',
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
    ]
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":10}}\n\n'
    provider.events = [*odd, usage, b"data: [DONE]\n\n"]
    proxy.client.is_checking = False

    response = await proxy.chat(stream=True)

    first = b"".join(odd[:2])
    assert response.content.startswith(first)
    half, endless, end, last = response.content.removeprefix(first).split(b"\n\n", 3)
    assert half.count(b"\n") == 0
    assert json.loads(half.removeprefix(b"data: "))["choices"][0]["delta"] == {"content": "\ud83d"}
    assert json.loads(endless.removeprefix(b"data: "))["choices"][0]["logprobs"] == {"p": None}
    assert end + b"\n\n" == odd[4]
    assert b'"cost":40' in last
    assert last.endswith(b"data: [DONE]\n\n")


# ----------------------------------------------------------------------------------- the usage


@pytest.mark.parametrize(
    ("usage", "cost_usdc"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 10}, 40),
        ({"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30, "cost": -5}, 40),
        ({"prompt_tokens": 0, "completion_tokens": 0}, 0),
        # Reasoning counts as output, within it or beside it.
        (
            {
                "prompt_tokens": 20,
                "completion_tokens": 10,
                "completion_tokens_details": {"reasoning_tokens": 8},
            },
            40,
        ),
        ({"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 50}, 80),
        ({"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 1}, 40),
        # Cached ones cost a quarter, and are never more than there are.
        (
            {
                "prompt_tokens": 20,
                "completion_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 8},
            },
            34,
        ),
        (
            {
                "prompt_tokens": 20,
                "completion_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 10**9},
            },
            25,
        ),
        (
            {
                "prompt_tokens": 20,
                "completion_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": -8},
            },
            40,
        ),
        (
            {
                "prompt_tokens": 20,
                "completion_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 8.0},
            },
            40,
        ),
    ],
)
async def test_usage__reported__charged_as_it_is(
    proxy: RunningProxy, provider: FakeEndpoint, usage: Any, cost_usdc: int
) -> None:
    provider.usage = usage
    response = await proxy.chat()
    assert response.headers["x-current-cost-usdc"] == str(cost_usdc)
    assert proxy.drawn_usdc() == cost_usdc


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        "20",
        {"prompt_tokens": -1, "completion_tokens": 10},
        {"prompt_tokens": 20, "completion_tokens": -10},
        {"prompt_tokens": 20.0, "completion_tokens": 10},
        {"prompt_tokens": "20", "completion_tokens": 10},
        {"prompt_tokens": True, "completion_tokens": 10},
        {"prompt_tokens": 20, "completion_tokens": None},
        {"prompt_tokens": 10**40, "completion_tokens": 10},
    ],
)
@pytest.mark.sampled(2)
async def test_usage__nonsense__counted_by_us(
    proxy: RunningProxy, provider: FakeEndpoint, usage: Any
) -> None:
    provider.usage = usage
    proxy.client.is_checking = False  # the provider's words are passed on
    response = await proxy.chat()
    [row] = proxy.usage()
    assert 20 < row["prompt_tokens"] < 60
    assert row["completion_tokens"] == 9  # 25 bytes
    expected_usdc = row["prompt_tokens"] + 2 * row["completion_tokens"]
    assert response.headers["x-current-cost-usdc"] == str(expected_usdc)


# ------------------------------------------------------------------------------------ cheating


@pytest.mark.parametrize(
    ("changes", "output_tokens"),
    [
        ({"max_tokens": 100}, 100),
        ({"max_tokens": 100, "n": 7}, 700),
        ({"max_tokens": 4_000, "max_completion_tokens": 3}, 3),
        ({"max_tokens": 3, "max_completion_tokens": 4_000}, 3),
        ({"max_tokens": 10**9}, 4_096),
        ({"max_tokens": None}, 4_096),
        ({"max_tokens": None, "n": 128}, 4_096 * 128),
    ],
)
async def test_limits__whatever_is_asked__what_is_sent_is_what_was_reserved(
    proxy: RunningProxy, provider: FakeEndpoint, changes: dict[str, Any], output_tokens: int
) -> None:
    response = await proxy.chat(**changes)

    assert response.status_code == 200
    sent = json.loads(provider.bodies[0])
    said = {sent[name] for name in ("max_tokens", "max_completion_tokens") if sent.get(name)}
    assert len(said) == 1
    assert said.pop() * sent.get("n", 1) == output_tokens
    # A unit a prompt token, two an output token.
    assert 2 * output_tokens < ceiling_of(response) < 2 * output_tokens + 1_000


@pytest.mark.parametrize(
    "name",
    [
        "best_of",
        "max_output_tokens",
        "max_new_tokens",
        "n_predict",
        "service_tier",
        "web_search_options",
        "enable_search",
        "mm_processor_kwargs",
        "plugins",
        "extra_body",
    ],
)
@pytest.mark.sampled(2)
async def test_fields__that_cost_what_nobody_counts__refused(
    proxy: RunningProxy, provider: FakeEndpoint, name: str
) -> None:
    response = await post(proxy, json.dumps(make_body(**{name: {"a": 7}})).encode())
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "unsupported_parameter")
    assert error["param"] == name
    assert provider.bodies == []


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": [{"role": "user", "content": "x" * 20_000}]},
        {"messages": [{"role": "user", "content": "x", "name": "y" * 20_000}]},
        {"tools": [{**TOOL, "function": {**FUNCTION, "description": "x" * 20_000}}]},
        {"functions": [{"name": "f", "description": "x" * 20_000, "parameters": {}}]},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"schema": {"x": "y" * 20_000}},
            }
        },
        {"messages": [{"role": "user", "content": [IMAGE] * 20}]},
        {"documents": ["x" * 20_000]},
        {"messages": [{"role": "user", "content": "x"}] * 500},
    ],
    ids=lambda changes: next(iter(changes)),
)
async def test_prompt__wherever_it_is_hidden__the_ceiling_covers_it(
    proxy: RunningProxy, provider: FakeEndpoint, changes: dict[str, Any]
) -> None:
    provider.usage = {"prompt_tokens": 10**6, "completion_tokens": 1}
    response = await proxy.chat(max_tokens=1, **changes)
    # A token for each byte, 1,000 for each image, 16 for each message: at a unit each.
    assert response.status_code == 200
    assert ceiling_of(response) > 20_000
    assert int(response.headers["x-current-cost-usdc"]) == ceiling_of(response)


async def test_prompt__tools__what_explains_them_to_the_model_is_covered(
    proxy: RunningProxy,
) -> None:
    plain, tools, functions = [
        ceiling_of(await proxy.chat(max_tokens=1, **changes))
        for changes in ({"things": [TOOL]}, {"tools": [TOOL]}, {"functions": [FUNCTION]})
    ]
    # A byte costs a unit, and so does each token that a template adds.
    assert tools == plain - len("things") + len("tools") + TEMPLATE_TOKENS_TOOLS
    assert functions > plain + TEMPLATE_TOKENS_TOOLS - 100


async def test_cheapest__reserved_sent_and_charged_as_the_same_model(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    response = await proxy.chat(model="cheapest")
    [row] = proxy.usage()
    named = await proxy.chat(model=MODEL)

    assert response.headers["x-current-model"] == row["model"] == MODEL
    assert json.loads(provider.bodies[0])["model"] == MODEL
    assert (row["input_usdc_per_mtok"], row["output_usdc_per_mtok"]) == (1_000_000, 2_000_000)
    assert row["ceiling_usdc"] == ceiling_of(response)
    assert ceiling_of(named) - ceiling_of(response) == len(MODEL) - len("cheapest")


# ------------------------------------------------------------------------------------- sockets


async def speak(proxy: RunningProxy, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Send raw bytes; return all that comes back until the connection is closed or idle."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.client.base_url.port)
    said = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        while more := await asyncio.wait_for(reader.read(65_536), LIMIT_S):
            said += more
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return said


def head(*lines: str) -> bytes:
    fixed = [f"POST {CHAT} HTTP/1.1", "host: proxy", "connection: close"]
    fixed.append(f"authorization: Bearer {make_key()}")
    return "\r\n".join([*fixed, *lines, "", ""]).encode()


BODY: Final = json.dumps(make_body()).encode()


async def test_body__in_chunks_without_length__served(proxy: RunningProxy) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, BODY[n : n + 1]) for n in range(len(BODY)))
    said = await speak(proxy, head("transfer-encoding: chunked"), chunks + b"0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200")
    assert proxy.drawn_usdc() == 40


async def test_body__endless_in_chunks__refused_and_closed(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    chunk = b"%x\r\n%s\r\n" % (2**20, b" " * 2**20)
    said = await speak(proxy, head("transfer-encoding: chunked"), *[chunk] * 20)
    assert said.startswith(b"HTTP/1.1 413") or said == b""
    assert provider.bodies == []


@pytest.mark.parametrize(
    ("lines", "body", "expected"),
    [
        # Two lengths, or a length and chunks: whoever is in front may see another request in it.
        (["content-length: 5", "content-length: 500"], BODY, b"400"),
        ([f"content-length: {len(BODY)}", "transfer-encoding: chunked"], b"0\r\n\r\n", b"400"),
        (["transfer-encoding: chunked, identity"], b"0\r\n\r\n", b"400"),
        (["content-length: -1"], BODY, b"400"),
        (["content-length: +5"], BODY, b"400"),
        ([f"content-length : {len(BODY)}"], BODY, b"400"),
        # A body that never comes whole.
        ([f"content-length: {len(BODY) + 1}"], BODY, b"408"),
        # Larger than allowed by its own word: it is not waited for.
        (["content-length: 99999999999999999999"], b"", b"400"),
        (["content-length: 9999999999"], b"", b"413"),
        ([f"content-length: {len(BODY)}", "content-encoding: gzip"], BODY, b"415"),
    ],
)
@pytest.mark.sampled(2)
async def test_body__framed_oddly__refused_once(
    proxy: RunningProxy, provider: FakeEndpoint, lines: list[str], body: bytes, expected: bytes
) -> None:
    said = await speak(proxy, head(*lines) + body)
    assert said.startswith(b"HTTP/1.1 " + expected), said
    assert said.count(b"HTTP/1.1 ") == 1
    assert provider.bodies == []
    assert proxy.usage() == []


async def test_body__longer_than_it_says_it_is__only_what_was_declared_counts(
    proxy: RunningProxy, provider: FakeEndpoint
) -> None:
    long = json.dumps(make_body(messages=[{"role": "user", "content": "x" * 50_000}])).encode()
    # What is declared is half a body; the rest is another request, and no good one.
    said = await speak(proxy, head("content-length: 1000") + long)
    assert said.startswith(b"HTTP/1.1 400")
    assert provider.bodies == []
    assert proxy.usage() == []


async def test_headers__sent_twice_or_forged__nothing_is_passed_on(proxy: RunningProxy) -> None:
    forged = [
        "authorization: Bearer other",
        "x-request-id: 00000000-0000-0000-0000-000000000000",
        "x-current-cost-usdc: -5",
        "x-forwarded-for: 1.2.3.4",
        f"content-length: {len(BODY)}",
    ]
    said = await speak(proxy, head(*forged) + BODY)
    assert said.startswith(b"HTTP/1.1 200")
    assert b"00000000-0000" not in said
    assert said.lower().count(b"x-current-cost-usdc:") == 1
    assert said.lower().count(b"x-request-id:") == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/{CHAT}", 404),
        (f"{CHAT}/", 404),
        (f"{CHAT}/../completions", 404),
        (f"{CHAT};a=b", 404),
        (f"{CHAT}%00", 404),
        (f"{CHAT}?key=1", 401),
        (CHAT.replace("chat", "ch%61t"), 401),
        (CHAT.upper(), 404),
    ],
)
async def test_path__by_another_name__the_same_rules_or_nothing(
    proxy: RunningProxy, provider: FakeEndpoint, path: str, status: int
) -> None:
    lines = [f"POST {path} HTTP/1.1", "host: proxy", "connection: close"]
    lines += [f"content-length: {len(BODY)}", "", ""]
    said = await speak(proxy, "\r\n".join(lines).encode() + BODY)
    assert said.startswith(f"HTTP/1.1 {status}".encode()), said
    assert b'"error"' in said
    assert provider.bodies == []


async def test_stream__client_never_reads__ended_and_charged(
    engine: Engine, provider: FakeEndpoint, tmp_path: Path
) -> None:
    settings = make_settings(
        upstream_url=provider.url,
        prices_file=write_prices(tmp_path, PRICES),
        stream_timeout_s=3.0,
        stream_drain_s=0.2,
    )
    provider.events = [b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n']
    provider.events += [b": " + b"x" * 65_536 + b"\n\n"] * 600  # more than sockets hold
    provider.events += [b"data: [DONE]\n\n"]
    body = json.dumps(make_body(stream=True)).encode()
    async with run_proxy(settings, engine) as proxy:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", proxy.client.base_url.port, limit=1_024
        )
        writer.write(head(f"content-length: {len(body)}") + body)
        completions = proxy.front.app.state.services.completions
        await until(lambda: provider.bodies and not completions.in_flight.count)
        [usage] = proxy.usage()
        assert (usage["state"], usage["completion_tokens"]) == ("posted", 2)
        assert proxy.drawn_usdc() == usage["cost_usdc"]
        writer.close()
