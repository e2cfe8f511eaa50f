"""Prices as answers state them, and amounts as requests do."""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, Field, WithJsonSchema

from market.pricing.media_units import UNITS, Base
from serving.models.terms import Source

Amount = Annotated[
    float | str,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0},
                {"type": "string", "pattern": r"^[0-9]{1,20}(\.[0-9]{1,6})?$"},
            ]
        }
    ),
]
"""A number or a decimal string, read exactly; more than six decimals are refused."""

UnitName = Literal["image", "megapixel", "1k_characters", "second", "minute", "video", "track"]
assert set(UNITS) == set(get_args(UnitName))


class TierPrice(BaseModel):
    """The prices of a request with a longer prompt: for all its tokens, and its answer's."""

    above_prompt_tokens: int = Field(
        description="the tier is for prompts with more tokens than this"
    )
    input_usdc_per_mtok: int
    output_usdc_per_mtok: int
    cached_input_usdc_per_mtok: int | None = Field(description="null: the input price")
    per_request_usdc: int


Tiers = Annotated[
    list[TierPrice], Field(description="prices of longer prompts, ascending; empty for most models")
]


class UsdcTokenPrice(BaseModel):
    """Prices of tokens in the ledger's unit; null for a model that is not sold by tokens."""

    input_usdc_per_mtok: int | None = Field(description="null: not sold by tokens")
    output_usdc_per_mtok: int | None = Field(description="null: not sold by tokens")
    cached_input_usdc_per_mtok: int | None = Field(description="null: the input price")
    per_request_usdc: int | None = Field(description="beside the tokens; null: not sold by tokens")
    tiers: Tiers


class OptionalTokenPrice(UsdcTokenPrice):
    """Prices of tokens in dollars and in the ledger's unit; null if not sold by tokens."""

    price_input_per_1m: float | None = Field(description="null: not sold by tokens")
    price_output_per_1m: float | None = Field(description="null: not sold by tokens")
    price_cached_input_per_1m: float | None = Field(description="null: the input price")


class TokenPrice(OptionalTokenPrice):
    """What tokens cost, in dollars and in the ledger's unit."""

    price_input_per_1m: float
    price_output_per_1m: float
    input_usdc_per_mtok: int
    output_usdc_per_mtok: int


class UnitPrice(BaseModel):
    """What one unit of a medium costs."""

    unit: UnitName
    price_per_unit: float


class OfferPrice(OptionalTokenPrice):
    """An offer's price: of tokens, or of a unit. The other kind's fields are null."""

    unit: UnitName | None = Field(description="null: sold by tokens")
    price_per_unit: float | None = Field(description="null: sold by tokens")


class ReferencePrice(OptionalTokenPrice):
    """What a model costs at its own provider, who says so, and since when."""

    usdc_per_million: dict[Base, int] = Field(
        description="1e-6 USDC for a million of each base that media are counted in"
    )
    source: Source
    date: str = Field(description="the day of the operator's file, or the data set's release")


class ModelReference(BaseModel):
    """A model with its reference price."""

    model: str
    reference: ReferencePrice | None = Field(description="null: no reference price is known")
