"""What a model costs, and who says so: upstream, the operator's file, the ``genai-prices`` data.

The first of these that states a model's price is believed. Upstream states them at its
``/v1/prices``, as ``{"data": [{"id": …, "input_usdc_per_mtok": …, "output_usdc_per_mtok": …}]}``,
with ``cached_input_usdc_per_mtok``, ``context_tokens``, ``image_tokens`` and ``updated_at`` (ISO
8601) where it likes. What it said too long ago does not count any more.

The operator's file is TOML; prices are decimal strings in US dollars, and a dollar is a USDC::

    [models."SmolLM2-135M-Instruct"]
    input_usd_per_mtok = "0.20"
    output_usd_per_mtok = "0.80"
    cached_input_usd_per_mtok = "0.05"  # optional: of prompt tokens that the provider had cached
    context_tokens = 2048      # optional
    image_tokens = 1500        # optional: the most that one image takes; without it none is let in
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any, Final, Literal, Self

from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import ModelPrice, TieredPrices
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from contracts.errors import Fatal
from contracts.units import USDC_DECIMALS, parse_usdc
from serving.models.prices import USD_PER_MTOK_MAX, USDC_PER_MTOK_MAX, Price

Source = Literal["upstream", "operator", "genai-prices"]

CLOCK_TOLERANCE_S: Final = 300
"""A price from further in the future has no age, so it does not count."""

_METERED: Final = frozenset(
    {
        "input_mtok",
        "output_mtok",
        "cache_read_mtok",
        # Writing into the cache is charged as input is.
        "cache_write_mtok",
        "cache_write_1h_mtok",
        # Searches are refused in requests.
        "web_searches_kcount",
        "storage_searches_kcount",
    }
)


class PricesInvalid(Fatal):
    """The operator's price file cannot be read or has an error."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What using a model costs and how much it can take."""

    tiers: tuple[tuple[int, Price], ...]
    """(more than this many prompt tokens, price), ascending; the first is for any prompt."""
    source: Source
    context_tokens: int | None = None
    image_tokens: int | None = None
    stated_at_s: int | None = None
    """When the source said so, in Unix seconds, where it tells."""

    @property
    def price(self) -> Price:
        """The price of a short prompt: what a list shows."""
        return self.tiers[0][1]

    def get_age_s(self, now_s: int) -> int | None:
        """Return how long ago the source said so, in seconds, where it tells."""
        return None if self.stated_at_s is None else max(0, now_s - self.stated_at_s)

    def get_price(self, prompt_bound: int) -> Price:
        """Return the price for a prompt of up to ``prompt_bound`` tokens."""
        return [price for above, price in self.tiers if above == 0 or prompt_bound > above][-1]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    input_usd_per_mtok: str
    output_usd_per_mtok: str
    cached_input_usd_per_mtok: str | None = None
    context_tokens: int | None = Field(default=None, ge=1)
    image_tokens: int | None = Field(default=None, ge=1)

    @field_validator("input_usd_per_mtok", "output_usd_per_mtok", "cached_input_usd_per_mtok")
    @classmethod
    def _check_amount(cls, text: str | None) -> str | None:
        if text is not None and parse_usdc(text) > USDC_PER_MTOK_MAX:
            raise ValueError(f"more than {USD_PER_MTOK_MAX} US dollars per million tokens")
        return text

    @model_validator(mode="after")
    def _check_cached(self) -> Self:
        cached = self.cached_input_usd_per_mtok
        if cached is not None and parse_usdc(cached) > parse_usdc(self.input_usd_per_mtok):
            raise ValueError("cached_input_usd_per_mtok is above input_usd_per_mtok")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    models: dict[str, _Entry]


@dataclass
class PriceBook:
    """Upstream's prices over the operator's over the data set's."""

    operator: Mapping[str, Terms]
    data_set: DataSnapshot = field(default_factory=get_snapshot)
    upstream_age_s_max: int = 86_400
    """How long what upstream said counts, in seconds."""
    _upstream: Mapping[str, Terms] = field(default_factory=dict)
    _found: dict[str, Terms | None] = field(default_factory=dict)

    def note_upstream(self, entries: Sequence[Mapping[str, Any]], *, now_s: int) -> None:
        """Take what upstream says of its prices now. An entry that makes no sense is left out."""
        read = ((entry.get("id"), _read_upstream(entry, now_s=now_s)) for entry in entries)
        self._upstream = {
            name: terms for name, terms in read if isinstance(name, str) and terms is not None
        }

    def find_terms(self, model: str, *, now_s: int) -> Terms | None:
        """Return a model's terms, or None where nobody states them."""
        stated = self._upstream.get(model)
        if stated is not None and stated.stated_at_s is not None:
            age_s = now_s - stated.stated_at_s
            if -CLOCK_TOLERANCE_S <= age_s <= self.upstream_age_s_max:
                return stated
        own = self.operator.get(model)
        return own if own is not None else self.find_direct(model)

    def find_direct(self, model: str) -> Terms | None:
        """Return what the model's own provider charges, or None: the reference for discounts."""
        if model not in self._found:
            # Bounded: the names come from upstream's list and the operator's file only.
            self._found[model] = _look_up(self.data_set, model)
        return self._found[model]


def load_prices(path: Path | None, *, upstream_age_s_max: int = 86_400) -> PriceBook:
    """Read the operator's file, if there is one. Raises ``PricesInvalid``."""
    if path is None:
        return PriceBook({}, upstream_age_s_max=upstream_age_s_max)
    try:
        parsed = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PricesInvalid(f"cannot read the prices in {path}: {error}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise PricesInvalid(f"{path}: {problems}") from None
    operator = {name: _from_entry(entry) for name, entry in parsed.models.items()}
    return PriceBook(operator, upstream_age_s_max=upstream_age_s_max)


def _from_entry(entry: _Entry) -> Terms:
    cached = entry.cached_input_usd_per_mtok
    price = Price(
        parse_usdc(entry.input_usd_per_mtok),
        parse_usdc(entry.output_usd_per_mtok),
        None if cached is None else parse_usdc(cached),
    )
    return Terms(((0, price),), "operator", entry.context_tokens, entry.image_tokens)


def _read_upstream(entry: Mapping[str, Any], *, now_s: int) -> Terms | None:
    """Return upstream's terms for one model, or None where they make no sense."""
    prices = [_read_integer(entry, name, USDC_PER_MTOK_MAX) for name in _UPSTREAM_PRICES]
    input_price, output_price, cached_price = prices
    if input_price is None or output_price is None:
        return None
    if cached_price is not None:
        cached_price = min(cached_price, input_price)
    stated_at_s: int | None = now_s
    if entry.get("updated_at") is not None:
        stated_at_s = _read_time(entry["updated_at"])
    if stated_at_s is None:
        return None
    return Terms(
        ((0, Price(input_price, output_price, cached_price)),),
        "upstream",
        _read_integer(entry, "context_tokens", _TOKENS_MAX),
        _read_integer(entry, "image_tokens", _TOKENS_MAX),
        stated_at_s,
    )


_UPSTREAM_PRICES: Final = (
    "input_usdc_per_mtok",
    "output_usdc_per_mtok",
    "cached_input_usdc_per_mtok",
)
_TOKENS_MAX: Final = 2**31


def _read_integer(entry: Mapping[str, Any], name: str, most: int) -> int | None:
    value = entry.get(name)
    return value if type(value) is int and 0 <= value <= most else None


def _read_time(value: Any) -> int | None:
    try:
        parsed = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())


def _look_up(data_set: DataSnapshot, model: str) -> Terms | None:
    try:
        _, info = data_set.find_provider_model(model, None, None, None)
    except LookupError:
        return None
    tiers = _read_tiers(info.get_prices(datetime.now(UTC)))
    return None if tiers is None else Terms(tiers, "genai-prices", info.context_window)


def _read_tiers(prices: ModelPrice) -> tuple[tuple[int, Price], ...] | None:
    """Return the tiers, or None for a model that also charges for what we do not count."""
    stated = {name: value for name, value in vars(prices).items() if value is not None}
    if not stated.keys() <= _METERED or not {"input_mtok", "output_mtok"} <= stated.keys():
        return None
    values = [stated.get(name) for name in ("input_mtok", "output_mtok", "cache_read_mtok")]
    starts = {0, *(tier.start for value in values for tier in getattr(value, "tiers", ()))}
    return tuple((start, _build_price(values, start)) for start in sorted(starts))


def _build_price(values: Sequence[Any], start: int) -> Price:
    input_price, output_price, cached_price = (
        None if value is None else _units(value, start) for value in values
    )
    assert input_price is not None
    assert output_price is not None
    if cached_price is not None:
        cached_price = min(cached_price, input_price)
    return Price(input_price, output_price, cached_price)


def _units(value: Any, start: int) -> int:
    """Return 1e-6 USDC, rounded up, of a price in the tier that begins above ``start``."""
    amount = value
    if isinstance(value, TieredPrices):
        amount = value.base
        for tier in value.tiers:
            if tier.start <= start and start > 0:
                amount = tier.price
    return int(Decimal(amount).scaleb(USDC_DECIMALS).to_integral_value(ROUND_CEILING))
