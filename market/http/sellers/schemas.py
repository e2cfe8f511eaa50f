"""A seller's account, as requests and answers state it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

PayoutPolicy = Literal["at_once", "daily"]


class SellerChange(BaseModel):
    """The changes to the seller's account."""

    model_config = ConfigDict(extra="forbid")

    payout_policy: PayoutPolicy = Field(description="`daily` is at 02:00 UTC")


class SellerAccount(BaseModel):
    """The terms agreed with a seller."""

    address: str
    payout_policy: PayoutPolicy
    fee_bps: int = Field(description="of each sale")
    fee_pct: float
    is_trusted: bool
    created_at: int
