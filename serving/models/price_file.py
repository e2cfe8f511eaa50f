"""The operator's price file: what models cost, in TOML.

Prices are decimal strings in US dollars, and a dollar is a USDC::

    [models."SmolLM2-135M-Instruct"]
    input_usd_per_mtok = "0.20"
    output_usd_per_mtok = "0.80"
    cached_input_usd_per_mtok = "0.05"  # optional: of prompt tokens that the provider had cached
    context_tokens = 2048      # optional
    image_tokens = 1500        # optional: the most that one image takes; without it none is let in
    usd_per_request = "0.01"   # optional: a fee that each request takes beside its tokens

    [[models."SmolLM2-135M-Instruct".tiers]]   # optional: of longer prompts
    above_prompt_tokens = 1000
    input_usd_per_mtok = "0.40"
    output_usd_per_mtok = "1.20"

    [models."a-model-of-images"]
    usd_per = {image = "0.04", megapixel = "0.03"}   # by the units of market/pricing/media_units.py

A proxy and a market can share one file: the proxy takes no notice of media.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from contracts.errors import Fatal
from contracts.units import USDC_ONE, parse_usdc
from serving.models.prices import (
    USD_PER_MTOK_MAX,
    USD_PER_REQUEST_MAX,
    USDC_PER_MTOK_MAX,
    Price,
)
from serving.models.terms import Terms


class PricesInvalid(Fatal):
    """The operator's price file cannot be read or has an error."""


class _TokenPrices(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    input_usd_per_mtok: str | None = None
    output_usd_per_mtok: str | None = None
    cached_input_usd_per_mtok: str | None = None

    @field_validator("input_usd_per_mtok", "output_usd_per_mtok", "cached_input_usd_per_mtok")
    @classmethod
    def _check_amount(cls, text: str | None) -> str | None:
        if text is not None and parse_usdc(text) > USDC_PER_MTOK_MAX:
            raise ValueError(f"more than {USD_PER_MTOK_MAX} US dollars per million tokens")
        return text

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.input_usd_per_mtok is None) != (self.output_usd_per_mtok is None):
            raise ValueError("one of the two token prices is missing")
        cached = self.cached_input_usd_per_mtok
        if cached is None:
            return self
        if self.input_usd_per_mtok is None:
            raise ValueError("cached_input_usd_per_mtok needs input_usd_per_mtok")
        if parse_usdc(cached) > parse_usdc(self.input_usd_per_mtok):
            raise ValueError("cached_input_usd_per_mtok is above input_usd_per_mtok")
        return self

    def to_price(self) -> Price | None:
        """Return the price of tokens, None where none is stated."""
        if self.input_usd_per_mtok is None or self.output_usd_per_mtok is None:
            return None
        cached = self.cached_input_usd_per_mtok
        return Price(
            parse_usdc(self.input_usd_per_mtok),
            parse_usdc(self.output_usd_per_mtok),
            None if cached is None else parse_usdc(cached),
        )


class _Tier(_TokenPrices):
    above_prompt_tokens: int = Field(ge=1)

    @model_validator(mode="after")
    def _check_priced(self) -> Self:
        if self.to_price() is None:
            raise ValueError("no price is stated")
        return self


class _Entry(_TokenPrices):
    tiers: list[_Tier] = Field(default_factory=list)
    usd_per: dict[str, str] = Field(default_factory=dict)
    usd_per_request: str | None = None
    context_tokens: int | None = Field(default=None, ge=1)
    image_tokens: int | None = Field(default=None, ge=1)

    @field_validator("usd_per_request")
    @classmethod
    def _check_fee(cls, text: str | None) -> str | None:
        if text is not None and parse_usdc(text) > USD_PER_REQUEST_MAX * USDC_ONE:
            raise ValueError(f"more than {USD_PER_REQUEST_MAX} US dollars per request")
        return text

    @field_validator("usd_per")
    @classmethod
    def _check_units(cls, prices: dict[str, str]) -> dict[str, str]:
        for text in prices.values():
            parse_usdc(text)
        return prices

    @model_validator(mode="after")
    def _check_priced(self) -> Self:
        if self.to_price() is None and not self.usd_per:
            raise ValueError("no price is stated")
        starts = [tier.above_prompt_tokens for tier in self.tiers]
        if starts != sorted(set(starts)):
            raise ValueError("the tiers are not in ascending order of above_prompt_tokens")
        if starts and self.to_price() is None:
            raise ValueError("tiers need a price of shorter prompts")
        if self.usd_per_request is not None and self.to_price() is None:
            raise ValueError("usd_per_request needs prices of tokens, which may be 0")
        return self

    def to_terms(self, changed: date) -> Terms:
        """Return what the entry says."""
        prices = [(0, self.to_price())]
        prices += [(tier.above_prompt_tokens, tier.to_price()) for tier in self.tiers]
        fee_usdc = 0 if self.usd_per_request is None else parse_usdc(self.usd_per_request)
        return Terms(
            tuple(
                (above, replace(price, per_request_usdc=fee_usdc))
                for above, price in prices
                if price is not None
            ),
            "operator",
            self.context_tokens,
            self.image_tokens,
            date=changed.isoformat(),
            usdc_per_unit={unit: parse_usdc(text) for unit, text in self.usd_per.items()},
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    models: dict[str, _Entry]


def load_price_file(path: Path | None) -> Mapping[str, Terms]:
    """Return the operator's terms by model; empty without a file. Raises ``PricesInvalid``."""
    if path is None:
        return {}
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
    return {name: entry.to_terms(changed) for name, entry in parsed.models.items()}
