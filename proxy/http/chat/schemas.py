"""Completions and quotes as the document states them."""

from typing import Any, Final

from pydantic import BaseModel, Field

from serving.dialects.shapes import (
    ChatRequest,
    EmbeddingRequest,
    PassThrough,
    ProviderPolicy,
)
from serving.dialects.shapes import CompletionRequest as TextRequest
from serving.http.document.schemas import ErrorDetail
from serving.models.terms import Source


class QuotedOffer(BaseModel):
    """One model that could serve a request. Prices in 1e-6 USDC per 1e6 tokens."""

    model: str
    input_usdc_per_mtok: int
    cached_input_usdc_per_mtok: int
    per_request_usdc: int = Field(description="what the request costs beside its tokens")
    output_usdc_per_mtok: int
    price_source: Source
    price_age_s: int | None
    prompt_tokens_bound: int
    max_tokens: int
    ceiling_usdc: int


class QuoteView(BaseModel):
    """What a completion would reserve. A moment later it may be otherwise."""

    admitted: bool
    refusal: ErrorDetail | None = Field(description="the error that it would get")
    model: str
    required_usdc: int = Field(description="the ceiling that would be reserved")
    max_tokens_applied: int
    max_tokens_requested: int | None
    choices: int
    fit: bool
    remaining_usdc: int | None = Field(description="what it would leave of the hold")
    offers: list[QuotedOffer] = Field(description="the candidates, cheapest first")


class OwnFields(PassThrough):
    """The proxy's own fields of a request: they do not reach the provider."""

    models: list[str] | None = Field(
        default=None, max_length=8, description="models to try in order, after `model` if it is set"
    )
    fit: bool | None = Field(
        default=None, description="lower max_tokens to what is held instead of refusing"
    )
    max_cost_usdc: int | None = Field(
        default=None, ge=0, description="the most to reserve for it, in 1e-6 USDC"
    )
    min_discount_pct: int | None = Field(
        default=None, ge=0, le=100, description="below the reference price, at least"
    )
    provider: ProviderPolicy | list[ProviderPolicy] | None = None


class CompletionRequest(OwnFields, ChatRequest):
    """A chat to complete. The proxy's own fields do not reach the provider."""

    model: str = Field(min_length=1, max_length=200, description='a model\'s id, or "cheapest"')
    max_tokens: int | None = Field(
        default=None, ge=1, description="capped by the operator, at 4096 unless raised"
    )


class MeteredTextRequest(OwnFields, TextRequest):
    """A text to complete. The proxy's own fields do not reach the provider."""

    model: str = Field(min_length=1, max_length=200, description='a model\'s id, or "cheapest"')
    max_tokens: int | None = Field(
        default=None, ge=1, description="capped by the operator, at 4096 unless raised"
    )


class MeteredEmbeddingRequest(OwnFields, EmbeddingRequest):
    """Texts to embed. The proxy's own fields do not reach the provider."""


COMPLETION_HEADERS: Final[dict[str, Any]] = {
    name: {"description": description, "schema": {"type": kind}}
    for name, kind, description in (
        ("x-request-id", "string", "the request's id; its receipt is at /receipts/{requestId}"),
        ("x-current-cost-usdc", "integer", "what was charged, in 1e-6 USDC"),
        ("x-current-reserved-usdc", "integer", "the ceiling that was reserved, in 1e-6 USDC"),
        ("x-current-remaining-usdc", "integer", "what is left of the hold now, in 1e-6 USDC"),
        ("x-current-model", "string", "the model that answered"),
        ("x-current-max-tokens-applied", "integer", "the output limit that was applied"),
        ("x-current-served-by", "string", "the seller that served; upstream where it names none"),
        ("x-current-offer", "string", "the seller's offer; only from a market"),
        ("x-current-host", "string", "the host that was called; only from a market"),
        ("x-current-grade", "string", "its provenance: A maker, B company, C attested, D any"),
    )
}
