"""What everybody may see of the market, as answers state it."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from market.endpoints.health import Standing
from market.http.offers.schemas import OfferTier
from market.http.prices import (
    ModelReference,
    OfferPrice,
    TokenPrice,
    UnitName,
    UnitPrice,
    UsdcTokenPrice,
)
from market.media.requests import Medium
from market.pricing.media_units import Base
from market.routing.own_providers import AskedWhen
from market.routing.ranking import Drop
from serving.dialects.endpoints import Endpoint
from serving.models.grades import Grade

GRADE = "provenance: A its maker, B a known company, C attested, D any other host"


class ModelEntry(BaseModel):
    """A model as OpenAI lists it."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(default=0, description="always 0: unknown")
    owned_by: Literal["market"] = "market"
    context_length: int | None = Field(description="tokens; null: unknown")
    grades: list[Grade] = Field(
        description=f"{GRADE}, of the offers that serve now: the best first"
    )


class ModelList(BaseModel):
    """The models that are sold here, by name."""

    object: Literal["list"] = "list"
    data: list[ModelEntry]


class MarketSummary(ModelReference):
    """One model's market in short: how many sell, and the best price of each kind."""

    offers: int = Field(description="active ones")
    serviceable_offers: int = Field(description="those that a request could go to now")
    best: TokenPrice | None = Field(description="null: no offer sells it by tokens")
    best_discount_pct: float | None = Field(description="null: no reference price proves any")
    media: dict[Base, UnitPrice] = Field(description="the best price of each base of media")
    valid_until: int | None = Field(
        description="until when the best offers cost no more than this by themselves; null: open"
    )


class MarketList(BaseModel):
    """Each model's market, by name."""

    markets: list[MarketSummary]


class PriceEntry(UsdcTokenPrice, MarketSummary):
    """What a buyer's price list needs of a model. Prices of tokens are of the best offer."""

    id: str
    updated_at: str = Field(description="when this was so")
    context_tokens: int | None
    image_tokens: int | None = Field(description="the most that one image takes")


class PriceList(BaseModel):
    """The price of each model, by name."""

    data: list[PriceEntry]


class OfferFacts(BaseModel):
    """How an offer serves, as far as its seller's word counts: see `declares` of an offer."""

    zdr: bool
    data_collection: Literal["allow", "deny"]
    region: str | None = Field(description="null: unknown")
    quantization: str | None = Field(description="null: unknown")
    parameters: list[str] | None = Field(
        description="of the fields that not everybody obeys, those that it does; null: unknown"
    )


class OfferMeasured(BaseModel):
    """How an offer did in the last 30 to 60 minutes, by the requests of this process."""

    requests: int = Field(description="served, or failed by the seller")
    uptime_pct: float | None = Field(description="per cent of these, served; null: none yet")
    first_token_ms_p50: int | None = Field(description="milliseconds, of streams; null: none yet")
    first_token_ms_p95: int | None = Field(
        description="milliseconds, within which 95 % of streams began; null: none yet"
    )
    throughput_tps_p50: int | None = Field(description="output tokens a second; null: none yet")
    throughput_tps_p95: int | None = Field(description="what 95 % of requests reach at least")
    tool_calls: int = Field(description="calls of tools in its answers")
    tool_calls_valid_pct: float | None = Field(
        description="per cent: of a known function, all it requires given; null: none yet"
    )


class BookOffer(OfferPrice):
    """One offer of a model."""

    offer_id: str
    provider: str = Field(description="whose endpoint it is, by its host")
    label: str = Field(description="what the seller calls it; may be empty")
    grade: Grade = Field(description=GRADE)
    trusted: bool
    discount_pct: float | None = Field(description="null: no reference price proves any")
    health: Standing
    serviceable: bool
    valid_until: int | None = Field(description="until when its price stands; null: open")
    left_today_usd: float | None = Field(description="what it can still sell; null: no cap")
    facts: OfferFacts
    measured: OfferMeasured


class ModelBook(ModelReference):
    """One model's offers, a page of them, and how much they can still sell.

    Those that serve where a request does not say whom it trusts come first, the cheapest before
    the others; then those of sellers that are not approved.
    """

    offers: list[BookOffer]
    serviceable_depth_usd: float | None = Field(
        description="of all that serve where a request does not say whom it trusts; null: an offer"
        " has no cap"
    )
    next_cursor: str | None = Field(description="pass it as `cursor`; null on the last page")


class EstimatedTokens(BaseModel):
    """The tokens that a request is ranked for."""

    prompt: int
    completion: int


class EstimatedQuantity(BaseModel):
    """How much of a medium a request is ranked for."""

    base: Base
    quantity: int


class RankedOffer(BaseModel):
    """An offer that would be tried, at its place in the order."""

    offer_id: str
    provider: str = Field(description="whose endpoint it is, by its host")
    grade: Grade = Field(description=GRADE)
    estimated_cost_usdc: int
    ceiling_usdc: int = Field(description="what would be reserved")
    estimated_discount_pct: float | None = Field(description="null: no reference price")
    cached_input_usdc_per_mtok: int | None = Field(
        description="the estimate counts on no cache; null: the input price, or no tokens"
    )
    per_request_usdc: int = Field(description="part of the estimate and of the ceiling")
    why: str | None = Field(
        description="why it comes before the cheapest; null: it is next by cost"
    )


class DroppedOffer(RankedOffer):
    """An offer that would not be tried."""

    reason: Drop


class OwnProviderEstimate(BaseModel):
    """A provider of the buyer's own that would be asked."""

    provider_id: str
    label: str
    position: AskedWhen
    health: Standing
    estimated_cost_usdc: int


class RouteExplained(BaseModel):
    """The order in which a request would be served, and why other offers would not."""

    model: str
    minimum_discount_pct: int | None
    estimated_tokens: EstimatedTokens | None = Field(description="null: media")
    estimated_quantity: EstimatedQuantity | None = Field(description="null: text")
    direct_cost_usdc: int | None = Field(
        description="at the reference price; null: the model has no reference price"
    )
    ranked: list[RankedOffer]
    dropped: list[DroppedOffer]
    not_shown: dict[Drop, int] = Field(
        description="how many more offers would not be tried, by why: those of sellers that are not"
        " approved, where the request takes approved ones only"
    )
    own_providers: list[OwnProviderEstimate] | None = Field(
        description="null: no buyer's key came along"
    )


class SaleEvent(BaseModel):
    """A request was served. Nothing tells of the buyer."""

    event: Literal["sale"] = "sale"
    at: int = Field(description="Unix seconds")
    model: str
    endpoint: Endpoint | Medium
    offer_id: str
    prompt_tokens: int | None = Field(description="null: media")
    completion_tokens: int | None = Field(description="null: media")
    cached_tokens: int | None = Field(description="of the prompt; null: media, or not noted then")
    base: Base | None = Field(description="null: text")
    quantity: int | None = Field(description="of the base; null: text")
    cost_usdc: int


class OfferEvent(BaseModel):
    """An offer was listed, changed or taken down. The price is as it is now."""

    event: Literal["offer_listed", "offer_changed", "offer_deleted"]
    at: int = Field(description="Unix seconds")
    model: str
    offer_id: str
    provider: str = Field(description="whose endpoint it is, by its host")
    label: str = Field(description="what the seller calls it; may be empty")
    status: Literal["active", "paused", "deleted"]
    price_input_per_1m: float | None
    price_output_per_1m: float | None
    price_cached_input_per_1m: float | None = Field(description="null: the input price")
    price_per_request: float | None = Field(description="beside the tokens; null: nothing")
    tiers: list[OfferTier] = Field(description="prices of longer prompts; mostly none")
    unit: UnitName | None = Field(description="null: sold by tokens")
    price_per_unit: float | None
    cost_multiplier: float | None = Field(description="of the reference price, in place of prices")


Event = Annotated[SaleEvent | OfferEvent, Field(discriminator="event")]


class FeedPage(BaseModel):
    """The market's events, newest first."""

    events: list[Event]
    next_cursor: str | None = Field(description="pass it as `cursor`; null on the last page")
