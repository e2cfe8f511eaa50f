"""A chat completion request, as the proxy takes it: what any server reads of it, and what only the
proxy does. Pure."""

from dataclasses import dataclass
from typing import Any, Final

from serving.dialects.call import Call, LimitRules, parse_call, read_flag
from serving.dialects.endpoints import Endpoint
from serving.http.errors import bad_request

MAX_TOKENS_CAP: Final = 4_096
"""The most output tokens of one choice, whatever the request asks for."""

LIMITS: Final = LimitRules(default=MAX_TOKENS_CAP, cap=MAX_TOKENS_CAP)
CHEAPEST: Final = "cheapest"
_OWN_FIELDS: Final = frozenset({"fit", "min_discount_pct"})


@dataclass(frozen=True, slots=True)
class MeteredRequest:
    """A request. ``call`` is what goes to upstream."""

    call: Call
    fit: bool
    """Whether the output limit may be lowered to what the hold affords."""
    min_discount_pct: int | None


def parse_chat_request(raw: bytes) -> MeteredRequest:
    """Read a request body. Raises ``RequestRejected`` (400), naming the field."""
    call = parse_call(Endpoint.CHAT, raw, LIMITS, own_fields=_OWN_FIELDS)
    return MeteredRequest(call, read_flag(call.own, "fit"), _read_min_discount(call.own))


def _read_min_discount(own: Any) -> int | None:
    if "min_discount_pct" not in own:
        return None
    value = own["min_discount_pct"]
    if type(value) is not int or not 0 <= value <= 100:
        message = "'min_discount_pct' must be an integer from 0 to 100."
        raise bad_request("invalid_minimum_discount", message, param="min_discount_pct")
    return value
