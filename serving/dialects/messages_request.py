"""Anthropic's ``/v1/messages``: a request, in the common form. Pure.

What costs nothing and has no place in a chat completion is left out; what would cost what cannot be
bounded is refused. ``cache_control`` is kept where it stands.
"""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

from serving.dialects.client_tools import find_client_tool, refuse_tool
from serving.dialects.common_form import (
    CACHE_CONTROL,
    CommonForm,
    find_extras,
    join_content,
    name_limit_for,
    read_list,
    read_object,
    read_text,
    shorten_name,
)
from serving.dialects.messages_turns import mark_cached, read_texts, read_turns
from serving.dialects.reasoning import RETURNED
from serving.http.errors import wrong_type

_KEPT: Final = ("model", "stream", "temperature", "top_p", "top_k")
_OWN: Final = ("fit", "max_cost_usdc", "min_discount_pct", "models", "provider")
"""This server's own fields, which every dialect takes."""
_EXTRAS: Final = RETURNED.union(
    (CACHE_CONTROL, "top_k", "reasoning_effort", "parallel_tool_calls", "user")
)
"""Fields that only some providers know."""
_EFFORTS: Final = ((4_096, "low"), (16_384, "medium"))
_CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "any": "required", "none": "none"}
USER_MAX: Final = 64
"""Longest name of a user in a chat completion."""


def read_messages_request(body: Mapping[str, Any]) -> CommonForm:
    """Translate a request. Raises ``RequestRejected`` (400), naming the place."""
    if body.get("mcp_servers"):
        refuse_tool("mcp", "mcp_servers")
    chat: dict[str, Any] = {name: body[name] for name in (*_KEPT, *_OWN) if name in body}
    chat["messages"] = [*_read_system(body.get("system")), *read_turns(body)]
    if body.get("max_tokens") is not None:
        limit = body["max_tokens"]
        if type(limit) is not int or limit < 1:
            raise wrong_type("max_tokens", "a positive integer")
        chat[name_limit_for(body.get("model"))] = limit
    tools = [_read_tool(t, f"tools[{i}]") for i, t in enumerate(read_list(body, "tools"))]
    if tools:
        chat["tools"] = tools
    chat |= _read_choice(body.get("tool_choice"), has_tools=bool(tools))
    chat |= _read_effort(body)
    stops = read_list(body, "stop_sequences")
    if not all(isinstance(stop, str) for stop in stops):
        raise wrong_type("stop_sequences", "a list of strings")
    stops = [stop for stop in stops if stop]
    if stops:
        chat["stop"] = stops
    user = read_object(body.get("metadata") or {}, "metadata").get("user_id")
    if isinstance(user, str) and user:
        chat["user"] = _shorten_user(user)
    return CommonForm(
        chat, find_extras(chat, _EXTRAS), names=list_shortened(body), stops=tuple(stops)
    )


def _shorten_user(user: str) -> str:
    """Return a user's id as chat completions take it; of a longer one only that it is the same.

    Agents put the ids of a device, an account and a session into it.
    """
    if len(user) <= USER_MAX:
        return user
    return blake2b(user.encode("utf-8", "replace"), digest_size=16).hexdigest()


def list_shortened(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the client's names of the functions whose names were shortened."""
    tools = (tool for tool in read_list(body, "tools") if isinstance(tool, dict))
    names = (tool.get("name") for tool in tools)
    return {
        shorten_name(name): name
        for name in names
        if isinstance(name, str) and shorten_name(name) != name
    }


def _read_system(system: Any) -> list[dict[str, Any]]:
    if system is None or system == "" or system == []:
        return []
    parts = list(read_texts(system, "system"))
    return [{"role": "system", "content": join_content(parts)}] if parts else []


def _read_tool(tool: Any, at: str) -> dict[str, Any]:
    tool = read_object(tool, at)
    kind = tool.get("type")
    name = read_text(tool.get("name"), f"{at}.name")
    function: dict[str, Any] = {"name": shorten_name(name)}
    if kind in (None, "custom"):
        if tool.get("description"):
            function["description"] = tool["description"]
        function["parameters"] = tool.get("input_schema") or {"type": "object", "properties": {}}
    else:
        known = find_client_tool(str(kind))
        if known is None:
            refuse_tool(str(kind), f"{at}.type")
        function["description"], function["parameters"] = known
    return mark_cached(tool, {"type": "function", "function": function})


def _read_choice(choice: Any, *, has_tools: bool) -> dict[str, Any]:
    if choice is None or not has_tools:
        return {}
    choice = read_object(choice, "tool_choice")
    read: dict[str, Any] = {}
    kind = choice.get("type")
    if kind == "tool":
        name = read_text(choice.get("name"), "tool_choice.name")
        read["tool_choice"] = {"type": "function", "function": {"name": shorten_name(name)}}
    elif isinstance(kind, str) and kind in _CHOICES:
        read["tool_choice"] = _CHOICES[kind]
    else:
        raise wrong_type("tool_choice.type", "auto, any, tool or none")
    if choice.get("disable_parallel_tool_use") is True:
        read["parallel_tool_calls"] = False
    return read


def _read_effort(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return how much the model is to reason, and the shape of its answer."""
    read: dict[str, Any] = {}
    output = read_object(body.get("output_config") or {}, "output_config")
    thinking = read_object(body.get("thinking") or {}, "thinking")
    effort = output.get("effort")
    budget = thinking.get("budget_tokens")
    if isinstance(effort, str) and thinking.get("type") != "disabled":
        read["reasoning_effort"] = effort
    elif thinking.get("type") == "enabled" and type(budget) is int:
        read["reasoning_effort"] = next((n for most, n in _EFFORTS if budget <= most), "high")
    shape = output.get("format") or body.get("output_format")
    if isinstance(shape, dict) and shape.get("type") == "json_schema":
        schema = read_object(shape.get("schema"), "output_config.format.schema")
        named = {"name": "answer", "schema": schema, "strict": True}
        read["response_format"] = {"type": "json_schema", "json_schema": named}
    return read
