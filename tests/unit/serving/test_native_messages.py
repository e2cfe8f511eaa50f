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


def test_headers__that_no_header_can_hold__are_left_out() -> None:
    sent = {b"anthropic-version": "2023-06-01", b"anthropic-beta": "a\nx-api-key: b"}
    assert read_dialect_headers(sent.get) == {"anthropic-version": "2023-06-01"}
