"""What makes a provider's JSON an answer, and how much of one it holds. Pure."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from serving.models.weight import NOTHING, Weight, weigh_blocks, weigh_choice, weigh_output


class Holder(StrEnum):
    """The field of a whole answer that holds what was generated."""

    CHOICES = "choices"
    """The output field of chat completions and of completions."""
    OUTPUT = "output"
    """The output field of responses."""
    CONTENT = "content"
    """The output field of messages: empty where a model ends its turn without a word."""
    DATA = "data"
    """The output field of embeddings, which generate no text."""


def find_failure(parsed: Mapping[str, Any]) -> Any:
    """Return the error in a provider's JSON, in whichever shape errors have; None without one.

    An error stands in a field, is the whole object, or ends a choice.
    """
    error = parsed.get("error")
    if error:
        return error
    if "error" in (parsed.get("object"), parsed.get("type")):
        return dict(parsed)
    choices = parsed.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and (
            choice.get("error") or choice.get("finish_reason") == "error"
        ):
            return choice.get("error") or {"message": None}
    return None


def is_answer(parsed: Mapping[str, Any], holder: Holder) -> bool:
    """Tell whether a provider's JSON is a whole answer."""
    parts = parsed.get(holder)
    if not isinstance(parts, list) or find_failure(parsed) is not None:
        return False
    if not parts and not (holder is Holder.CONTENT and isinstance(parsed.get("stop_reason"), str)):
        return False
    return all(isinstance(part, dict) for part in parts)


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
        case Holder.CONTENT:
            return weigh_blocks(parts)
        case _:
            return NOTHING
