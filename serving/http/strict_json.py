"""JSON that means one thing only: whatever parsers disagree about is refused. Pure.

Refused are a name that an object has twice, numbers that are not finite or not 64-bit integers,
lone surrogates, and nesting beyond what is written again.
"""

import json
import math
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, Final

import orjson

from serving.http.errors import bad_request

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**64 - 1
_DIGITS_MAX: Final = 20


def parse_json_object(raw: bytes) -> dict[str, Any]:
    """Return the object. Raises ``RequestRejected`` (400)."""
    return parse_and_write(raw)[0]


def parse_and_write(raw: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the object, and the same as it is written again. Raises ``RequestRejected`` (400)."""
    body = _load(raw)
    written = write_json(body)
    if written != raw:  # else nothing can have been lost or changed in reading
        # The quick parser keeps the last of equal names and rounds what is too large.
        _decode(_STRICT, raw)
    return body, written


def parse_exact_json(raw: bytes) -> dict[str, Any]:
    """Return the object, its numbers with decimals as ``Decimal``. Raises ``RequestRejected``."""
    _load(raw)  # it alone refuses lone surrogates
    exact: dict[str, Any] = _decode(_EXACT, raw)
    return exact


def check_fields(body: Mapping[str, Any], known: Collection[str], *, where: str = "") -> None:
    """Refuse an object with a field that nobody reads. Raises ``RequestRejected`` (400).

    ``where`` stands before the field's name in the error.
    """
    unknown = sorted(str(name) for name in body if name not in known)
    if unknown:
        name = where + unknown[0][:60]
        raise bad_request("unknown_field", f"{name!r} is not a field here.", param=name)


def _load(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise bad_request("invalid_json", f"The body is not JSON: {error}.") from None
    if not isinstance(body, dict):
        raise bad_request("invalid_type", "The body must be a JSON object.")
    return body


def _decode(decoder: json.JSONDecoder, raw: bytes) -> Any:
    try:
        return decoder.decode(raw.decode())
    except ValueError as error:
        message = f"The body is not JSON that can be used: {error}."
        raise bad_request("invalid_json", message) from None
    except RecursionError:
        raise _too_deep() from None


def write_json(body: dict[str, Any]) -> bytes:
    """Return an object as it is written again. Raises 400 for one too deep."""
    try:
        return orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise _too_deep() from None


def _too_deep() -> Exception:
    return bad_request("invalid_json", "The body is nested too deeply.")


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    built = dict(pairs)
    if len(built) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the name {name[:100]!r} is there twice")
            seen.add(name)
    return built


def _read_integer(text: str) -> int:
    if len(text) > _DIGITS_MAX or not INTEGER_MIN <= int(text) <= INTEGER_MAX:
        raise ValueError("an integer is too large")
    return int(text)


def _read_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _read_decimal(text: str) -> Decimal:
    _read_float(text)
    try:
        return Decimal(text)
    except ArithmeticError:
        raise ValueError("a number's exponent is too large") from None


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not a number in JSON")


_STRICT: Final = json.JSONDecoder(
    object_pairs_hook=_build_object,
    parse_int=_read_integer,
    parse_float=_read_float,
    parse_constant=_refuse_constant,
)
_EXACT: Final = json.JSONDecoder(
    object_pairs_hook=_build_object,
    parse_int=_read_integer,
    parse_float=_read_decimal,
    parse_constant=_refuse_constant,
)
