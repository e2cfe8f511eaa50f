"""A whole completion told as a stream: some providers do not stream what is asked so. Pure."""

from collections.abc import Mapping
from typing import Any

from serving.models.provider_answers import Holder, is_answer
from serving.models.provider_json import write_provider_json


def stream_whole(completion: Mapping[str, Any]) -> bytes | None:
    """Return the events that say the same as a whole completion of a chat or of a text.

    None where the answer is no completion.
    Each choice comes in one piece with its end, then the usage as the provider stated it.
    """
    if not is_answer(completion, Holder.CHOICES):
        return None
    choices = []
    for index, choice in enumerate(completion["choices"]):
        message = choice.get("message")
        if message is None and isinstance(choice.get("text"), str):
            choices.append({"index": index, **choice})
            continue
        if not isinstance(message, dict):
            return None
        rest = {name: value for name, value in choice.items() if name != "message"}
        choices.append({"index": index, **rest, "delta": _number_calls(message)})
    is_chat = any("delta" in choice for choice in choices)
    head = {**completion, "object": "chat.completion.chunk"} if is_chat else {**completion}
    usage = head.pop("usage", None)
    events = [{**head, "choices": choices}, {**head, "choices": [], "usage": usage}]
    told = b"".join(b"data: " + write_provider_json(event) + b"\n\n" for event in events)
    return told + b"data: [DONE]\n\n"


def _number_calls(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as a piece of a stream, whose calls have an index each."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return dict(message)
    numbered = [
        {"index": index, **call} if isinstance(call, dict) else call
        for index, call in enumerate(calls)
    ]
    return {**message, "tool_calls": numbered}
