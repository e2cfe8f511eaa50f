"""What a model costs, and who says so: the operator's file, then the ``genai-prices`` data set.

The operator's file is TOML; prices are decimal strings in US dollars, and a dollar is a USDC::

    [models."SmolLM2-135M-Instruct"]
    input_usd_per_mtok = "0.20"
    output_usd_per_mtok = "0.80"
    context_tokens = 2048      # optional
    image_tokens = 1500        # optional: the most that one image takes; without it none is let in
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any, Final, Literal

from genai_prices.data_snapshot import DataSnapshot, get_snapshot
from genai_prices.types import ModelPrice, TieredPrices
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from contracts.errors import Fatal
from contracts.units import USDC_DECIMALS, USDC_ONE, parse_usdc
from proxy.pricing import Price

Source = Literal["operator", "genai-prices"]

USD_PER_MTOK_MAX: Final = 1_000_000
"""Above it a ceiling might not fit the ledger's integers; surely it is a slip of units."""

_METERED: Final = frozenset(
    {
        "input_mtok",
        "output_mtok",
        # A cached token is charged like any other.
        "cache_read_mtok",
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

    @property
    def price(self) -> Price:
        """The price of a short prompt: what a list shows."""
        return self.tiers[0][1]

    def get_price(self, prompt_bound: int) -> Price:
        """Return the price for a prompt of up to ``prompt_bound`` tokens."""
        return [price for above, price in self.tiers if above == 0 or prompt_bound > above][-1]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    input_usd_per_mtok: str
    output_usd_per_mtok: str
    context_tokens: int | None = Field(default=None, ge=1)
    image_tokens: int | None = Field(default=None, ge=1)

    @field_validator("input_usd_per_mtok", "output_usd_per_mtok")
    @classmethod
    def _check_amount(cls, text: str) -> str:
        if parse_usdc(text) > USD_PER_MTOK_MAX * USDC_ONE:
            raise ValueError(f"more than {USD_PER_MTOK_MAX} US dollars per million tokens")
        return text


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    models: dict[str, _Entry]


@dataclass(frozen=True)
class PriceBook:
    """The operator's prices over the data set's."""

    operator: Mapping[str, Terms]
    data_set: DataSnapshot = field(default_factory=get_snapshot)
    _found: dict[str, Terms | None] = field(default_factory=dict)

    def find_terms(self, model: str) -> Terms | None:
        """Return a model's terms, or None where nobody states them."""
        own = self.operator.get(model)
        return own if own is not None else self.find_direct(model)

    def find_direct(self, model: str) -> Terms | None:
        """Return what the model's own provider charges, or None: the reference for discounts."""
        if model not in self._found:
            # Bounded: the names come from upstream's list and the operator's file only.
            self._found[model] = _look_up(self.data_set, model)
        return self._found[model]


def load_prices(path: Path | None) -> PriceBook:
    """Read the operator's file, if there is one. Raises ``PricesInvalid``."""
    if path is None:
        return PriceBook({})
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
    return PriceBook({name: _from_entry(entry) for name, entry in parsed.models.items()})


def _from_entry(entry: _Entry) -> Terms:
    price = Price(parse_usdc(entry.input_usd_per_mtok), parse_usdc(entry.output_usd_per_mtok))
    return Terms(((0, price),), "operator", entry.context_tokens, entry.image_tokens)


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
    both = (stated["input_mtok"], stated["output_mtok"])
    starts = {0, *(tier.start for value in both for tier in getattr(value, "tiers", ()))}
    return tuple(
        (start, Price(*(_units(value, start) for value in both))) for start in sorted(starts)
    )


def _units(value: Any, start: int) -> int:
    """Return 1e-6 USDC, rounded up, of a price in the tier that begins above ``start``."""
    amount = value
    if isinstance(value, TieredPrices):
        amount = value.base
        for tier in value.tiers:
            if tier.start <= start and start > 0:
                amount = tier.price
    return int(Decimal(amount).scaleb(USDC_DECIMALS).to_integral_value(ROUND_CEILING))
