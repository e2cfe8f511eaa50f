"""Calls as consumers send them: which connection, which operation, with what. Pure.

One request is one call of one operation: bodies that carry several (JSON arrays, GraphQL documents,
forms with files) are refused unless the operation says otherwise.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

import orjson

from market.resale.call_paths import PathRefused, PathTemplate, split_path
from market.resale.operations import Operation
from serving.http.errors import RequestRejected, bad_request
from serving.http.strict_json import parse_json_object

PREFIX: Final = "/x402/"
QUERY_MAX: Final = 4_000
PARAMETERS_MAX: Final = 100
_NAME: Final = re.compile(r"[a-z0-9-]{2,40}")
_OWNER: Final = re.compile(r"~(0x[0-9a-fA-F]{40})")
_BODY_TYPES: Final = ("application/json", "application/x-www-form-urlencoded")
_BODILESS: Final = ("GET", "HEAD", "DELETE")


@dataclass(frozen=True, slots=True)
class CallWish:
    """What a consumer wants to call. ``segments`` are decoded, ``query`` is in order."""

    method: str
    sold_under: str
    segments: tuple[str, ...]
    query: tuple[tuple[str, str], ...]


def parse_wish(method: str, raw_path: str, query: str) -> CallWish:
    """Return a call by its method, its path as it came (``/x402/…``), and its query. Raises 400."""
    parts = raw_path[len(PREFIX) :].split("/", 2)
    # %7E and ~ are one character, as RFC 3986 has it.
    parts[:-1] = map(unquote, parts[:-1])
    owner = _OWNER.fullmatch(parts[0])
    if owner is not None:
        name, rest = (parts[1], parts[2]) if len(parts) == 3 else ("", "")
        sold_under = f"~{owner[1].lower()}/{name}"
    else:
        name, rest = parts[0], "/".join(parts[1:])
        sold_under = name
    if _NAME.fullmatch(name) is None:
        raise unknown_api(name)
    try:
        segments = split_path("/" + rest)
    except PathRefused as error:
        raise bad_request("path_refused", f"This path is not passed on: {error}.") from None
    return CallWish(method, sold_under, segments, parse_query(query))


def parse_query(query: str) -> tuple[tuple[str, str], ...]:
    """Return the parameters of a query in order. Raises 400."""
    message = "The query is not passed on: "
    if len(query) > QUERY_MAX:
        raise bad_request("query_refused", f"{message}it has over {QUERY_MAX} characters.")
    try:
        found = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX
        )
    except (ValueError, UnicodeDecodeError):
        text = f"{message}it is not UTF-8, or has over {PARAMETERS_MAX} parameters."
        raise bad_request("query_refused", text) from None
    for name, value in found:
        if any(ord(character) < 32 or ord(character) == 127 for character in name + value):
            raise bad_request("query_refused", f"{message}it has a control character.")
    return tuple(found)


def check_query(wish: CallWish, operation: Operation, *, credential: str | None) -> str:
    """Return the query as it is sent, encoded in one way. Raises 400.

    ``credential`` is the parameter that carries the key: nobody else may name it.
    """
    for name, value in wish.query:
        bare = name.lower().split("[", 1)[0].strip()
        if credential is not None and bare == credential.lower():
            raise bad_request("query_refused", "The query names the API's own key.", param=name)
        if operation.query is not None and name not in operation.query:
            allowed = ", ".join(sorted(operation.query)) or "none"
            raise bad_request(
                "unknown_parameter",
                f"{name[:60]!r} is not a parameter of {operation.name}. It takes: {allowed}.",
                param=name[:60],
            )
        if not operation.batch and name.lower() == "query" and "{" in value:
            raise _several()
    return urlencode(wish.query, quote_via=quote, safe="")


def check_body(operation: Operation, raw: bytes, content_type: str | None) -> None:
    """Refuse a body that is not one call. Raises 400, 415."""
    if not raw:
        return
    if operation.method in _BODILESS:
        raise bad_request("body_refused", f"{operation.method} has no body here.")
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind not in _BODY_TYPES:
        message = f"Send the body as {' or '.join(_BODY_TYPES)}."
        raise RequestRejected(415, "unsupported_media_type", message)
    if kind != "application/json":
        if not operation.batch and any(
            name.lower() == "query" and "{" in value for name, value in parse_body_form(raw)
        ):
            raise _several()
        return
    if raw.lstrip()[:1] == b"[":
        if not operation.batch:
            raise _several()
        try:
            orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise bad_request("invalid_json", f"The body is not JSON: {error}.") from None
        return
    body = parse_json_object(raw)
    query = body.get("query", body.get("mutation"))
    if not operation.batch and isinstance(query, str) and "{" in query:
        raise _several()


def parse_body_form(raw: bytes) -> tuple[tuple[str, str], ...]:
    """Return the fields of a form. Raises 400."""
    try:
        return tuple(
            parse_qsl(
                raw.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=PARAMETERS_MAX,
            )
        )
    except ValueError:
        raise bad_request("body_refused", "The form cannot be read.") from None


def write_target(template: PathTemplate, parameters: Callable[[str], str]) -> str:
    """Return the path as it is sent: literals as the owner wrote them, parameters encoded."""
    return "".join(
        "/" + (quote(parameters(text), safe="-._~") if is_parameter else text)
        for text, is_parameter in template.parts
    )


def _several() -> RequestRejected:
    message = (
        "One request is one call: a batch or a GraphQL document is not sold by this operation."
    )
    return bad_request("batch_refused", message)


def unknown_api(name: str) -> RequestRejected:
    """404: nothing is sold under this name."""
    message = f"There is no API {name[:60]!r} on sale. GET /v1/apis lists all."
    return RequestRejected(404, "api_not_found", message)


def unknown_operation(wish: CallWish) -> RequestRejected:
    """404: the API is there, and this of it is not sold."""
    message = f"{wish.sold_under!r} does not sell this path. GET /v1/apis lists what may be called."
    return RequestRejected(404, "operation_not_sold", message)
