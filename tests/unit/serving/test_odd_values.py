"""Any JSON in any place: a request is refused by name, an answer is translated; nothing breaks.

::

    a whole request or answer
    └── at each place in it, one after the other: an object, a list, a number, a text, true, null
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from proxy.chat.request import parse_translated
from serving.dialects.common_form import CommonForm
from serving.dialects.dialect import MESSAGES, RESPONSES, Dialect
from serving.dialects.encoding import Served, Spent
from serving.http.errors import RequestRejected
from serving.models.counting import Counted
from serving.models.prices import Tokens

ODD: Final[tuple[Any, ...]] = ({}, {"type": {}}, [], [[]], [{}], 0, -1.5, "", "x", True, None)

TOOL: Final = {
    "name": "f",
    "description": "d",
    "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
}
IMAGE: Final = {"type": "base64", "media_type": "image/png", "data": "AA=="}
MESSAGE: Final[dict[str, Any]] = {
    "model": "m",
    "max_tokens": 9,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "image", "source": IMAGE},
                {"type": "document", "source": {"type": "text", "data": "d"}, "title": "t"},
                {"type": "search_result", "source": "u", "title": "t", "content": []},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                {"type": "tool_use", "id": "c", "name": "f", "input": {"a": "b"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": [], "is_error": True}
            ],
        },
    ],
    "tools": [TOOL],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "metadata": {"user_id": "u"},
    "stop_sequences": ["x"],
    "stream": False,
}
FUNCTION: Final = {"type": "function", "name": "f", "parameters": TOOL["input_schema"]}
RESPONSE: Final[dict[str, Any]] = {
    "model": "m",
    "max_output_tokens": 9,
    "instructions": "i",
    "input": [
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "https://e.org/i.png", "detail": "low"},
            ],
        },
        {"type": "reasoning", "summary": [], "encrypted_content": "x"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [{"type": "input_text", "text": "t"}],
        },
    ],
    "tools": [
        FUNCTION,
        {"type": "custom", "name": "g", "format": {"type": "text"}},
        {"type": "namespace", "name": "n", "tools": [FUNCTION]},
    ],
    "tool_choice": {
        "type": "allowed_tools",
        "mode": "auto",
        "tools": [{"type": "function", "name": "f"}],
    },
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
}
CHUNK: Final[dict[str, Any]] = {
    "id": "i",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "matched_stop": "x",
            "delta": {
                "role": "assistant",
                "content": "a",
                "refusal": "r",
                "reasoning_content": "t",
                "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "t"}],
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "c",
                        "type": "function",
                        "function": {"name": "f", "arguments": "{}"},
                    }
                ],
            },
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
}


def replace_each(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield (place, the value with one odd value in that place)."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, held in list(inner):
        for odd in ODD:
            yield f"{key}={odd!r}", _put(value, key, odd)
        if isinstance(held, (dict, list)):
            for place, changed in replace_each(held):
                yield f"{key}.{place}", _put(value, key, changed)


def _put(value: Any, key: Any, new: Any) -> Any:
    copy = value.copy()
    copy[key] = new
    return copy


@pytest.mark.parametrize(("dialect", "body"), [(MESSAGES, MESSAGE), (RESPONSES, RESPONSE)])
def test_request__any_json_in_any_place__is_taken_or_refused_with_a_place(
    dialect: Dialect, body: dict[str, Any]
) -> None:
    parse_translated(json.dumps(body).encode(), dialect)
    refused = 0
    for place, changed in replace_each(body):
        try:
            parse_translated(json.dumps(changed).encode(), dialect)
        except RequestRejected as error:
            assert 400 <= error.status < 500, place
            refused += 1
        except Exception as error:
            raise AssertionError(f"{place}: {error!r}") from error
    assert refused > 50


@pytest.mark.parametrize("dialect", [MESSAGES, RESPONSES])
def test_answer__any_json_in_any_place__is_translated_to_whole_json(dialect: Dialect) -> None:
    form = CommonForm({}, wants_sealed_reasoning=True)
    served = Served("r-1", "m", 20, 1_700_000_000)
    spent = Spent(Counted(Tokens(20, 10), is_estimated=False), {"cost": 12})
    whole = {**CHUNK, "choices": [{**CHUNK["choices"][0], "message": {}}]}
    whole["choices"][0]["message"] = whole["choices"][0].pop("delta")
    for place, changed in replace_each(whole):
        try:
            json.loads(dialect.build(changed, form, served, spent))
        except Exception as error:
            raise AssertionError(f"{place}: {error!r}") from error
    for place, changed in replace_each(CHUNK):
        encoder = dialect.open_encoder(form, served)
        try:
            raw = encoder.read(CHUNK) + encoder.read(changed) + encoder.finish(spent)
        except Exception as error:
            raise AssertionError(f"{place}: {error!r}") from error
        for line in raw.splitlines():
            if line.startswith(b"data: "):
                json.loads(line[6:])
