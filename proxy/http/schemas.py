"""The bodies of requests and answers, as ``/openapi.json`` documents them.

Amounts named ``*_usdc`` are integers of 1e-6 USDC; times are ISO 8601 in UTC, or Unix seconds where
the name ends in ``_s``.
"""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from proxy.keys.child_keys import ChildView
from proxy.keys.tokens import INTEGER_MAX

_TOKEN_ID: Final = re.compile(r"0|[1-9][0-9]{0,18}")


def parse_token_id(value: object) -> int:
    """Return a token id given as a canonical decimal string or as a number.

    Raises ``ValueError``.
    """
    if isinstance(value, str) and _TOKEN_ID.fullmatch(value) is not None:
        value = int(value)
    if type(value) is not int or not 0 <= value <= INTEGER_MAX:
        raise ValueError("must be a token id: a whole number, as a string or a number")
    return value


class KeyRequest(BaseModel):
    """A signed wish for an API key."""

    model_config = ConfigDict(extra="ignore", strict=True)

    tokenId: Annotated[int, BeforeValidator(parse_token_id)] = Field(
        description="the position's token id, as a string or a number", examples=["0"]
    )
    signature: str = Field(
        description="0x…; EIP-191 signature, by the position's owner, of exactly"
        " `Issue Current API key for token <tokenId> at <timestamp>`"
    )
    timestamp: int = Field(
        ge=0, lt=2**53, description="milliseconds since 1970, within five minutes of our clock"
    )


class SignInRequest(BaseModel):
    """A signed wish for an API key, by EIP-4361."""

    model_config = ConfigDict(extra="ignore", strict=True)

    message: str = Field(
        max_length=4_096, description="the message as `GET /keys/nonce` states it, filled in"
    )
    signature: str = Field(description="0x…; EIP-191 signature of the message by its address")


class NonceView(BaseModel):
    """A nonce for one sign-in, and what the message must say."""

    nonce: str
    expires_at_s: int
    domain: str
    uri: str
    version: str
    chain_id: int
    statement: str = Field(description="free to change; the other fields are not")
    resources: list[str]
    template: str = Field(description="the message; fill in what is in <angle brackets>")


class KeyIssued(BaseModel):
    """A fresh API key. It is shown once and not stored."""

    apiKey: str
    tokenId: str
    keyEpoch: int
    keyId: str


class KeySelf(BaseModel):
    """The key that asks."""

    keyId: str
    tokenId: str
    keyEpoch: int
    kind: Literal["root", "child"]
    child: ChildView | None


class ModelEntry(BaseModel):
    """One model. A model without prices cannot be used."""

    id: str
    owned_by: str
    input_usdc_per_mtok: int | None = Field(description="1e-6 USDC per 1e6 prompt tokens")
    cached_input_usdc_per_mtok: int | None = Field(description="the same, of cached ones")
    output_usdc_per_mtok: int | None = Field(description="1e-6 USDC per 1e6 output tokens")
    price_source: Literal["upstream", "operator", "genai-prices"] | None
    price_age_s: int | None = Field(description="since the source said so, where it tells")
    context_tokens: int | None


class ModelCatalogue(BaseModel):
    """The live catalogue. ``fallback`` is there, and true, only while upstream is down."""

    models: list[ModelEntry]
    fallback: Literal[True] | None = None


class OpenAiModel(ModelEntry):
    """A model as OpenAI lists it, with our fields besides."""

    object: Literal["model"] = "model"
    created: int = 0


class OpenAiModelList(BaseModel):
    """What OpenAI's SDKs expect of ``/v1/models``."""

    object: Literal["list"] = "list"
    data: list[OpenAiModel]


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


class AllowanceView(BaseModel):
    """A position's allowance now."""

    credited_usdc: int = Field(description="all yield ever harvested")
    spent_usdc: int = Field(description="settled on chain")
    withdrawn_usdc: int
    unspent_usdc: int
    held_usdc: int = Field(description="set aside on chain for requests, confirmed part")
    in_flight_usdc: int = Field(description="reserved or charged, and not settled on chain yet")
    remaining_today_usdc: int = Field(description="what requests can still reserve today")
    day_cap_usdc: int
    day_spent_usdc: int
    resets_at: str


class HarvestView(BaseModel):
    """When yield is turned into allowance."""

    interval_s: int
    last_at: str | None
    next_at: str


class MirrorView(BaseModel):
    """How recent the view of the chain is."""

    block_number: int
    block_hash: str
    lag_blocks: int = Field(description="how many blocks the node was ahead")
    age_s: int


class PositionView(BaseModel):
    """A position as the proxy sees it. Public: all of it is on chain."""

    token_id: int
    owner: str
    key_epoch: int
    model_tier: int
    daily_smoothing_bps: int
    vault: str
    principal_usdc: int
    pending_yield_usdc: int | None = Field(
        description="what a harvest would credit now; null where the chain does not say"
    )
    allowance: AllowanceView
    harvest: HarvestView
    mirror: MirrorView | None


class SettlementView(BaseModel):
    """The on-chain batch that charges a request, and the proof that the request is in it."""

    batch_id: str
    state: Literal["planned", "settled", "abandoned"]
    receipts_root: str
    proof: list[str] = Field(
        description="siblings from the leaf to the root, hashed in sorted pairs"
    )
    block_number: int | None
    tx_hash: str | None


class ReceiptView(BaseModel):
    """What one request was charged for."""

    request_id: str
    state: Literal["reserved", "posted", "settling", "settled", "voided", "written_off"]
    token_id: int
    key_epoch: int
    key_id: str
    model: str
    ceiling_usdc: int
    cost_usdc: int | None
    input_usdc_per_mtok: int
    cached_input_usdc_per_mtok: int
    output_usdc_per_mtok: int
    prompt_tokens: int | None
    cached_tokens: int | None = Field(description="those prompt tokens that cost less")
    completion_tokens: int | None
    void_reason: str | None
    reserved_at_s: int
    posted_at_s: int | None
    leaf: str | None = Field(description="this receipt's leaf in the batch's Merkle tree")
    settlement: SettlementView | None


class UsageEntry(BaseModel):
    """One request in a list. ``cost_usdc`` is null while it runs and where nothing is charged."""

    request_id: str
    reserved_at_s: int
    state: Literal["reserved", "posted", "settling", "settled", "voided", "written_off"]
    key_id: str
    model: str
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    input_usdc_per_mtok: int
    output_usdc_per_mtok: int
    ceiling_usdc: int
    cost_usdc: int | None
    batch_id: str | None


class UsagePage(BaseModel):
    """A page of requests, newest first."""

    data: list[UsageEntry]
    next_cursor: str | None = Field(description="pass it as `cursor`; null on the last page")


class ErrorDetail(BaseModel):
    """An OpenAI-shaped error. Refusals carry their facts as further fields."""

    model_config = ConfigDict(extra="allow")

    message: str
    type: str
    code: str
    param: str | None


class ErrorBody(BaseModel):
    """Every answer that is not a success."""

    error: ErrorDetail


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

USAGE_PARAMETERS: Final[list[dict[str, Any]]] = [
    {"name": name, "in": "query", "required": False, "description": text, "schema": schema}
    for name, text, schema in (
        ("from", "Unix seconds, a date or an ISO 8601 time; inclusive", {"type": "string"}),
        ("to", "the same; exclusive", {"type": "string"}),
        ("cursor", "`next_cursor` of the page before", {"type": "string"}),
        ("limit", "requests a page", {"type": "integer", "minimum": 1, "maximum": 1000}),
    )
]
