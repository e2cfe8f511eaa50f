"""What the endpoints' answers say about money: usage reports, and what bears them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from market.text.dialects import Call, Endpoint
from serving.models.bounds import estimate_output_tokens
from serving.models.prices import Tokens

TOKENS_MAX: Final = 2**31
"""A report beyond this is not a count of tokens."""

SLACK_TOKENS: Final = 64
"""What a seller may count for markers that no byte of the answer shows, for each choice."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a seller says a request took. ``reasoning`` is the part of ``completion`` not shown."""

    prompt: int
    completion: int
    reasoning: int


def is_answer(endpoint: Endpoint, parsed: Mapping[str, Any]) -> bool:
    """Tell whether a seller's answer has the one thing that makes it one."""
    if parsed.get("error"):
        return False
    name = {Endpoint.RESPONSES: "output", Endpoint.EMBEDDINGS: "data"}.get(endpoint, "choices")
    value = parsed.get(name)
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def read_usage(parsed: Mapping[str, Any]) -> Usage | None:
    """Return what a seller reports, or None where it reports nothing that makes sense."""
    usage = parsed.get("usage")
    if not isinstance(usage, dict):
        return None
    prompt = _read_first_count(usage, ("prompt_tokens", "input_tokens"))
    completion = _read_first_count(usage, ("completion_tokens", "output_tokens"))
    total = _read_first_count(usage, ("total_tokens",))
    if prompt is None:
        return None
    if completion is None:
        # Embeddings report no output.
        if "completion_tokens" in usage or "output_tokens" in usage:
            return None
        completion = 0 if total is None else max(0, total - prompt)
    # Some leave reasoning out of the completion: the total has it.
    whole = completion if total is None else max(completion, total - prompt)
    details = usage.get("completion_tokens_details") or usage.get("output_tokens_details")
    stated = _read_first_count(details, ("reasoning_tokens",)) if isinstance(details, dict) else 0
    reasoning = max(stated or 0, whole - completion)
    return Usage(prompt, whole, min(reasoning, whole))


def _read_first_count(usage: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = usage.get(name)
        if type(value) is int and 0 <= value <= TOKENS_MAX:
            return int(value)
    return None


def count_output_bytes(endpoint: Endpoint, parsed: Mapping[str, Any]) -> int:
    """Return the bytes of text, reasoning and tool calls that an answer holds."""
    match endpoint:
        case Endpoint.EMBEDDINGS:
            return 0
        case Endpoint.RESPONSES:
            return sum(len(orjson.dumps(item)) for item in parsed["output"])
        case Endpoint.COMPLETIONS:
            texts = (choice.get("text") for choice in parsed["choices"])
            return sum(len(text.encode()) for text in texts if isinstance(text, str))
        case Endpoint.CHAT:
            return sum(count_message_bytes(choice.get("message")) for choice in parsed["choices"])


def count_message_bytes(message: Any) -> int:
    """Return the bytes of a chat message, or of one piece of it, without its role."""
    if not isinstance(message, dict):
        return 0
    parts = [value for name, value in message.items() if name != "role" and value]
    return sum(
        len(part.encode()) if isinstance(part, str) else len(orjson.dumps(part)) for part in parts
    )


def count_tokens(
    call: Call,
    reported: Usage | None,
    *,
    output_bytes: int,
    bound: Tokens,
    estimate: Tokens,
    bytes_since: int = 0,
) -> tuple[Tokens, bool]:
    """Return the tokens to charge for, and whether they are not the seller's own word.

    A seller is believed as far as its answer can bear it: a prompt has no more tokens than bytes,
    and what is shown of the output neither; reasoning that is not shown must be stated as such.
    Nothing is above what the request was bounded to. ``bytes_since`` came after the report, which
    was not the last word then: they are counted here, and a prompt of none, too.
    """
    if reported is None:
        completion = estimate_output_tokens(output_bytes)
        return (
            Tokens(min(estimate.prompt, bound.prompt), min(completion, bound.completion)),
            True,
        )
    shown_max = output_bytes - bytes_since + SLACK_TOKENS * call.choices
    shown = min(reported.completion - reported.reasoning, shown_max)
    prompt = estimate.prompt if bytes_since and reported.prompt == 0 else reported.prompt
    completion = shown + reported.reasoning + estimate_output_tokens(bytes_since)
    believed = Tokens(min(prompt, bound.prompt), min(completion, bound.completion))
    return believed, believed != Tokens(reported.prompt, reported.completion)
