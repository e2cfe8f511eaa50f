"""What a seller earned and failed, as answers state it."""

from typing import Literal

from pydantic import BaseModel, Field

from market.http.health import HealthView
from market.media.requests import Medium
from serving.dialects.endpoints import Endpoint


class Earning(BaseModel):
    """One sale, or one call of an API. ``cost = earning + fee`` up to the rounding of a sale, which
    is the operator's."""

    kind: Literal["inference", "api_call"]
    sale_id: str
    resolved_at_s: int
    offer_id: str | None = Field(description="null: a call of an API")
    model: str | None = Field(description="null: a call of an API")
    endpoint: Endpoint | Medium | None = Field(description="null: a call of an API")
    prompt_tokens: int | None = Field(
        description="of a medium: how much of its base, in place of tokens; null: a call of an API"
    )
    completion_tokens: int | None = Field(description="null: a call of an API")
    cached_tokens: int | None = Field(
        description="the part of the prompt that is charged at the cached price; null: not noted"
    )
    connection: str | None = Field(description="the connection that was called; null: inference")
    operation: str | None = Field(description="what of it; null: inference")
    units: int | None = Field(description="calls or credits of the API; null: inference")
    cost_usdc: int = Field(description="what the buyer paid, rounded up")
    fee_bps: int
    fee_usdc: int = Field(description="rounded down")
    earning_usdc: int = Field(description="rounded down")
    payout_address: str
    payout_id: str | None = Field(
        description="null: in no payout yet; `refund-…`: the conviction that gave it to the buyer"
    )
    vesting_s: int = Field(
        description="how long after `resolved_at_s` the buyer may still get it back, seconds: 0"
        " but for offers of grade D"
    )
    payout_state: Literal[
        "vesting", "accrued", "planned", "sent", "paid", "credited", "refunded"
    ] = Field(
        description="vesting: to be paid out when it has vested; accrued: in no payout yet;"
        " credited: for the payee to claim on chain; refunded: the buyer has it, as the offer was"
        " convicted"
    )
    payout_tx_hash: str | None = Field(
        default=None, description="the transaction that paid it; null: it is not paid"
    )


class EarningTotals(BaseModel):
    """All sales and calls of a seller together."""

    requests: int = Field(description="sales of inference")
    api_calls: int = Field(description="calls of APIs that were paid for")
    earning_usdc: int
    fee_usdc: int
    unpaid_usdc: int = Field(description="earned, and in no payout yet")
    unvested_usdc: int = Field(description="the part of that which is not vested")
    refunded_usdc: int = Field(description="earned, and given back to buyers")


class EarningPage(BaseModel):
    """A page of sales and calls, oldest first."""

    totals: EarningTotals
    chain_id: int = Field(description="the chain that payouts are sent on")
    earnings: list[Earning]
    next_cursor: str | None = Field(description="pass it as `cursor`; null on the last page")


class OfferHealth(BaseModel):
    """How an offer stands now."""

    id: str
    health: HealthView | None = Field(description="null: not in the book yet")


class Failure(BaseModel):
    """A request that an offer failed."""

    sale_id: str
    resolved_at_s: int
    offer_id: str
    model: str
    endpoint: Endpoint | Medium
    cause: str = Field(description="what the endpoint did wrong")


class FailurePage(BaseModel):
    """A page of failures, oldest first, and how the offers stand now."""

    offers: list[OfferHealth]
    failures: list[Failure]
    next_cursor: str | None = Field(description="pass it as `cursor`; null on the last page")


class OfferCapacity(BaseModel):
    """A total quota of an offer up to the instant at which it expires."""

    offer_id: str
    model: str
    starts_at: int
    resets_at: int
    quota_usdc: int
    sold_usdc: int = Field(description="with what is reserved")
    lapsed_usdc: int | None = Field(description="null: not over")


class ConnectionCapacity(BaseModel):
    """A period of the quota of a connection to an API. Units are the API's."""

    connection_id: str
    name: str
    unit: Literal["calls", "credits"]
    starts_at: int
    ends_at: int
    for_sale: int = Field(description="units")
    sold: int = Field(description="units")
    own_use: int = Field(description="units")
    lapsed: int | None = Field(description="units that were for sale and unsold; null: not over")
    revenue_usdc: int
    your_share_usdc: int
    fee_usdc: int


class Capacity(BaseModel):
    """What was sold of capacity that expires, and what lapsed; the newest, newest first."""

    offers: list[OfferCapacity]
    connections: list[ConnectionCapacity]
