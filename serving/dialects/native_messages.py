"""Anthropic's ``/v1/messages`` for a provider that speaks it: read, but not translated. Pure.

The request is translated all the same. What the translation refuses is what cannot be bounded, so
the passed request costs what the translated one does; and where a provider turns out not to speak
the dialect, it is asked by the translation.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from serving.dialects.call import Call, LimitRules, build_call
from serving.dialects.common_form import CACHE_CONTROL
from serving.dialects.endpoints import LIMIT_FIELDS, Endpoint
from serving.dialects.messages_request import read_messages_request
from serving.dialects.reasoning import SEAL_MARK
from serving.http.errors import bad_request
from serving.http.strict_json import write_json
from serving.models.refused import NOT_PASSED_ON, find_refused

VERSION_HEADER: Final = "anthropic-version"
BETA_HEADER: Final = "anthropic-beta"
VERSION: Final = "2023-06-01"
"""The version of the dialect that a request without the header is taken to be in."""

_PASSED: Final = frozenset(
    {
        "cache_control",
        "context_management",
        "max_tokens",
        "messages",
        "metadata",
        "model",
        "output_config",
        "output_format",
        "service_tier",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)
"""The fields that are passed on. Any other is left out, as where it is translated: it may cost more
than the price says, as ``speed``, ``inference_geo`` and ``container`` do."""
_FREE_EDIT: Final = "clear_"
"""Begins the edits of a context that only leave something out of it. Another one, ``compact_…``,
has the model write a summary, which the provider takes tokens for beside the answer's."""
_DEARER_BETA: Final = "compact-"
"""Begins the betas for which a provider takes more than the answer's tokens."""
_SUMMARY: Final = "compaction"
"""The block of a summary, from a conversation that was with its maker before."""
_CHANGED: Final = (b'"ttl"', SEAL_MARK.encode())
"""What stands in a request only where something in it is not passed on."""
_HEADER_VALUE: Final = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,1999}")


def parse_native_messages(
    body: Mapping[str, Any],
    limits: LimitRules,
    *,
    own_fields: frozenset[str],
    headers: Mapping[str, str],
) -> Call:
    """Read a request in the dialect as it is passed on; ``as_chat`` is its translation.

    ``headers`` go with it. Raises ``RequestRejected`` (400), naming the place.
    """
    own = {name: body[name] for name in own_fields if name in body}
    left_out = own.keys() | NOT_PASSED_ON
    told = {name: value for name, value in body.items() if name not in left_out}
    refused = find_refused(told, limits=LIMIT_FIELDS[Endpoint.MESSAGES])
    if refused is not None:
        message = f"'{refused}' is not supported: what it costs cannot be bounded."
        raise bad_request("unsupported_parameter", message, param=refused)
    form = read_messages_request(body)
    chat = build_call(
        Endpoint.CHAT,
        form.body,
        write_json(form.body),
        limits,
        own_fields=own_fields,
        extras=form.extras,
        renames_limit=True,
    )
    chat = replace(chat, own=own, form=form)
    passed = _keep_passed(told)
    if "model" not in passed:
        passed["model"] = chat.model  # the first of a list of models
    written = write_json(passed)
    if any(mark in written for mark in _CHANGED):
        passed = _as_passed(passed)
        written = write_json(passed)
    images_bytes = len(chat.written) - chat.text_bytes
    return replace(
        chat,
        endpoint=Endpoint.MESSAGES,
        body=passed,
        written=written,
        unshown_bytes=max(0, len(written) - images_bytes - chat.text_bytes),
        asks_for_usage=False,
        asks_for_running_usage=False,
        extras=frozenset(),
        renames_limit=False,
        as_chat=chat,
        form=None,
        headers=headers,
    )


def read_dialect_headers(find: Callable[[bytes], str | None]) -> dict[str, str]:
    """Return the headers of the dialect that go to a provider, as a client sent them.

    What no header can hold is left out, and so are betas that cost more than the price says.
    """
    found = {VERSION_HEADER: VERSION}
    for name in (VERSION_HEADER, BETA_HEADER):
        value = find(name.encode())
        if value is not None and _HEADER_VALUE.fullmatch(value) is not None:
            found[name] = value
    if BETA_HEADER in found:
        betas = [beta.strip() for beta in found.pop(BETA_HEADER).split(",")]
        kept = [beta for beta in betas if beta and not beta.lower().startswith(_DEARER_BETA)]
        if kept:
            found[BETA_HEADER] = ",".join(kept)
    return found


def _keep_passed(told: Mapping[str, Any]) -> dict[str, Any]:
    passed = {name: value for name, value in told.items() if name in _PASSED}
    if "context_management" in passed:
        edits = _list_free_edits(passed.pop("context_management"))
        if edits:
            passed["context_management"] = {"edits": edits}
    passed["messages"] = [_with_summary_as_text(turn) for turn in passed["messages"]]
    return passed


def _with_summary_as_text(turn: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a turn without blocks of summaries, which are refused without their beta."""
    blocks = turn.get("content")
    if not isinstance(blocks, list) or all(block.get("type") != _SUMMARY for block in blocks):
        return turn
    content = [
        {"type": "text", "text": block["content"]} if block.get("type") == _SUMMARY else block
        for block in blocks
        if block.get("type") != _SUMMARY or block.get("content")
    ]
    return {**turn, "content": content}


def _list_free_edits(management: Any) -> list[Any]:
    edits = management.get("edits") if isinstance(management, dict) else None
    return [
        edit
        for edit in (edits if isinstance(edits, list) else [])
        if isinstance(edit, dict) and str(edit.get("type")).startswith(_FREE_EDIT)
    ]


def _as_passed(value: Any) -> Any:
    """Return a request without what its provider cannot take.

    A wish to be cached does not say for how long: a longer time costs twice the input, which no
    price says. Reasoning that was sealed here, when another provider was asked, is left out: no
    maker knows the seal.
    """
    if isinstance(value, list):
        return [_as_passed(one) for one in value if not _is_sealed_here(one)]
    if not isinstance(value, dict):
        return value
    changed = {name: _as_passed(inner) for name, inner in value.items()}
    wish = changed.get(CACHE_CONTROL)
    if isinstance(wish, dict) and "ttl" in wish:
        changed[CACHE_CONTROL] = {name: said for name, said in wish.items() if name != "ttl"}
    return changed


def _is_sealed_here(block: Any) -> bool:
    if not isinstance(block, dict) or block.get("type") != "thinking":
        return False
    signature = block.get("signature")
    return isinstance(signature, str) and signature.startswith(SEAL_MARK)
