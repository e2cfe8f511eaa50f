"""What a good provider answers on each path: whole answers and streams, as pure values.

A path is the end of the URL, as ``chat/completions``; a stream is a list of server-sent events.
"""

import json
import re
from base64 import b64encode
from struct import pack
from typing import Any, Final

MODEL: Final = "SmolLM2-135M-Instruct"
PROVIDER_KEY: Final = "sk-provider-0123456789abcdef-unmistakable"
"""The key that tests ask the endpoint with."""
TEXT: Final = "Hello! I am glad to help."
PIECES: Final = 6
"""How many pieces the text makes in a stream."""
USAGE: Final = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
DONE: Final = b"data: [DONE]\n\n"


def make_event(data: Any) -> bytes:
    """Return one event of a stream."""
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def split_text(text: str) -> list[str]:
    """Return the words of a text, each with the space after it: the pieces of its stream."""
    return re.findall(r"\S+\s*", text)


def make_completion(text: str = TEXT, usage: Any = USAGE, *, model: str = MODEL) -> dict[str, Any]:
    """Return a whole chat completion; None as ``usage`` leaves the usage out."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    completion = {"id": "c-1", "object": "chat.completion", "model": model, "choices": [choice]}
    return completion if usage is None else {**completion, "usage": usage}


def make_chunk(
    text: str | None, *, usage: Any = None, finish: str | None = None, model: str = MODEL
) -> bytes:
    """Return one event of a chat's stream: a piece of text, the end of the choice, or the usage."""
    choices = [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}]
    chunk = {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": choices if text is not None or finish else [],
    }
    return make_event(chunk if usage is None else {**chunk, "usage": usage})


def make_answer(path: str, body: dict[str, Any], *, text: str, usage: Any) -> dict[str, Any]:
    """Return the whole answer to a request; None as ``usage`` leaves the usage out."""
    used = {} if usage is None else {"usage": usage}
    match path:
        case "embeddings":
            is_packed = body.get("encoding_format") == "base64"
            vector = b64encode(pack("<f", 0.5)).decode() if is_packed else [0.5]
            return {"object": "list", "data": [{"embedding": vector}], **used}
        case "responses":
            part = {"type": "output_text", "text": text}
            output = [{"type": "message", "role": "assistant", "content": [part]}]
            return {"id": "r-1", "object": "response", "output": output, **used}
        case "messages":
            said = {"type": "message", "role": "assistant", "model": body.get("model", MODEL)}
            ended = {"stop_reason": "end_turn", "stop_sequence": None}
            content = [{"type": "text", "text": text}]
            return {"id": "m-1", **said, "content": content, **ended, **used}
        case "completions":
            choice = {"index": 0, "text": text, "finish_reason": "stop"}
            return {"id": "c-1", "object": "text_completion", "choices": [choice], **used}
    return make_completion(text, usage, model=str(body.get("model", MODEL)))


def make_named_event(kind: str, **fields: Any) -> bytes:
    """Return one event of a message's stream."""
    return f"event: {kind}\n".encode() + make_event({"type": kind, **fields})


def make_first_events(path: str, usage: Any, model: str = MODEL) -> list[bytes]:
    """Return the events before the text: of messages, their beginning."""
    if path != "messages":
        return []
    first = {**(usage or {}), "output_tokens": 1}
    message = {"id": "m-1", "type": "message", "role": "assistant", "model": model, "content": []}
    ended = {"stop_reason": None, "stop_sequence": None, "usage": first}
    block = {"type": "text", "text": ""}
    return [
        make_named_event("message_start", message={**message, **ended}),
        make_named_event("content_block_start", index=0, content_block=block),
        make_named_event("ping"),
    ]


def make_piece(path: str, text: str, model: str = MODEL) -> bytes:
    """Return the event that carries a piece of the text."""
    match path:
        case "responses":
            return make_event({"type": "response.output_text.delta", "delta": text})
        case "messages":
            delta = {"type": "text_delta", "text": text}
            return make_named_event("content_block_delta", index=0, delta=delta)
        case "completions":
            return make_event({"choices": [{"index": 0, "text": text}]})
    return make_chunk(text, model=model)


def make_last_events(path: str, usage: Any, model: str = MODEL) -> list[bytes]:
    """Return the events after the text: its end, the usage if there is any, and the mark of the
    end."""
    match path:
        case "responses":
            response = {"usage": usage} if usage else {}
            return [make_event({"type": "response.completed", "response": response})]
        case "messages":
            ended = {"stop_reason": "end_turn", "stop_sequence": None}
            return [
                make_named_event("content_block_stop", index=0),
                make_named_event("message_delta", delta=ended, usage=usage or {}),
                make_named_event("message_stop"),
            ]
        case "completions":
            last = make_event({"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})
            used = make_event({"choices": [], "usage": usage})
        case _:
            last = make_chunk("", finish="stop", model=model)
            used = make_chunk(None, usage=usage, model=model)
    return [last, DONE] if usage is None else [last, used, DONE]


def stream_answer(completion: dict[str, Any]) -> list[bytes]:
    """Return the stream that says the same as a whole chat completion: a call in three pieces."""
    (choice,) = completion["choices"]
    message, usage = dict(choice["message"]), completion.get("usage")
    calls = message.pop("tool_calls", [])
    deltas = [message]
    for index, call in enumerate(calls):
        arguments, function = call["function"]["arguments"], call["function"]
        named = {**call, "index": index, "function": {**function, "arguments": ""}}
        deltas.append({"tool_calls": [named]})
        half = len(arguments) // 2
        for piece in (arguments[:half], arguments[half:]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    head = {"id": "c-1", "object": "chat.completion.chunk", "model": completion["model"]}
    events = [
        make_event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        for delta in deltas
    ]
    last = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    events.append(make_event({**head, "choices": [last]}))
    events.append(make_event({**head, "choices": [], "usage": usage}))
    return [*events, DONE]
