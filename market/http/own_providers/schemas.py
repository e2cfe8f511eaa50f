"""A buyer's own providers, as requests and answers state them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from market.endpoints.health import Standing
from market.routing.own_providers import AskedWhen

LABEL_MAX = 100
MODELS_MAX = 200


class NewProvider(BaseModel):
    """A provider of the buyer's own."""

    model_config = ConfigDict(extra="forbid")

    base_url: str = Field(description="https, up to and with /v1")
    api_key: str = Field(max_length=4_096, description="sealed on arrival, never shown again")
    models: dict[str, str] = Field(
        min_length=1, max_length=MODELS_MAX, description="names here to the provider's own"
    )
    position: AskedWhen = Field(description="asked before the market, or after it")
    label: str = Field(default="", max_length=LABEL_MAX)


class ProviderChange(BaseModel):
    """The changes to an own provider; omitted fields stay."""

    model_config = ConfigDict(extra="forbid")

    base_url: str | None = Field(
        default=None, description="https, up to and with /v1; needs `api_key` again"
    )
    api_key: str | None = Field(
        default=None, max_length=4_096, description="sealed on arrival, never shown again"
    )
    models: dict[str, str] | None = Field(
        default=None, description="names here to the provider's own"
    )
    position: AskedWhen | None = None
    label: str | None = Field(default=None, max_length=LABEL_MAX)
    status: Literal["active", "paused"] | None = None


class ProviderView(BaseModel):
    """A provider as its buyer sees it. Its key is not in it."""

    id: str
    label: str
    base_url: str
    models: dict[str, str] = Field(description="names here to the provider's own")
    position: AskedWhen
    status: Literal["active", "paused"]
    health: Standing | None = Field(description="null: not looked at yet")
    created_at: int
    updated_at: int


class ProviderList(BaseModel):
    """An account's own providers, oldest first."""

    providers: list[ProviderView]
    fee_usdc_per_request: int = Field(description="what a request to one of them costs here")
