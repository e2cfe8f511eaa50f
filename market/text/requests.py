"""Requests for text, as the market takes them."""

from typing import Final

from market.routing.filters import ROUTING_FIELD
from serving.dialects.call import Call, LimitRules, parse_call
from serving.dialects.endpoints import Endpoint
from serving.dialects.policy import POLICY_FIELD

OWN_FIELDS: Final = frozenset({ROUTING_FIELD, POLICY_FIELD})
LIMITS: Final = LimitRules(default=4_096, cap=131_072)

MINIMUM_DISCOUNT_ENDPOINTS: Final = frozenset(
    {Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES}
)
"""Endpoints that the reference mirrors below /min{N}."""


def parse_request(endpoint: Endpoint, raw: bytes) -> Call:
    """Read a request body. Raises ``RequestRejected`` (400), naming the field."""
    return parse_call(endpoint, raw, LIMITS, own_fields=OWN_FIELDS)
