"""How many tokens a completion took: upstream's word, or our own count. Pure."""

import json
from collections.abc import Mapping
from typing import Any, Final

import orjson

from serving.models.bounds import estimate_output_tokens, estimate_prompt_tokens
from serving.models.prices import Tokens

TOKENS_MAX: Final = 2**31
"""A report beyond this is not a count of tokens."""


def read_usage(completion: Mapping[str, Any]) -> Tokens | None:
    """Return the tokens that upstream reports, or None where it reports none that make sense.

    Reasoning tokens count as output also where a provider leaves them out of
    ``completion_tokens``: the total has them.
    """
    usage = completion.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt = _read_count(usage, "prompt_tokens")
    output = _read_count(usage, "completion_tokens")
    if prompt is None or output is None:
        return None
    total = _read_count(usage, "total_tokens")
    details = usage.get("prompt_tokens_details")
    cached = _read_count(details, "cached_tokens") if isinstance(details, dict) else None
    return Tokens(
        prompt,
        output if total is None else max(output, total - prompt),
        min(cached or 0, prompt),
    )


def count_usage(
    completion: Mapping[str, Any],
    *,
    body_bytes: int,
    image_tokens: int,
    messages: int,
    prompt_bound: int,
) -> Tokens:
    """Count the tokens of a completion whose upstream reports none, one for every three bytes."""
    choices = [choice for choice in completion["choices"] if isinstance(choice, dict)]
    prompt = estimate_prompt_tokens(body_bytes=body_bytes, messages=messages) + image_tokens
    output_bytes = sum(_count_bytes(choice.get("message")) for choice in choices)
    return Tokens(min(prompt, prompt_bound), estimate_output_tokens(output_bytes))


def is_completion(parsed: Mapping[str, Any]) -> bool:
    """Tell whether upstream's answer has the one thing that makes it a completion."""
    return isinstance(parsed.get("choices"), list)


def _count_bytes(message: Any) -> int:
    """Return the bytes of text, reasoning and tool calls of one message."""
    if not isinstance(message, dict):
        return 0
    return sum(
        count_bytes(value)
        for name, value in message.items()
        if name != "role" and value is not None
    )


def count_bytes(value: Any) -> int:
    """Return the bytes of a text, or of any other value as JSON."""
    if isinstance(value, str):
        # A provider may cut a text in the middle of a surrogate pair.
        return len(value.encode("utf-8", "surrogatepass"))
    try:
        return len(orjson.dumps(value))
    except (TypeError, orjson.JSONEncodeError):
        return len(json.dumps(value))


def _read_count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if type(value) is int and 0 <= value <= TOKENS_MAX else None
