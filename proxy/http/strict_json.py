"""JSON that means one thing only: what readers disagree about is refused. Pure.

Refused are a name that an object has twice, numbers that are not finite or not 64-bit integers,
lone surrogates, and nesting beyond what is written again.
"""

import json
import math
from typing import Any, Final

import orjson

from proxy.errors import bad_request

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1
_DIGITS_MAX: Final = 20


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """Return the object. Raises ``RequestRejected`` (400)."""
    return parse_and_write(raw)[0]


def parse_and_write(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the object, and the same as it is written again. Raises ``RequestRejected`` (400)."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise bad_request("invalid_json", f"The body is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise bad_request("invalid_type", "The body must be a JSON object.")
    written = write_json(body)
    if written == raw:
        # What was lost or changed in reading would not have been written again.
        return body, written
    try:
        # The quick parser keeps the last of equal names and rounds what is too large.
        _STRICT.decode(raw.decode())
    except ValueError as error:
        message = f"The body is not JSON that can be used: {error}."
        raise bad_request("invalid_json", message) from None
    except RecursionError:
        raise _too_deep() from None
    return body, written


def write_json(body: dict[str, Any]) -> bytes:
    """Return an object as it is written again. Raises 400 for one too deep."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise _too_deep() from None


def _too_deep() -> Exception:
    return bad_request("invalid_json", "The body is nested too deeply.")


def _check_names(pairs: list[tuple[str, Any]]) -> None:
    # What it returns is nobody's: only the names are looked at.
    if len(pairs) > 1 and len({name for name, _ in pairs}) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the name {name[:100]!r} is there twice")
            seen.add(name)


def _check_integer(text: str) -> None:
    if len(text) > _DIGITS_MAX or not INTEGER_MIN <= int(text) <= INTEGER_MAX:
        raise ValueError("an integer is too large")


def _check_float(text: str) -> None:
    if not math.isfinite(float(text)):
        raise ValueError("a number is too large")


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number in JSON")


_STRICT: Final = json.JSONDecoder(
    object_pairs_hook=_check_names,
    parse_int=_check_integer,
    parse_float=_check_float,
    parse_constant=_refuse_constant,
)
