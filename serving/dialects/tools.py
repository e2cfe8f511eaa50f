"""Tools in requests: functions, custom tools and groups of them, which the client runs. Pure.

Tools that the provider runs (searches, files, code, computers) cost extra and are refused. All
else about tools is checked as well, because providers fail on odd shapes instead of refusing them.

In the chat dialect a tool's facts stand in an object named as its type
(``{"type": "function", "function": {"name": …}}``), in the responses dialect beside its type.
"""

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Any, Final

from serving.dialects.endpoints import Endpoint
from serving.dialects.schemas import validate_schema
from serving.http.errors import ApiError, bad_request, wrong_type

TOOLS_MAX: Final = 128
"""Tools of one request, those in groups included."""

_FUNCTION: Final = "function"
_GROUP: Final = "namespace"
_ONES: Final = (_FUNCTION, "custom")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHOICES: Final = ("none", "auto", "required", "any")


class _Form(Enum):
    """Where a tool's facts stand: see the module."""

    NESTED = auto()
    FLAT = auto()
    IN_GROUP = auto()
    """Clients write both."""


def validate_tools(body: Mapping[str, Any], endpoint: Endpoint) -> None:
    """Check everything about tools. Raises ``RequestRejected`` (400), naming the place."""
    form = _Form.FLAT if endpoint is Endpoint.RESPONSES else _Form.NESTED
    tools = body.get("tools")
    if tools is not None and _validate_list(tools, "tools", form) > TOOLS_MAX:
        raise wrong_type("tools", f"a list of at most {TOOLS_MAX}")
    functions = body.get("functions")
    if functions is not None:
        if not isinstance(functions, list) or len(functions) > TOOLS_MAX:
            raise wrong_type("functions", f"a list of at most {TOOLS_MAX}")
        for index, function in enumerate(functions):
            _validate_function(function, f"functions[{index}]")
    _validate_choice(body.get("tool_choice"), form)
    call = body.get("function_call")
    if call is not None and call not in ("none", "auto") and not _has_name(call):
        raise wrong_type("function_call", "none, auto or an object with a name")


def _validate_list(tools: Any, where: str, form: _Form) -> int:
    """Return how many tools a list has, with those in groups."""
    if not isinstance(tools, list) or len(tools) > TOOLS_MAX:
        raise wrong_type(where, f"a list of at most {TOOLS_MAX}")
    return sum(_validate_tool(tool, f"{where}[{index}]", form) for index, tool in enumerate(tools))


def _validate_tool(tool: Any, where: str, form: _Form) -> int:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind == _GROUP and form is not _Form.IN_GROUP:
        said, at = _find_facts(tool, _GROUP, where, _Form.IN_GROUP)
        _validate_named(said, at)
        return _validate_list(said.get("tools"), f"{at}.tools", _Form.IN_GROUP)
    if kind not in _ONES:
        raise _unsupported(f"{where}.type")
    said, at = _find_facts(tool, kind, where, form)
    if kind == _FUNCTION:
        _validate_function(said, at)
        return 1
    _validate_named(said, at)
    if said.get("format") is not None and not isinstance(said["format"], dict):
        raise wrong_type(f"{at}.format", "an object")
    return 1


def _find_facts(tool: dict[str, Any], kind: str, where: str, form: _Form) -> tuple[Any, str]:
    """Return where a tool's name and other facts stand, and what that place is called."""
    is_flat = form is _Form.FLAT or (
        form is _Form.IN_GROUP and not isinstance(tool.get(kind), dict)
    )
    return (tool, where) if is_flat else (tool.get(kind), f"{where}.{kind}")


def _validate_named(said: Any, where: str) -> None:
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        raise wrong_type(where, "an object with a name")
    if _NAME.fullmatch(said["name"]) is None:
        raise wrong_type(f"{where}.name", "of 1 to 64 letters, digits, underscores and dashes")
    if not _is_text(said.get("description")):
        raise wrong_type(f"{where}.description", "a string")


def _validate_function(function: Any, where: str) -> None:
    _validate_named(function, where)
    if function.get("strict") is not None and not isinstance(function["strict"], bool):
        raise wrong_type(f"{where}.strict", "true or false")
    parameters = function.get("parameters")
    if parameters is None:
        return
    if not isinstance(parameters, dict):
        raise wrong_type(f"{where}.parameters", "a JSON schema: an object")
    validate_schema(parameters, f"{where}.parameters")


def _validate_choice(choice: Any, form: _Form) -> None:
    if choice is None:
        return
    if not isinstance(choice, dict):
        if choice not in _CHOICES:
            raise wrong_type("tool_choice", "none, auto, required or an object")
        return
    kind = choice.get("type")
    if kind in _ONES:
        if not _has_name(_find_facts(choice, kind, "tool_choice", form)[0]):
            raise bad_request(
                "unsupported_tool", f"'tool_choice' must name a {kind}.", param="tool_choice"
            )
        return
    if kind == "allowed_tools":
        nested = choice.get(kind)
        _validate_allowed(nested if isinstance(nested, dict) else choice)
        return
    raise _unsupported("tool_choice")


def _validate_allowed(said: Mapping[str, Any]) -> None:
    """Check a choice among some of the tools: they are named as ``tools`` names them."""
    if said.get("mode") not in ("auto", "required", None):
        raise wrong_type("tool_choice.mode", "auto or required")
    tools = said.get("tools")
    if not isinstance(tools, list) or len(tools) > TOOLS_MAX:
        raise wrong_type("tool_choice.tools", f"a list of at most {TOOLS_MAX}")
    for index, tool in enumerate(tools):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in (*_ONES, _GROUP):
            raise _unsupported(f"tool_choice.tools[{index}].type")
        if not _has_name(tool) and not _has_name(tool.get(kind)):
            raise wrong_type(f"tool_choice.tools[{index}]", "an object with a name")


def validate_calls(calls: Any, where: str) -> None:
    """Check the tool calls of a message in the chat dialect. Raises ``RequestRejected`` (400)."""
    if calls is None:
        return
    if not isinstance(calls, list):
        raise wrong_type(where, "a list")
    for index, call in enumerate(calls):
        at = f"{where}[{index}]"
        kind = call.get("type", _FUNCTION) if isinstance(call, dict) else None
        if kind not in _ONES:
            raise wrong_type(at, "a call of a function or a custom tool")
        if not _is_text(call.get("id")):
            raise wrong_type(f"{at}.id", "a string")
        said = call.get(kind)
        if not isinstance(said, dict) or not _has_name(said):
            raise wrong_type(f"{at}.{kind}", "an object with a name")
        text = "arguments" if kind == _FUNCTION else "input"
        if not _is_text(said.get(text)):
            raise wrong_type(f"{at}.{kind}.{text}", "a string")


def _unsupported(param: str) -> ApiError:
    message = (
        "Only tools of type 'function', 'custom' and 'namespace' are supported: others cost extra."
    )
    return bad_request("unsupported_tool", message, param=param)


def _has_name(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str)


def _is_text(value: Any) -> bool:
    """Tell whether an optional text is a string, or absent."""
    return value is None or isinstance(value, str)
