"""What every dialect makes of an answer in the common form. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from serving.models.counting import Counted


@dataclass(frozen=True, slots=True)
class Served:
    """What an answer says of its request."""

    request_id: str
    model: str
    prompt_estimate: int
    """Tokens of the prompt by our own count: what is said before upstream reports any."""
    created_s: int


@dataclass(frozen=True, slots=True)
class Spent:
    """What a request took, as it is charged."""

    counted: Counted
    charge: Mapping[str, int]
    """The cost, by the name that the server has for it."""


class Encoder(Protocol):
    """Makes a dialect's events of a stream's chunks."""

    def read(self, chunk: Mapping[str, Any]) -> bytes:
        """Return the events for a chunk; nothing where it says nothing."""
        ...

    def finish(self, spent: Spent) -> bytes:
        """Return the events that end a whole answer."""
        ...

    def fail(self, error: Mapping[str, Any], spent: Spent | None) -> bytes:
        """Return the events that end an answer that broke off. ``error`` is in OpenAI's shape."""
        ...

    def ping(self) -> bytes:
        """Return what says that the stream is alive."""
        ...


def write_named(name: str, data: Mapping[str, Any]) -> bytes:
    """Return an event that has a name."""
    return b"event: " + name.encode() + b"\ndata: " + write(data) + b"\n\n"


DEPTH_MAX: Final = 200
"""What stands deeper in a provider's or a client's own objects is left out, as nobody reads it."""

_INTEGERS: Final = range(-(2**63), 2**64)


def write(data: Any) -> bytes:
    """Return JSON, whatever providers and clients have put into it.

    A text that was cut in a surrogate pair has a replacement character there; numbers that JSON or
    64 bits do not have are null or floats; what is nested beyond ``DEPTH_MAX`` is null.
    """
    try:
        return orjson.dumps(data)
    except (TypeError, orjson.JSONEncodeError):
        return orjson.dumps(_mend(data, DEPTH_MAX))


def join_surrogates(text: str) -> str:
    """Return a text whose surrogate pairs came in two pieces; a replacement for a lone one."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _mend(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return join_surrogates(value)
    if isinstance(value, (dict, list, tuple)) and depth == 0:
        return None
    if isinstance(value, dict):
        return {join_surrogates(str(n)): _mend(inner, depth - 1) for n, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mend(inner, depth - 1) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and value not in _INTEGERS:
        try:
            return float(value)
        except OverflowError:
            return None
    return value


def first_choice(holder: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the one choice that this dialect knows; empty where there is none."""
    choices = holder.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and choice.get("index", 0) in (0, None):
            return choice
    return {}
