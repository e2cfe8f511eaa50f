"""What a provider says in an error, in whatever shape, cleaned of what must not be told. Pure.

Providers and the gateways in front of them have a dozen shapes for an error: OpenAI's, FastAPI's
``detail``, vLLM's ``object: error``, a bare ``message``, Google's list, Cloudflare's ``errors``,
problem+json, plain text, or another provider's error as a string inside their own. ``read_words``
finds the words in all of them.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

MESSAGE_MAX: Final = 500
_DEPTH_MAX: Final = 6
_TEXTS: Final = (
    "message",
    "msg",
    "detail",
    "error_description",
    "error_message",
    "error_msg",
    "errorMessage",
    "faultstring",
    "reason",
    "title",
)
"""Fields that hold the words, the most telling first."""

_NESTS: Final = ("error", "errors", "detail", "message", "fault", "metadata", "body", "raw")
"""Fields that hold another object, or a list of them, with the words in it."""

_URLS: Final = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_SECRETS: Final = re.compile(r"\b(?:sk|pk|si|inf|key|Bearer)[-_ ][\w.-]{8,}", re.IGNORECASE)
_ADDRESSES: Final = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b")
_CHARGED: Final = re.compile(r"\s*You are (?:not )?charged\b[^.]*\.", re.IGNORECASE)
"""Our servers' own words about money; another server of ours says them for itself."""

_TRACE: Final = re.compile(r"Traceback \(most recent call last\)|\n\s+(?:File \"|at )")


@dataclass(frozen=True, slots=True)
class ErrorWords:
    """An error in its provider's words, not cleaned."""

    message: str | None = None
    param: str | None = None
    code: str | None = None
    type: str | None = None
    status: int | None = None
    """The HTTP status that the words name, for an error inside a success."""

    @property
    def all(self) -> str:
        """Everything that was said, in lower case, to be searched."""
        said = (self.message, self.param, self.code, self.type)
        return " ".join(part for part in said if part).lower()


def read_body(raw: bytes) -> ErrorWords:
    """Return the words of an answer's body."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError:
        text = raw[: 4 * MESSAGE_MAX].decode("utf-8", "replace").strip()
        # A page for people is of a machine on the way, and says nothing to a program.
        return ErrorWords() if text.startswith("<") else ErrorWords(text or None)
    return read_words(parsed)


def read_words(said: Any) -> ErrorWords:
    """Return the words of an error, in whatever shape it comes."""
    return _read(said, _DEPTH_MAX)


def _read(said: Any, depth: int) -> ErrorWords:
    if isinstance(said, str):
        return _read_text(said, depth)
    if isinstance(said, list):
        return _join([_read(one, depth - 1) for one in said[:8]] if depth > 0 else [])
    if not isinstance(said, Mapping) or depth <= 0:
        return ErrorWords()
    own = ErrorWords(
        next((text for name in _TEXTS if isinstance(text := said.get(name), str) and text), None),
        _read_param(said),
        _read_name(said.get("code")),
        _read_name(said.get("type")) or _read_name(said.get("status")),
        _read_status(said),
    )
    inner = [_read(said[name], depth - 1) for name in _NESTS if said.get(name)]
    if own.message is not None:
        inner.insert(0, _read_text(own.message, depth - 1))
        own = ErrorWords(None, own.param, own.code, own.type, own.status)
    found = _merge([*inner[:1], own, *inner[1:]])
    original = _read(said.get("metadata"), depth - 1).message
    if original is not None and found.message is not None and original != found.message:
        # A gateway says that a provider failed, and how in what it keeps of the provider's answer.
        return replace(found, message=f"{found.message}: {original}")
    return found


def _read_text(text: str, depth: int) -> ErrorWords:
    """Return a text's words: some gateways put the error of another one into theirs as a string."""
    start = text.find("{")
    if depth > 0 and start >= 0 and text.rstrip().endswith("}"):
        try:
            found = _read(orjson.loads(text[start:]), depth - 1)
        except orjson.JSONDecodeError:
            found = ErrorWords()
        if found.message is not None:
            return found
    return ErrorWords(text or None)


def _join(found: list[ErrorWords]) -> ErrorWords:
    """Return several errors as one: all that they say, and what the first names."""
    messages = list(dict.fromkeys(words.message for words in found if words.message is not None))
    merged = _merge(found)
    return ErrorWords(
        "; ".join(messages) or None, merged.param, merged.code, merged.type, merged.status
    )


def _merge(found: Iterable[ErrorWords]) -> ErrorWords:
    message = param = code = kind = None
    status: int | None = None
    for words in found:
        message = words.message if message is None else message
        param = words.param if param is None else param
        code = words.code if code is None else code
        kind = words.type if kind is None else kind
        status = words.status if status is None else status
    return ErrorWords(message, param, code, kind, status)


def _read_param(said: Mapping[str, Any]) -> str | None:
    """Return the field to blame: ``param``, or FastAPI's ``loc`` without where the body is."""
    if isinstance(said.get("param"), str):
        return str(said["param"]) or None
    place = said.get("loc")
    if not isinstance(place, list):
        return None
    parts = [str(part) for part in place if isinstance(part, int | str) and part != "body"]
    return ".".join(parts[:8]) or None


def _read_name(value: Any) -> str | None:
    """Return a name such as ``context_length_exceeded``; a number is no name."""
    return value if isinstance(value, str) and value and not value.isdecimal() else None


def _read_status(said: Mapping[str, Any]) -> int | None:
    for name in ("code", "status", "status_code", "statusCode"):
        value = said.get(name)
        number = int(value) if isinstance(value, str) and value.isdecimal() else value
        if type(number) is int and 400 <= number <= 599:
            return number
    return None


def clean(text: str, secrets: Iterable[str]) -> str:
    """Return a text that may be shown: no URL, key, address, trace or control character is in it.

    ``secrets`` are removed wherever they stand. At most ``MESSAGE_MAX`` characters.
    """
    trace = _TRACE.search(text)
    if trace is not None:
        text = text[: trace.start()]
    text = _URLS.sub("…", text)
    for secret in filter(None, secrets):
        text = text.replace(secret, "…")
    text = _ADDRESSES.sub("…", _SECRETS.sub("…", text))
    text = _CHARGED.sub("", text)
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable[:MESSAGE_MAX].strip()
