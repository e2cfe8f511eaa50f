"""Answers in the common form, as other dialects tell them: nothing of them is lost or doubled.

::

    calls       as many as the model made, each with an id of its own
    stop        why the model stopped, whatever else it says later
    cut off     the last item says so, and no other
    failures    by the codes and classes that clients act on
    odd texts   halves of characters, numbers beyond 64 bits, nests: the answer is whole JSON
"""

import json
from typing import Any

import pytest

from serving.dialects.common_form import CommonForm
from serving.dialects.dialect import MESSAGES, RESPONSES, Dialect
from serving.dialects.encoding import Served, Spent
from serving.models.counting import Counted
from serving.models.prices import Tokens

SPENT = Spent(Counted(Tokens(20, 10), is_estimated=False), {"cost": 12})
FORM = CommonForm({}, wants_sealed_reasoning=True)
HALF = "a\ud83d"


def serve(request_id: str = "r-1") -> Served:
    return Served(request_id, "m", 20, 1_700_000_000)


def build(dialect: Dialect, finish: str | None = "stop", turn: str = "r-1", **said: Any) -> Any:
    """Return a whole answer."""
    choice = {"index": 0, "message": {"role": "assistant", **said}, "finish_reason": finish}
    return json.loads(dialect.build({"choices": [choice]}, FORM, serve(turn), SPENT))


def stream(dialect: Dialect, *deltas: Any, form: CommonForm = FORM) -> list[dict[str, Any]]:
    """Return the events of a stream; a delta is a piece, or a (piece, finish reason)."""
    encoder = dialect.open_encoder(form, serve())
    raw = b""
    for said in deltas:
        delta, finish = said if isinstance(said, tuple) else (said, None)
        raw += encoder.read({"choices": [{"delta": delta, "finish_reason": finish}]})
    raw += encoder.finish(SPENT)
    return [json.loads(line[6:]) for line in raw.splitlines() if line.startswith(b"data: ")]


def call(arguments: Any, name: str | None = None, **place: Any) -> dict[str, Any]:
    said = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"tool_calls": [{**place, "function": said}]}


def gather_calls(events: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Return (id, name, arguments) of the calls in a stream of messages."""
    found: dict[int, list[str]] = {}
    for event in events:
        if event["type"] == "content_block_start":
            block = event["content_block"]
            if block["type"] == "tool_use":
                found[event["index"]] = [block["id"], block["name"], ""]
        elif event["type"] == "content_block_delta" and event["delta"].get("partial_json"):
            found[event["index"]][2] += event["delta"]["partial_json"]
    return [(one[0], one[1], one[2]) for one in found.values()]


def stop_of(events: list[dict[str, Any]]) -> str:
    return str(next(e for e in events if e["type"] == "message_delta")["delta"]["stop_reason"])


# ------------------------------------------------------------------------------------------ calls


@pytest.mark.parametrize("ids", [(None, None), ("", ""), ("same", "same"), ("x", None)])
@pytest.mark.parametrize("index", [{}, {"index": 0}])
def test_whole__calls_without_ids_of_their_own__are_each_a_call(
    ids: tuple[str | None, str | None], index: dict[str, int]
) -> None:
    calls = [
        {**index, "id": one, "function": {"name": "f", "arguments": f'{{"a":{number}}}'}}
        for number, one in enumerate(ids)
    ]

    content = build(MESSAGES, "tool_calls", tool_calls=calls)["content"]
    items = build(RESPONSES, "tool_calls", tool_calls=calls)["output"]

    assert [block["input"] for block in content] == [{"a": 0}, {"a": 1}]
    assert len({block["id"] for block in content}) == 2
    assert [item["arguments"] for item in items] == ['{"a":0}', '{"a":1}']
    assert len({item["call_id"] for item in items}) == 2


@pytest.mark.parametrize(
    "place", [{"index": 0}, {"index": 0, "id": ""}, {"index": 0, "id": "same"}, {"id": "same"}, {}]
)
def test_stream__whole_calls_in_one_place__are_each_a_call(place: dict[str, Any]) -> None:
    events = stream(MESSAGES, call('{"a":1}', "f", **place), call('{"a":1}', "f", **place))

    calls = gather_calls(events)
    assert [one[1:] for one in calls] == [("f", '{"a":1}')] * 2
    assert calls[0][0] != calls[1][0]


@pytest.mark.parametrize("later", [{"id": ""}, {"id": None}, {}])
def test_stream__pieces_without_an_id__go_to_the_call_before(later: dict[str, Any]) -> None:
    events = stream(MESSAGES, call('{"a"', "f", id="x"), call(":1}", **later))

    assert gather_calls(events) == [("x", "f", '{"a":1}')]


def test_stream__name_in_every_piece__is_one_call() -> None:
    pieces = ('{"a"', ":1}", "", " ")
    events = stream(MESSAGES, *(call(piece, "f", index=0, id="x") for piece in pieces))

    assert [one[:2] for one in gather_calls(events)] == [("x", "f")]


def test_calls__without_ids__have_other_ids_in_another_turn() -> None:
    calls = [{"function": {"name": "f", "arguments": "{}"}}]

    ids = {build(MESSAGES, turn=f"r-{n}", tool_calls=calls)["content"][0]["id"] for n in range(3)}

    assert len(ids) == 3
    assert all(len(one) <= 40 for one in ids), "longer ones are refused with the next turn"


# ------------------------------------------------------------------------------------------- stop

JUNK = call("", index=0)


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([({"content": "x"}, "stop"), call("{}", "f", index=0, id="x")], "tool_use"),
        ([{"content": "x"}, JUNK, ({}, "stop")], "end_turn"),
        ([{"content": "x"}, JUNK, ({}, "tool_calls")], "end_turn"),
        ([({"content": "x"}, "length"), ({}, "stop")], "max_tokens"),
        ([({"content": "x"}, "content_filter"), ({}, "stop")], "refusal"),
        ([({"content": "x"}, "stop"), ({}, "length")], "max_tokens"),
        ([{"refusal": "No."}, ({}, "stop")], "refusal"),
        ([{"content": "x"}], "end_turn"),
        ([call("{}", "f", index=0, id="x"), ({}, "length")], "max_tokens"),
    ],
)
def test_stream__stop_reason__is_known_at_the_end(deltas: list[Any], expected: str) -> None:
    assert stop_of(stream(MESSAGES, *deltas)) == expected


def test_whole__refusal__is_the_stop_reason() -> None:
    assert build(MESSAGES, refusal="No.")["stop_reason"] == "refusal"


# ---------------------------------------------------------------------------------------- cut off


def test_responses__cut_off__the_last_item_is_incomplete() -> None:
    said: dict[str, Any] = {
        "content": "x",
        "tool_calls": [{"function": {"name": "f", "arguments": a}} for a in ("{}", '{"a')],
    }
    expected = ["completed", "completed", "incomplete"]

    whole = build(RESPONSES, "length", **said)
    events = stream(
        RESPONSES,
        {"content": "x"},
        call("{}", "f", index=0),
        call('{"a', "f", index=1),
        (call("", index=2), "length"),
    )

    assert [item["status"] for item in whole["output"]] == expected
    done = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    assert [item["status"] for item in done] == expected
    assert events[-1]["response"]["output"] == done
    assert build(RESPONSES, "stop", **said)["output"][-1]["status"] == "completed"


def test_responses__cut_off_in_reasoning__has_no_status() -> None:
    assert "status" not in build(RESPONSES, "length", reasoning_content="x")["output"][-1]


# --------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("code", "type", "told", "kind"),
    [
        ("ceiling_reached", "insufficient_quota", "insufficient_quota", "rate_limit_error"),
        ("key_revoked", "authentication_error", "insufficient_quota", "authentication_error"),
        ("key_expired", "authentication_error", "insufficient_quota", "authentication_error"),
        ("key_rotated", "authentication_error", "insufficient_quota", "authentication_error"),
        ("position_burnt", "insufficient_quota", "insufficient_quota", "api_error"),
        (
            "context_length_exceeded",
            "invalid_request_error",
            "context_length_exceeded",
            "invalid_request_error",
        ),
        (
            "content_policy_violation",
            "invalid_request_error",
            "invalid_prompt",
            "invalid_request_error",
        ),
        ("upstream_disconnected", "server_error", "upstream_disconnected", "api_error"),
        ("shutting_down", "server_error", "shutting_down", "overloaded_error"),
    ],
)
def test_stream__fails__by_the_code_and_class_that_clients_act_on(
    code: str, type: str, told: str, kind: str
) -> None:
    def fail(dialect: Dialect) -> Any:
        encoder = dialect.open_encoder(FORM, serve())
        encoder.read({"choices": [{"delta": {"content": "x"}}]})
        raw = encoder.fail({"code": code, "type": type, "message": "Words."}, SPENT)
        return json.loads(raw.splitlines()[-2][6:])

    error = fail(RESPONSES)["response"]["error"]
    assert (error["code"], error.get("reason", told)) == (told, code)
    assert fail(MESSAGES)["error"]["type"] == kind


# -------------------------------------------------------------------------------------- odd texts

DEEP: Any = {"a": 1}
for _ in range(400):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize("dialect", [MESSAGES, RESPONSES], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "said",
    [
        {"reasoning_details": [{"type": "reasoning.text", "text": HALF}]},
        {
            "reasoning_details": [
                {"type": "reasoning.encrypted", "data": 2**70, "x": [1.5, 10**400]}
            ]
        },
        {"reasoning_details": [DEEP]},
        {"reasoning_content": HALF},
        {"tool_calls": [{"function": {"name": "f", "arguments": {"a": HALF}}}]},
        {"tool_calls": [{"function": {"name": "f", "arguments": DEEP}}]},
        {"tool_calls": [{"function": {"name": "f", "arguments": json.dumps(DEEP)}}]},
        {"content": HALF},
        {"refusal": HALF},
    ],
    ids=lambda said: next(iter(said)),
)
def test_answer__whatever_a_provider_has_put_in__is_written(
    dialect: Dialect, said: dict[str, Any]
) -> None:
    assert build(dialect, **said)["usage"]["cost"] == 12
    assert stream(dialect, said)[-1]["type"] in ("message_stop", "response.completed")


@pytest.mark.parametrize("dialect", [MESSAGES, RESPONSES], ids=lambda dialect: dialect.name)
def test_stream__character_in_two_pieces__is_whole(dialect: Dialect) -> None:
    events = stream(dialect, {"content": "a\ud83d"}, {"content": "\ude00b"}, {"content": "\ud83d"})

    deltas = [e["delta"] for e in events if e["type"].endswith("delta") and "delta" in e]
    texts = [d if isinstance(d, str) else d.get("text", "") for d in deltas]
    assert "".join(texts) == "a\U0001f600b\ufffd"


def test_responses__echoed_field_nested_to_the_limit__the_stream_ends_well() -> None:
    form = CommonForm({}, echo={"text": DEEP})

    assert stream(RESPONSES, {"content": "x"}, form=form)[-1]["type"] == "response.completed"
