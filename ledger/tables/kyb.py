"""What a supplier says of itself, what reviewers decide of it, and who looked at what.

No row holds an identity number: only its keyed digest.
"""

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel


class KybSection(SQLModel, table=True):
    """A section as it was saved last. Market."""

    __tablename__ = "kyb_section"
    __table_args__ = (
        CheckConstraint("section IN ('entity','owners','source')", name="section_known"),
    )

    supplier_id: str = Field(primary_key=True, foreign_key="supplier.supplier_id")
    section: str = Field(primary_key=True)
    content: str = Field(sa_type=Text)
    """JSON; of owners, which have rows of their own, it is empty."""
    version: int
    """Counts the times that it was saved: who saves must have seen the newest."""
    saved_at_s: int = Field(sa_type=BigInteger)


class KybIdentity(SQLModel, table=True):
    """An identity number as its digest under one key. Market.

    Whoever says the same number again has the same identity, also under another key.
    """

    __tablename__ = "kyb_identity"
    __table_args__ = (UniqueConstraint("digest", "key_id", name="kyb_identity_digest"),)

    identity_id: str = Field(primary_key=True)
    digest: str
    """HMAC-SHA256 over country, type and number, hex."""
    key_id: str = Field(index=True)
    """Which key it was made by."""
    changed_at_s: int = Field(sa_type=BigInteger)


class KybOwner(SQLModel, table=True):
    """A legal representative or owner of a supplier, as it was saved last. Market."""

    __tablename__ = "kyb_owner"
    __table_args__ = (
        CheckConstraint("share_bps BETWEEN 0 AND 10000", name="share_in_range"),
        Index("kyb_owner_of", "supplier_id", "position"),
        Index("kyb_owner_identity", "identity_id"),
    )

    owner_id: str = Field(primary_key=True)
    supplier_id: str = Field(foreign_key="supplier.supplier_id")
    position: int
    legal_name: str = Field(sa_type=Text)
    nationality: str
    id_type: str
    identity_id: str = Field(foreign_key="kyb_identity.identity_id")
    role: str
    share_bps: int


class KybDocument(SQLModel, table=True):
    """A document, sealed; its bytes are erased on a date, what is known of it stays. Market."""

    __tablename__ = "kyb_document"
    __table_args__ = (
        CheckConstraint(
            "kind IN ('business_license','bank_proof','tax_clearance','business_history')",
            name="kind_known",
        ),
        Index("kyb_document_of", "supplier_id", "kind"),
        Index(
            "kyb_document_erase",
            "erase_at_s",
            sqlite_where=text("ciphertext IS NOT NULL"),
            postgresql_where=text("ciphertext IS NOT NULL"),
        ),
        Index("kyb_document_kms_key", "kms_key_id"),
    )

    document_id: str = Field(primary_key=True)
    supplier_id: str = Field(foreign_key="supplier.supplier_id")
    kind: str
    name: str = Field(sa_type=Text)
    media_type: str
    size_bytes: int = Field(sa_type=BigInteger)
    sha256: str
    """Of the document as it was sent, hex."""
    ciphertext: bytes | None = Field(default=None, sa_type=LargeBinary)
    wrapped_key: bytes | None = Field(default=None, sa_type=LargeBinary)
    kms_key_id: str | None = None
    is_current: bool = True
    """Whether it is the one of its kind that the next submission takes."""
    uploaded_at_s: int = Field(sa_type=BigInteger)
    erase_at_s: int = Field(sa_type=BigInteger)
    """When its bytes are erased, unless a later decision moves the date."""
    erased_at_s: int | None = Field(default=None, sa_type=BigInteger)


class KybSubmission(SQLModel, table=True):
    """What a supplier asked to have reviewed, numbered, unchanged for ever. Market."""

    __tablename__ = "kyb_submission"

    supplier_id: str = Field(primary_key=True, foreign_key="supplier.supplier_id")
    version: int = Field(primary_key=True)
    content: str = Field(sa_type=Text)
    """The sections, the owners and the documents' ids, JSON."""
    submitted_at_s: int = Field(sa_type=BigInteger)


class KybDecision(SQLModel, table=True):
    """What a reviewer decided of a submission. Market; only inserted."""

    __tablename__ = "kyb_decision"
    __table_args__ = (
        CheckConstraint(
            "decision IN ('approve','revise','reject','suspend','reinstate')",
            name="decision_known",
        ),
        Index("kyb_decision_of", "supplier_id", "version"),
    )

    decision_id: str = Field(primary_key=True)
    supplier_id: str = Field(foreign_key="supplier.supplier_id")
    version: int
    reviewer: str
    """The reviewer's account, or ``command line``."""
    decision: str
    is_final: bool
    """False: of two approvals that are needed, it is the first."""
    items: str = Field(sa_type=Text)
    """What is to be put right, JSON: the requirement, a text for the applicant, one for inside."""
    note: str = Field(sa_type=Text)
    """For inside only."""
    decided_at_s: int = Field(sa_type=BigInteger)


class AuditEntry(SQLModel, table=True):
    """Who looked at what, and who decided what. Market; the database lets rows only in."""

    __tablename__ = "audit_entry"
    __table_args__ = (Index("audit_entry_supplier", "supplier_id", "entry_id"),)

    entry_id: str = Field(primary_key=True)
    actor: str
    """A reviewer's account, or ``command line``."""
    action: str
    supplier_id: str | None = None
    subject: str
    """What it was done to: a document's id, a version, an account."""
    at_s: int = Field(sa_type=BigInteger)
