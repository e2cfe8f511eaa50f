"""Reading the JSON that providers send, as leniently as their clients do. Pure."""

import json
from typing import Any

import orjson


def read_provider_json(raw: bytes) -> Any:
    """Return the value of a provider's JSON. Raises ``ValueError``.

    Lone surrogates, NaN, infinities, integers beyond 64 bits (as floats), raw control characters
    and a byte order mark are read: the clients that the bytes are passed on to read them too.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        try:
            return json.loads(raw.decode("utf-8-sig", "surrogatepass"), strict=False)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error


def write_provider_json(value: Any) -> bytes:
    """Return a value of ``read_provider_json`` as JSON; NaN and infinities become null."""
    try:
        return orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return json.dumps(value).encode()
