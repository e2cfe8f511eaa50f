"""Reviews, as requests and answers state them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from market.http.supply.accounts.schemas import KybStatus
from market.http.supply.kyb.schemas import (
    DocumentView,
    EntityContent,
    IdType,
    OwnerRole,
    SourceContent,
)

DecisionWord = Literal["approve", "revise", "reject", "suspend", "reinstate"]


class QueueEntry(BaseModel):
    """A supplier in the queue."""

    supplier_id: str
    email: str
    kyb_status: KybStatus
    version: int = Field(description="the number of the newest submission")
    since_at: int = Field(description="since when it has its status")


class ReviewQueue(BaseModel):
    """A page of the queue, those first that wait for longest."""

    applications: list[QueueEntry]
    next_cursor: str | None = Field(description="for the next page; null: this is the last")


class ReviewedOwner(BaseModel):
    """An owner as a reviewer sees it: never its number."""

    owner_id: str
    legal_name: str
    nationality: str
    id_type: IdType
    role: OwnerRole
    share_pct: str = Field(description="per cent")
    identity_id: str = Field(description="the same for the same number, in every version")
    also_at: list[str] = Field(description="other suppliers that have named this number")


class ReviewItem(BaseModel):
    """Something to be put right."""

    model_config = ConfigDict(extra="forbid")

    requirement: str
    code: str = Field(default="needs_revision", max_length=60)
    text: str = Field(max_length=1_000, description="for the applicant")
    inside: str = Field(default="", max_length=1_000, description="for reviewers only")


class DecisionView(BaseModel):
    """What was decided of a version."""

    decision: DecisionWord
    reviewer: str = Field(description="an account's id, or `command line`")
    is_final: bool = Field(description="false: a second reviewer has to approve too")
    items: list[ReviewItem]
    note: str
    decided_at: int


class ReviewedVersion(BaseModel):
    """A submission, as it was sent."""

    version: int = Field(description="its number")
    submitted_at: int
    entity: EntityContent
    owners: list[ReviewedOwner]
    source: SourceContent
    documents: list[DocumentView]
    changed: list[str] = Field(description="what differs from the version before")
    decisions: list[DecisionView]


class ReviewedApplication(BaseModel):
    """A supplier with all its versions, the newest first."""

    supplier_id: str
    email: str
    kyb_status: KybStatus
    version: int = Field(description="the number of the newest submission")
    versions: list[ReviewedVersion]


class DecisionWish(BaseModel):
    """A decision on a version. `suspend` and `reinstate` are for operators."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(ge=1, description="the one that was looked at")
    decision: DecisionWord
    items: list[ReviewItem] = Field(default_factory=list, max_length=50)
    note: str = Field(default="", max_length=4_000, description="for reviewers only")


class Decided(BaseModel):
    """How the supplier stands after a decision."""

    supplier_id: str
    kyb_status: KybStatus
    version: int = Field(description="the one that was decided on")


class AuditLine(BaseModel):
    """Who did what."""

    entry_id: str
    actor: str = Field(description="an account's id, or `command line`")
    action: str
    supplier_id: str | None
    subject: str
    at: int = Field(description="Unix seconds")


class AuditList(BaseModel):
    """A page of the log of reviews, the oldest first."""

    entries: list[AuditLine]
    next_cursor: str | None = Field(description="for the next page; null: this is the last")
