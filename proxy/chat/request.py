"""A request for text, as the proxy takes it: what any server reads of it, and what only the proxy
does. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from serving.dialects.call import Call, LimitRules, build_call, parse_call, read_flag
from serving.dialects.common_form import CommonForm
from serving.dialects.dialect import Dialect
from serving.dialects.endpoints import Endpoint
from serving.http.errors import bad_request
from serving.http.strict_json import parse_json_object, write_json

MAX_TOKENS_CAP: Final = 4_096
"""The most output tokens of one choice, whatever the request asks for, unless the operator sets
another cap."""

LIMITS: Final = LimitRules(default=MAX_TOKENS_CAP, cap=MAX_TOKENS_CAP)
CHEAPEST: Final = "cheapest"
_OWN_FIELDS: Final = frozenset({"fit", "min_discount_pct"})


@dataclass(frozen=True, slots=True)
class Translation:
    """The dialect of a request that came in another one than upstream is asked in."""

    dialect: Dialect
    form: CommonForm


@dataclass(frozen=True, slots=True)
class MeteredRequest:
    """A request. ``call`` is what goes to upstream."""

    call: Call
    fit: bool
    """Whether the output limit may be lowered to what the hold affords."""
    min_discount_pct: int | None
    translation: Translation | None = None


def parse_chat_request(raw: bytes, limits: LimitRules = LIMITS) -> MeteredRequest:
    """Read a request body. Raises ``RequestRejected`` (400), naming the field."""
    return _read_own(parse_call(Endpoint.CHAT, raw, limits, own_fields=_OWN_FIELDS), None)


def parse_translated(raw: bytes, dialect: Dialect, limits: LimitRules = LIMITS) -> MeteredRequest:
    """Read a body in another dialect as the chat request that it comes to. Raises as above."""
    form = dialect.read(parse_json_object(raw))
    call = build_call(
        Endpoint.CHAT,
        form.body,
        write_json(form.body),
        limits,
        own_fields=_OWN_FIELDS,
        extras=form.extras,
    )
    return _read_own(call, Translation(dialect, form))


def _read_own(call: Call, translation: Translation | None) -> MeteredRequest:
    minimum_pct = _read_min_discount(call.own)
    return MeteredRequest(call, read_flag(call.own, "fit"), minimum_pct, translation)


def _read_min_discount(own: Mapping[str, Any]) -> int | None:
    if "min_discount_pct" not in own:
        return None
    value = own["min_discount_pct"]
    if type(value) is not int or not 0 <= value <= 100:
        message = "'min_discount_pct' must be an integer from 0 to 100."
        raise bad_request("invalid_minimum_discount", message, param="min_discount_pct")
    return value
