"""What is read from a chat request, and what is refused because its cost has no bound."""

import json
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chat.request import MeteredRequest, parse_request, read_labels, read_user
from serving.http.errors import RequestRejected

MESSAGES = [{"role": "user", "content": "hi"}]


def parse(**changes: Any) -> MeteredRequest:
    return parse_request(json.dumps({"model": "m", "messages": MESSAGES, **changes}).encode())


def refused(**changes: Any) -> RequestRejected:
    with pytest.raises(RequestRejected) as caught:
        parse(**changes)
    assert caught.value.status == 400
    return caught.value


def test_parse__own_fields__are_read_and_not_sent() -> None:
    request = parse(fit=True, min_discount_pct=0, n=2, max_tokens=7)

    assert (request.fit, request.min_discount_pct, request.call.choices) == (True, 0, 2)
    sent = json.loads(request.call.build_body(model="other", max_tokens=5))
    assert sent == {"model": "other", "messages": MESSAGES, "n": 2, "max_tokens": 5}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {"max_tokens": 5}),
        ({"max_completion_tokens": 9}, {"max_completion_tokens": 5}),
        (
            {"max_completion_tokens": 9, "max_tokens": 8},
            {"max_completion_tokens": 5, "max_tokens": 5},
        ),
    ],
)
def test_build_body__limit__under_the_name_it_came(
    given: dict[str, Any], sent: dict[str, Any]
) -> None:
    body = json.loads(parse(**given).call.build_body(model="m", max_tokens=5))

    assert {name: body[name] for name in body if name.startswith("max_")} == sent


@pytest.mark.parametrize(
    "raw",
    [
        b'{"model":"m","messages":[{"role":"user"}],"max_tokens":1,"max_tokens":900}',
        b'{"model":"m","messages":[{"role":"user","role":"system"}]}',
        b'{"model":"m","messages":[{"role":"user"}],"seed":123456789012345678901}',
        b'{"model":"m","messages":[{"role":"user"}],"seed":-9223372036854775809}',
        b'{"model":"m","messages":[{"role":"user"}],"seed":NaN}',
        b'{"model":"m","messages":[{"role":"user"}],"top_p":-Infinity}',
        b'{"model":"m","messages":[{"role":"user"}],"top_p":1e999}',
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"m","messages":[{"role":"user"}],"x":' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"model":"m","messages":[{"role":"user"}],"x":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"model":"m","messages":[{"role":"user"}]}\xff',
        b'\xef\xbb\xbf{"model":"m","messages":[{"role":"user"}]}',
    ],
    ids=lambda raw: repr(raw[-24:]),
)
def test_parse__json_that_readers_disagree_about__refused(raw: bytes) -> None:
    with pytest.raises(RequestRejected) as caught:
        parse_request(raw)
    assert (caught.value.status, caught.value.code) == (400, "invalid_json")


FUNCTION: Final[dict[str, Any]] = {"name": "f", "parameters": {"type": "object"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": {}},
        {"tools": [1]},
        {"tools": [{"type": "function", "function": {"name": 1}}]},
        {"tools": [{"type": "function", "function": {"name": "a b"}}]},
        {"tools": [{"type": "function", "function": {**FUNCTION, "description": 1}}]},
        {"tools": [{"type": "function", "function": {**FUNCTION, "strict": "yes"}}]},
        {"tools": [{"type": "function", "function": {**FUNCTION, "parameters": []}}]},
        {"tools": [{"type": "function", "function": {**FUNCTION, "parameters": {"type": 1}}}]},
        {"tools": [{"type": "function", "function": FUNCTION}] * 129},
        {"functions": [{}]},
        {"functions": {"name": "f"}},
        {"tool_choice": "f"},
        {"tool_choice": {"type": "function"}},
        {"tool_choice": []},
        {"function_call": {"name": 1}},
        {"temperature": "hot"},
        {"temperature": True},
        {"stop": [1]},
        {"seed": 1.5},
        {"logit_bias": {"1": "x"}},
        {"top_logprobs": 21},
        {"response_format": "json"},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": 1}}},
        {"messages": [{"role": "assistant", "tool_calls": [1]}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"type": "function"}]}]},
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}
            ]
        },
    ],
    ids=repr,
)
def test_parse__fields_of_odd_shape__refused_before_upstream(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestRejected) as caught:
        parse(**fields)
    assert caught.value.status == 400
    assert caught.value.param is not None
    assert caught.value.param.split("[")[0].split(".")[0] in fields


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": []},
        {"properties": {"a": 1}},
        {"properties": {"a": {"type": "strnig"}}},
        {"properties": {"a": {"items": {"type": ["string", 1]}}}},
        {"required": "a"},
        {"required": [1]},
        {"enum": 1},
        {"anyOf": {}},
        {"anyOf": [{"$defs": {"x": None}}]},
    ],
    ids=repr,
)
def test_parse__schema_of_odd_shape__refused(schema: dict[str, Any]) -> None:
    function = {"name": "f", "parameters": {"type": "object", **schema}}
    with pytest.raises(RequestRejected) as caught:
        parse(tools=[{"type": "function", "function": function}])
    assert caught.value.param is not None
    assert caught.value.param.startswith("tools[0].function.parameters")


def test_parse__tools_as_they_should_be__pass_unchanged() -> None:
    parameters = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "enum": ["Paris"]},
            "when": {"anyOf": [{"type": ["string", "null"]}, {"$ref": "#/$defs/time"}]},
            "any": True,
        },
        "$defs": {"time": {"type": "array", "items": {"type": "number"}}},
        "required": ["city"],
        "additionalProperties": False,
    }
    function = {"name": "get-weather_1", "parameters": parameters, "strict": True}
    called = {"name": "get-weather_1", "arguments": "{}"}
    fields: dict[str, Any] = {
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "get-weather_1"}},
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "tool_calls": [{"id": "1", "function": called}]},
            {"role": "tool", "tool_call_id": "1", "content": "sunny"},
        ],
        "stop": ["\n"],
        "response_format": {"type": "json_object"},
        "logit_bias": {"50256": -100},
    }
    request = parse(**fields)

    assert {name: request.call.body[name] for name in fields} == fields
    assert request.call.has_tools


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [7]}]}, "messages[0].content[0]"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages[0].content[0].type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
            "messages[0].content[0].text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0].image_url.url",
        ),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_completion_tokens": "9"}, "max_completion_tokens"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": True}, "n"),
        ({"fit": "yes"}, "fit"),
        ({"stream": 1}, "stream"),
        ({"stream": "yes"}, "stream"),
        ({"min_discount_pct": -1}, "min_discount_pct"),
        ({"min_discount_pct": True}, "min_discount_pct"),
        ({"min_discount_pct": None}, "min_discount_pct"),
        ({"best_of": 3}, "best_of"),
        ({"service_tier": "priority"}, "service_tier"),
        ({"routing": {"only": ["mine"]}}, "routing"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"chat_template": "{{ x }}"}, "chat_template"),
        ({"tools": {}}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": 5}}]}, "tools[0].function"),
        ({"messages": [{"role": "user", "tool_calls": 5}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "tool", "tool_call_id": 5}]}, "messages[0].tool_call_id"),
    ],
)
def test_parse__wrong__names_the_field(changes: dict[str, Any], param: str) -> None:
    assert refused(**changes).param == param


def test_parse__harmless_values__pass() -> None:
    parse(best_of=1, modalities=["text"], service_tier="default", stream=False, web=None)


def test_parse__images__are_counted_without_their_data() -> None:
    def with_image(data: str) -> MeteredRequest:
        image = {"type": "image_url", "image_url": {"url": data, "detail": "low"}}
        content = [{"type": "text", "text": "what is it?"}, image]
        return parse(messages=[{"role": "user", "content": content}])

    small, large = with_image("data:,a"), with_image("data:," + "a" * 10_000)
    assert small.call.images == large.call.images == 1
    assert small.call.text_bytes == large.call.text_bytes


@pytest.mark.parametrize(
    "url",
    [
        "data:application/pdf;base64,AAAA",
        " data:application/pdf;base64,AAAA",
        "DATA:Application/PDF;base64,AAAA",
        "data:video/mp4;base64,AAAA",
        "data:audio/wav;base64,AAAA",
        "data:;base64,JVBERi0",
        "data:text/plain,image/png",
        "gs://bucket/film.mp4",
        "file:///etc/passwd",
        "JVBERi0xLjcK",
        "",
    ],
)
def test_parse__image_that_is_none__is_refused(url: str) -> None:
    images: list[Any] = [url, {"url": url}]
    for image in images:
        content = [{"type": "image_url", "image_url": image}]
        error = refused(messages=[{"role": "user", "content": content}])
        assert error.param == "messages[0].content[0].image_url.url"


def test_parse__image__by_url_or_as_data_of_an_image_passes() -> None:
    for url in ("https://a.example/b", "HTTP://a.example", "data:image/png;base64,AAAA"):
        content = [{"type": "image_url", "image_url": {"url": url}}]
        assert parse(messages=[{"role": "user", "content": content}]).call.images == 1


@given(st.text(), st.text())
def test_parse__prompt_bytes__cover_the_text(content: str, name: str) -> None:
    raw = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": content, "name": name}]}
    )
    try:
        request = parse_request(raw.encode())
    except RequestRejected:
        return  # lone surrogates are no text

    assert request.call.text_bytes >= len(content.encode()) + len(name.encode())


@given(st.binary(max_size=200))
def test_parse__any_bytes__only_400(raw: bytes) -> None:
    try:
        parse_request(raw)
    except RequestRejected as error:
        assert error.status == 400


def test_user_and_metadata__odd__are_kept_as_far_as_a_database_can() -> None:
    assert read_user({"user": "a\0b" + "x" * 300}) == "ab" + "x" * 254
    assert [read_user({"user": user}) for user in (None, "", 5, ["a"])] == [None] * 4
    assert read_labels({"metadata": {"a": "1", "b": 2, "c": "\0"}}) == '{"a":"1"}'
    assert [read_labels({"metadata": odd}) for odd in (None, {}, "a", {"a": 1})] == [None] * 4
    assert read_labels({"metadata": {"a": "x" * 20_000}}) is None
