"""Answers in other dialects: the faults that others have, each a test, read by the official SDKs.

::

    messages    one message_start; input tokens never 0; cache reads told; thinking in blocks of its
                own; no empty leading text; tool input whole; tool_use though upstream says "stop"
    responses   every event numbered, every item opened and closed, in order; incomplete is said
    both        calls interleaved, without index or id, whole at once, with parsed arguments
"""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.responses import Response
from pydantic import TypeAdapter

from serving.dialects.common_form import CommonForm
from serving.dialects.encoding import Served, Spent
from serving.dialects.messages_answer import MessageEncoder, build_message
from serving.dialects.messages_request import read_messages_request
from serving.dialects.responses_answer import ResponseEncoder, build_response
from serving.dialects.responses_request import read_responses_request
from serving.http.errors import RequestRejected
from serving.models.counting import Counted
from serving.models.prices import Tokens

SERVED = Served("r-1", "m", 14, 1)
SPENT = Spent(Counted(Tokens(20, 10, 5), is_estimated=False, reasoning=3), {"cost": 12})
FORM = CommonForm({})
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)

Chunk = dict[str, Any]


def chunk(finish: str | None = None, **delta: Any) -> Chunk:
    return {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def call(arguments: Any, *, name: str | None = None, **fields: Any) -> Chunk:
    said = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return chunk(tool_calls=[{"function": said, **fields}])


def read_events(raw: bytes) -> list[dict[str, Any]]:
    events = []
    for one in raw.decode().strip().split("\n\n"):
        name, data = one.split("\n")
        parsed = json.loads(data.removeprefix("data: "))
        assert name == f"event: {parsed['type']}"
        events.append(parsed)
    return events


def stream_message(chunks: Iterable[Chunk], form: CommonForm = FORM) -> list[dict[str, Any]]:
    encoder = MessageEncoder(form, SERVED)
    raw = b"".join(encoder.read(one) for one in chunks) + encoder.finish(SPENT)
    return read_events(raw)


def accumulate(events: list[dict[str, Any]]) -> Message:
    """Return what Anthropic's SDK makes of a stream, after checking the order of its blocks."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    open_index, following = None, 0
    for one in events:
        if one["type"] == "content_block_start":
            assert (open_index, one["index"]) == (None, following)
            open_index = following
        elif one["type"] == "content_block_delta":
            assert one["index"] == open_index
        elif one["type"] == "content_block_stop":
            assert one["index"] == open_index
            open_index, following = None, following + 1
        snapshot = accumulate_event(
            event=EVENT.validate_python(one), current_snapshot=snapshot, json_bufs=buffers
        )
    assert open_index is None
    assert isinstance(snapshot, Message)
    return snapshot


def stream_response(chunks: Iterable[Chunk], form: CommonForm = FORM) -> Response:
    """Return the last event's response, after checking the numbers and that all is closed."""
    encoder = ResponseEncoder(form, SERVED)
    raw = b"".join(encoder.read(one) for one in chunks) + encoder.finish(SPENT)
    events = read_events(raw)
    assert [one["sequence_number"] for one in events] == list(range(len(events)))
    open_items: list[int] = []
    for one in events:
        if one["type"] == "response.output_item.added":
            assert open_items == []
            open_items.append(one["output_index"])
        elif one["type"] == "response.output_item.done":
            assert open_items.pop() == one["output_index"]
        elif "item_id" in one:
            assert open_items == [one["output_index"]]
    assert open_items == []
    return Response.model_validate(events[-1]["response"])


PARALLEL = [
    (
        "in order",
        [call('{"a": 1}', name="f", index=0, id="x"), call('{"b": 2}', name="g", index=1, id="y")],
    ),
    (
        "interleaved",
        [
            call("", name="f", index=0, id="x"),
            call("", name="g", index=1, id="y"),
            call('{"b"', index=1),
            call('{"a"', index=0),
            call(": 1}", index=0),
            call(": 2}", index=1),
        ],
    ),
    (
        "second begins while the first goes on",
        [
            call('{"a"', name="f", index=0, id="x"),
            call('{"b": 2}', name="g", index=1, id="y"),
            call(": 1}", index=0),
        ],
    ),
    (
        "one index for all",
        [call('{"a": 1}', name="f", index=0, id="x"), call('{"b": 2}', name="g", index=0, id="y")],
    ),
    (
        "no index",
        [call('{"a": 1}', name="f", id="x"), call('{"b"', name="g", id="y"), call(": 2}")],
    ),
    (
        "parsed",
        [call({"a": 1}, name="f", index=0, id="x"), call({"b": 2}, name="g", index=1, id="y")],
    ),
    (
        "id and name repeated in each piece",
        [
            call('{"a"', name="f", index=0, id="x"),
            call(": 1}", name="f", index=0, id="x"),
            call('{"b": 2}', name="g", index=1, id="y"),
        ],
    ),
    (
        "text between",
        [
            call('{"a"', name="f", index=0, id="x"),
            call('{"b": 2}', name="g", index=1, id="y"),
            call(": 1}", index=0),
        ],
    ),
]


@pytest.mark.parametrize("chunks", [c for _, c in PARALLEL], ids=[name for name, _ in PARALLEL])
@pytest.mark.parametrize("finish", ["tool_calls", "stop", "function_call"])
def test_calls__however_they_come__are_whole_in_every_dialect(
    chunks: list[Chunk], finish: str
) -> None:
    chunks = [*chunks, chunk(finish)]
    message = accumulate(stream_message(chunks))
    response = stream_response(chunks)

    uses: Any = message.content
    assert [(one.id, one.name, one.input) for one in uses] == [
        ("x", "f", {"a": 1}),
        ("y", "g", {"b": 2}),
    ]
    assert message.stop_reason == "tool_use"
    output: Any = response.output
    assert [(one.call_id, one.name, json.loads(one.arguments)) for one in output] == [
        ("x", "f", {"a": 1}),
        ("y", "g", {"b": 2}),
    ]


def test_call__without_arguments_or_id__is_an_empty_object_with_an_id() -> None:
    chunks = [call("", name="f", index=0), chunk("tool_calls")]

    (use,) = accumulate(stream_message(chunks)).content
    (item,) = stream_response(chunks).output

    assert use.type == "tool_use" and use.input == {} and use.id
    assert item.type == "function_call" and item.arguments == "{}" and item.call_id


def test_call__of_the_old_kind__is_a_call() -> None:
    chunks = [
        chunk(function_call={"name": "f", "arguments": '{"a"'}),
        chunk(function_call={"arguments": ": 1}"}),
        chunk("function_call"),
    ]

    (use,) = accumulate(stream_message(chunks)).content

    assert use.type == "tool_use" and use.input == {"a": 1}


def test_messages__start__once_with_our_estimate_and_the_end_with_what_is_charged() -> None:
    events = stream_message(
        [chunk(role="assistant", content=""), chunk(role="assistant"), chunk("stop", content="Hi")]
    )

    starts = [one for one in events if one["type"] == "message_start"]
    assert [one["message"]["usage"]["input_tokens"] for one in starts] == [14]
    usage = accumulate(events).usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (15, 5, 10)


def test_messages__prompt_that_counts_nothing__is_never_said_to_be_0() -> None:
    encoder = MessageEncoder(FORM, Served("r-1", "m", 0, 1))

    (start, *_) = read_events(encoder.read(chunk(content="Hi")))

    assert start["message"]["usage"]["input_tokens"] == 1


@pytest.mark.parametrize(
    "pieces",
    [
        [{"reasoning_content": "Well"}],
        [{"reasoning": "Well"}],
        [{"reasoning": "Well", "reasoning_content": "Well"}],
        [
            {"reasoning": "We", "reasoning_details": [{"type": "reasoning.text", "text": "We"}]},
            {"reasoning": "ll", "reasoning_details": [{"type": "reasoning.text", "text": "ll"}]},
        ],
        [{"reasoning_details": [{"type": "reasoning.text", "text": "Well"}]}],
        [{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Well"}]}]}],
    ],
)
def test_reasoning__by_any_name__is_one_block_of_its_own_and_comes_back(
    pieces: list[dict[str, Any]],
) -> None:
    chunks = [
        chunk(role="assistant", content=""),
        *(chunk(**p) for p in pieces),
        chunk("stop", content="Hi"),
    ]

    thinking, text = accumulate(stream_message(chunks)).content

    assert thinking.type == "thinking" and thinking.thinking == "Well"
    assert text.type == "text" and text.text == "Hi"
    turns = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": [thinking.to_dict(), text.to_dict()]},
    ]
    _, back = read_messages_request({"model": "m", "messages": turns}).body["messages"]
    assert back["content"] == "Hi"
    assert back.get("reasoning_content", back.get("reasoning")) == "Well"
    if "reasoning_details" in pieces[0]:
        assert back["reasoning_details"] == [{"type": "reasoning.text", "text": "Well"}]


def test_reasoning__broken_off__its_block_is_closed() -> None:
    message = accumulate(stream_message([chunk(reasoning_content="We"), chunk("length")]))

    assert [block.type for block in message.content] == ["thinking"]
    assert message.stop_reason == "max_tokens"


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        (None, "end_turn"),
        ("tool_calls", "end_turn"),
    ],
)
def test_stop_reason__each__is_the_dialects_own(finish: str | None, expected: str) -> None:
    message = accumulate(stream_message([chunk(content="Hi"), chunk(finish)]))

    assert message.stop_reason == expected


def test_stop_reason__a_stop_sequence_that_upstream_names__is_told() -> None:
    form = read_messages_request(
        {"model": "m", "messages": [{"role": "user", "content": "?"}], "stop_sequences": ["END"]}
    )
    last = chunk("stop", content="Hi")
    last["choices"][0]["stop_reason"] = "END"

    message = accumulate(stream_message([last], form))

    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_responses__cut_off__is_incomplete_and_says_why(finish: str, reason: str) -> None:
    response = stream_response([chunk(content="Hi"), chunk(finish)])

    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == reason


def test_responses__usage__has_cached_and_reasoning_tokens() -> None:
    usage = stream_response([chunk("stop", content="Hi")]).usage

    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (20, 10, 30)
    assert usage.input_tokens_details.cached_tokens == 5
    assert usage.output_tokens_details.reasoning_tokens == 3


def test_responses__sealed_reasoning__comes_back_where_it_stood() -> None:
    body = {"model": "m", "input": "?", "include": ["reasoning.encrypted_content"], "store": False}
    form = read_responses_request(body)
    response = stream_response(
        [
            chunk(reasoning_content="Well"),
            call("{}", name="f", index=0, id="x"),
            chunk("tool_calls"),
        ],
        form,
    )
    items = [item.to_dict(exclude_unset=True) for item in response.output]
    output = {"type": "function_call_output", "call_id": "x", "output": "1"}

    back = read_responses_request(
        {"model": "m", "input": [{"role": "user", "content": "?"}, *items, output]}
    )

    turn = back.body["messages"][1]
    assert turn["reasoning_content"] == "Well"
    assert turn["tool_calls"][0]["id"] == "x"


def test_responses__custom_tool_and_group__are_functions_and_come_back_as_what_they_are() -> None:
    tools = [
        {
            "type": "custom",
            "name": "apply_patch",
            "format": {"type": "grammar", "syntax": "lark", "definition": "x: y"},
        },
        {
            "type": "namespace",
            "name": "mcp__docs",
            "description": "d",
            "tools": [{"type": "function", "name": "find"}],
        },
    ]
    form = read_responses_request({"model": "m", "input": "?", "tools": tools})
    patch, find = (tool["function"]["name"] for tool in form.body["tools"])
    chunks = [
        call('{"input": "*** Begin', name=patch, index=0, id="x"),
        call(' Patch"}', index=0),
        call('{"q": 1}', name=find, index=1, id="y"),
        chunk("tool_calls"),
    ]

    items: Any = stream_response(chunks, form).output

    assert (items[0].type, items[0].name, items[0].input) == (
        "custom_tool_call",
        "apply_patch",
        "*** Begin Patch",
    )
    assert (items[1].type, items[1].name, items[1].namespace) == (
        "function_call",
        "find",
        "mcp__docs",
    )


def test_messages__name_longer_than_upstream_takes__is_shortened_and_comes_back() -> None:
    name = "mcp__" + "long_" * 20
    asked = {
        "model": "m",
        "messages": [{"role": "user", "content": "?"}],
        "tools": [{"name": name, "input_schema": {}}],
    }
    form = read_messages_request(asked)
    (short,) = (tool["function"]["name"] for tool in form.body["tools"])
    assert len(short) == 64

    (use,) = accumulate(
        stream_message([call("{}", name=short, index=0, id="x"), chunk("stop")], form)
    ).content

    assert use.type == "tool_use" and use.name == name


def test_cache_control__stays_where_it_stands() -> None:
    mark = {"type": "ephemeral"}
    text = {"type": "text", "text": "Be kind.", "cache_control": mark}
    form = read_messages_request(
        {
            "model": "m",
            "system": [text],
            "messages": [{"role": "user", "content": [text, {"type": "text", "text": "?"}]}],
            "tools": [{"name": "f", "input_schema": {}, "cache_control": mark}],
        }
    )

    assert form.body["messages"][0]["content"] == [text]
    assert form.body["messages"][1]["content"] == [text, {"type": "text", "text": "?"}]
    assert form.body["tools"][0]["cache_control"] == mark
    assert "cache_control" in form.extras


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "tool", "content": "?"},
        {"role": "user"},
        {"role": "user", "content": 5},
        {"role": "user", "content": [5]},
        {
            "role": "user",
            "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}],
        },
        {"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]},
        "Hello",
    ],
)
def test_messages__odd_turn__is_refused(turn: Any) -> None:
    with pytest.raises(RequestRejected) as raised:
        read_messages_request({"model": "m", "messages": [turn]})

    assert raised.value.status == 400
    assert raised.value.param is not None


def test_whole_answers__say_the_same_as_streams() -> None:
    message: dict[str, Any] = {
        "role": "assistant",
        "reasoning_content": "Well",
        "content": "Hi",
        "tool_calls": [
            {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
        ],
    }
    completion = {
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
    }
    pieces = [
        chunk(**{n: v for n, v in message.items() if n != "tool_calls"}),
        call('{"a": 1}', name="f", index=0, id="x"),
        chunk("tool_calls"),
    ]

    whole = Message.model_validate_json(build_message(completion, FORM, SERVED, SPENT))
    response = Response.model_validate_json(build_response(completion, FORM, SERVED, SPENT))

    streamed = accumulate(stream_message(pieces))
    assert [block.to_dict() for block in whole.content] == [
        block.to_dict() for block in streamed.content
    ]
    assert whole.stop_reason == streamed.stop_reason
    assert whole.usage.input_tokens == streamed.usage.input_tokens
    assert response.to_dict() == stream_response(pieces).to_dict()
