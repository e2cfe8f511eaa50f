"""A chat completion request: what we read of it, and what we refuse. Pure.

Everything that is not named here reaches upstream unchanged. Refused is what would make the cost
unbounded: content that cannot be counted, and fields that some provider takes as a second output
limit, another model, a paid search or a higher price.
"""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from proxy.errors import bad_request
from proxy.pricing import get_max_tokens

CHOICES_MAX: Final = 128
CHEAPEST: Final = "cheapest"

_MAX_TOKENS_FIELDS: Final = ("max_tokens", "max_completion_tokens")
_OWN_FIELDS: Final = ("fit", "min_discount_pct")

_OUTPUT_LIMITS: Final = frozenset(
    {
        "n_predict",
        "num_predict",
        "max_new_tokens",
        "max_length",
        "max_output_tokens",
        "options",
        "best_of",
        "use_beam_search",
        "beam_width",
    }
)
"""Other names of the output limit, or ways around it."""

_OTHER_PRICES: Final = frozenset(
    {"models", "route", "provider", "service_tier", "chat_template", "extra_body"}
)
"""Another model, provider, template or price than the one that is reserved for."""

_UNCOUNTED: Final = frozenset(
    {
        "audio",
        "modalities",
        "prediction",
        "web_search_options",
        "search_parameters",
        "plugins",
    }
)
"""Output or input that is not counted in text tokens, and paid extras."""

_REFUSED_FIELDS: Final = _OUTPUT_LIMITS | _OTHER_PRICES | _UNCOUNTED
_HARMLESS: Final = {"best_of": 1, "modalities": ["text"], "service_tier": "default"}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request as far as it matters for money. ``body`` is what goes to upstream."""

    body: dict[str, Any]
    model: str
    messages: int
    requested_max_tokens: int | None
    choices: int
    has_tools: bool
    fit: bool
    stream: bool
    asks_for_usage: bool
    """Whether the client expects a stream to end with a chunk that has usage and no choices."""
    min_discount_pct: int | None
    images: int
    body_bytes: int
    """Length of the JSON for upstream, without images' data."""

    def get_max_tokens(self, context_tokens: int | None) -> int:
        """Return the output limit of one choice that will be applied."""
        return get_max_tokens(requested=self.requested_max_tokens, context_tokens=context_tokens)

    def build_body(self, *, model: str, max_tokens: int) -> bytes:
        """Return the JSON for upstream: another model name and output limit, else as it came."""
        sent = {**self.body, "model": model}
        names = [name for name in _MAX_TOKENS_FIELDS if sent.get(name) is not None]
        for name in names or ["max_tokens"]:
            sent[name] = max_tokens
        if self.stream:
            # Without it most providers do not say what a stream took.
            sent["stream_options"] = {**(sent.get("stream_options") or {}), "include_usage": True}
        return orjson.dumps(sent)


def parse_chat_request(raw: bytes) -> ChatRequest:
    """Read a request body. Raises ``RequestRejected`` (400), naming the field."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise bad_request("invalid_json", f"The body is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise bad_request("invalid_type", "The body must be a JSON object.")
    _validate_fields(body)
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong_type("model", "a non-empty string")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _wrong_type("messages", "a non-empty list")
    fit = _read_flag(body, "fit")
    stream = _read_flag(body, "stream")
    min_discount_pct = _read_min_discount(body)
    for name in _OWN_FIELDS:
        body.pop(name, None)
    images, image_bytes = _count_images(messages)
    return ChatRequest(
        body=body,
        model=model,
        messages=len(messages),
        requested_max_tokens=_read_max_tokens(body),
        choices=_read_choices(body),
        has_tools=bool(body.get("tools") or body.get("functions")),
        fit=fit,
        stream=stream,
        asks_for_usage=stream and _asks_for_usage(body),
        min_discount_pct=min_discount_pct,
        images=images,
        body_bytes=_count_bytes(body) - image_bytes,
    )


def _count_bytes(body: dict[str, Any]) -> int:
    try:
        return len(orjson.dumps(body))
    except orjson.JSONEncodeError:
        raise bad_request("invalid_json", "The body is nested too deeply.") from None


def _validate_fields(body: dict[str, Any]) -> None:
    refused = sorted(
        name
        for name in _REFUSED_FIELDS & body.keys()
        if body[name] is not None and body[name] != _HARMLESS.get(name)
    )
    if refused:
        message = f"'{refused[0]}' is not supported: what it costs cannot be bounded."
        raise bad_request("unsupported_parameter", message, param=refused[0])
    tools = body.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list):
        raise _wrong_type("tools", "a list")
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict) or tool.get("type") != "function":
            message = "Only tools of type 'function' are supported: others cost extra."
            raise bad_request("unsupported_tool", message, param=f"tools[{index}].type")
        function = tool.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise _wrong_type(f"tools[{index}].function", "an object with a name")


def _count_images(messages: list[Any]) -> tuple[int, int]:
    """Check the content of all messages; return (images, bytes of their URLs or data)."""
    images, image_bytes = 0, 0
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise _wrong_type(where, "an object")
        if not isinstance(message.get("role"), str):
            raise _wrong_type(f"{where}.role", "a string")
        if not isinstance(message.get("tool_calls") or [], list):
            raise _wrong_type(f"{where}.tool_calls", "a list")
        if not isinstance(message.get("tool_call_id") or "", str):
            raise _wrong_type(f"{where}.tool_call_id", "a string")
        if message.get("audio") is not None:
            raise _unknown_content(f"{where}.audio")
        content = message.get("content")
        if content is None or isinstance(content, str):
            continue
        if not isinstance(content, list):
            raise _wrong_type(f"{where}.content", "a string, a list of parts or null")
        for number, part in enumerate(content):
            size = _check_part(part, f"{where}.content[{number}]")
            if size is not None:
                images += 1
                image_bytes += size
    return images, image_bytes


def _check_part(part: Any, where: str) -> int | None:
    """Return the size of an image's URL or data, None for text."""
    if not isinstance(part, dict):
        raise _wrong_type(where, "an object")
    match part.get("type"):
        case "text" | "refusal":
            if not isinstance(part.get(part["type"]), str):
                raise _wrong_type(f"{where}.{part['type']}", "a string")
            return None
        case "image_url":
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else None
            if not isinstance(url, str):
                raise _wrong_type(f"{where}.image_url.url", "a string")
            return len(orjson.dumps(url))
        case _:
            raise _unknown_content(f"{where}.type")


def _read_flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong_type(name, "true or false")
    return bool(value)


def _asks_for_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise _wrong_type("stream_options", "an object")
    asked = options.get("include_usage")
    if asked is not None and not isinstance(asked, bool):
        raise _wrong_type("stream_options.include_usage", "true or false")
    return bool(asked)


def _read_min_discount(body: dict[str, Any]) -> int | None:
    value = body.get("min_discount_pct")
    if value is None and "min_discount_pct" not in body:
        return None
    if type(value) is not int or not 0 <= value <= 100:
        message = "'min_discount_pct' must be an integer from 0 to 100."
        raise bad_request("invalid_minimum_discount", message, param="min_discount_pct")
    return value


def _read_max_tokens(body: dict[str, Any]) -> int | None:
    given = [(name, body[name]) for name in _MAX_TOKENS_FIELDS if body.get(name) is not None]
    for name, value in given:
        if type(value) is not int or value < 1:
            raise _wrong_type(name, "a positive integer")
    return min((value for _, value in given), default=None)


def _read_choices(body: dict[str, Any]) -> int:
    value = body.get("n")
    if value is None:
        return 1
    if type(value) is not int or not 1 <= value <= CHOICES_MAX:
        raise _wrong_type("n", f"an integer from 1 to {CHOICES_MAX}")
    return int(value)


def _wrong_type(param: str, expected: str) -> Exception:
    return bad_request("invalid_type", f"'{param}' must be {expected}.", param=param)


def _unknown_content(param: str) -> Exception:
    message = "Only text and, for models that state their size, images can be sent."
    return bad_request("unsupported_content", message, param=param)
