"""Anthropic's ``/v1/messages``: a request, in the common form. Pure.

What costs nothing and has no place in a chat completion is left out; what would cost what cannot be
bounded is refused. ``cache_control`` is kept where it stands.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from serving.dialects.common_form import (
    CACHE_CONTROL,
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
    write_arguments,
)
from serving.dialects.reasoning import RETURNED, unseal
from serving.http.errors import bad_request, wrong_type

_KEPT: Final = ("model", "stream", "temperature", "top_p", "top_k")
_OWN: Final = ("fit", "max_cost_usdc", "min_discount_pct", "models", "provider")
"""This server's own fields, which every dialect takes."""
_EFFORTS: Final = ((4_096, "low"), (16_384, "medium"))
_CHOICES: Final[Mapping[str, str]] = {"auto": "auto", "any": "required", "none": "none"}
_IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
ERROR_MARK: Final = "Error: "
"""What a failed tool's result begins with: the common form has no field for it."""


def read_messages_request(body: Mapping[str, Any]) -> CommonForm:
    """Translate a request. Raises ``RequestRejected`` (400), naming the place."""
    if body.get("mcp_servers"):
        refuse_hosted("mcp", "mcp_servers")
    chat: dict[str, Any] = {name: body[name] for name in (*_KEPT, *_OWN) if name in body}
    chat["messages"] = [*_read_system(body.get("system")), *_read_turns(body)]
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
        chat["user"] = user
    extras = {*RETURNED, CACHE_CONTROL, "top_k", "reasoning_effort", "parallel_tool_calls", "user"}
    return CommonForm(
        chat, find_extras(chat, extras), names=list_shortened(body), stops=tuple(stops)
    )


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
    parts = list(_read_texts(system, "system"))
    return [{"role": "system", "content": join_content(parts)}] if parts else []


def _read_texts(content: Any, where: str) -> Iterator[dict[str, Any]]:
    """Yield the parts of a content that is text alone."""
    if isinstance(content, str):
        yield {"type": "text", "text": content}
        return
    if not isinstance(content, list):
        raise wrong_type(where, "a string or a list of blocks")
    for index, block in enumerate(content):
        at = f"{where}[{index}]"
        if not isinstance(block, dict) or block.get("type") != "text":
            raise wrong_type(at, "a text block")
        text = read_text(block.get("text"), f"{at}.text")
        if text:
            yield _mark(block, {"type": "text", "text": text})


def _mark(block: Mapping[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """Return the part with its block's wish to be cached, if it has one.

    How long it is to be kept is left out: a longer time costs twice the input, which no price says.
    """
    wish = block.get(CACHE_CONTROL)
    if wish is not None:
        is_object = isinstance(wish, dict)
        part[CACHE_CONTROL] = (
            {name: value for name, value in wish.items() if name != "ttl"} if is_object else wish
        )
    return part


def _read_turns(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    turns = body.get("messages")
    if not isinstance(turns, list) or not turns:
        raise wrong_type("messages", "a non-empty list")
    calls: list[str] = []
    for index, turn in enumerate(turns):
        at = f"messages[{index}]"
        turn = read_object(turn, at)
        role, content = turn.get("role"), turn.get("content")
        if content is None or not isinstance(content, (str, list)):
            raise wrong_type(f"{at}.content", "a string or a list of blocks")
        match role:
            case "system":
                yield {"role": "system", "content": join_content(list(_read_texts(content, at)))}
            case "user":
                yield from _read_user(content, f"{at}.content", calls)
                calls = []
            case "assistant":
                if calls:
                    raise missing_results(calls)
                message = _read_assistant(content, f"{at}.content")
                calls = [call["id"] for call in message.get("tool_calls", ())]
                if len(message) > 1:
                    yield message
            case _:
                raise wrong_type(f"{at}.role", "user or assistant")
    # The last turn may be the model's own beginning; calls in it would have no results.
    if calls:
        raise missing_results(calls)


def _read_user(content: Any, where: str, calls: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the results of calls, then what else the user says."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    said: list[dict[str, Any]] = []
    left = list(calls)
    for index, block in enumerate(content):
        at = f"{where}[{index}]"
        block = read_object(block, at)
        if block.get("type") == "tool_result":
            call_id = read_text(block.get("tool_use_id"), f"{at}.tool_use_id")
            if call_id not in left:
                raise unknown_call(call_id, f"{at}.tool_use_id")
            left.remove(call_id)
            text, images = _read_result(block, at)
            yield {"role": "tool", "tool_call_id": call_id, "content": text}
            said.extend(images)
        else:
            said.extend(_read_block(block, at))
    if left:
        raise missing_results(left)
    if said:
        yield {"role": "user", "content": join_content(said)}
    elif not calls:
        yield {"role": "user", "content": ""}


def _read_result(block: Mapping[str, Any], at: str) -> tuple[Any, list[dict[str, Any]]]:
    """Return a result's content, and the images in it: only a user's turn can hold those."""
    content = block.get("content")
    if content is None:
        content = ""
    if isinstance(content, str):
        parts: list[dict[str, Any]] = [{"type": "text", "text": content}]
    else:
        parts = []
        if not isinstance(content, list):
            raise wrong_type(f"{at}.content", "a string or a list of blocks")
        for index, inner in enumerate(content):
            where = f"{at}.content[{index}]"
            parts.extend(_read_block(read_object(inner, where), where))
    texts = [part for part in parts if part["type"] == "text"]
    images = [part for part in parts if part["type"] != "text"]
    if block.get("is_error"):
        texts = [{"type": "text", "text": ERROR_MARK}, *texts]
        first = texts[1]["text"] if len(texts) > 1 else ""
        texts[0:2] = [{"type": "text", "text": ERROR_MARK + first}]
    if texts and block.get(CACHE_CONTROL) is not None:
        texts[-1] = _mark(block, dict(texts[-1]))
    return (join_content(texts) if texts else ""), images


def _read_block(block: Mapping[str, Any], at: str) -> Iterator[dict[str, Any]]:
    """Yield the parts of a user's block."""
    match block.get("type"):
        case "text":
            text = read_text(block.get("text"), f"{at}.text")
            if text:
                yield _mark(block, {"type": "text", "text": text})
        case "image":
            url = _read_image(read_object(block.get("source"), f"{at}.source"), f"{at}.source")
            yield _mark(block, {"type": "image_url", "image_url": {"url": url}})
        case "document":
            yield from _read_document(block, at)
        case "search_result":
            title = str(block.get("title") or "")
            texts = list(_read_texts(block.get("content"), f"{at}.content"))
            said = "\n".join([title, str(block.get("source") or ""), *(t["text"] for t in texts)])
            yield _mark(block, {"type": "text", "text": said})
        case "tool_reference":
            yield {"type": "text", "text": f"Tool: {block.get('tool_name', '')}"}
        case kind:
            message = f"Blocks of type {str(kind)[:60]!r} cannot be sent to this model."
            raise bad_request("unsupported_content", message, param=f"{at}.type")


def _read_image(source: Mapping[str, Any], at: str) -> str:
    match source.get("type"):
        case "base64":
            kind = source.get("media_type")
            if kind not in _IMAGES:
                raise wrong_type(f"{at}.media_type", "image/jpeg, image/png, image/gif, image/webp")
            return f"data:{kind};base64,{read_text(source.get('data'), f'{at}.data')}"
        case "url":
            return read_text(source.get("url"), f"{at}.url")
    message = "Images are sent as base64 or by URL: no files are kept here."
    raise bad_request("unsupported_content", message, param=f"{at}.type")


def _read_document(block: Mapping[str, Any], at: str) -> Iterator[dict[str, Any]]:
    source = read_object(block.get("source"), f"{at}.source")
    title = block.get("title")
    parts: list[dict[str, Any]]
    match source.get("type"):
        case "text":
            text = read_text(source.get("data"), f"{at}.source.data")
            parts = [{"type": "text", "text": text}]
        case "content":
            where = f"{at}.source.content"
            inner = source.get("content")
            blocks = [{"type": "text", "text": inner}] if isinstance(inner, str) else inner
            if not isinstance(blocks, list):
                raise wrong_type(where, "a string or a list of blocks")
            parts = [
                part
                for index, one in enumerate(blocks)
                for part in _read_block(read_object(one, where), f"{where}[{index}]")
            ]
        case _:
            message = "Documents are sent as text: the tokens of a PDF cannot be counted here."
            raise bad_request("unsupported_content", message, param=f"{at}.source.type")
    if isinstance(title, str) and title:
        parts.insert(0, {"type": "text", "text": f"{title}:"})
    if parts:
        parts[-1] = _mark(block, dict(parts[-1]))
    yield from parts


def _read_assistant(content: Any, where: str) -> dict[str, Any]:
    """Return the message of a model's turn; its role alone where nothing of it goes back."""
    if isinstance(content, str):
        return {"role": "assistant", "content": content} if content else {"role": "assistant"}
    texts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    message: dict[str, Any] = {"role": "assistant"}
    for index, block in enumerate(content):
        at = f"{where}[{index}]"
        block = read_object(block, at)
        match block.get("type"):
            case "text":
                text = read_text(block.get("text"), f"{at}.text")
                if text:
                    texts.append(_mark(block, {"type": "text", "text": text}))
            case "tool_use":
                calls.append(_read_call(block, at))
            case "thinking":
                reasoning = unseal(block.get("signature"), text=str(block.get("thinking") or ""))
                if reasoning is not None:
                    message |= reasoning.restore()
            case "redacted_thinking":
                pass  # another provider's: only that one reads it
            case kind:
                message_text = f"A model's turn cannot hold a block of type {str(kind)[:60]!r}."
                raise bad_request("unsupported_content", message_text, param=f"{at}.type")
    if texts:
        message["content"] = join_content(texts)
    if calls:
        message["tool_calls"] = calls
        message.setdefault("content", None)
    elif len(message) > 1:
        message.setdefault("content", "")
    return message


def _read_call(block: Mapping[str, Any], at: str) -> dict[str, Any]:
    name = read_text(block.get("name"), f"{at}.name")
    given = block.get("input")
    arguments = write_arguments({} if given is None else given)
    if isinstance(given, dict) and given.keys() == {"_raw"} and isinstance(given["_raw"], str):
        arguments = given["_raw"]
    call_id = read_text(block.get("id"), f"{at}.id")
    function = {"name": shorten_name(name), "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def _read_tool(tool: Any, at: str) -> dict[str, Any]:
    tool = read_object(tool, at)
    kind = tool.get("type")
    if kind not in (None, "custom"):
        refuse_hosted(str(kind), f"{at}.type")
    name = read_text(tool.get("name"), f"{at}.name")
    function: dict[str, Any] = {"name": shorten_name(name)}
    if tool.get("description"):
        function["description"] = tool["description"]
    function["parameters"] = tool.get("input_schema") or {"type": "object", "properties": {}}
    return _mark(tool, {"type": "function", "function": function})


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
