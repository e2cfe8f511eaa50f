"""The ``routing`` field of a request, and the same as query parameters: which sellers. Pure."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from market.dialects import FILTERS_MAX, ROUTING_FIELD, Filters
from market.errors import bad_request, wrong_type
from market.pricing import USD_PER_MTOK_MAX, parse_millionths

_KNOWN: Final = frozenset(
    {"only", "ignore", "trusted_only", "max_price_input_per_1m", "max_price_output_per_1m"}
)


def parse_filters(routing: Any) -> Filters:
    """Read the field. Prices are US dollars per million tokens. Raises ``RequestRejected``."""
    if routing is None:
        return Filters()
    if not isinstance(routing, dict):
        raise wrong_type(ROUTING_FIELD, "an object")
    unknown = sorted(routing.keys() - _KNOWN)
    if unknown:
        param = f"{ROUTING_FIELD}.{unknown[0][:40]}"
        raise bad_request("unsupported_parameter", f"'{param}' is not known.", param=param)
    trusted_only = routing.get("trusted_only", False)
    if not isinstance(trusted_only, bool):
        raise wrong_type(f"{ROUTING_FIELD}.trusted_only", "true or false")
    return Filters(
        only=_read_names(routing, "only"),
        ignore=_read_names(routing, "ignore"),
        trusted_only=trusted_only,
        input_usdc_per_mtok_max=_read_price(routing, "max_price_input_per_1m"),
        output_usdc_per_mtok_max=_read_price(routing, "max_price_output_per_1m"),
    )


def _read_names(routing: Mapping[str, Any], name: str) -> frozenset[str]:
    value = routing.get(name)
    if value is None:
        return frozenset()
    if (
        not isinstance(value, list)
        or len(value) > FILTERS_MAX
        or not all(isinstance(item, str) for item in value)
    ):
        raise wrong_type(f"{ROUTING_FIELD}.{name}", f"a list of at most {FILTERS_MAX} strings")
    return frozenset(item.lower() for item in value)


def _read_price(routing: Mapping[str, Any], name: str) -> int | None:
    value = routing.get(name)
    if value is None:
        return None
    if isinstance(value, float):
        # The shortest decimal that means this float is what its sender wrote.
        value = Decimal(repr(value))
    try:
        return parse_millionths(value, maximum=USD_PER_MTOK_MAX)
    except ValueError as error:
        raise wrong_type(f"{ROUTING_FIELD}.{name}", f"a price; it {error}") from None
