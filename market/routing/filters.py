"""Which sellers a request may go to: its field ``routing``, and headers of price ceilings. Pure.

The headers (``serving.models.price_ceilings``) are for a gateway between a buyer and the
market and charges by the market's list: they hold whatever the buyer wrote into the field.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from market.pricing.amounts import parse_millionths
from market.routing.chosen import parse_chosen
from serving.dialects.policy import ANYBODY, Policy, least
from serving.http.errors import bad_request, wrong_type
from serving.models.grades import MINIMUM_HEADER, Grade, get_stricter, read_grade
from serving.models.price_ceilings import (
    CACHED_INPUT_CEILING,
    INPUT_CEILING,
    LONGER_CEILINGS,
    OUTPUT_CEILING,
    PER_REQUEST_CEILING,
    read_longer,
)
from serving.models.prices import USD_PER_MTOK_MAX, Price
from serving.models.sold import DRAIN_FLOOR_S, DRAIN_HEADER
from serving.models.terms import Tiers

ROUTING_FIELD: Final = "routing"
FILTERS_MAX: Final = 100
"""Names in ``only`` or ``ignore``."""

_KNOWN: Final = frozenset(
    {
        "only",
        "ignore",
        "trusted_only",
        "minimum_grade",
        "max_price_input_per_1m",
        "max_price_output_per_1m",
        "max_price_cached_input_per_1m",
        "max_price_per_request",
    }
)

CEILING_HEADERS: Final = (
    INPUT_CEILING,
    OUTPUT_CEILING,
    CACHED_INPUT_CEILING,
    PER_REQUEST_CEILING,
    LONGER_CEILINGS,
    MINIMUM_HEADER,
)

_CEILING: Final = re.compile(r"[0-9]{1,18}")
_SECONDS: Final = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class Filters:
    """Which sellers a buyer wants. Prices in 1e-6 USDC per 1e6 tokens."""

    only: frozenset[str] = frozenset()
    ignore: frozenset[str] = frozenset()
    trusted_only: bool | None = None
    """None: as the buyer's key has it, or else the market."""
    minimum_grade: Grade | None = None
    """The lowest provenance grade that may serve; None: any."""
    input_usdc_per_mtok_max: int | None = None
    output_usdc_per_mtok_max: int | None = None
    cached_input_usdc_per_mtok_max: int | None = None
    """An offer without a price of cached tokens has its input price held against it."""
    per_request_usdc_max: int | None = None
    """None: the reference's fee."""
    longer_max: Tiers = ()
    """What longer prompts may cost at most, in place of the three above."""

    @property
    def has_ceilings(self) -> bool:
        """Whether any price is bounded."""
        return (
            self.input_usdc_per_mtok_max is not None
            or self.output_usdc_per_mtok_max is not None
            or self.cached_input_usdc_per_mtok_max is not None
            or self.per_request_usdc_max is not None
        )


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What a request's headers demand, whatever its body says: above all the most that a million
    tokens may cost, in 1e-6 USDC. None is any price."""

    input_usdc_per_mtok: int | None = None
    output_usdc_per_mtok: int | None = None
    cached_input_usdc_per_mtok: int | None = None
    per_request_usdc: int | None = None
    longer: Tiers = ()
    """Ceilings of longer prompts, in place of the three above."""
    minimum_grade: Grade | None = None
    """The lowest provenance grade that may serve; None: any."""

    def lower(self, filters: Filters) -> Filters:
        """Return filters that let nothing dearer through than either allows."""
        if self == ANY_PRICE:
            return filters
        return replace(
            filters,
            minimum_grade=get_stricter(self.minimum_grade, filters.minimum_grade),
            input_usdc_per_mtok_max=least(
                self.input_usdc_per_mtok, filters.input_usdc_per_mtok_max
            ),
            output_usdc_per_mtok_max=least(
                self.output_usdc_per_mtok, filters.output_usdc_per_mtok_max
            ),
            cached_input_usdc_per_mtok_max=least(
                self.cached_input_usdc_per_mtok, filters.cached_input_usdc_per_mtok_max
            ),
            per_request_usdc_max=least(self.per_request_usdc, filters.per_request_usdc_max),
            longer_max=tuple((above, _lower_price(one, filters)) for above, one in self.longer),
        )


ANY_PRICE: Final = Ceilings()


def keep_prices(filters: Filters, policy: Policy) -> Filters:
    """Return filters that let nothing dearer through than a policy allows."""
    if policy is ANYBODY:
        return filters
    return replace(
        filters,
        input_usdc_per_mtok_max=least(
            filters.input_usdc_per_mtok_max, policy.input_usdc_per_mtok_max
        ),
        output_usdc_per_mtok_max=least(
            filters.output_usdc_per_mtok_max, policy.output_usdc_per_mtok_max
        ),
        per_request_usdc_max=least(filters.per_request_usdc_max, policy.per_request_usdc_max),
    )


def _lower_price(price: Price, filters: Filters) -> Price:
    """Return a price with what the buyer's own words allow in place of what is above it."""
    input_max = least(price.input_usdc_per_mtok, filters.input_usdc_per_mtok_max)
    output_max = least(price.output_usdc_per_mtok, filters.output_usdc_per_mtok_max)
    cached_max = least(price.cached_usdc_per_mtok, filters.cached_input_usdc_per_mtok_max)
    assert input_max is not None
    assert output_max is not None
    assert cached_max is not None
    return Price(input_max, output_max, min(cached_max, input_max))


def parse_ceilings(find_header: Callable[[bytes], str | None]) -> Ceilings:
    """Read the headers, by what returns one's value. Raises ``RequestRejected`` (400)."""
    input_max, output_max, cached_input_max, per_request_max = (
        _read_ceiling(find_header(name.encode()), name)
        for name in (INPUT_CEILING, OUTPUT_CEILING, CACHED_INPUT_CEILING, PER_REQUEST_CEILING)
    )
    longer = _read_longer(find_header(LONGER_CEILINGS.encode()))
    if per_request_max is None and (input_max, output_max, cached_input_max) != (None,) * 3:
        # Who charges by a list that says nothing of fees must not be charged one.
        per_request_max = 0
    grade = read_minimum(find_header(MINIMUM_HEADER.encode()))
    return Ceilings(input_max, output_max, cached_input_max, per_request_max, longer, grade)


def read_minimum(text: str | None) -> Grade | None:
    """Read the lowest grade that a header lets through; None: any. Raises ``RequestRejected``."""
    grade = None if text is None else read_grade(text)
    if text is not None and grade is None:
        raise bad_request("invalid_header", f"{MINIMUM_HEADER} must be A, B, C or D.")
    return grade


def _read_longer(text: str | None) -> Tiers:
    try:
        return () if text is None else read_longer(text)
    except ValueError as error:
        raise bad_request("invalid_header", f"{LONGER_CEILINGS} {error}.") from None


def _read_ceiling(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if _CEILING.fullmatch(text) is None:
        base = "a request" if name == PER_REQUEST_CEILING else "a million tokens"
        message = f"{name} must be an integer of 1e-6 USDC for {base}."
        raise bad_request("invalid_header", message)
    return int(text)


def parse_drain(text: str | None) -> float | None:
    """Read how long (seconds) a seller may be read on for a client that has left, at least
    ``DRAIN_FLOOR_S``; None: as long as the market likes. Raises ``RequestRejected`` (400)."""
    if text is None:
        return None
    if _SECONDS.fullmatch(text) is None:
        raise bad_request("invalid_header", f"{DRAIN_HEADER} must be a whole number of seconds.")
    return max(DRAIN_FLOOR_S, float(text))


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
    trusted_only = routing.get("trusted_only")
    if trusted_only is not None and not isinstance(trusted_only, bool):
        raise wrong_type(f"{ROUTING_FIELD}.trusted_only", "true or false")
    return Filters(
        minimum_grade=_read_grade(routing),
        only=_read_names(routing, "only"),
        ignore=_read_names(routing, "ignore"),
        trusted_only=trusted_only,
        input_usdc_per_mtok_max=_read_price(routing, "max_price_input_per_1m"),
        output_usdc_per_mtok_max=_read_price(routing, "max_price_output_per_1m"),
        cached_input_usdc_per_mtok_max=_read_price(routing, "max_price_cached_input_per_1m"),
        per_request_usdc_max=_read_price(routing, "max_price_per_request"),
    )


def _read_grade(routing: Mapping[str, Any]) -> Grade | None:
    value = routing.get("minimum_grade")
    grade = read_grade(value) if isinstance(value, str) else None
    if value is not None and grade is None:
        raise wrong_type(f"{ROUTING_FIELD}.minimum_grade", "A, B, C or D")
    return grade


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
    return frozenset(parse_chosen(item, field=f"{ROUTING_FIELD}.{name}") for item in value)


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
