"""What a supplier files, as requests and answers state it."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from market.http.supply.accounts.schemas import KybStatus
from market.http.supply.applications.schemas import Source

IdType = Literal["passport", "national_id", "drivers_license"]
OwnerRole = Literal["legal_representative", "beneficial_owner", "representative_and_owner"]
DocumentKind = Literal["business_license", "bank_proof", "tax_clearance", "business_history"]
MediaType = Literal["application/pdf", "image/jpeg", "image/png"]


class EntityContent(BaseModel):
    """Section 1: the company. What is null is still to be said."""

    model_config = ConfigDict(extra="forbid")

    legal_name: str | None = Field(default=None, max_length=200, description="in any script")
    jurisdiction: str | None = Field(default=None, description="ISO 3166-1 alpha-2")
    registration_number: str | None = Field(default=None, max_length=60)
    incorporated_on: str | None = Field(default=None, description="a date, ISO 8601; optional")
    address: str | None = Field(default=None, max_length=500, description="optional")


class OwnerWish(BaseModel):
    """An owner of at least 10 per cent, or a legal representative."""

    model_config = ConfigDict(extra="forbid")

    owner_id: str | None = Field(
        default=None, description="of one that was saved; its number may be left out then"
    )
    legal_name: str = Field(max_length=200)
    nationality: str = Field(description="ISO 3166-1 alpha-2")
    id_type: IdType
    id_number: str | None = Field(
        default=None,
        max_length=60,
        description="kept as a keyed digest only: it is never shown again",
    )
    role: OwnerRole
    share_pct: str | None = Field(
        default=None, description="per cent, at most two decimals; null for who owns nothing"
    )


class OwnerView(BaseModel):
    """An owner as it was saved: without its number."""

    owner_id: str
    legal_name: str
    nationality: str
    id_type: IdType
    role: OwnerRole
    share_pct: str = Field(description="per cent")


class SourceContent(BaseModel):
    """Section 3: where the compute comes from, and by what right it is sold."""

    model_config = ConfigDict(extra="forbid")

    source_of_compute: Source | None = None
    providers: list[str] = Field(default_factory=list, max_length=20)
    legal_basis: str | None = Field(
        default=None, max_length=4_000, description="what permits to resell, in your words"
    )
    contract_holder: str | None = Field(
        default=None, max_length=200, description="the company that the contract is with"
    )
    contract_reference: str | None = Field(default=None, max_length=200, description="optional")
    expected_monthly_tokens: int | None = Field(
        default=None, ge=1, le=10**15, description="tokens in a month; optional"
    )
    no_personal_accounts: bool = Field(
        default=False, description="declared: none of it comes from personal accounts"
    )


class EntityWish(BaseModel):
    """Section 1 to be saved over a version."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(default=0, ge=0, description="the one that was read; 0: none was")
    content: EntityContent


class OwnersWish(BaseModel):
    """Section 2 to be saved over a version: all owners, at most 20."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(default=0, ge=0, description="the one that was read; 0: none was")
    content: list[OwnerWish] = Field(max_length=20)


class SourceWish(BaseModel):
    """Section 3 to be saved over a version."""

    model_config = ConfigDict(extra="forbid")

    version: int = Field(default=0, ge=0, description="the one that was read; 0: none was")
    content: SourceContent


class KybWish(BaseModel):
    """Several sections, saved together or not at all."""

    model_config = ConfigDict(extra="forbid")

    entity: EntityWish | None = None
    owners: OwnersWish | None = None
    source: SourceWish | None = None


class EntitySection(BaseModel):
    """Section 1 as it was saved, or as the application said it."""

    version: int = Field(description="0: not saved yet, prefilled from the application")
    saved_at: int | None
    content: EntityContent


class OwnersSection(BaseModel):
    """Section 2 as it was saved."""

    version: int = Field(description="0: not saved yet")
    saved_at: int | None
    content: list[OwnerView]


class SourceSection(BaseModel):
    """Section 3 as it was saved, or as the application said it."""

    version: int = Field(description="0: not saved yet, prefilled from the application")
    saved_at: int | None
    content: SourceContent


class DocumentView(BaseModel):
    """A document. The supplier cannot have it back; reviewers see it."""

    document_id: str
    kind: DocumentKind
    name: str
    media_type: MediaType
    size_bytes: int = Field(description="bytes")
    sha256: str = Field(description="of what was sent, hex")
    uploaded_at: int


class RequirementView(BaseModel):
    """Something that is wrong."""

    requirement: str
    code: str
    reason: str = Field(description="for people")


class RequirementList(BaseModel):
    """What is to be done before an approval, as a page can show it."""

    currently_due: list[str]
    pending_review: list[str]
    errors: list[RequirementView]


class KybView(BaseModel):
    """Everything that was filed."""

    kyb_status: KybStatus
    version: int = Field(description="the number of the newest submission; 0: none")
    can_change: bool = Field(description="whether sections and documents can be changed now")
    entity: EntitySection
    owners: OwnersSection
    source: SourceSection
    documents: list[DocumentView]
    requirements: RequirementList


class DocumentDropped(BaseModel):
    """A document that is in no further submission."""

    document_id: str
    dropped: Literal[True] = True


_VERSION: Final = "the section's version; null: it is not compared"


class SeenVersions(BaseModel):
    """The versions of the sections that were shown; 0: it was never saved."""

    model_config = ConfigDict(extra="forbid")

    entity: int | None = Field(default=None, ge=0, description=_VERSION)
    owners: int | None = Field(default=None, ge=0, description=_VERSION)
    source: int | None = Field(default=None, ge=0, description=_VERSION)


class SubmitWish(BaseModel):
    """What was shown before it is submitted. Left out: whatever is there is submitted."""

    model_config = ConfigDict(extra="forbid")

    versions: SeenVersions | None = None
    documents: list[str] | None = Field(
        default=None, max_length=20, description="the ids of the documents"
    )


class Submitted(BaseModel):
    """A version that waits for a reviewer."""

    version: int = Field(description="its number")
    kyb_status: Literal["under_review"] = "under_review"
