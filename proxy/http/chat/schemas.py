"""Completions and quotes as the document states them."""

from typing import Any, Final

from pydantic import BaseModel, Field


class OfferView(BaseModel):
    """One model that could serve a request. Prices in 1e-6 USDC per 1e6 tokens."""

    model: str
    input_usdc_per_mtok: int
    cached_input_usdc_per_mtok: int
    output_usdc_per_mtok: int
    price_source: str
    price_age_s: int | None
    prompt_tokens_bound: int
    max_tokens: int
    ceiling_usdc: int


class QuoteView(BaseModel):
    """What a completion would reserve. A moment later it may be otherwise."""

    admitted: bool
    refusal: dict[str, Any] | None = Field(description="the error that it would get, with facts")
    model: str
    required_usdc: int = Field(description="the ceiling that would be reserved")
    max_tokens_applied: int
    max_tokens_requested: int | None
    choices: int
    fit: bool
    remaining_usdc: int | None = Field(description="what it would leave of the hold")
    offers: list[OfferView] = Field(description="the candidates, cheapest first")


_MESSAGE: Final = {"role": "user", "content": "Say hello."}


COMPLETION_REQUEST: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["model", "messages"],
                "additionalProperties": True,
                "properties": {
                    "model": {"type": "string", "description": 'a model id, or "cheapest"'},
                    "messages": {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "type": "object",
                            "required": ["role"],
                            "properties": {"role": {"type": "string"}},
                        },
                    },
                    "max_tokens": {
                        "type": "integer",
                        "minimum": 1,
                        "description": "capped at 4096; `max_completion_tokens` is the same",
                    },
                    "n": {"type": "integer", "minimum": 1, "maximum": 128},
                    "fit": {
                        "type": "boolean",
                        "description": "lower max_tokens to what is held instead of refusing",
                    },
                    "min_discount_pct": {"type": "integer", "minimum": 0, "maximum": 100},
                    "stream": {"type": "boolean"},
                    "stream_options": {
                        "type": "object",
                        "properties": {"include_usage": {"type": "boolean"}},
                    },
                },
            },
            "examples": {
                name: {"value": {"model": "cheapest", "messages": [_MESSAGE], "stream": stream}}
                for name, stream in (("whole", False), ("stream", True))
            },
        }
    },
}


COMPLETION_HEADERS: Final[dict[str, Any]] = {
    name: {"description": description, "schema": {"type": kind}}
    for name, kind, description in (
        ("x-request-id", "string", "the request's id; its receipt is at /receipts/{requestId}"),
        ("x-current-cost-usdc", "integer", "what was charged, in 1e-6 USDC"),
        ("x-current-reserved-usdc", "integer", "the ceiling that was reserved, in 1e-6 USDC"),
        ("x-current-remaining-usdc", "integer", "what is left of the hold now, in 1e-6 USDC"),
        ("x-current-model", "string", "the model that answered"),
        ("x-current-max-tokens-applied", "integer", "the output limit that was applied"),
        ("x-current-served-by", "string", "who served it"),
    )
}
