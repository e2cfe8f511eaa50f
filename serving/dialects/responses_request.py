"""OpenAI's ``/v1/responses``: a request, in the common form. Pure.

Nothing is stored, so what refers to a stored response is refused with a reason, and ``store``
itself is ignored. Tools that the provider would run are refused: their cost cannot be bounded.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from serving.dialects.common_form import (
    CommonForm,
    find_extras,
    join_content,
    name_limit_for,
    read_list,
    read_object,
    read_text,
    unknown_call,
)
from serving.dialects.custom_tools import read_custom_call
from serving.dialects.reasoning import RETURNED, Reasoning, restore_all, unseal
from serving.dialects.responses_tools import name_in_group, read_choice, read_tools
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
_EXTRAS: Final = RETURNED.union(
    ("reasoning_effort", "parallel_tool_calls", "prompt_cache_key", "user", "metadata")
)
"""Fields that only some providers know."""
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
_LEFT_OUT: Final = frozenset(
    {
        "compaction",
        "compaction_summary",
        "context_compaction",
        "ghost_snapshot",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "tool_search_output",
    }
)
NO_RESULT: Final = "No result: the call was interrupted."
_TEXT_KINDS: Final = ("input_text", "output_text", "text", "summary_text")
"""A tuple: what is asked for in it may be of any JSON type."""


def read_responses_request(body: Mapping[str, Any]) -> CommonForm:
    """Translate a request. Raises ``RequestRejected`` (400), naming the place."""
    _refuse_kept_state(body)
    tools = read_tools(read_list(body, "tools"))
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
    if tools.functions:
        chat |= read_choice(chosen, tools)
    else:
        chat.pop("parallel_tool_calls", None)
    effort = read_object(body.get("reasoning") or {}, "reasoning").get("effort")
    if isinstance(effort, str):
        chat["reasoning_effort"] = effort
    chat |= _read_format(read_object(body.get("text") or {}, "text").get("format"))
    include = read_list(body, "include")
    return CommonForm(
        chat,
        find_extras(chat, _EXTRAS),
        custom_tools=frozenset(tools.custom),
        groups=tools.groups,
        names=tools.names,
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
        """All but the results of calls."""
        self._turn: dict[str, Any] | None = None
        """The model's turn that is being gathered."""
        self._reasonings: list[Reasoning] = []
        """What the model thought in it."""
        self._calls: set[str] = set()
        self._results: defaultdict[str, deque[dict[str, Any]]] = defaultdict(deque)
        """Results by the id of their call."""

    def read(self, item: Mapping[str, Any], at: str) -> None:
        kind = item.get("type")
        if kind is None and "role" in item:
            kind = "message"
        match kind:
            case "message":
                self._read_message(item, at)
            case "reasoning":
                reasoning = unseal(item.get("encrypted_content"))
                if reasoning is not None:
                    self._get_turn()
                    self._reasonings.append(reasoning)
            case "function_call" | "custom_tool_call":
                self._read_call(item, at, is_custom=kind == "custom_tool_call")
            case "function_call_output" | "custom_tool_call_output":
                self._read_output(item, at)
            case "item_reference":
                message = "An item is referred to, and nothing is stored here: send the item."
                raise bad_request("unsupported_content", message, param=at)
            case _ if not is_left_out(str(kind)):
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
        reasonings, self._reasonings = self._reasonings, []
        if turn is None:
            return
        turn |= restore_all(reasonings)
        if len(turn) == 1:
            return
        turn.setdefault("content", None if turn.get("tool_calls") else "")
        self._messages.append(turn)

    def _read_call(self, item: Mapping[str, Any], at: str, *, is_custom: bool) -> None:
        call_id = read_text(item.get("call_id"), f"{at}.call_id")
        name = read_text(item.get("name"), f"{at}.name")
        group = item.get("namespace")
        name = name_in_group(group if isinstance(group, str) else "", name)
        if is_custom:
            arguments = read_custom_call(read_text(item.get("input"), f"{at}.input"))
        else:
            arguments = read_text(item.get("arguments"), f"{at}.arguments") or "{}"
        function = {"name": name, "arguments": arguments}
        call = {"id": call_id, "type": "function", "function": function}
        self._get_turn().setdefault("tool_calls", []).append(call)
        self._calls.add(call_id)

    def _read_output(self, item: Mapping[str, Any], at: str) -> None:
        self._end_turn()
        call_id = read_text(item.get("call_id"), f"{at}.call_id")
        if call_id not in self._calls:
            raise unknown_call(call_id, f"{at}.call_id")
        self._calls.discard(call_id)
        output = item.get("output")
        parts = list(_read_parts(output, f"{at}.output"))
        texts = [part for part in parts if part["type"] == "text"]
        images = [part for part in parts if part["type"] != "text"]
        content = join_content(texts) if texts else ""
        self._results[call_id].append({"role": "tool", "tool_call_id": call_id, "content": content})
        if images:
            self._messages.append({"role": "user", "content": images})

    def finish(self) -> list[dict[str, Any]]:
        """Return the messages, each turn's results right after it.

        A call of a turn that was broken off has no result: the model is told so.
        """
        self._end_turn()
        arranged: list[dict[str, Any]] = []
        for message in self._messages:
            arranged.append(message)
            for call in message.get("tool_calls", ()):
                known = self._results[call["id"]]
                nothing = {"role": "tool", "tool_call_id": call["id"], "content": NO_RESULT}
                arranged.append(known.popleft() if known else nothing)
        return arranged


def is_left_out(kind: str) -> bool:
    """Tell whether an item says something to its own provider alone, or to a tool of its own.

    Sessions that began elsewhere hold such items, such as what a search found.
    """
    return kind in _LEFT_OUT or kind.endswith(("_call", "_call_output"))


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
