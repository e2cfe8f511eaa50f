"""Fields of a chat request that every provider knows: their types. Pure.

A wrong type is told here, where nothing was reserved yet; a field that is unknown here passes.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from serving.dialects.schemas import is_strings
from serving.http.errors import wrong_type


def validate_parameters(body: Mapping[str, Any]) -> None:
    """Raise ``RequestRejected`` (400) for a known field of a wrong type; null passes."""
    for name, value in body.items():
        known = _KNOWN.get(name)
        if known is not None and value is not None and not known[0](value):
            raise wrong_type(name, known[1])


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_biases(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_number(item) for item in value.values())


def _is_format(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return False
    if value["type"] != "json_schema":
        return value["type"] in ("text", "json_object", "grammar", "regex", "structural_tag")
    stated = value.get("json_schema")
    return isinstance(stated, dict) and isinstance(stated.get("schema"), dict)


_NUMBER: Final = (_is_number, "a number")
_FLAG: Final = (lambda value: isinstance(value, bool), "true or false")
_TEXT: Final = (lambda value: isinstance(value, str), "a string")
_KNOWN: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "top_k": _NUMBER,
    "min_p": _NUMBER,
    "frequency_penalty": _NUMBER,
    "presence_penalty": _NUMBER,
    "repetition_penalty": _NUMBER,
    "seed": (lambda value: type(value) is int, "an integer"),
    "logprobs": _FLAG,
    "top_logprobs": (lambda value: type(value) is int and 0 <= value <= 20, "from 0 to 20"),
    "parallel_tool_calls": _FLAG,
    "stop": (lambda value: isinstance(value, str) or is_strings(value), "a string or strings"),
    "user": _TEXT,
    "reasoning_effort": _TEXT,
    "logit_bias": (_is_biases, "an object of numbers"),
    "response_format": (_is_format, "of type text, json_object or json_schema with a schema"),
}
