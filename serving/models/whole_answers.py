"""A whole completion told as a stream: some providers do not stream what is asked so. Pure."""

from collections.abc import Mapping
from typing import Any

from serving.models.provider_answers import Holder, is_answer
from serving.models.provider_json import write_provider_json


def stream_whole(completion: Mapping[str, Any]) -> bytes | None:
    """Return the events that say the same as a whole completion of a chat or of a text, or as a
    whole message.

    None where the answer is none of these.
    Each choice comes in one piece with its end, then the usage as the provider stated it.
    """
    if is_answer(completion, Holder.CONTENT):
        return _stream_message(completion)
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


def _stream_message(message: Mapping[str, Any]) -> bytes:
    """Return the events of a message: each block in one piece, then its end with its usage."""
    usage = message.get("usage")
    ended = {name: message.get(name) for name in ("stop_reason", "stop_sequence")}
    head = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": head}]
    for index, block in enumerate(message["content"]):
        opened, pieces = _split_block(block)
        events.append({"type": "content_block_start", "index": index, "content_block": opened})
        for piece in pieces:
            events.append({"type": "content_block_delta", "index": index, "delta": piece})
        events.append({"type": "content_block_stop", "index": index})
    events.append({"type": "message_delta", "delta": ended, "usage": usage or {}})
    events.append({"type": "message_stop"})
    told = ((str(event["type"]).encode(), write_provider_json(event)) for event in events)
    return b"".join(b"event: " + kind + b"\ndata: " + data + b"\n\n" for kind, data in told)


def _split_block(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a block as its stream opens it, and the pieces that fill it."""
    match block.get("type"):
        case "text":
            return {**block, "text": ""}, [{"type": "text_delta", "text": block.get("text")}]
        case "thinking":
            signature = {"type": "signature_delta", "signature": block.get("signature")}
            thought = {"type": "thinking_delta", "thinking": block.get("thinking")}
            return {**block, "thinking": "", "signature": ""}, [thought, signature]
        case "tool_use":
            said = write_provider_json(block.get("input") or {}).decode()
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": said}]
    return dict(block), []


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
