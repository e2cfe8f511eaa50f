"""The catalogue as answers state it."""

from typing import Literal

from pydantic import BaseModel, Field


class ModelEntry(BaseModel):
    """One model. A model without prices cannot be used."""

    id: str
    owned_by: str
    input_usdc_per_mtok: int | None = Field(description="1e-6 USDC per 1e6 prompt tokens")
    cached_input_usdc_per_mtok: int | None = Field(description="the same, of cached ones")
    output_usdc_per_mtok: int | None = Field(description="1e-6 USDC per 1e6 output tokens")
    per_request_usdc: int | None = Field(description="what a request costs beside its tokens")
    price_source: Literal["upstream", "operator", "genai-prices"] | None
    price_age_s: int | None = Field(description="since the source said so, where it tells")
    context_tokens: int | None


class ModelCatalogue(BaseModel):
    """The live catalogue. ``fallback`` is there, and true, only while upstream is down."""

    models: list[ModelEntry]
    fallback: Literal[True] | None = None


class OpenAiModel(ModelEntry):
    """A model as OpenAI lists it, with additional fields of the proxy."""

    object: Literal["model"] = "model"
    created: int = 0


class OpenAiModelList(BaseModel):
    """What OpenAI's SDKs expect of ``/v1/models``."""

    object: Literal["list"] = "list"
    data: list[OpenAiModel]


class ClaudeModel(BaseModel):
    """A model as Anthropic lists it."""

    type: Literal["model"] = "model"
    id: str
    display_name: str
    created_at: str = "1970-01-01T00:00:00Z"


class ClaudeModelList(BaseModel):
    """What Anthropic's SDKs expect of ``/v1/models``: all models on one page."""

    data: list[ClaudeModel]
    has_more: Literal[False] = False
    first_id: str | None
    last_id: str | None
