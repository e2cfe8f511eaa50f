"""The conversation of Anthropic's ``/v1/messages``, as messages of the common form. Pure.

Turns of one role that follow each other are one turn. Results of calls come first in the turn after
the calls. ``cache_control`` is kept where it stands.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from serving.dialects.common_form import (
    CACHE_CONTROL,
    join_content,
    missing_results,
    read_object,
    read_text,
    shorten_name,
    unknown_call,
    write_arguments,
)
from serving.dialects.reasoning import Reasoning, restore_all, unseal
from serving.http.errors import bad_request, wrong_type

_IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
"""A tuple: what is asked for in it may be of any JSON type."""
ERROR_MARK: Final = "Error: "
"""What a failed tool's result begins with: the common form has no field for it."""


def read_texts(content: Any, where: str) -> Iterator[dict[str, Any]]:
    """Yield the parts of a content that is text alone."""
    if isinstance(content, str):
        yield {"type": "text", "text": content}
        return
    if not isinstance(content, list):
        raise wrong_type(where, "a string or a list of blocks")
    for index, block in enumerate(content):
        yield from _read_text_block(block, f"{where}[{index}]")


def _read_text_block(block: Any, at: str) -> Iterator[dict[str, Any]]:
    if not isinstance(block, dict) or block.get("type") != "text":
        raise wrong_type(at, "a text block")
    text = read_text(block.get("text"), f"{at}.text")
    if text:
        yield mark_cached(block, {"type": "text", "text": text})


def mark_cached(block: Mapping[str, Any], part: dict[str, Any]) -> dict[str, Any]:
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


@dataclass(slots=True)
class _Turn:
    """Turns of one role that follow each other: they are one turn, as Anthropic reads them."""

    role: str
    blocks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Each with its place in the request."""


def read_turns(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the messages of a conversation. Raises ``RequestRejected`` (400), naming the place."""
    calls: list[str] = []
    for turn in _join_turns(body):
        match turn.role:
            case "system":
                texts = [text for at, block in turn.blocks for text in _read_text_block(block, at)]
                if texts:
                    yield {"role": "system", "content": join_content(texts)}
            case "user":
                yield from _read_user(turn.blocks, calls)
                calls = []
            case _:
                if calls:
                    raise missing_results(calls)
                message = _read_assistant(turn.blocks)
                calls = [call["id"] for call in message.get("tool_calls", ())]
                if len(message) > 1:
                    yield message
    # The last turn may be the model's own beginning; calls in it would have no results.
    if calls:
        raise missing_results(calls)


def _join_turns(body: Mapping[str, Any]) -> list[_Turn]:
    """Return the turns; what the system says between calls and their results follows those."""
    turns = body.get("messages")
    if not isinstance(turns, list) or not turns:
        raise wrong_type("messages", "a non-empty list")
    joined: list[_Turn] = []
    held: list[_Turn] = []
    open_calls: list[Any] = []
    for index, given in enumerate(turns):
        at = f"messages[{index}]"
        given = read_object(given, at)
        role, blocks = given.get("role"), _list_blocks(given.get("content"), f"{at}.content")
        if role not in ("system", "user", "assistant"):
            raise wrong_type(f"{at}.role", "user or assistant")
        if role == "system":
            (held if open_calls else joined).append(_Turn(role, blocks))
            continue
        if held and not open_calls:
            joined, held = [*joined, *held], []
        if not joined or joined[-1].role != role:
            joined.append(_Turn(role))
        joined[-1].blocks.extend(blocks)
        for _, block in blocks:
            if block.get("type") == "tool_use":
                open_calls.append(block.get("id"))
            elif block.get("type") == "tool_result" and block.get("tool_use_id") in open_calls:
                open_calls.remove(block.get("tool_use_id"))
    return [*joined, *held]


def _list_blocks(content: Any, where: str) -> list[tuple[str, dict[str, Any]]]:
    if isinstance(content, str):
        return [(where, {"type": "text", "text": content})]
    if not isinstance(content, list):
        raise wrong_type(where, "a string or a list of blocks")
    blocks = [(f"{where}[{index}]", block) for index, block in enumerate(content)]
    for at, block in blocks:
        if type(block) is not dict:
            read_object(block, at)
    return blocks


def _read_user(
    blocks: list[tuple[str, dict[str, Any]]], calls: list[str]
) -> Iterator[dict[str, Any]]:
    """Yield the results of calls, then what else the user says."""
    said: list[dict[str, Any]] = []
    left = list(calls)
    for at, block in blocks:
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
        texts[-1] = mark_cached(block, dict(texts[-1]))
    return (join_content(texts) if texts else ""), images


def _read_block(block: Mapping[str, Any], at: str) -> Iterator[dict[str, Any]]:
    """Yield the parts of a user's block."""
    match block.get("type"):
        case "text":
            yield from _read_text_block(block, at)
        case "image":
            url = _read_image(read_object(block.get("source"), f"{at}.source"), f"{at}.source")
            yield mark_cached(block, {"type": "image_url", "image_url": {"url": url}})
        case "document":
            yield from _read_document(block, at)
        case "search_result":
            title = str(block.get("title") or "")
            texts = list(read_texts(block.get("content"), f"{at}.content"))
            said = "\n".join([title, str(block.get("source") or ""), *(t["text"] for t in texts)])
            yield mark_cached(block, {"type": "text", "text": said})
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
        parts[-1] = mark_cached(block, dict(parts[-1]))
    yield from parts


def _read_assistant(blocks: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the message of a model's turn; its role alone where nothing of it goes back."""
    texts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    reasonings: list[Reasoning] = []
    for at, block in blocks:
        kind = str(block.get("type"))
        if kind == "text":
            texts.extend(_read_text_block(block, at))
        elif kind == "tool_use":
            calls.append(_read_call(block, at))
        elif kind == "thinking":
            reasoning = unseal(block.get("signature"), text=str(block.get("thinking") or ""))
            if reasoning is not None:
                reasonings.append(reasoning)
        elif kind == "compaction":
            texts.extend(read_texts(block.get("content") or "", f"{at}.content"))
        elif not _is_left_out(kind):
            message_text = f"A model's turn cannot hold a block of type {kind[:60]!r}."
            raise bad_request("unsupported_content", message_text, param=f"{at}.type")
    message: dict[str, Any] = {"role": "assistant", **restore_all(reasonings)}
    if texts:
        message["content"] = join_content(texts)
    if calls:
        message["tool_calls"] = calls
        message.setdefault("content", None)
    elif len(message) > 1:
        message.setdefault("content", "")
    return message


def _is_left_out(kind: str) -> bool:
    """Tell whether a block of a model's turn says something to its own provider alone.

    Sessions that began there hold what ran there: a tool's call, its result, sealed reasoning.
    """
    return kind in ("redacted_thinking", "server_tool_use", "mcp_tool_use", "container_upload") or (
        kind.endswith("_tool_result")
    )


def _read_call(block: Mapping[str, Any], at: str) -> dict[str, Any]:
    name = read_text(block.get("name"), f"{at}.name")
    given = block.get("input")
    arguments = write_arguments({} if given is None else given)
    if isinstance(given, dict) and given.keys() == {"_raw"} and isinstance(given["_raw"], str):
        arguments = given["_raw"]
    call_id = read_text(block.get("id"), f"{at}.id")
    function = {"name": shorten_name(name), "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}
