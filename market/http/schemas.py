"""What the OpenAPI document says of bodies that are read by hand."""

from typing import Any, Final

from pydantic import BaseModel, Field

from market.pricing.units import UNITS

_AMOUNT: Final = {"oneOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}
_OFFER_FIELDS: Final[dict[str, Any]] = {
    "api_key": {"type": "string", "description": "sealed on arrival, never shown again"},
    "seller_base_url": {"type": "string", "description": "https, up to and with /v1"},
    "upstream_model": {"type": "string", "description": "the endpoint's own name of the model"},
    "provider": {"type": "string"},
    "price_input_per_1m": {**_AMOUNT, "description": "US dollars per million tokens"},
    "price_output_per_1m": {**_AMOUNT, "description": "US dollars per million tokens"},
    "cost_multiplier": {**_AMOUNT, "description": "of the reference price, instead of prices"},
    "unit": {"type": "string", "enum": list(UNITS), "description": "of media, in place of tokens"},
    "price_per_unit": {**_AMOUNT, "description": "US dollars, where there is a unit"},
    "cap_daily_usd": {**_AMOUNT, "description": "most to sell in a UTC day"},
    "quota_total_usd": {**_AMOUNT, "description": "most to sell in all"},
    "rate_limit_rpm": {"type": "integer", "minimum": 1},
    "payout_address": {"type": "string"},
}


def _body(properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required}
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
    }


KEY_REQUEST: Final = _body(
    {
        "message": {"type": "string"},
        "signature": {"type": "string"},
        "label": {"type": "string", "maxLength": 100},
        "expires_at": {"type": "integer", "description": "Unix seconds"},
    },
    ["message", "signature"],
)
NEW_OFFER: Final = _body(
    {"model": {"type": "string"}, **_OFFER_FIELDS}, ["model", "api_key", "seller_base_url"]
)
OFFER_CHANGE: Final = _body(
    {"status": {"type": "string", "enum": ["active", "paused"]}, **_OFFER_FIELDS}, []
)
DISCOVER: Final = _body(
    {"api_key": {"type": "string"}, "seller_base_url": {"type": "string"}},
    ["api_key", "seller_base_url"],
)
CHAT: Final = _body(
    {
        "model": {"type": "string"},
        "messages": {"type": "array", "items": {"type": "object"}},
        "max_tokens": {"type": "integer", "minimum": 1},
        "stream": {"type": "boolean"},
        "routing": {"type": "object"},
    },
    ["model", "messages"],
)
ANY_CALL: Final = _body({"model": {"type": "string"}, "routing": {"type": "object"}}, ["model"])


TOPUP: Final = _body(
    {"amount_usd": {**_AMOUNT, "description": "US dollars, from 0.000001"}}, ["amount_usd"]
)
SELLER_CHANGE: Final = _body(
    {"payout_policy": {"type": "string", "enum": ["at_once", "daily"]}}, ["payout_policy"]
)


_MODEL: Final = {"model": {"type": "string"}, "routing": {"type": "object"}}
_SECONDS: Final = {"oneOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}
_JOB_FIELDS: Final = {**_MODEL, "prompt": {"type": "string"}, "seconds": _SECONDS}
MEDIA: Final[dict[str, dict[str, Any]]] = {
    "images/generations": _body(
        {
            **_MODEL,
            "prompt": {"type": "string"},
            "n": {"type": "integer", "minimum": 1, "maximum": 10},
            "size": {"type": "string", "description": "'auto' or '<width>x<height>'"},
        },
        ["model"],
    ),
    "audio/speech": _body(
        {**_MODEL, "input": {"type": "string"}, "voice": {"type": "string"}}, ["model", "input"]
    ),
    "audio/transcriptions": {
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "file": {"type": "string", "format": "binary"},
                            "model": {"type": "string"},
                            "response_format": {"type": "string"},
                            "language": {"type": "string"},
                        },
                        "required": ["file", "model"],
                    }
                }
            },
        }
    },
    "video/generations": _body(_JOB_FIELDS, ["model"]),
    "music/generations": _body(_JOB_FIELDS, ["model"]),
}
_PROVIDER_FIELDS: Final[dict[str, Any]] = {
    "label": {"type": "string", "maxLength": 100},
    "base_url": {"type": "string", "description": "https, up to and with /v1"},
    "api_key": {"type": "string", "description": "sealed on arrival, never shown again"},
    "models": {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": "names of models here to the provider's own",
    },
    "position": {"type": "string", "enum": ["priority", "fallback"]},
}
NEW_PROVIDER: Final = _body(_PROVIDER_FIELDS, ["base_url", "api_key", "models", "position"])
PROVIDER_CHANGE: Final = _body(
    {"status": {"type": "string", "enum": ["active", "paused"]}, **_PROVIDER_FIELDS}, []
)


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    code: str
    param: str | None = None


class ErrorBody(BaseModel):
    """The body of every answer that is not a success; facts may stand beside ``error``."""

    error: ErrorDetail


class PaymentRequiredBody(BaseModel):
    """What to pay, by x402 version 1; the header ``PAYMENT-REQUIRED`` has it by version 2."""

    x402Version: int
    error: str
    message: str
    accepts: list[dict[str, Any]]


class ChallengeView(BaseModel):
    """What a wallet is to sign."""

    message: str
    nonce: str
    expires_at: int = Field(description="Unix seconds")


class KeyIssued(BaseModel):
    """A new key. ``api_key`` is shown this once."""

    key_id: str
    api_key: str
    label: str
    expires_at: int | None
