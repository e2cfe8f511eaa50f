"""Usage and receipts as answers state them."""

from typing import Any, Final, Literal

from pydantic import BaseModel, Field


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


class ServedView(BaseModel):
    """Who served a request, and what; in the leaf from version 2 on."""

    seller: str = Field(description="a wallet or a supplier's id; where upstream is no market, it")
    seller_salt: str = Field(description="opens `seller_commitment`: keccak(salt, seller)")
    seller_commitment: str = Field(description="what the leaf has of the seller")
    offer_id: str = Field(description="empty: upstream is no market")
    host: str = Field(description="the host that was called; empty: upstream is no market")
    model: str = Field(description="what the answer calls the model that answered")
    grade: Literal["A", "B", "C", "D", ""] = Field(
        description="its provenance: A its maker, B a known company, C attested, D any; empty: none"
    )
    paid_by: Literal["yield", "credit"]


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
    per_request_usdc: int = Field(
        description="part of the cost, beside the tokens; not in the leaf"
    )
    prompt_tokens: int | None
    cached_tokens: int | None = Field(description="those prompt tokens that cost less")
    completion_tokens: int | None
    void_reason: str | None
    reserved_at_s: int
    posted_at_s: int | None
    leaf: str | None = Field(description="this receipt's leaf in the batch's Merkle tree")
    leaf_version: Literal[1, 2] | None = Field(description="2: `served` is in the leaf too")
    served: ServedView | None = Field(description="null: not charged, or of leaf version 1")
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


class UsageGroup(BaseModel):
    """What the charged requests of one group used together."""

    name: str | None = Field(description="what they have in common; null: they do not say")
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usdc: int


class UsagePage(BaseModel):
    """A page of requests, newest first; with `group_by` their sums, the dearest first."""

    data: list[UsageEntry]
    groups: list[UsageGroup] | None = Field(
        default=None, description="only with `group_by`; `data` is then empty"
    )
    next_cursor: str | None = Field(description="pass it as `cursor`; null on the last page")


USAGE_PARAMETERS: Final[list[dict[str, Any]]] = [
    {"name": name, "in": "query", "required": False, "description": text, "schema": schema}
    for name, text, schema in (
        ("from", "Unix seconds, a date or an ISO 8601 time; inclusive", {"type": "string"}),
        ("to", "the same; exclusive", {"type": "string"}),
        ("cursor", "`next_cursor` of the page before", {"type": "string"}),
        (
            "group_by",
            "`user`, `model`, `key`, `day` or `metadata.<name>`: sums instead of requests",
            {"type": "string"},
        ),
        ("limit", "requests a page", {"type": "integer", "minimum": 1, "maximum": 1000}),
    )
]
