"""The usage that a client is told: the words of the provider, or the tokens charged."""

from typing import Any

import orjson
import pytest

from serving.models.counting import Counted
from serving.models.prices import Tokens
from serving.models.provider_answers import Holder
from serving.models.stating import (
    CHAT_NAMES,
    RESPONSE_NAMES,
    Names,
    build_usage,
    drop_usage,
    may_hold_usage,
    restate_answer,
    says_cost,
    strip_cost,
)

COUNTED = Counted(Tokens(10, 5), is_estimated=False)
USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
CHOICES = [{"index": 0, "message": {"content": "Hi"}}]


@pytest.mark.parametrize(
    ("counted", "names", "usage"),
    [
        (COUNTED, CHAT_NAMES, USAGE),
        (
            Counted(Tokens(10, 5, 4), is_estimated=False, reasoning=3),
            RESPONSE_NAMES,
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "total_tokens": 15,
                "input_tokens_details": {"cached_tokens": 4},
                "output_tokens_details": {"reasoning_tokens": 3},
            },
        ),
        # Reasoning is never more than the output that is charged.
        (
            Counted(Tokens(10, 5), is_estimated=True, reasoning=9),
            CHAT_NAMES,
            {**USAGE, "completion_tokens_details": {"reasoning_tokens": 5}},
        ),
    ],
)
def test_build_usage__charged_tokens__in_the_endpoints_names(
    counted: Counted, names: Names, usage: dict[str, Any]
) -> None:
    assert build_usage(counted, names) == usage


def restate(parsed: dict[str, Any], counted: Counted, holder: Holder) -> Any:
    return orjson.loads(restate_answer(orjson.dumps(parsed), parsed, counted, holder))


def test_restate_answer__usage_is_what_is_charged__the_bytes_as_they_came() -> None:
    raw = b'{ "choices": [],  "usage": {"prompt_tokens": 10, "completion_tokens": 5} }'

    assert restate_answer(raw, orjson.loads(raw), COUNTED, Holder.CHOICES) is raw


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 999, "completion_tokens": 5}, Counted(Tokens(10, 5), True)),
        ({"prompt_tokens": 10, "completion_tokens": 5, "cost_usdc": 0}, COUNTED),
        (None, Counted(Tokens(10, 5), True)),
    ],
)
def test_restate_answer__wrong_missing_or_with_a_cost__the_charged_tokens(
    usage: Any, counted: Counted
) -> None:
    told = restate({"choices": CHOICES, "usage": usage, "x_groq": {}}, counted, Holder.CHOICES)

    assert told == {"choices": CHOICES, "usage": USAGE}


def test_restate_answer__response_and_embeddings__their_own_names() -> None:
    counted = Counted(Tokens(10, 5), True)
    response = restate({"output": []}, counted, Holder.OUTPUT)
    vectors = restate({"data": []}, counted, Holder.DATA)

    assert response["usage"] == {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    assert vectors["usage"] == {"prompt_tokens": 10, "total_tokens": 15}


@pytest.mark.parametrize(
    ("chunk", "may"),
    [
        ({"usage": None, "choices": CHOICES}, False),
        ({"usage": USAGE}, True),
        ({"x_groq": {}}, True),
        ({"choices": [{"usage": USAGE}]}, True),
        ({"choices": ["odd"]}, False),
    ],
)
def test_may_hold_usage__wherever_providers_put_it(chunk: dict[str, Any], may: bool) -> None:
    assert may_hold_usage(chunk) is may


def test_drop_usage__everywhere__also_in_choices() -> None:
    holder = {"id": "x", "usage": USAGE, "usageMetadata": {}, "choices": [{"usage": 1, "a": 2}]}

    assert drop_usage(holder, None) == {"id": "x", "choices": [{"usage": 1, "a": 2}]}
    assert drop_usage(holder, [{"usage": 1, "a": 2}, "odd"])["choices"] == [{"a": 2}, "odd"]


def test_strip_cost__providers_word__gone_from_event_and_response() -> None:
    costly = {**USAGE, "cost_usdc": 0}
    event = {"type": "response.completed", "usage": costly, "response": {"usage": costly, "id": 1}}

    assert says_cost(event)
    assert strip_cost(event) == {
        "type": "response.completed",
        "response": {"id": 1, "usage": USAGE},
    }
    plain = {"response": {"usage": USAGE}}
    assert strip_cost(plain) is plain
    assert strip_cost({"usage": costly}) == {}
