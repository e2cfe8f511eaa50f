"""Payouts and usage of suppliers, as answers state them."""

from typing import Literal

from pydantic import BaseModel, Field

from market.http.supply.addresses.schemas import Decimals, NetworkName, RailName

PayoutStatus = Literal[
    "carried",
    "pending",
    "address_pending_whitelist",
    "submitted",
    "sending",
    "sent",
    "failed",
    "needs_operator",
]


class SupplierPayoutView(BaseModel):
    """A settled day."""

    payout_id: str
    day: str
    status: PayoutStatus
    reason: str | None = Field(
        description="why it was carried over, failed or waits for somebody; null: nothing of it"
    )
    rail: RailName
    network: NetworkName
    asset: str
    address: str | None = Field(description="null: nothing is sent")
    gross: Decimals
    fee_bps: int
    fee: Decimals
    network_fee: Decimals
    carried_in: Decimals = Field(description="owed of earlier days, and paid with this one")
    net: Decimals = Field(description="what is sent")
    carried_out: Decimals = Field(description="still owed")
    usd_rate: str
    usd_rate_source: str
    tx_hash: str | None = Field(description="null: it is not sent")
    sent_at: int | None = Field(description="null: it is not sent")
    requests: int
    input_tokens: int
    output_tokens: int
    created_at: int


class PayoutSums(BaseModel):
    """All payouts together."""

    gross: Decimals
    fee: Decimals
    sent: Decimals
    underway: Decimals = Field(description="to be sent, or on its way")
    failed: Decimals = Field(description="not sent, and still owed: an operator has it sent again")
    carried: Decimals = Field(description="owed, and in no payout yet")


class SupplierPayoutPage(BaseModel):
    """Payouts, newest first, and all of them together."""

    totals: PayoutSums
    chain_id: int = Field(description="the chain of the network `base` here")
    payouts: list[SupplierPayoutView]
    next_cursor: str | None = Field(description="null: this was the last page")


class UsageLine(BaseModel):
    """What one offer sold in a UTC day at one bid."""

    day: str
    offer_id: str
    bid_price_per_1m_usdt: Decimals
    requests: int
    input_tokens: int
    output_tokens: int
    payout_id: str | None = Field(description="the settlement it is part of; null: not settled")


class UsageSums(BaseModel):
    """What was sold in the time that was asked for."""

    requests: int
    input_tokens: int
    output_tokens: int
    gross: Decimals = Field(description="before the fee")


class SupplyUsagePage(BaseModel):
    """Usage, oldest first, and all of it together."""

    totals: UsageSums
    usage: list[UsageLine]
    next_cursor: str | None = Field(description="null: this was the last page")


class SupplyOverview(BaseModel):
    """What a dashboard shows first."""

    status: str = Field(description="of the application")
    offers: dict[str, int] = Field(description="how many by status")
    today: UsageSums
    last_30_days: UsageSums
    payouts: PayoutSums
    fee_bps: int
    settles_at: str = Field(description="when the day before is settled, UTC")


class NoticeTaken(BaseModel):
    """The notice was read."""

    ok: Literal[True] = True
