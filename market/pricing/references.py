"""What a model costs at its own provider: the reference that discounts and multipliers stand on.

The operator's file says it first, then the ``genai-prices`` data set. The file is TOML; prices are
decimal strings in US dollars, and a dollar is a USDC::

    [models."SmolLM2-135M-Instruct"]
    input_usd_per_mtok = "0.20"
    output_usd_per_mtok = "0.80"
    context_tokens = 2048      # optional
    image_tokens = 1500        # optional: the most that one image takes; without it none is let in

    [models."a-model-of-images"]
    usd_per = {image = "0.04", megapixel = "0.03"}   # by the units of market/pricing/units.py

A medium without a price here has none: the data set knows tokens only.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_FLOOR, Decimal
from importlib.metadata import version
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
from contracts.units import USDC_DECIMALS, USDC_ONE, parse_usdc
from market.pricing.units import UNITS, USD_PER_UNIT_MAX, Base
from serving.models.prices import USD_PER_MTOK_MAX, Price

Source = Literal["operator", "genai-prices"]

LOOKED_UP_MAX: Final = 10_000
"""Names kept in memory: what is asked for is the public's choice."""


class PricesInvalid(Fatal):
    """The operator's price file cannot be read or has an error."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A model's price at its provider, for a short prompt, and who says so since when."""

    price: Price | None
    """Of tokens; None where it is not sold by them."""
    source: Source
    date: str
    context_tokens: int | None = None
    image_tokens: int | None = None
    media: Mapping[Base, Price] = field(default_factory=dict)
    """Prices for a million of each base that media are counted in."""

    def find_price(self, base: Base) -> Price | None:
        """Return the price of what is counted in ``base``, where it is stated."""
        return self.price if base is Base.TOKEN else self.media.get(base)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    input_usd_per_mtok: str | None = None
    output_usd_per_mtok: str | None = None
    usd_per: dict[str, str] = Field(default_factory=dict)
    context_tokens: int | None = Field(default=None, ge=1)
    image_tokens: int | None = Field(default=None, ge=1)

    @field_validator("input_usd_per_mtok", "output_usd_per_mtok")
    @classmethod
    def _check_amount(cls, text: str | None) -> str | None:
        if text is not None and parse_usdc(text) > USD_PER_MTOK_MAX * USDC_ONE:
            raise ValueError(f"more than {USD_PER_MTOK_MAX} US dollars per million tokens")
        return text

    @field_validator("usd_per")
    @classmethod
    def _check_units(cls, prices: dict[str, str]) -> dict[str, str]:
        for unit, text in prices.items():
            if unit not in UNITS:
                raise ValueError(f"{unit!r} is not one of {', '.join(UNITS)}")
            if parse_usdc(text) > USD_PER_UNIT_MAX * USDC_ONE:
                raise ValueError(f"more than {USD_PER_UNIT_MAX} US dollars per {unit}")
        if len({UNITS[unit].base for unit in prices}) < len(prices):
            raise ValueError("two units of one kind")
        return prices

    @model_validator(mode="after")
    def _check_priced(self) -> Self:
        if (self.input_usd_per_mtok is None) != (self.output_usd_per_mtok is None):
            raise ValueError("one of the two token prices is missing")
        if self.input_usd_per_mtok is None and not self.usd_per:
            raise ValueError("no price is stated")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    models: dict[str, _Entry]


@dataclass(frozen=True)
class References:
    """The operator's prices over the data set's."""

    operator: Mapping[str, Reference]
    data_set: DataSnapshot = field(default_factory=get_snapshot)
    _found: dict[str, Reference | None] = field(default_factory=dict)

    def find(self, model: str) -> Reference | None:
        """Return a model's reference price, or None where nobody states one."""
        own = self.operator.get(model)
        if own is not None:
            return own
        if model not in self._found:
            if len(self._found) >= LOOKED_UP_MAX:
                self._found.clear()
            self._found[model] = _look_up(self.data_set, model)
        return self._found[model]

    def find_price(self, model: str, base: Base) -> Price | None:
        """Return the reference price of what is counted in ``base``, where it is stated."""
        reference = self.find(model)
        return None if reference is None else reference.find_price(base)


def load_references(path: Path | None) -> References:
    """Read the operator's file, if there is one. Raises ``PricesInvalid``."""
    if path is None:
        return References({})
    try:
        text = path.read_text(encoding="utf-8")
        changed = datetime.fromtimestamp(path.stat().st_mtime, UTC).date()
        parsed = _File.model_validate(tomllib.loads(text))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PricesInvalid(f"cannot read the prices in {path}: {error}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors(include_url=False)
        )
        raise PricesInvalid(f"{path}: {problems}") from None
    return References({name: _from_entry(e, changed) for name, e in parsed.models.items()})


def _from_entry(entry: _Entry, changed: date) -> Reference:
    price = None
    if entry.input_usd_per_mtok is not None and entry.output_usd_per_mtok is not None:
        price = Price(parse_usdc(entry.input_usd_per_mtok), parse_usdc(entry.output_usd_per_mtok))
    return Reference(
        price,
        "operator",
        changed.isoformat(),
        entry.context_tokens,
        entry.image_tokens,
        {UNITS[u].base: UNITS[u].to_price(parse_usdc(t)) for u, t in entry.usd_per.items()},
    )


def _look_up(data_set: DataSnapshot, model: str) -> Reference | None:
    try:
        _, info = data_set.find_provider_model(model, None, None, None)
    except LookupError:
        return None
    price = _read_price(info.get_prices(datetime.now(UTC)))
    if price is None:
        return None
    release = f"genai-prices {version('genai-prices')}"
    return Reference(price, "genai-prices", release, info.context_window)


def _read_price(prices: ModelPrice) -> Price | None:
    """Return the price of a short prompt, rounded down: the direct cost is never overstated."""
    both = (prices.input_mtok, prices.output_mtok)
    if both[0] is None:
        return None
    # An embedding has no output.
    return Price(_units(both[0]), 0 if both[1] is None else _units(both[1]))


def _units(value: Any) -> int:
    amount = value.base if isinstance(value, TieredPrices) else value
    return int(Decimal(amount).scaleb(USDC_DECIMALS).to_integral_value(ROUND_FLOOR))
