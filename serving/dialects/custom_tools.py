"""Tools that take plain text, as functions of the common form. Pure.

A chat completion's function takes JSON: one field that holds the text.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

_FIELD: Final = "input"


def write_custom_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return the function that stands for a custom tool."""
    said = str(tool.get("description") or "")
    shape = tool.get("format")
    grammar = shape.get("definition") if isinstance(shape, dict) else None
    if isinstance(grammar, str) and grammar:
        said = f"{said}\nThe input follows this grammar:\n{grammar}".strip()
    text = {"type": "string", "description": "the whole input of the tool, as plain text"}
    parameters = {
        "type": "object",
        "properties": {_FIELD: text},
        "required": [_FIELD],
        "additionalProperties": False,
    }
    function = {"name": tool.get("name"), "description": said, "parameters": parameters}
    return {"type": "function", "function": function}


def read_custom_call(text: str) -> str:
    """Return the arguments of the function that stands for a call with this text."""
    return orjson.dumps({_FIELD: text}).decode()


def write_custom_input(arguments: str) -> str:
    """Return the text of a call, from the arguments that the model wrote; odd ones as they are."""
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    text = value.get(_FIELD) if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments
