"""What makes a provider's JSON an answer, and how much of one it holds. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from serving.models.weight import NOTHING, Weight, weigh_choice, weigh_output


class Holder(StrEnum):
    """The field of a whole answer that holds what was generated."""

    CHOICES = "choices"
    """Of chat completions and of completions."""
    OUTPUT = "output"
    """Of responses."""
    DATA = "data"
    """Of embeddings, which generate no text."""


def is_failure(parsed: Mapping[str, Any]) -> bool:
    """Tell whether a provider's JSON is an error, in one of the shapes that errors have."""
    return bool(parsed.get("error")) or "error" in (parsed.get("object"), parsed.get("type"))


def is_failed_choice(choice: Mapping[str, Any]) -> bool:
    """Tell whether a choice ended in an error of the provider."""
    return bool(choice.get("error")) or choice.get("finish_reason") == "error"


def is_answer(parsed: Mapping[str, Any], holder: Holder) -> bool:
    """Tell whether a provider's JSON is a whole answer."""
    if is_failure(parsed):
        return False
    parts = parsed.get(holder)
    if not isinstance(parts, list) or not parts:
        return False
    return all(isinstance(part, dict) and not is_failed_choice(part) for part in parts)


def weigh_answer(parsed: Mapping[str, Any], holder: Holder) -> Weight:
    """Return the weight of a whole answer, of all choices together."""
    parts = parsed.get(holder)
    match holder:
        case Holder.CHOICES if isinstance(parts, list):
            weights = [weigh_choice(choice, field="message") for choice in parts]
            return Weight(
                sum(weight.text for weight in weights), sum(weight.extent for weight in weights)
            )
        case Holder.OUTPUT:
            return weigh_output(parts)
        case _:
            return NOTHING
