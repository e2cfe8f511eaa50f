"""Reading the JSON that providers send, as leniently as their clients do. Pure."""

import json
import math
from typing import Any

import orjson


def read_provider_json(raw: bytes) -> Any:
    """Return the value of a provider's JSON. Raises ``ValueError``.

    Lone surrogates, NaN, infinities, integers beyond 64 bits (as floats), raw control characters
    and a byte order mark are read: some clients read them too, and the rest of the answer is good.
    """
    return read_for_clients(raw)[0]


def read_for_clients(raw: bytes) -> tuple[Any, bytes]:
    """Return the value of a provider's JSON, and bytes of it that every client reads.

    These are ``raw`` itself, unless only lenient clients read that. Raises ``ValueError``.
    """
    try:
        return orjson.loads(raw), raw
    except orjson.JSONDecodeError:
        try:
            value = json.loads(raw.decode("utf-8-sig", "surrogatepass"), strict=False)
            return value, write_provider_json(value)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def write_provider_json(value: Any) -> bytes:
    """Return a value of ``read_provider_json`` as JSON; NaN and infinities become null.

    Raises ``ValueError`` where it is nested too deeply.
    """
    try:
        return orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        try:
            return json.dumps(_make_finite(value), allow_nan=False).encode()
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def _make_finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _make_finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_make_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
