"""Disputes as answers state them."""

from typing import Literal

from pydantic import BaseModel, Field

from market.evidence.verdicts import Method


class DisputeEvidence(BaseModel):
    """A probe that was made since."""

    evidence_id: str
    method: Method
    transcript_hash: str
    made_at: int = Field(description="Unix seconds")


class Dispute(BaseModel):
    """A dispute, and what the lab has found since it was filed."""

    dispute_id: str
    request_id: str | None = Field(description="what is disputed; null: a seller's re-test")
    offer_id: str
    model: str
    filed_at: int = Field(description="Unix seconds")
    state: Literal["open", "answered"] = Field(
        description="answered: two methods of the lab have looked at the offer since; the verdict"
        " is in `GET /v1/models/{model}/evidence`"
    )
    evidence: list[DisputeEvidence] = Field(description="probes since, oldest first")
    refunded_usdc: int = Field(description="what you got back of the request, 1e-6 USDC")


class DisputeList(BaseModel):
    """Disputes, newest first."""

    disputes: list[Dispute]


class DisputeWish(BaseModel):
    """What a buyer disputes."""

    request_id: str = Field(max_length=64)
    reason: str = Field(max_length=1_000, description="for the operator; it decides nothing")


class RetestWish(BaseModel):
    """Why an offer should be tested again."""

    reason: str = Field(default="", max_length=1_000, description="for the operator")
