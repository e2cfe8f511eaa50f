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

_DEARER: Final = frozenset({"speed", "inference_geo", "container"})
"""Fields for which a provider takes more than its price: left out, as where it is translated."""
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
    left_out = own.keys() | _DEARER | NOT_PASSED_ON
    passed = {name: value for name, value in body.items() if name not in left_out}
    refused = find_refused(passed, limits=LIMIT_FIELDS[Endpoint.MESSAGES])
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

    What no header can hold is left out.
    """
    found = {VERSION_HEADER: VERSION}
    for name in (VERSION_HEADER, BETA_HEADER):
        value = find(name.encode())
        if value is not None and _HEADER_VALUE.fullmatch(value) is not None:
            found[name] = value
    return found


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
