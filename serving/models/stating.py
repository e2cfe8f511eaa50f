"""The usage that a client is told. Pure.

A provider's own words are passed on where they are what is charged. Where they are not, because
they make no sense, cannot be true, do not cover all that was delivered or were never said, the
client is told the tokens that are charged, in the field's common names. A reader of such a
statement by ``serving.models.counting`` again, over the same answer, counts the same tokens: so a
proxy before a market agrees with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from serving.models.counting import Counted, Delivered, Sent, count_tokens
from serving.models.provider_answers import Holder
from serving.models.provider_json import write_provider_json
from serving.models.sold import COST_FIELD
from serving.models.usage import find_usage, has_odd_count, list_usages, read_report
from serving.models.weight import Weight

_OTHER_USAGES: Final = frozenset({"x_groq", "usage_metadata", "usageMetadata"})
"""Fields of an answer other than ``usage`` that may hold usage."""

_USAGES: Final = _OTHER_USAGES | {"usage"}


class Names(NamedTuple):
    """What an endpoint calls its counts."""

    prompt: str
    output: str


CHAT_NAMES: Final = Names("prompt_tokens", "completion_tokens")
RESPONSE_NAMES: Final = Names("input_tokens", "output_tokens")


def build_usage(counted: Counted, names: Names) -> dict[str, Any]:
    """Return a usage object that says the tokens that are charged, and nothing else."""
    tokens = counted.tokens
    usage: dict[str, Any] = {
        names.prompt: tokens.prompt,
        names.output: tokens.completion,
        "total_tokens": tokens.prompt + tokens.completion,
    }
    if tokens.cached:
        usage[f"{names.prompt}_details"] = {"cached_tokens": tokens.cached}
    reasoning = min(counted.reasoning, tokens.completion)
    if reasoning:
        usage[f"{names.output}_details"] = {"reasoning_tokens": reasoning}
    return usage


def state_usage(
    words: Mapping[str, Any], counted: Counted, sent: Sent, delivered: Delivered, names: Names
) -> dict[str, Any]:
    """Return the usage to tell: the provider's ``words`` where they say what is charged."""
    usage = build_usage(counted, names)
    if not words:
        return usage
    told = {**usage, **words}
    return told if says_what_is_charged(told, counted, sent, delivered.weight) else usage


def says_what_is_charged(
    words: Mapping[str, Any], counted: Counted, sent: Sent, delivered: Weight
) -> bool:
    """Tell whether who reads this usage, over the same answer, counts what is charged.

    Of several reports the words may be mixed.
    """
    if not words or not counted.is_reported or has_odd_count(words):
        return False
    said = count_tokens(sent, Delivered(delivered, delivered), read_report(words))
    return said.tokens == counted.tokens


def restate_answer(
    raw: bytes, parsed: Mapping[str, Any], counted: Counted, holder: Holder
) -> bytes:
    """Return a whole answer for the client: as it came where its usage is what is charged."""
    words = find_usage(parsed)
    is_told = words is not None and counted.is_reported and not has_odd_count(words)
    if is_told and not says_cost(parsed):
        return raw
    usage = _build_usage_of(holder, counted)
    choices = parsed["choices"] if holder is Holder.CHOICES else None
    return write_provider_json({**drop_usage(parsed, choices), "usage": usage})


def _build_usage_of(holder: Holder, counted: Counted) -> dict[str, Any]:
    if holder is Holder.CONTENT:
        return build_split_usage(counted)
    names = RESPONSE_NAMES if holder is Holder.OUTPUT else CHAT_NAMES
    usage = build_usage(counted, names)
    if holder is Holder.DATA:
        del usage[names.output]
    return usage


def build_split_usage(counted: Counted) -> dict[str, int]:
    """Return the usage of a message: tokens that were read from a cache stand apart from the
    input."""
    tokens = counted.tokens
    return {
        "input_tokens": tokens.prompt - tokens.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.completion,
    }


def may_hold_usage(chunk: Mapping[str, Any]) -> bool:
    """Tell whether it is worth looking for usage in a chunk of a stream."""
    if chunk.get("usage") or not _OTHER_USAGES.isdisjoint(chunk):
        return True
    choices = chunk.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and "usage" in choice for choice in choices
    )


def says_cost(holder: Mapping[str, Any]) -> bool:
    """Tell whether a usage in an answer or chunk names a cost as a market does.

    Only a market's own last word may: a provider's would be read as the market's.
    """
    return any(isinstance(usage, dict) and COST_FIELD in usage for usage in list_usages(holder))


def strip_cost(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of a response: the same, but with no cost in the usage of either."""
    response = event.get("response")
    inner = response if isinstance(response, dict) else {}
    if not (says_cost(event) or says_cost(inner)):
        return event
    usage = inner.get("usage")
    told = {"usage": _without_cost(usage)} if isinstance(usage, dict) else {}
    response = {"response": {**drop_usage(inner, None), **told}} if inner else {}
    return {**drop_usage(event, None), **response}


def _without_cost(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in usage.items() if name != COST_FIELD}


def drop_usage(holder: Mapping[str, Any], choices: Sequence[Any] | None) -> dict[str, Any]:
    """Return an answer or chunk without usage, wherever it stands; with these choices, if any."""
    kept = {name: value for name, value in holder.items() if name not in _USAGES}
    if choices is not None:
        kept["choices"] = [
            {name: value for name, value in choice.items() if name != "usage"}
            if isinstance(choice, dict)
            else choice
            for choice in choices
        ]
    return kept
