"""Requests of other dialects in the common form: what every translation shares. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import orjson

from serving.dialects.encoding import DEPTH_MAX
from serving.dialects.endpoints import Endpoint, name_limit
from serving.http.errors import RequestRejected, bad_request, wrong_type

CACHE_CONTROL: Final = "cache_control"
"""Where a client wants its provider to cache: at any block of a message or tool."""

_DEPTH_AROUND: Final = 16
"""How deep arguments stand in an answer, and more."""

NAME_MAX: Final = 64
"""Longest name of a function in a chat completion."""


@dataclass(frozen=True, slots=True)
class CommonForm:
    """A request, translated.

    ``body`` is the chat request that any provider of chat completions takes. ``extras`` are the
    names of fields in it, at any depth, that only some providers know: whoever refuses one is
    asked again without it.
    """

    body: dict[str, Any]
    extras: frozenset[str] = frozenset()
    custom_tools: frozenset[str] = frozenset()
    """Functions that stand for tools which take plain text."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What the client calls those functions that have another name in the common form."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """The groups that functions are of, by their names in the common form."""
    stops: tuple[str, ...] = ()
    """The texts at which the client wants the answer to end."""
    echo: Mapping[str, Any] = field(default_factory=dict)
    """The client's own fields that its answer repeats."""
    wants_sealed_reasoning: bool = False


def shorten_name(name: str) -> str:
    """Return a function's name as the common form allows it: of at most 64 characters."""
    if len(name) <= NAME_MAX:
        return name
    digest = blake2b(name.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{name[: NAME_MAX - len(digest) - 1]}_{digest}"


def read_list(body: Mapping[str, Any], name: str) -> list[Any]:
    """Return an optional list, empty where it is absent. Raises 400."""
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise wrong_type(name, "a list")
    return value


def read_object(value: Any, where: str) -> dict[str, Any]:
    """Return an object. Raises 400."""
    if not isinstance(value, dict):
        raise wrong_type(where, "an object")
    return value


def read_text(value: Any, where: str) -> str:
    """Return a string. Raises 400."""
    if not isinstance(value, str):
        raise wrong_type(where, "a string")
    return value


def name_limit_for(model: Any) -> str:
    """Return the field of the common form in which a model takes its output limit."""
    known = name_limit(Endpoint.CHAT, model) if isinstance(model, str) else None
    return known or "max_tokens"


def write_arguments(value: Any) -> str:
    """Return a call's arguments as the common form has them: JSON in a string."""
    return orjson.dumps(value).decode()


def read_arguments(text: str) -> Any:
    """Return a call's arguments as an object; what is cut off or no object is kept as text."""
    if not text.strip():
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {"_raw": text}
    is_kept = isinstance(value, dict) and not _is_deep(value, text)
    return value if is_kept else {"_raw": text}


def _is_deep(value: Any, text: str) -> bool:
    """Tell whether a value, read from the text, is nested deeper than an answer has it."""
    most = DEPTH_MAX - _DEPTH_AROUND
    if text.count("{") + text.count("[") <= most:
        return False
    level = [value]
    for _ in range(most):
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = [one for held in inner for one in held if isinstance(one, (dict, list))]
        if not level:
            return False
    return True


def join_content(parts: list[dict[str, Any]]) -> Any:
    """Return a message's content: one string where all parts are plain texts, else the parts."""
    if all(part.keys() == {"type", "text"} for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def find_extras(body: Mapping[str, Any], names: frozenset[str]) -> frozenset[str]:
    """Return which of the names stand as fields in a translated request.

    Looked for where translations put them: in the request, in messages, their parts and their
    calls, and in tools; not in what a client's schemas and arguments hold.
    """
    found = set(names.intersection(body))
    held = list(body.get("tools", ()))
    for message in body["messages"]:
        held.append(message)
        if isinstance(message.get("content"), list):
            held.extend(message["content"])
        held.extend(message.get("tool_calls", ()))
    for one in held:
        if not names.isdisjoint(one):
            found.update(names.intersection(one))
    return frozenset(found)


def without_fields(value: Any, names: Collection[str]) -> Any:
    """Return a value without the fields of these names, wherever they stand.

    What a client's tools describe and what models said in arguments is not looked into.
    """
    if isinstance(value, dict):
        return {
            name: inner if name in _OPAQUE else without_fields(inner, names)
            for name, inner in value.items()
            if name not in names
        }
    if isinstance(value, list):
        return [without_fields(one, names) for one in value]
    return value


_OPAQUE: Final = frozenset({"parameters", "schema", "arguments", "reasoning_details"})


def missing_results(call_ids: Collection[str]) -> RequestRejected:
    """400: the model called tools, and the next turn has no results of theirs."""
    shown = ", ".join(call_id[:80] for call_id in list(call_ids)[:5])
    message = f"Calls without a result in the next turn: {shown}. Send a result for each call."
    return bad_request("missing_tool_result", message, param="messages")


def unknown_call(call_id: str, param: str) -> RequestRejected:
    """400: a result is of a call that the turn before does not have."""
    message = f"The turn before has no call {call_id[:80]!r} that this result could be of."
    return bad_request("unknown_tool_call", message, param=param)
