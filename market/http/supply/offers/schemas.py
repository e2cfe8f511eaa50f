"""A supplier's offers, as requests and answers state them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from market.http.health import HealthView
from market.listing.offers import RPM_MAX
from market.suppliers.offer_wishes import LEGAL_BASIS_MAX, MODELS_MAX, QUOTA_MAX

ProviderType = Literal[
    "openai_compatible",
    "anthropic",
    "openai",
    "deepseek",
    "bedrock",
    "azure_openai",
    "mistral",
    "groq",
    "together",
    "fireworks",
    "xai",
]
SupplyStatus = Literal[
    "pending_probe", "active", "paused", "probe_failed", "exhausted", "suspended"
]
Money = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,20}(\.[0-9]{1,6})?$"})
]
"""US dollars as a decimal string."""


class _Terms(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rate_limit_rpm: int | None = Field(
        default=None,
        ge=1,
        le=RPM_MAX,
        description="a hard ceiling of all models together, in any 60 seconds, over all processes;"
        " null: none",
    )
    quota_total: int | None = Field(
        default=None,
        ge=1,
        le=QUOTA_MAX,
        description="a hard ceiling of all models together, in tokens; null: none",
    )
    legal_basis: str | None = Field(
        default=None,
        max_length=LEGAL_BASIS_MAX,
        description="what lets you resell this; null: as declared in the KYB form",
    )


class SupplyOfferWish(_Terms):
    """A new offer."""

    provider_type: ProviderType = Field(
        description="a provider's name only fills in its base URL; all are called by OpenAI's API"
    )
    api_key: str = Field(description="the provider's key: sealed, and shown to nobody")
    base_url: str | None = Field(
        default=None, description="https; left out: the named provider's own"
    )
    model_list: list[str] = Field(min_length=1, max_length=MODELS_MAX)
    bid_price_per_1m_usdt: Money = Field(
        description="US dollars for 1e6 tokens, of the prompt and of the answer alike"
    )


class SupplyOfferChange(_Terms):
    """What is to change; all else stays. Requests in flight keep their price."""

    api_key: str | None = Field(default=None, description="then the offer is probed again")
    base_url: str | None = Field(default=None, description="another place needs `api_key` again")
    bid_price_per_1m_usdt: Money | None = None
    status: Literal["active", "paused"] | None = Field(
        default=None, description="as `/resume` and `/pause`"
    )


class ProbedModel(BaseModel):
    """What a probe found of one model."""

    model: str
    ok: bool
    latency_ms: int
    cause: str | None = Field(description="why it failed; null: it did not")
    detail: str | None = Field(description="the endpoint's own words, without your key and URL")


class ProbeReport(BaseModel):
    """The last probe: one "ping" to each model, of 16 output tokens at most."""

    ok: bool
    probed_at: int
    models: list[ProbedModel]


class ListedModel(BaseModel):
    """One model of an offer, as the market lists it."""

    model: str
    offer_id: str = Field(description="its id in the book")
    suspended_for: str | None = Field(
        description="why the market took it out of the order; null: it did not"
    )
    health: HealthView | None = Field(description="null: it is not listed now")


class SupplyOfferView(BaseModel):
    """An offer as its supplier sees it."""

    id: str
    provider_type: ProviderType
    base_url: str
    model_list: list[str]
    bid_price_per_1m_usdt: Money
    rate_limit_rpm: int | None = Field(description="null: none")
    quota_total: int | None = Field(description="null: none")
    quota_used: int = Field(description="tokens that were sold")
    quota_reserved: int = Field(description="tokens that requests in flight may come to")
    legal_basis: str | None = Field(description="null: as declared in the KYB form")
    status: SupplyStatus
    is_probe_due: bool = Field(description="whether a probe is being made or waits to be")
    probe: ProbeReport | None = Field(description="null: there was none")
    models: list[ListedModel]
    created_at: int
    updated_at: int


class SupplyOfferPage(BaseModel):
    """Offers, oldest first."""

    offers: list[SupplyOfferView]
    next_cursor: str | None = Field(description="null: this was the last page")


class SupplyOfferDeleted(BaseModel):
    """The offer is gone, its key erased. What it sold is settled all the same."""

    id: str
    deleted: Literal[True] = True
