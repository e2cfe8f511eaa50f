"""OpenAI's ``/v1/responses``: a request, in the common form. Pure.

Nothing is stored, so what refers to a stored response is refused with a reason, and ``store``
itself is ignored. Tools that the provider would run are refused: their cost cannot be bounded.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from serving.dialects.common_form import (
    CommonForm,
    find_extras,
    join_content,
    missing_results,
    name_limit_for,
    read_list,
    read_object,
    read_text,
    refuse_hosted,
    shorten_name,
    unknown_call,
)
from serving.dialects.custom_tools import read_custom_call, write_custom_tool
from serving.dialects.reasoning import RETURNED, unseal
from serving.http.errors import bad_request, wrong_type

_KEPT: Final = (
    "model",
    "stream",
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "prompt_cache_key",
    "user",
    "metadata",
)
_OWN: Final = ("fit", "max_cost_usdc", "min_discount_pct", "models", "provider")
_ECHOED: Final = (
    "instructions",
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "reasoning",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
    "user",
)
_SEALED: Final = "reasoning.encrypted_content"
_STORED: Final = ("previous_response_id", "conversation", "prompt")
_ROLES: Final[Mapping[str, str]] = {"developer": "system", "system": "system", "user": "user"}
_TEXT_KINDS: Final = frozenset({"input_text", "output_text", "text", "summary_text"})


def read_responses_request(body: Mapping[str, Any]) -> CommonForm:
    """Translate a request. Raises ``RequestRejected`` (400), naming the place."""
    _refuse_kept_state(body)
    tools, custom, groups, names = _read_tools(read_list(body, "tools"))
    chat: dict[str, Any] = {
        name: body[name] for name in (*_KEPT, *_OWN) if body.get(name) is not None
    }
    chat["messages"] = list(_read_input(body))
    limit = body.get("max_output_tokens")
    if limit is not None:
        if type(limit) is not int or limit < 1:
            raise wrong_type("max_output_tokens", "a positive integer")
        chat[name_limit_for(body.get("model"))] = limit
    chosen = body.get("tool_choice")
    if tools:
        chat |= _read_choice(chosen, tools)
    else:
        chat.pop("parallel_tool_calls", None)
    effort = read_object(body.get("reasoning") or {}, "reasoning").get("effort")
    if isinstance(effort, str):
        chat["reasoning_effort"] = effort
    chat |= _read_format(read_object(body.get("text") or {}, "text").get("format"))
    extras = {*RETURNED, "reasoning_effort", "parallel_tool_calls", "prompt_cache_key", "user"}
    extras.add("metadata")
    include = read_list(body, "include")
    return CommonForm(
        chat,
        find_extras(chat, extras),
        custom_tools=custom,
        groups=groups,
        names=names,
        echo={name: body[name] for name in _ECHOED if body.get(name) is not None},
        wants_sealed_reasoning=_SEALED in include,
    )


def _refuse_kept_state(body: Mapping[str, Any]) -> None:
    for name in _STORED:
        if body.get(name) is not None:
            message = (
                f"'{name}' refers to something stored, and nothing is stored here (as with"
                " store=false): send the whole input with each request."
            )
            raise bad_request("unsupported_parameter", message, param=name)
    if body.get("background"):
        message = "'background' is not supported: nothing is stored here that could be fetched."
        raise bad_request("unsupported_parameter", message, param="background")


# ------------------------------------------------------------------------------------------- input


def _read_input(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    instructions = body.get("instructions")
    if isinstance(instructions, str) and instructions:
        yield {"role": "system", "content": instructions}
    elif instructions is not None and not isinstance(instructions, str):
        raise wrong_type("instructions", "a string")
    given = body.get("input")
    if isinstance(given, str):
        yield {"role": "user", "content": given}
        return
    if not isinstance(given, list) or not given:
        raise wrong_type("input", "a string or a non-empty list")
    reader = _InputReader()
    for index, item in enumerate(given):
        at = f"input[{index}]"
        reader.read(read_object(item, at), at)
    yield from reader.finish()


class _InputReader:
    """Gathers items into messages: a model's text, reasoning and calls are one turn."""

    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []
        self._turn: dict[str, Any] | None = None
        """The model's turn that is being gathered."""
        self._waiting: list[str] = []
        """Calls whose results have not come."""

    def read(self, item: Mapping[str, Any], at: str) -> None:
        kind = item.get("type")
        if kind is None and "role" in item:
            kind = "message"
        match kind:
            case "message":
                self._read_message(item, at)
            case "reasoning":
                self._read_reasoning(item)
            case "function_call" | "custom_tool_call":
                self._read_call(item, at, is_custom=kind == "custom_tool_call")
            case "function_call_output" | "custom_tool_call_output":
                self._read_output(item, at)
            case "item_reference":
                message = "An item is referred to, and nothing is stored here: send the item."
                raise bad_request("unsupported_content", message, param=at)
            case _:
                message = f"Items of type {str(kind)[:60]!r} cannot be sent to this model."
                raise bad_request("unsupported_content", message, param=f"{at}.type")

    def _read_message(self, item: Mapping[str, Any], at: str) -> None:
        role = item.get("role")
        content = item.get("content")
        parts = list(_read_parts(content, f"{at}.content"))
        if role == "assistant":
            turn = self._get_turn()
            said = join_content(parts) if parts else ""
            turn["content"] = f"{turn['content']}\n{said}" if turn.get("content") else said
            return
        if not isinstance(role, str) or role not in _ROLES:
            raise wrong_type(f"{at}.role", "user, assistant, system or developer")
        # Clients add notes between a call and its result: they follow the results.
        self._end_turn()
        self._messages.append({"role": _ROLES[role], "content": join_content(parts)})

    def _get_turn(self) -> dict[str, Any]:
        if self._turn is None:
            self._turn = {"role": "assistant"}
        return self._turn

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is None or len(turn) == 1:
            return
        turn.setdefault("content", None if turn.get("tool_calls") else "")
        self._messages.append(turn)

    def _read_reasoning(self, item: Mapping[str, Any]) -> None:
        reasoning = unseal(item.get("encrypted_content"))
        if reasoning is not None:
            if self._turn is not None and self._turn.get("tool_calls"):
                self._end_turn()
            self._get_turn().update(reasoning.restore())

    def _read_call(self, item: Mapping[str, Any], at: str, *, is_custom: bool) -> None:
        call_id = read_text(item.get("call_id"), f"{at}.call_id")
        name = read_text(item.get("name"), f"{at}.name")
        group = item.get("namespace")
        if isinstance(group, str) and group:
            name = _name_in_group(group, name)
        if is_custom:
            arguments = read_custom_call(read_text(item.get("input"), f"{at}.input"))
        else:
            arguments = read_text(item.get("arguments"), f"{at}.arguments") or "{}"
        function = {"name": shorten_name(name), "arguments": arguments}
        call = {"id": call_id, "type": "function", "function": function}
        self._get_turn().setdefault("tool_calls", []).append(call)
        self._waiting.append(call_id)

    def _read_output(self, item: Mapping[str, Any], at: str) -> None:
        self._end_turn()
        call_id = read_text(item.get("call_id"), f"{at}.call_id")
        if call_id not in self._waiting:
            raise unknown_call(call_id, f"{at}.call_id")
        self._waiting.remove(call_id)
        output = item.get("output")
        parts = list(_read_parts(output, f"{at}.output"))
        texts = [part for part in parts if part["type"] == "text"]
        images = [part for part in parts if part["type"] != "text"]
        content = join_content(texts) if texts else ""
        self._messages.append({"role": "tool", "tool_call_id": call_id, "content": content})
        if images:
            self._messages.append({"role": "user", "content": images})

    def finish(self) -> list[dict[str, Any]]:
        self._end_turn()
        if self._waiting:
            error = missing_results(self._waiting)
            error.param = "input"
            raise error
        return _results_first(self._messages)


def _results_first(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages with the results of calls right after their turn."""
    arranged: list[dict[str, Any]] = []
    later: list[dict[str, Any]] = []
    waiting: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            arranged.append(message)
            waiting.discard(message["tool_call_id"])
        elif waiting:
            later.append(message)
        else:
            arranged.append(message)
            waiting = {call["id"] for call in message.get("tool_calls", ())}
        if not waiting and later:
            held, later = later, []
            arranged += _results_first(held)
    return arranged + later


def _read_parts(content: Any, where: str) -> Iterator[dict[str, Any]]:
    if content is None:
        return
    if isinstance(content, str):
        yield {"type": "text", "text": content}
        return
    if not isinstance(content, list):
        raise wrong_type(where, "a string or a list of parts")
    for index, part in enumerate(content):
        at = f"{where}[{index}]"
        part = read_object(part, at)
        kind = part.get("type")
        if kind in _TEXT_KINDS:
            yield {"type": "text", "text": read_text(part.get("text"), f"{at}.text")}
        elif kind == "refusal":
            yield {"type": "text", "text": read_text(part.get("refusal"), f"{at}.refusal")}
        elif kind == "input_image":
            image: dict[str, Any] = {"url": read_text(part.get("image_url"), f"{at}.image_url")}
            if part.get("detail") is not None:
                image["detail"] = part["detail"]
            yield {"type": "image_url", "image_url": image}
        else:
            message = f"Parts of type {str(kind)[:60]!r} cannot be sent to this model."
            raise bad_request("unsupported_content", message, param=f"{at}.type")


# ------------------------------------------------------------------------------------------- tools


def _name_in_group(group: str, name: str) -> str:
    return f"{group.rstrip('_')}__{name}"


def _read_tools(
    tools: list[Any],
) -> tuple[list[dict[str, Any]], frozenset[str], dict[str, str], dict[str, str]]:
    """Return (functions, those that stand for custom tools, groups by name, names that differ)."""
    read: list[dict[str, Any]] = []
    custom: set[str] = set()
    groups: dict[str, str] = {}
    names: dict[str, str] = {}
    for index, tool in enumerate(tools):
        at = f"tools[{index}]"
        tool = read_object(tool, at)
        if tool.get("type") == "namespace":
            group = read_text(tool.get("name"), f"{at}.name")
            members = [read_object(one, f"{at}.tools") for one in read_list(tool, "tools")]
        else:
            group, members = "", [tool]
        for member in members:
            function = _read_tool(member, at)
            name = function["function"]["name"]
            known = shorten_name(_name_in_group(group, name) if group else name)
            function["function"]["name"] = known
            read.append(function)
            if known != name:
                names[known] = name
            if group:
                groups[known] = group
            if member.get("type") == "custom":
                custom.add(known)
    return read, frozenset(custom), groups, names


def _read_tool(tool: Mapping[str, Any], at: str) -> dict[str, Any]:
    kind = tool.get("type")
    if kind == "custom":
        read_text(tool.get("name"), f"{at}.name")
        return write_custom_tool(tool)
    if kind != "function":
        refuse_hosted(str(kind), f"{at}.type")
    nested = tool.get("function")
    said = nested if isinstance(nested, dict) else tool
    function: dict[str, Any] = {"name": read_text(said.get("name"), f"{at}.name")}
    for name in ("description", "parameters", "strict"):
        if said.get(name) is not None:
            function[name] = said[name]
    return {"type": "function", "function": function}


def _read_choice(choice: Any, tools: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the tools, and which of them the model may or must call."""
    read: dict[str, Any] = {"tools": tools}
    if choice is None:
        return read
    if isinstance(choice, str):
        return {**read, "tool_choice": choice}
    choice = read_object(choice, "tool_choice")
    match choice.get("type"):
        case "function" | "custom":
            name = shorten_name(read_text(choice.get("name"), "tool_choice.name"))
            read["tool_choice"] = {"type": "function", "function": {"name": name}}
        case "allowed_tools":
            allowed = {
                shorten_name(str(one.get("name")))
                for one in read_list(choice, "tools")
                if isinstance(one, dict)
            }
            kept = [tool for tool in tools if tool["function"]["name"] in allowed]
            if kept:
                read = {"tools": kept, "tool_choice": choice.get("mode") or "auto"}
            else:
                read["tool_choice"] = "none"
        case kind:
            refuse_hosted(str(kind), "tool_choice")
    return read


def _read_format(shape: Any) -> dict[str, Any]:
    if shape is None:
        return {}
    shape = read_object(shape, "text.format")
    match shape.get("type"):
        case "text":
            return {}
        case "json_object":
            return {"response_format": {"type": "json_object"}}
        case "json_schema":
            named = {
                name: shape[name]
                for name in ("name", "description", "schema", "strict")
                if shape.get(name) is not None
            }
            return {"response_format": {"type": "json_schema", "json_schema": named}}
    raise wrong_type("text.format.type", "text, json_object or json_schema")
