"""Requests for text, as the market takes them."""

from collections.abc import Mapping
from typing import Final

from market.routing.filters import ROUTING_FIELD
from serving.dialects.call import Call, LimitRules, parse_call
from serving.dialects.dialect import MESSAGES, Dialect
from serving.dialects.endpoints import Endpoint
from serving.dialects.native_messages import parse_native_messages
from serving.dialects.policy import POLICY_FIELD
from serving.http.strict_json import parse_json_object

OWN_FIELDS: Final = frozenset({ROUTING_FIELD, POLICY_FIELD})
LIMITS: Final = LimitRules(default=4_096, cap=131_072)

MINIMUM_DISCOUNT_ENDPOINTS: Final = frozenset(
    {Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.MESSAGES}
)
"""Endpoints that stand below /min{N} too: those that the reference mirrors, and messages."""

_NO_HEADERS: Final[Mapping[str, str]] = {}


def parse_request(endpoint: Endpoint, raw: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> Call:
    """Read a request body. Raises ``RequestRejected`` (400), naming the field.

    ``headers`` are those of the client's dialect.
    """
    if endpoint is not Endpoint.MESSAGES:
        return parse_call(endpoint, raw, LIMITS, own_fields=OWN_FIELDS)
    body = parse_json_object(raw)
    return parse_native_messages(body, LIMITS, own_fields=OWN_FIELDS, headers=headers)


def find_dialect(endpoint: Endpoint) -> Dialect | None:
    """Return the dialect of an endpoint whose clients have words of their own for errors."""
    return MESSAGES if endpoint is Endpoint.MESSAGES else None
