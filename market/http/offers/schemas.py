"""A seller's offers, as requests and answers state them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from market.http.health import HealthView
from market.http.prices import Amount, ModelReference, UnitName
from market.listing.offer_tiers import ABOVE_MAX
from serving.dialects.serving_facts import QUANTIZATIONS
from serving.models.grades import Grade
from serving.models.price_list import TIERS_MAX

STATUS = Literal["active", "paused"]


class NewTier(BaseModel):
    """The prices of all tokens of a request with a longer prompt."""

    model_config = ConfigDict(extra="forbid")

    above_prompt_tokens: int = Field(
        ge=1, le=ABOVE_MAX, description="the tier is for prompts with more tokens than this"
    )
    price_input_per_1m: Amount
    price_output_per_1m: Amount
    price_cached_input_per_1m: Amount | None = Field(
        default=None, description="at most the tier's input price; left out: that price"
    )


class OfferTier(BaseModel):
    """The prices of all tokens of a request with a longer prompt, as an offer states them."""

    above_prompt_tokens: int = Field(
        description="the tier is for prompts with more tokens than this"
    )
    price_input_per_1m: float
    price_output_per_1m: float
    price_cached_input_per_1m: float | None = Field(description="null: the tier's input price")


class DeclaredFacts(BaseModel):
    """How requests are served, by the seller's own word.

    It counts for sellers whom the operator has approved, as far as the operator's table of hosts
    allows; of others it counts as nothing declared.
    """

    model_config = ConfigDict(extra="forbid")

    zdr: bool | None = Field(default=None, description="whether nothing of a request is kept")
    data_collection: Literal["allow", "deny"] | None = Field(
        default=None, description="`deny`: nobody trains on requests"
    )
    region: str | None = Field(default=None, description="where requests are processed: eu, us …")
    quantization: str | None = Field(
        default=None, description=f"of the weights: {', '.join(QUANTIZATIONS[:-1])}"
    )
    parameters: list[str] | None = Field(
        default=None, description="fields of a request that are obeyed, such as tools, seed"
    )


class _OfferFields(BaseModel):
    model_config = ConfigDict(extra="forbid")

    upstream_model: str | None = Field(
        default=None,
        max_length=200,
        description="the endpoint's own name of the model; never another model's name",
    )
    label: str | None = Field(
        default=None, description="what the seller calls the endpoint: shown, and decides nothing"
    )
    provider: str | None = Field(
        default=None, description="taken as `label`: whose endpoint it is says its host"
    )
    price_input_per_1m: Amount | None = None
    price_output_per_1m: Amount | None = None
    price_cached_input_per_1m: Amount | None = Field(
        default=None,
        description="of prompt tokens that the endpoint had cached, at most `price_input_per_1m`;"
        " left out: they cost what other prompt tokens do",
    )
    price_per_request: Amount | None = Field(
        default=None, description="of each request, beside its tokens; left out: nothing"
    )
    tiers: list[NewTier] | None = Field(
        default=None,
        min_length=1,
        max_length=TIERS_MAX,
        description="prices of longer prompts, ascending; left out: they cost what short ones do",
    )
    cost_multiplier: Amount | None = Field(
        default=None, description="of the reference price, in place of prices; 0.5 is half of it"
    )
    price_per_unit: Amount | None = Field(default=None, description="where there is a `unit`")
    cap_daily_usd: Amount | None = Field(default=None, description="most to sell in a UTC day")
    quota_total_usd: Amount | None = Field(default=None, description="most to sell in all")
    rate_limit_rpm: int | None = Field(default=None, ge=1, le=1_000_000)
    quota_resets_at: int | str | None = Field(
        default=None, description="when what is unsold of it expires: an instant"
    )
    floor_pct: int | None = Field(
        default=None, ge=1, le=99, description="of its prices, to which they fall until then"
    )
    payout_address: str | None = Field(
        default=None, description="an Ethereum address with its checksum; else the seller's own"
    )
    declares: DeclaredFacts | None = None


class NewOffer(_OfferFields):
    """An offer to list: prices of tokens, a price of a unit, or a multiplier alone."""

    model: str = Field(max_length=200)
    api_key: str = Field(max_length=4_096, description="sealed on arrival, never shown again")
    seller_base_url: str = Field(description="https, up to and with /v1")
    unit: UnitName | None = Field(default=None, description="of media, in place of tokens")


class OfferChange(_OfferFields):
    """The changes to an offer; omitted fields stay. Null lifts a cap, a fee or the
    prices of longer prompts, and makes cached tokens cost what other prompt tokens do."""

    api_key: str | None = Field(
        default=None, max_length=4_096, description="sealed on arrival, never shown again"
    )
    seller_base_url: str | None = Field(
        default=None, description="https, up to and with /v1; needs `api_key` again"
    )
    status: STATUS | None = None


class DiscoveryWish(BaseModel):
    """An endpoint and a key to it."""

    model_config = ConfigDict(extra="forbid")

    api_key: str = Field(max_length=4_096, description="not kept")
    seller_base_url: str = Field(description="https, up to and with /v1")


class OfferView(BaseModel):
    """An offer as its seller sees it. The provider's key is not in it."""

    id: str
    model: str
    upstream_model: str
    provider: str = Field(description="whose endpoint it is, by its host")
    grade: Grade = Field(
        description="provenance: A its maker, B a known company, C attested, D any other host"
    )
    label: str = Field(description="what the seller calls it; may be empty")
    seller_base_url: str
    price_input_per_1m: float | None
    price_output_per_1m: float | None
    price_cached_input_per_1m: float | None = Field(description="null: the input price")
    price_per_request: float | None = Field(description="beside the tokens; null: nothing")
    tiers: list[OfferTier] = Field(description="prices of longer prompts; mostly none")
    unit: UnitName | None
    price_per_unit: float | None
    cost_multiplier: float | None = Field(description="of the reference price")
    cap_daily_usd: float | None = Field(description="null: no cap")
    quota_total_usd: float | None = Field(description="null: no cap")
    rate_limit_rpm: int | None = Field(description="null: no limit")
    quota_resets_at: int | None = Field(description="null: what is unsold does not expire")
    floor_pct: int | None = Field(description="null: its prices do not fall")
    payout_address: str
    declares: DeclaredFacts | None
    status: STATUS
    suspended_for: str | None = Field(
        description="why the market sends it no requests, until its operator lets it; null: it does"
    )
    used_today_usd: float
    used_total_usd: float
    created_at: int
    updated_at: int
    health: HealthView | None = Field(description="null: not in the book yet")


class OfferList(BaseModel):
    """A seller's offers, oldest first."""

    offers: list[OfferView]


class Deleted(BaseModel):
    """An offer that was taken down; its key is erased."""

    id: str
    deleted: Literal[True] = True


class Discovery(BaseModel):
    """What a provider's key can serve."""

    models: list[ModelReference]
