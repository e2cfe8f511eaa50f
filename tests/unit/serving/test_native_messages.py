"""Messages that are passed on: what of a request counts, and what of it its maker never sees."""

from typing import Any, Final

import orjson
import pytest

from serving.dialects.call import LimitRules
from serving.dialects.endpoints import Endpoint
from serving.dialects.native_messages import parse_native_messages, read_dialect_headers
from serving.dialects.thinking import fit_thinking

LIMITS: Final = LimitRules(default=4_096, cap=8_192)
ASKED: Final[dict[str, Any]] = {"model": "m", "messages": [{"role": "user", "content": "Hi."}]}


def parse(**changes: Any) -> Any:
    body = {**ASKED, **changes}
    return parse_native_messages(body, LIMITS, own_fields=frozenset({"routing"}), headers={})


def test_tools_of_a_megabyte__all_pass_and_all_count() -> None:
    tools = [
        {"name": f"tool_{n}", "description": "x" * 10_000, "input_schema": {"type": "object"}}
        for n in range(100)
    ]
    call = parse(tools=tools)
    sent = orjson.loads(call.build_body(model="m", max_tokens=100))
    assert sent["tools"] == tools
    assert call.get_prompt_bound(context_tokens=None, image_tokens=None) > 1_000_000
    assert call.estimate_prompt(image_tokens=None) == call.as_chat.estimate_prompt(
        image_tokens=None
    )


def test_limit__not_named__is_added_and_a_named_one_lowered() -> None:
    assert orjson.loads(parse().build_body(model="m", max_tokens=9))["max_tokens"] == 9
    lowered = parse(max_tokens=70).build_body(model="other", max_tokens=9)
    assert orjson.loads(lowered) == {**ASKED, "model": "other", "max_tokens": 9}


def test_own_fields__are_kept_apart() -> None:
    call = parse(routing={"only": ["x"]})
    assert call.own == {"routing": {"only": ["x"]}}
    assert (call.endpoint, orjson.loads(call.written)) == (Endpoint.MESSAGES, ASKED)


@pytest.mark.parametrize(
    ("budget", "max_tokens", "expected"),
    [
        (1_024, 4_096, {"type": "enabled", "budget_tokens": 1_024}),
        (4_096, 4_096, {"type": "enabled", "budget_tokens": 2_048}),
        (9_000, 1_025, {"type": "enabled", "budget_tokens": 1_024}),
        (9_000, 1_024, {"type": "disabled"}),
    ],
)
def test_thinking__is_below_the_limit_or_off(budget: int, max_tokens: int, expected: Any) -> None:
    body = {"thinking": {"type": "enabled", "budget_tokens": budget}}
    assert fit_thinking(body, max_tokens)["thinking"] == expected


CLEAR: Final = {"type": "clear_thinking_20251015", "keep": "all"}
COMPACT: Final = {"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 50_000}}


@pytest.mark.parametrize(
    ("edits", "passed"),
    [
        ([COMPACT, CLEAR], {"context_management": {"edits": [CLEAR]}}),
        ([COMPACT], {}),
        ([{"type": "never_heard_of_2031"}, "odd", {}], {}),
        ("odd", {}),
    ],
)
def test_edits_of_the_context__pass_only_where_they_take_no_tokens(edits: Any, passed: Any) -> None:
    call = parse(context_management={"edits": edits, "novelty": 1})
    assert orjson.loads(call.written) == {**ASKED, **passed}


def test_summary_of_before__is_text_as_its_beta_does_not_pass() -> None:
    said = {"type": "text", "text": "So."}
    blocks = [{"type": "compaction", "content": "We met."}, {"type": "compaction"}, said]
    turns = [*ASKED["messages"], {"role": "assistant", "content": blocks}, *ASKED["messages"]]
    sent = orjson.loads(parse(messages=turns).written)["messages"]
    assert sent[1]["content"] == [{"type": "text", "text": "We met."}, said]
    assert [sent[0], sent[2]] == ASKED["messages"] * 2


def test_fields__of_which_nothing_is_known__are_left_out_and_all_known_ones_pass() -> None:
    known = {
        "system": "Short.",
        "stop_sequences": ["x"],
        "temperature": 0.5,
        "top_p": 0.5,
        "top_k": 4,
        "stream": True,
        "metadata": {"user_id": "u"},
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "low"},
        "cache_control": {"type": "ephemeral"},
        "service_tier": "standard_only",
    }
    call = parse(**known, novelty={"kept": 1}, betas=["compact-2026-01-12"], speed="fast")
    assert orjson.loads(call.written) == {**ASKED, **known}


@pytest.mark.parametrize(
    ("told", "passed"),
    [
        ("compact-2026-01-12", None),
        ("a-1, Compact-2031-01-01 ,b-2", "a-1,b-2"),
        ("context-management-2025-06-27", "context-management-2025-06-27"),
    ],
)
def test_beta__that_takes_more_tokens__is_left_out(told: str, passed: str | None) -> None:
    headers = read_dialect_headers({b"anthropic-beta": told}.get)
    assert headers.get("anthropic-beta") == passed


def test_headers__that_no_header_can_hold__are_left_out() -> None:
    sent = {b"anthropic-version": "2023-06-01", b"anthropic-beta": "a\nx-api-key: b"}
    assert read_dialect_headers(sent.get) == {"anthropic-version": "2023-06-01"}
