"""The tools of OpenAI's ``/v1/responses``, as functions of the common form. Pure.

Tools may be in groups (``namespace``): in the common form such a function is named by both, and the
call has the client's own name and group again. Who chooses a tool names it as the client does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from serving.dialects.client_tools import refuse_tool
from serving.dialects.common_form import read_list, read_object, read_text, shorten_name
from serving.dialects.custom_tools import write_custom_tool
from serving.http.errors import bad_request

_GROUP: Final = "namespace"


@dataclass(slots=True)
class ResponseTools:
    """A request's tools."""

    functions: list[dict[str, Any]] = field(default_factory=list)
    custom: set[str] = field(default_factory=set)
    """Functions that stand for tools which take plain text."""
    groups: dict[str, str] = field(default_factory=dict)
    """The groups that functions are of."""
    names: dict[str, str] = field(default_factory=dict)
    """What the client calls those functions that have another name in the common form."""

    def add(self, member: Mapping[str, Any], group: str, at: str) -> None:
        """Take in a tool. Raises ``RequestRejected`` (400)."""
        function = _read_tool(member, at)
        name = function["function"]["name"]
        known = name_in_group(group, name)
        function["function"]["name"] = known
        self.functions.append(function)
        if known != name:
            self.names[known] = name
        if group:
            self.groups[known] = group
        if member.get("type") == "custom":
            self.custom.add(known)

    def find(self, said: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the functions that a choice means: by name, by name and group, or by group."""
        name, group = said.get("name"), said.get(_GROUP)
        if said.get("type") == _GROUP:
            name, group = None, name
        found = []
        for function in self.functions:
            known = function["function"]["name"]
            is_named = name in (None, known, self.names.get(known, known))
            if is_named and group in (None, "", self.groups.get(known)):
                found.append(function)
        return found


def name_in_group(group: str, name: str) -> str:
    """Return what a function is called in the common form; ``group`` may be empty."""
    return shorten_name(f"{group.rstrip('_')}__{name}" if group else name)


def read_tools(tools: list[Any]) -> ResponseTools:
    """Return a request's tools. Raises ``RequestRejected`` (400), naming the place."""
    read = ResponseTools()
    for index, tool in enumerate(tools):
        at = f"tools[{index}]"
        tool = read_object(tool, at)
        if tool.get("type") == _GROUP:
            group = read_text(tool.get("name"), f"{at}.name")
            for one in read_list(tool, "tools"):
                read.add(read_object(one, f"{at}.tools"), group, at)
        else:
            read.add(tool, "", at)
    return read


def _read_tool(tool: Mapping[str, Any], at: str) -> dict[str, Any]:
    kind = tool.get("type")
    if kind == "custom":
        read_text(tool.get("name"), f"{at}.name")
        return write_custom_tool(tool)
    if kind != "function":
        refuse_tool(str(kind), f"{at}.type")
    nested = tool.get("function")
    said = nested if isinstance(nested, dict) else tool
    function: dict[str, Any] = {"name": read_text(said.get("name"), f"{at}.name")}
    for name in ("description", "parameters", "strict"):
        if said.get(name) is not None:
            function[name] = said[name]
    return {"type": "function", "function": function}


def read_choice(choice: Any, tools: ResponseTools) -> dict[str, Any]:
    """Return the tools, and which of them the model may or must call. Raises 400."""
    read: dict[str, Any] = {"tools": tools.functions}
    if choice is None:
        return read
    if isinstance(choice, str):
        return {**read, "tool_choice": choice}
    choice = read_object(choice, "tool_choice")
    match choice.get("type"):
        case "function" | "custom" | "namespace":
            read_text(choice.get("name"), "tool_choice.name")
            found = _find_all([choice], tools, "tool_choice.name")
            if len(found) > 1:
                return {"tools": found, "tool_choice": "required"}
            name = found[0]["function"]["name"]
            return {**read, "tool_choice": {"type": "function", "function": {"name": name}}}
        case "allowed_tools":
            said = [read_object(one, "tool_choice.tools") for one in read_list(choice, "tools")]
            if not said:
                return {**read, "tool_choice": "none"}
            kept = _find_all(said, tools, "tool_choice.tools")
            return {"tools": kept, "tool_choice": choice.get("mode") or "auto"}
        case kind:
            refuse_tool(str(kind), "tool_choice")


def _find_all(said: list[dict[str, Any]], tools: ResponseTools, param: str) -> list[dict[str, Any]]:
    """Return the functions that are named, in the order of the tools. Raises 400 where none is."""
    named = {tool["function"]["name"] for one in said for tool in tools.find(one)}
    found = [tool for tool in tools.functions if tool["function"]["name"] in named]
    if not found:
        message = "'tool_choice' names no tool of this request."
        raise bad_request("unsupported_tool", message, param=param)
    return found
