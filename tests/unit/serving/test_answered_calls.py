"""Calls of tools in answers: which ones a client can carry out, whole and in pieces."""

from typing import Any

import pytest

from serving.dialects import answered_calls
from serving.dialects.answered_calls import CallJudge

WEATHER = {"type": "object", "properties": {"city": {}}, "required": ["city"]}
BODY: dict[str, Any] = {
    "tools": [
        {"type": "function", "function": {"name": "weather", "parameters": WEATHER}},
        {"type": "function", "function": {"name": "now"}},
    ]
}


def judge(*calls: Any) -> tuple[int, int]:
    """Return the verdict on an answer with these calls."""
    judge = CallJudge(BODY)
    judge.read_whole({"choices": [{"message": {"tool_calls": list(calls)}}]})
    return judge.count()


def call(name: Any, arguments: Any) -> dict[str, Any]:
    return {"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    "one",
    [call("weather", '{"city": "Porto"}'), call("now", ""), call("now", "{}"), call("now", None)],
)
def test_call__that_can_be_carried_out__is_valid(one: dict[str, Any]) -> None:
    assert judge(one) == (1, 0)


@pytest.mark.parametrize(
    "one",
    [
        call("weather", "{}"),
        call("weather", '{"city": "Por'),
        call("weather", '["Porto"]'),
        call("weather", "Porto"),
        call("wether", '{"city": "Porto"}'),
        call(None, "{}"),
        call(7, "{}"),
    ],
)
def test_call__that_cannot__is_not(one: dict[str, Any]) -> None:
    assert judge(one) == (0, 1)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"choices": None},
        {"choices": [None, {"message": "hi"}]},
        {"choices": [{"message": {"tool_calls": "weather"}}]},
        {"choices": [{"message": {"tool_calls": [None, {"function": "weather"}]}}]},
    ],
)
def test_answer__without_calls__says_nothing(answer: dict[str, Any]) -> None:
    one = CallJudge(BODY)
    one.read_whole(answer)
    assert one.count() == (0, 0)


def test_stream__pieces_of_parallel_calls__are_joined_by_their_index() -> None:
    one = CallJudge(BODY)
    one.read(0, [{"index": 0, "function": {"name": "weather", "arguments": '{"ci'}}])
    one.read(0, [{"index": 1, "function": {"name": "now", "arguments": ""}}])
    one.read(0, [{"index": 0, "function": {"arguments": 'ty": "Porto"}'}}])
    one.read(1, [{"index": 0, "function": {"name": "weather", "arguments": "{"}}])
    assert one.count() == (2, 1)


def test_stream__endless_pieces__are_not_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answered_calls, "PIECES_MAX", 3)
    one = CallJudge(BODY)
    for _ in range(5):
        one.read(0, [{"index": 0, "function": {"name": "now", "arguments": " "}}])
    assert one.count() == (0, 0)


@pytest.mark.parametrize("tools", [None, [], "weather", [None], [{"function": {"name": 3}}]])
def test_tools__none_or_odd__know_no_function(tools: Any) -> None:
    one = CallJudge({"tools": tools})
    one.read(0, [{"function": {"name": "now", "arguments": "{}"}}])
    assert one.count() == (0, 1)
