"""What the OpenAPI document says of bodies that are read by hand."""

from typing import Any, Final

from pydantic import BaseModel, Field

_AMOUNT: Final = {"oneOf": [{"type": "number", "minimum": 0}, {"type": "string"}]}
_OFFER_FIELDS: Final[dict[str, Any]] = {
    "api_key": {"type": "string", "description": "sealed on arrival, never shown again"},
    "seller_base_url": {"type": "string", "description": "https, up to and with /v1"},
    "upstream_model": {"type": "string", "description": "the endpoint's own name of the model"},
    "provider": {"type": "string"},
    "price_input_per_1m": {**_AMOUNT, "description": "US dollars per million tokens"},
    "price_output_per_1m": {**_AMOUNT, "description": "US dollars per million tokens"},
    "cost_multiplier": {**_AMOUNT, "description": "of the reference price, instead of prices"},
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


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    code: str
    param: str | None = None


class ErrorBody(BaseModel):
    """The body of every answer that is not a success; facts may stand beside ``error``."""

    error: ErrorDetail


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
