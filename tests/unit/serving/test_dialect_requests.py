"""Requests of other dialects, in the common form: what real clients send is taken as they mean it.

::

    turns     joined as Anthropic joins them; results right after the turn of their calls
    thought   all of a turn's reasoning goes back, in its order
    history   of another provider's own tools is left out
    tools     of the client are functions; a choice means them by the client's names
    limit     by the name that the model takes
    user      no longer than a chat completion has it
"""

import json
from typing import Any

import pytest

from proxy.chat.request import parse_translated
from serving.dialects.common_form import CommonForm
from serving.dialects.dialect import MESSAGES, RESPONSES
from serving.dialects.reasoning import Reasoning, seal
from serving.http.errors import RequestRejected
from serving.models.additions import Additions
from serving.models.failures import UpstreamRejected


def ask(*turns: Any, **fields: Any) -> CommonForm:
    """Return a conversation; a turn is (role, content)."""
    messages = [{"role": role, "content": content} for role, content in turns]
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": messages or [{"role": "user", "content": "x"}],
    }
    return MESSAGES.read({**body, **fields})


def respond(*items: Any, **fields: Any) -> CommonForm:
    return RESPONSES.read({"model": "m", "input": list(items) or "x", **fields})


def use(call_id: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "f", "input": {}}


def result(call_id: str, content: str = "ok") -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content}


def call(call_id: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}


def output(call_id: str, said: str = "ok") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": said}


def thought(text: str, *details: Any) -> dict[str, Any]:
    sealed = seal(Reasoning(text, "reasoning", list(details)), has_text=False)
    return {"type": "reasoning", "summary": [], "encrypted_content": sealed}


def thinking(text: str, *details: Any) -> dict[str, Any]:
    sealed = seal(Reasoning(text, "reasoning", list(details)), has_text=True)
    return {"type": "thinking", "thinking": text, "signature": sealed}


def outline(form: CommonForm) -> list[str]:
    """Return the messages in short: a role, with the calls or the call that it is about."""
    lines = []
    for message in form.body["messages"]:
        calls = "".join(one["id"] for one in message.get("tool_calls", ()))
        about = calls or message.get("tool_call_id")
        lines.append(f"{message['role']} {about}" if about else message["role"])
    return lines


# ------------------------------------------------------------------------------------------ turns


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (
            [("assistant", [use("a"), use("b")]), ("user", [result("a")]), ("user", [result("b")])],
            ["assistant ab", "tool a", "tool b"],
        ),
        (
            [
                ("assistant", [use("a")]),
                ("assistant", [use("b")]),
                ("user", [result("b"), result("a")]),
            ],
            ["assistant ab", "tool b", "tool a"],
        ),
        (
            [("assistant", [use("a")]), ("system", "Note."), ("user", [result("a")])],
            ["assistant a", "tool a", "system"],
        ),
        (
            [
                ("assistant", [use("a"), use("b")]),
                ("user", [result("a")]),
                ("system", "Note."),
                ("user", [result("b")]),
                ("assistant", "Done."),
            ],
            ["assistant ab", "tool a", "tool b", "system", "assistant"],
        ),
        ([("user", "x"), ("user", "y"), ("assistant", "z")], ["user", "assistant"]),
        ([("user", "x"), ("system", "Note."), ("user", "y")], ["user", "system", "user"]),
    ],
)
def test_messages__turns__are_joined_and_results_follow_their_calls(
    turns: list[Any], expected: list[str]
) -> None:
    assert outline(ask(*turns)) == expected


def test_messages__joined_turns__keep_all_that_is_said_and_name_the_place() -> None:
    assert ask(("user", "x"), ("user", [{"type": "text", "text": "y"}])).body["messages"] == [
        {"role": "user", "content": "x\ny"}
    ]
    with pytest.raises(RequestRejected) as raised:
        ask(("user", "x"), ("user", [{"type": "odd"}]))
    assert raised.value.param == "messages[1].content[0].type"


def test_messages__result_that_never_comes__is_refused() -> None:
    with pytest.raises(RequestRejected) as raised:
        ask(("assistant", [use("a"), use("b")]), ("user", [result("a")]), ("assistant", "x"))
    assert raised.value.code == "missing_tool_result"


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (
            [
                thought("1"),
                call("a"),
                thought("2"),
                call("b"),
                thought("3"),
                call("c"),
                output("a"),
                output("b"),
                output("c"),
            ],
            ["assistant abc", "tool a", "tool b", "tool c"],
        ),
        (
            [thought("1"), call("a"), thought("2"), call("b"), output("b"), output("a")],
            ["assistant ab", "tool a", "tool b"],
        ),
        (
            [call("a"), output("a"), thought("2"), call("b"), output("b")],
            ["assistant a", "tool a", "assistant b", "tool b"],
        ),
        (
            [call("a"), call("b"), output("a"), call("c"), output("c"), output("b")],
            ["assistant ab", "tool a", "tool b", "assistant c", "tool c"],
        ),
        (
            [call("a"), {"role": "user", "content": "Note."}, output("a")],
            ["assistant a", "tool a", "user"],
        ),
        ([call("a"), {"role": "user", "content": "Stop."}], ["assistant a", "tool a", "user"]),
        ([call("a"), call("b"), output("b")], ["assistant ab", "tool a", "tool b"]),
        ([call("a")], ["assistant a", "tool a"]),
    ],
)
def test_responses__items__are_turns_with_a_result_for_each_call(
    items: list[Any], expected: list[str]
) -> None:
    assert outline(respond(*items)) == expected


def test_responses__call_that_was_interrupted__the_model_is_told_so() -> None:
    messages = respond(call("a"), call("b"), output("b", "21")).body["messages"]

    assert "interrupted" in messages[1]["content"]
    assert messages[2]["content"] == "21"


# ---------------------------------------------------------------------------------------- thought


def test_turn__reasoned_twice__both_go_back_in_order() -> None:
    first, second = {"type": "reasoning.encrypted", "data": "1"}, {"type": "x", "data": "2"}
    expected = {"reasoning": "ab", "reasoning_details": [first, second]}

    responded = respond(
        thought("a", first), call("a"), thought("b", second), call("b"), output("a"), output("b")
    )
    asked = ask(
        ("assistant", [thinking("a", first), use("a"), thinking("b", second), use("b")]),
        ("user", [result("a"), result("b")]),
    )

    for form in (responded, asked):
        message = form.body["messages"][0]
        assert {name: message[name] for name in expected} == expected


# ---------------------------------------------------------------------------------------- history


@pytest.mark.parametrize(
    "block",
    [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "code_execution_tool_result", "tool_use_id": "s", "content": {}},
        {"type": "mcp_tool_use", "id": "s", "name": "x", "input": {}},
        {"type": "mcp_tool_result", "tool_use_id": "s", "content": []},
        {"type": "redacted_thinking", "data": "x"},
    ],
    ids=lambda block: block["type"],
)
def test_messages__history_of_another_provider__is_left_out(block: dict[str, Any]) -> None:
    form = ask(("user", "x"), ("assistant", [block, {"type": "text", "text": "y"}]), ("user", "z"))

    assert form.body["messages"][1] == {"role": "assistant", "content": "y"}


def test_messages__compaction__its_summary_is_kept() -> None:
    form = ask(("user", "x"), ("assistant", [{"type": "compaction", "content": "Sum."}]))

    assert form.body["messages"][1] == {"role": "assistant", "content": "Sum."}


@pytest.mark.parametrize(
    "kind",
    [
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "computer_call",
        "computer_call_output",
        "local_shell_call",
        "local_shell_call_output",
        "shell_call_output",
        "apply_patch_call",
        "mcp_call",
        "mcp_list_tools",
        "mcp_approval_request",
        "compaction",
    ],
)
def test_responses__history_of_another_provider__is_left_out(kind: str) -> None:
    form = respond({"role": "user", "content": "x"}, {"type": kind, "id": "i"})

    assert form.body["messages"] == [{"role": "user", "content": "x"}]


# ------------------------------------------------------------------------------------------ tools


@pytest.mark.parametrize(
    ("kind", "name", "field"),
    [
        ("bash_20250124", "bash", "command"),
        ("text_editor_20250728", "str_replace_based_edit_tool", "old_str"),
        ("memory_20250818", "memory", "path"),
    ],
)
def test_messages__tool_that_the_client_runs__is_a_function(
    kind: str, name: str, field: str
) -> None:
    (tool,) = ask(tools=[{"type": kind, "name": name}]).body["tools"]

    assert tool["function"]["name"] == name
    assert field in tool["function"]["parameters"]["properties"]


@pytest.mark.parametrize("kind", ["computer_20250124", "local_shell", "shell", "apply_patch"])
def test_tool__known_to_its_maker_alone__is_refused_with_the_true_reason(kind: str) -> None:
    for make in (ask, respond):
        with pytest.raises(RequestRejected, match="maker") as raised:
            make(tools=[{"type": kind, "name": "x"}])
        assert (raised.value.code, raised.value.param) == ("unsupported_tool", "tools[0].type")


GROUPED: list[Any] = [
    {"type": "namespace", "name": "g", "tools": [{"type": "function", "name": "t"}]},
    {"type": "namespace", "name": "h", "tools": [{"type": "function", "name": "t"}]},
    {"type": "function", "name": "u"},
]


def choose(**choice: Any) -> tuple[list[str], Any]:
    body = respond(tools=GROUPED, tool_choice=choice).body
    return [tool["function"]["name"] for tool in body["tools"]], body["tool_choice"]


def test_responses__choice_of_a_tool_in_a_group__means_it() -> None:
    every = ["g__t", "h__t", "u"]
    one = {"type": "function", "function": {"name": "g__t"}}

    assert choose(type="function", name="t", namespace="g") == (every, one)
    assert choose(type="function", name="g__t") == (every, one)
    assert choose(type="function", name="t") == (["g__t", "h__t"], "required")


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ([{"type": "function", "name": "t"}], ["g__t", "h__t"]),
        ([{"type": "function", "name": "t", "namespace": "h"}], ["h__t"]),
        ([{"type": "namespace", "name": "g"}, {"type": "function", "name": "u"}], ["g__t", "u"]),
    ],
)
def test_responses__allowed_tools__are_found_by_the_clients_names(
    allowed: list[Any], expected: list[str]
) -> None:
    assert choose(type="allowed_tools", mode="required", tools=allowed) == (expected, "required")


def test_responses__choice_of_no_tool_of_the_request__is_refused() -> None:
    for choice in (
        {"type": "function", "name": "v"},
        {"type": "allowed_tools", "tools": [{"type": "function", "name": "v"}]},
    ):
        with pytest.raises(RequestRejected, match="names no tool"):
            choose(**choice)


# ------------------------------------------------------------------------------------------ limit


@pytest.mark.parametrize("dialect", [MESSAGES, RESPONSES], ids=lambda dialect: dialect.name)
async def test_limit__of_the_client__goes_by_the_name_that_the_model_takes(dialect: Any) -> None:
    body = {
        "model": "cheapest",
        "max_tokens": 50,
        "max_output_tokens": 50,
        "messages": [{"role": "user", "content": "x"}],
        "input": "x",
    }
    call = parse_translated(json.dumps(body).encode(), dialect).call

    def build(model: str, without: frozenset[str] = frozenset()) -> dict[str, Any]:
        sent = json.loads(call.build_body(model=model, max_tokens=50, without=without))
        return {name: value for name, value in sent.items() if name.startswith("max_")}

    async def refuse(without: frozenset[str]) -> dict[str, Any]:
        sent = build("deployment-7", without)
        if "max_tokens" in sent:
            raise UpstreamRejected(400, "Unsupported parameter: 'max_tokens'", "max_tokens")
        return sent

    assert build("gpt-5-nano") == {"max_completion_tokens": 50}
    assert build("llama") == {"max_tokens": 50}
    additions = Additions()
    for _ in range(2):
        sent = await additions.send(("u", "m"), call.additions, refuse, clients=call.client_fields)
        assert sent == {"max_completion_tokens": 50}
    assert build("m", frozenset({"max_tokens", "max_completion_tokens"})) == {"max_tokens": 50}


# ------------------------------------------------------------------------------------------- user


def test_messages__user__is_short_and_tells_nothing_of_the_device() -> None:
    long = f"user_{'a' * 64}_account_{'b' * 36}_session_{'c' * 36}"

    def user(name: str) -> str:
        return str(ask(metadata={"user_id": name}).body["user"])

    assert user("u-1") == "u-1"
    assert len(user(long)) <= 64
    assert "b" * 36 not in user(long)
    assert user(long) == user(long) != user(long + "d")


def test_messages__cache_control__is_kept_without_its_time() -> None:
    block = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}

    (part,) = ask(("user", [block])).body["messages"][0]["content"]

    assert part["cache_control"] == {"type": "ephemeral"}
