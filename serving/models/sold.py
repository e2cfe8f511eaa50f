"""What a market says that it charged: how the market says it, and how a proxy before it reads it.
Pure.

A whole answer says it in a header, a stream in its last usage. Where a connection broke before
that, the record of the request says it (``SALES_PATH``). An answer of the account's own provider is
no sale: its cost of 0 says nothing of what the provider will ask.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from serving.models.usage import TOKENS_MAX

COST_HEADER: Final = "x-market-cost-usdc"
OWN_PROVIDER_HEADER: Final = "x-market-own-provider"
OFFER_HEADER: Final = "x-market-offer"
"""Only what an offer served has it."""
REQUEST_HEADER: Final = "x-request-id"

DRAIN_HEADER: Final = "x-market-drain-s"
"""How long (seconds) a seller is read on for its usage report once this client has left. A proxy
has read on by itself, so it asks for 0: then the charge is known as soon as the market allows."""

DRAIN_FLOOR_S: Final = 3.0
"""A market reads on for at least this long, in seconds: a client that leaves would else have
hidden reasoning for nothing."""

COST_FIELD: Final = "cost_usdc"
"""What the usage of a stream, an error within it, and a record call the cost, in 1e-6 USDC."""

SALES_PATH: Final = "buyer/sales"
"""Where the record of a request is, below ``/v1`` and followed by the request's id."""

COST_USDC_MAX: Final = 2**63 - 1

_ID_LENGTH_MAX: Final = 64
_ID_SIGNS: Final = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_")


@dataclass(frozen=True, slots=True)
class Sale:
    """What the market's record says of a request that has ended."""

    cost_usdc: int
    prompt_tokens: int
    completion_tokens: int


def read_cost(value: Any) -> int | None:
    """Return a cost in 1e-6 USDC as JSON states it, None where it is no cost."""
    return value if type(value) is int and 0 <= value <= COST_USDC_MAX else None


def read_cost_header(get_header: Callable[[str], str | None]) -> int | None:
    """Return the cost that a whole answer's headers state, None where they state none."""
    said = get_header(COST_HEADER)
    if said is None or is_own_provider(get_header):
        return None
    is_count = said.isascii() and said.isdecimal() and len(said) <= 19
    return read_cost(int(said)) if is_count else None


def read_sale_id(get_header: Callable[[str], str | None]) -> str | None:
    """Return the id by which a market knows the request that these headers answer.

    None where no offer of a market answered.
    """
    request_id = get_header(REQUEST_HEADER)
    if request_id is None or get_header(OFFER_HEADER) is None:
        return None
    is_id = 0 < len(request_id) <= _ID_LENGTH_MAX and _ID_SIGNS.issuperset(request_id)
    return request_id if is_id else None


def is_own_provider(get_header: Callable[[str], str | None]) -> bool:
    """Tell whether an account's own provider answered through a market: that is no sale."""
    return get_header(OWN_PROVIDER_HEADER) is not None


def read_sale(record: Mapping[str, Any]) -> Sale | None:
    """Return what a record says, None while the request is not settled or where it says nothing."""
    cost_usdc = read_cost(record.get(COST_FIELD))
    if cost_usdc is None:
        return None
    counts = [record.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")]
    if not all(type(count) is int and 0 <= count <= TOKENS_MAX for count in counts):
        return None
    return Sale(cost_usdc, *counts)
