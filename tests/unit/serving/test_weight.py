"""What a model generated is weighed, once; what stands around it is not."""

from typing import Any

import pytest

from serving.models.provider_answers import Holder, is_answer, weigh_answer
from serving.models.weight import weigh_choice, weigh_message, weigh_output

DETAILS = [{"type": "reasoning.text", "text": " think", "format": "unknown", "index": 0}]
SIGNED = {"type": "thinking", "thinking": "abc", "signature": "c2lnbmF0dXJl"}


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"role": "assistant", "content": "héllo", "refusal": None, "annotations": []}, 6),
        ({"content": "\ud83d"}, 3),
        ({"content": "", "reasoning": " think", "reasoning_details": DETAILS}, 6),
        ({"reasoning_content": "abc", "reasoning": "abc", "content": "d"}, 4),
        ({"reasoning_content": "abc", "thinking_blocks": [SIGNED]}, 3),
        ({"thinking": {"content": "abc", "signature": "x" * 99}}, 3),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "x" * 999}]}, 0),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "abc"}]}, 3),
        ({"content": [{"type": "text", "text": "ab"}, {"type": "text", "text": "cd"}]}, 4),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "ab"}]},
                    {"type": "text", "text": "c"},
                ]
            },
            3,
        ),
        ({"refusal": "no"}, 2),
        (
            {
                "tool_calls": [
                    {
                        "index": 0,
                        "id": "call_" + "x" * 40,
                        "type": "function",
                        "function": {"name": "get_weather", "arguments": '{"a"'},
                    }
                ]
            },
            4,
        ),
        ({"function_call": {"name": "f", "arguments": "{}"}}, 2),
        (
            {
                "tool_calls": [{"function": {"arguments": "{}"}}],
                "function_call": {"arguments": "{}"},
            },
            2,
        ),
        ({"tool_calls": [{"type": "custom", "custom": {"name": "f", "input": "abc"}}]}, 3),
        ({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}, 7),
        ({"content": "a", "thought_signature": "x" * 500}, 1),
        ({"content": "a", "extra_content": {"google": {"thought_signature": "x" * 500}}}, 1),
        ({"content": "a", "provider_specific_fields": {"citations": ["x" * 500]}}, 1),
        ("odd", 0),
        (None, 0),
        ({"content": 7, "tool_calls": "odd"}, 3),
    ],
)
def test_weigh_message__each_providers_shape__text_only_and_once(message: Any, text: int) -> None:
    weight = weigh_message(message)
    assert weight.text == text
    assert weight.extent >= weight.text


def test_weigh_message__calls_and_unknown_fields__extend_what_may_have_been_generated() -> None:
    call = {"tool_calls": [{"id": 1}], "content": "héllo"}
    assert weigh_message(call) == (6, 6 + len('[{"id":1}]'))
    assert weigh_message({"content": "ab", "novel": "cde"}) == (2, 5)


def test_weigh_message__nested_without_end__is_no_text() -> None:
    nested: Any = "x"
    for _ in range(900):
        nested = [nested]
    assert weigh_message({"content": nested}).text == 0


def test_weigh_choice__text_beside_delta__weighed_once() -> None:
    assert weigh_choice({"delta": {"content": "abc"}, "text": "abc"}, field="delta").text == 3
    assert weigh_choice({"text": "abc"}, field="message").text == 3
    assert weigh_choice({"message": "x"}, field="message").text == 0


def test_weigh_output__items_of_a_response__text_arguments_and_reasoning() -> None:
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "ab"}]},
        {"type": "reasoning", "encrypted_content": "x" * 500, "summary": []},
        {"type": "message", "id": "m", "content": [{"type": "output_text", "text": "cde"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]
    assert weigh_output(output).text == 7


@pytest.mark.parametrize(
    ("holder", "parsed", "valid"),
    [
        (Holder.CHOICES, {"choices": [{"message": {}}]}, True),
        (Holder.CHOICES, {"choices": []}, False),
        (Holder.CHOICES, {"choices": None}, False),
        (Holder.CHOICES, {"choices": [1]}, False),
        (Holder.CHOICES, {"choices": [{}], "error": {"message": "x"}}, False),
        (Holder.CHOICES, {"choices": [{}], "error": None}, True),
        (Holder.CHOICES, {"choices": [{}], "object": "error"}, False),
        (Holder.CHOICES, {"choices": [{"error": {"code": 502}}]}, False),
        (Holder.CHOICES, {"choices": [{"message": {}, "finish_reason": "error"}]}, False),
        (Holder.OUTPUT, {"output": [{}]}, True),
        (Holder.OUTPUT, {"output": [{}], "error": None}, True),
        (Holder.DATA, {"data": [{}]}, True),
        (Holder.DATA, {"choices": [{}]}, False),
    ],
)
def test_is_answer__each_endpoint__knows_its_own(holder: Holder, parsed: Any, valid: bool) -> None:
    assert is_answer(parsed, holder) == valid


def test_weigh_answer__all_choices__together() -> None:
    chat = {"choices": [{"message": {"content": "abc"}}, {"text": "de"}, {"message": "x"}, {}]}
    assert weigh_answer(chat, Holder.CHOICES).text == 5
    assert weigh_answer({"data": [{}]}, Holder.DATA).text == 0
