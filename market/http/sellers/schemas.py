"""A seller's account, as requests and answers state it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from market.http.markets.schemas import GRADE, OfferMeasured
from serving.models.grades import Grade

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


class SellerStanding(BaseModel):
    """What everybody may know of a seller."""

    seller: str = Field(description="the wallet's address, lower case, or a supplier's id")
    trusted: bool = Field(description="whether the operator has approved it")
    since: int = Field(description="when it first signed in or was approved, Unix seconds")
    providers: list[str] = Field(
        description="whose endpoints its active offers are, by their hosts: those of most offers"
        " first, 20 at most"
    )
    grades: list[Grade] = Field(description=f"{GRADE}, of its active offers: the best first")
    models: int = Field(description="that it sells now")
    offers_active: int = Field(description="offers that may serve now, or rest")
    offers_resting: int = Field(description="of those: failed last, so that they rest or are tried")
    offers_suspended: int = Field(description="taken out by the market")
    offers_doubted: int = Field(
        description="convicted by one method of the lab, deleted ones too: others go before them"
    )
    convictions: int = Field(description="of its offers, by two methods; not overturned")
    last_convicted_at: int | None = Field(description="Unix seconds; null: never")
    measured: OfferMeasured = Field(description="of all its listed offers together")


class SellerList(BaseModel):
    """The sellers that have listed an offer, a page of them: approved ones first."""

    sellers: list[SellerStanding]
    next_cursor: str | None = Field(description="pass it as `cursor`; null on the last page")
