"""A chat completion request: what we read of it, and what we refuse. Pure.

Everything that is not named here reaches upstream unchanged. Refused is what would make the cost
unbounded: content that cannot be counted, and fields that some provider takes as a second output
limit, another model, a paid search or a higher price.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from serving.http.errors import bad_request
from serving.http.strict_json import parse_and_write, write_json

MAX_TOKENS_CAP: Final = 4_096
"""The most output tokens of one choice, whatever the request asks for."""

CHOICES_MAX: Final = 128
CHEAPEST: Final = "cheapest"
TOOLS_MAX: Final = 128
_FUNCTION_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SCHEMA_TYPES: Final = frozenset(
    {"string", "number", "integer", "boolean", "object", "array", "null"}
)

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
    {"models", "route", "routing", "provider", "service_tier", "chat_template", "extra_body"}
)
"""Another model, provider, template or price than the one that is reserved for."""

_UNCOUNTED: Final = frozenset(
    {
        "audio",
        "modalities",
        "prediction",
        "web_search_options",
        "search_parameters",
        "enable_search",
        "plugins",
        "mm_processor_kwargs",
    }
)
"""Output or input that is not counted in text tokens, and paid extras."""

_REFUSED_FIELDS: Final = _OUTPUT_LIMITS | _OTHER_PRICES | _UNCOUNTED
_HARMLESS: Final = {"best_of": 1, "modalities": ["text"], "service_tier": "default"}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A request as far as it matters for money. ``body`` is what goes to upstream."""

    body: dict[str, Any]
    written: bytes
    """``body`` as JSON."""
    model: str
    messages: int
    requested_max_tokens: int | None
    choices: int
    has_tools: bool
    fit: bool
    stream: bool
    asks_for_usage: bool
    """Whether the client expects a stream to end with a chunk that has usage and no choices."""
    asks_for_running_usage: bool
    """Whether the client expects usage in each chunk of a stream as well."""
    min_discount_pct: int | None
    images: int
    body_bytes: int
    """Length of the JSON for upstream, without images' data."""

    def get_max_tokens(self, context_tokens: int | None) -> int:
        """Return the output limit of one choice that will be applied."""
        return get_max_tokens(requested=self.requested_max_tokens, context_tokens=context_tokens)

    def build_body(self, *, model: str, max_tokens: int) -> bytes:
        """Return the JSON for upstream: another model name and output limit, else as it came."""
        if not self.stream and self._says(model, max_tokens):
            return self.written
        sent = {**self.body, "model": model}
        names = [name for name in _MAX_TOKENS_FIELDS if sent.get(name) is not None]
        for name in names or ["max_tokens"]:
            sent[name] = max_tokens
        if self.stream:
            # Without it most providers do not say what a stream took.
            sent["stream_options"] = {**(sent.get("stream_options") or {}), "include_usage": True}
        return orjson.dumps(sent)

    def _says(self, model: str, max_tokens: int) -> bool:
        limits = [self.body.get(name) for name in _MAX_TOKENS_FIELDS]
        said = [limit for limit in limits if limit is not None]
        return self.body["model"] == model and bool(said) and said.count(max_tokens) == len(said)


def get_max_tokens(*, requested: int | None, context_tokens: int | None) -> int:
    """Return the output limit to apply to one choice: the least of request, cap and context."""
    limits = [MAX_TOKENS_CAP]
    if requested is not None:
        limits.append(requested)
    if context_tokens is not None:
        limits.append(context_tokens)
    return min(limits)


def parse_chat_request(raw: bytes) -> ChatRequest:
    """Read a request body. Raises ``RequestRejected`` (400), naming the field."""
    body, written = parse_and_write(raw)
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
    if not body.keys().isdisjoint(_OWN_FIELDS):
        body = {name: value for name, value in body.items() if name not in _OWN_FIELDS}
        written = write_json(body)
    images, image_bytes = _count_images(messages)
    return ChatRequest(
        body=body,
        written=written,
        model=model,
        messages=len(messages),
        requested_max_tokens=_read_max_tokens(body),
        choices=_read_choices(body),
        has_tools=bool(body.get("tools") or body.get("functions")),
        fit=fit,
        stream=stream,
        asks_for_usage=stream and _asks_for_usage(body),
        asks_for_running_usage=stream and _asks_for_running_usage(body),
        min_discount_pct=min_discount_pct,
        images=images,
        body_bytes=len(written) - image_bytes,
    )


def _validate_fields(body: dict[str, Any]) -> None:
    refused = sorted(
        name
        for name in _REFUSED_FIELDS & body.keys()
        if body[name] is not None and body[name] != _HARMLESS.get(name)
    )
    if refused:
        message = f"'{refused[0]}' is not supported: what it costs cannot be bounded."
        raise bad_request("unsupported_parameter", message, param=refused[0])
    for name, value in body.items():
        known = _KNOWN_FIELDS.get(name)
        if known is not None and value is not None and not known[0](value):
            raise _wrong_type(name, known[1])
    _validate_tools(body)


def _validate_tools(body: dict[str, Any]) -> None:
    """Check everything about tools: providers fail on odd shapes instead of refusing them."""
    tools = body.get("tools")
    if tools is not None:
        if not isinstance(tools, list) or len(tools) > TOOLS_MAX:
            raise _wrong_type("tools", f"a list of at most {TOOLS_MAX}")
        for index, tool in enumerate(tools):
            if not isinstance(tool, dict) or tool.get("type") != "function":
                message = "Only tools of type 'function' are supported: others cost extra."
                raise bad_request("unsupported_tool", message, param=f"tools[{index}].type")
            _validate_function(tool.get("function"), f"tools[{index}].function")
    functions = body.get("functions")
    if functions is not None:
        if not isinstance(functions, list) or len(functions) > TOOLS_MAX:
            raise _wrong_type("functions", f"a list of at most {TOOLS_MAX}")
        for index, function in enumerate(functions):
            _validate_function(function, f"functions[{index}]")
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        named = choice.get("function")
        if choice.get("type") != "function" or not _has_name(named):
            message = "'tool_choice' must name a function."
            raise bad_request("unsupported_tool", message, param="tool_choice")
    elif choice is not None and choice not in ("none", "auto", "required"):
        raise _wrong_type("tool_choice", "none, auto, required or an object")
    call = body.get("function_call")
    if call is not None and call not in ("none", "auto") and not _has_name(call):
        raise _wrong_type("function_call", "none, auto or an object with a name")


def _validate_function(function: Any, where: str) -> None:
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise _wrong_type(where, "an object with a name")
    if _FUNCTION_NAME.fullmatch(function["name"]) is None:
        raise _wrong_type(f"{where}.name", "of 1 to 64 letters, digits, underscores and dashes")
    if not _is_text(function.get("description")):
        raise _wrong_type(f"{where}.description", "a string")
    if function.get("strict") is not None and not isinstance(function["strict"], bool):
        raise _wrong_type(f"{where}.strict", "true or false")
    parameters = function.get("parameters")
    if parameters is None:
        return
    if not isinstance(parameters, dict):
        raise _wrong_type(f"{where}.parameters", "a JSON schema: an object")
    _validate_schema(parameters, f"{where}.parameters")


def _validate_schema(schema: dict[str, Any], where: str) -> None:
    """Check the keywords of a JSON schema that are built on; those that are unknown pass."""
    kinds = schema.get("type")
    listed = kinds if isinstance(kinds, list) else [kinds]
    if kinds is not None and not all(kind in _SCHEMA_TYPES for kind in listed):
        raise _wrong_type(f"{where}.type", "a type of JSON schema")
    if not isinstance(schema.get("enum", []), list):
        raise _wrong_type(f"{where}.enum", "a list")
    required = schema.get("required")
    if required is not None and not _is_strings(required):
        raise _wrong_type(f"{where}.required", "a list of strings")
    for name in ("properties", "$defs", "definitions", "patternProperties"):
        inner = schema.get(name)
        if inner is None:
            continue
        if not isinstance(inner, dict):
            raise _wrong_type(f"{where}.{name}", "an object")
        for key, value in inner.items():
            _validate_subschema(value, f"{where}.{name}.{key[:64]}")
    for name in ("items", "additionalProperties", "not"):
        if schema.get(name) is not None:
            _validate_subschema(schema[name], f"{where}.{name}")
    for name in ("anyOf", "oneOf", "allOf"):
        inner = schema.get(name)
        if inner is None:
            continue
        if not isinstance(inner, list):
            raise _wrong_type(f"{where}.{name}", "a list")
        for index, value in enumerate(inner):
            _validate_subschema(value, f"{where}.{name}[{index}]")


def _validate_subschema(schema: Any, where: str) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise _wrong_type(where, "a JSON schema: an object, true or false")
    _validate_schema(schema, where)


def _validate_calls(calls: Any, where: str) -> None:
    if calls is None:
        return
    if not isinstance(calls, list):
        raise _wrong_type(where, "a list")
    for index, call in enumerate(calls):
        at = f"{where}[{index}]"
        if not isinstance(call, dict) or call.get("type", "function") != "function":
            raise _wrong_type(at, "a call of a function")
        if not _is_text(call.get("id")):
            raise _wrong_type(f"{at}.id", "a string")
        function = call.get("function")
        if not isinstance(function, dict) or not _has_name(function):
            raise _wrong_type(f"{at}.function", "an object with a name")
        if not _is_text(function.get("arguments")):
            raise _wrong_type(f"{at}.function.arguments", "a string")


def _has_name(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str)


def _is_text(value: Any) -> bool:
    """Tell whether an optional text is one, or is not there."""
    return value is None or isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_biases(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_number(item) for item in value.values())


def _is_format(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    if value["type"] != "json_schema":
        return value["type"] in ("text", "json_object")
    stated = value.get("json_schema")
    return isinstance(stated, dict) and isinstance(stated.get("schema"), dict)


_NUMBER: Final = (_is_number, "a number")
_KNOWN_FIELDS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "top_k": _NUMBER,
    "min_p": _NUMBER,
    "frequency_penalty": _NUMBER,
    "presence_penalty": _NUMBER,
    "repetition_penalty": _NUMBER,
    "seed": (lambda value: type(value) is int, "an integer"),
    "logprobs": (lambda value: isinstance(value, bool), "true or false"),
    "top_logprobs": (lambda value: type(value) is int and 0 <= value <= 20, "from 0 to 20"),
    "parallel_tool_calls": (lambda value: isinstance(value, bool), "true or false"),
    "stop": (lambda value: isinstance(value, str) or _is_strings(value), "a string or strings"),
    "user": (lambda value: isinstance(value, str), "a string"),
    "reasoning_effort": (lambda value: isinstance(value, str), "a string"),
    "logit_bias": (_is_biases, "an object of numbers"),
    "response_format": (_is_format, "of type text, json_object or json_schema with a schema"),
}
"""Fields that every provider knows: a wrong type is told here, where nothing was reserved yet."""


def _count_images(messages: list[Any]) -> tuple[int, int]:
    """Check the content of all messages; return (images, bytes of their URLs or data)."""
    images, image_bytes = 0, 0
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise _wrong_type(where, "an object")
        if not isinstance(message.get("role"), str):
            raise _wrong_type(f"{where}.role", "a string")
        _validate_calls(message.get("tool_calls"), f"{where}.tool_calls")
        if not _is_text(message.get("tool_call_id")):
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


def _asks_for_running_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("continuous_usage_stats") is True


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
