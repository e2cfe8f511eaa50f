"""What a request brings: messages, parts, texts and images, as far as they are counted. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from serving.dialects.tools import validate_calls
from serving.http.errors import ApiError, bad_request, wrong_type

INPUTS_MAX: Final = 2_048
_TEXT_PARTS: Final = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "summary_text": "text",
    "reasoning_text": "text",
    "refusal": "refusal",
}
"""Parts that are text, and the field that holds it."""

_IMAGE: Final = re.compile(r"https?://|data:(?:image/[\w.+-]+[;,]|,)", re.IGNORECASE)
"""What an image's URL begins with. Some providers take a whole document or film in its place, which
is not what an image may cost."""

_OUTPUTS: Final = ("function_call_output", "custom_tool_call_output")
"""Items of a response's input whose ``output`` may have parts."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a request brings, counted."""

    messages: int = 0
    images: int = 0
    image_bytes: int = 0
    """Length of all images' URLs or data, as JSON."""
    inputs: int = 1
    """Separate prompts, each answered for itself."""


def read_chat(body: Mapping[str, Any]) -> Content:
    """Return the content of a chat request. Raises ``RequestRejected`` (400), naming the place."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong_type("messages", "a non-empty list")
    return _read_messages(messages, "messages")


def read_response(body: Mapping[str, Any]) -> Content:
    """Return the content of a request for a response. Raises ``RequestRejected`` (400)."""
    if body.get("prompt") is not None:
        message = "A stored prompt is not supported: it cannot be counted."
        raise bad_request("unsupported_content", message, param="prompt")
    given = body.get("input")
    if isinstance(given, str):
        return Content(messages=1)
    if not isinstance(given, list) or not given:
        raise wrong_type("input", "a string or a non-empty list")
    return _read_messages(given, "input")


def read_texts(body: Mapping[str, Any], name: str) -> Content:
    """Return how many inputs: a text, a list of texts, tokens, or a list of lists of tokens."""
    expected = "a string, a list of strings, or tokens"
    value = body.get(name)
    if isinstance(value, str):
        return Content()
    if not isinstance(value, list) or not value:
        raise wrong_type(name, expected)
    if all(type(item) is int for item in value):
        return Content()
    if len(value) > INPUTS_MAX:
        raise wrong_type(name, f"of at most {INPUTS_MAX} inputs")
    for item in value:
        is_tokens = isinstance(item, list) and all(type(token) is int for token in item)
        if not isinstance(item, str) and not is_tokens:
            raise wrong_type(name, expected)
    return Content(inputs=len(value))


def _read_messages(messages: list[Any], where: str) -> Content:
    is_chat = where == "messages"
    images, image_bytes = 0, 0
    for index, message in enumerate(messages):
        at = f"{where}[{index}]"
        if not isinstance(message, dict):
            raise wrong_type(at, "an object")
        if is_chat:
            _validate_message(message, at)
        if message.get("audio") is not None:
            raise _unknown_content(f"{at}.audio")
        if message.get("type") == "item_reference":
            raise _unknown_content(at)
        names = ["content"]
        if not is_chat and message.get("output") is not None:
            if message.get("type") not in _OUTPUTS and not isinstance(message["output"], str):
                raise _unknown_content(f"{at}.output")
            names.append("output")
        for name in names:
            content = message.get(name)
            if content is None or isinstance(content, str):
                continue
            if not isinstance(content, list):
                raise wrong_type(f"{at}.{name}", "a string, a list of parts or null")
            for number, part in enumerate(content):
                size = _read_part(part, f"{at}.{name}[{number}]")
                if size is not None:
                    images += 1
                    image_bytes += size
    return Content(len(messages), images, image_bytes)


def _validate_message(message: dict[str, Any], at: str) -> None:
    if not isinstance(message.get("role"), str):
        raise wrong_type(f"{at}.role", "a string")
    validate_calls(message.get("tool_calls"), f"{at}.tool_calls")
    call_id = message.get("tool_call_id")
    if call_id is not None and not isinstance(call_id, str):
        raise wrong_type(f"{at}.tool_call_id", "a string")


def _read_part(part: Any, where: str) -> int | None:
    """Return the size of an image's URL or data, None for text."""
    if not isinstance(part, dict):
        raise wrong_type(where, "an object")
    kind = part.get("type")
    text = _TEXT_PARTS.get(kind) if isinstance(kind, str) else None
    if text is not None:
        if not isinstance(part.get(text), str):
            raise wrong_type(f"{where}.{text}", "a string")
        return None
    if kind not in ("image_url", "input_image"):
        raise _unknown_content(f"{where}.type")
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise wrong_type(f"{where}.image_url.url", "a string")
    if _IMAGE.match(url) is None:
        message = "Images are sent by http(s) URL, or as data:image/…: nothing else is an image."
        raise bad_request("unsupported_content", message, param=f"{where}.image_url.url")
    return len(orjson.dumps(url))


def _unknown_content(param: str) -> ApiError:
    message = "Only text and, for models that state their size, images can be sent."
    return bad_request("unsupported_content", message, param=param)
