"""Suppliers: accounts of companies and reviewers, how they sign in, and their API keys.

No row holds a password, a token, a cookie or an API key: only hashes of them.
"""

from sqlalchemy import BigInteger, CheckConstraint, Index, LargeBinary, Text, text
from sqlmodel import Field, SQLModel

KYB_STATUSES = (
    "draft",
    "pending",
    "under_review",
    "revision_needed",
    "approved",
    "rejected",
    "suspended",
)
"""``draft``: no section was saved yet. ``rejected`` is final."""

_STATUS_KNOWN = f"IN ({', '.join(repr(status) for status in KYB_STATUSES)})"


class Supplier(SQLModel, table=True):
    """An account with an e-mail address and a password: a company's, or a reviewer's. Market."""

    __tablename__ = "supplier"
    __table_args__ = (
        CheckConstraint(f"kyb_status {_STATUS_KNOWN}", name="kyb_status_known"),
        CheckConstraint("role IN ('supplier','reviewer','operator')", name="role_known"),
        CheckConstraint("fee_bps IS NULL OR fee_bps BETWEEN 0 AND 10000", name="fee_in_range"),
        CheckConstraint(
            "(totp_ciphertext IS NULL) = (totp_wrapped_key IS NULL)"
            " AND (totp_ciphertext IS NULL) = (totp_kms_key_id IS NULL)",
            name="totp_whole",
        ),
        Index("supplier_changed", "changed_at_s"),
        Index(
            "supplier_under_review",
            "kyb_changed_at_s",
            sqlite_where=text("kyb_status = 'under_review'"),
            postgresql_where=text("kyb_status = 'under_review'"),
        ),
    )

    supplier_id: str = Field(primary_key=True)
    email: str = Field(unique=True)
    """Normalised: lower case, its domain in ASCII."""
    password_hash: str | None = Field(default=None, sa_type=Text)
    """Argon2id, in PHC format; None: no password was set yet, so nobody can sign in."""
    role: str = "supplier"
    kyb_status: str = "draft"
    kyb_version: int = 0
    """The number of the newest submission; 0: none yet."""
    kyb_changed_at_s: int = Field(default=0, sa_type=BigInteger)
    """When ``kyb_status`` changed last, Unix seconds."""
    legal_name: str | None = Field(default=None, sa_type=Text)
    """Of the version that was approved last; None: none was."""
    registration_number: str | None = None
    """As ``legal_name``."""
    fee_bps: int | None = None
    """The fee that was agreed with this supplier; None: the usual one of suppliers."""
    totp_ciphertext: bytes | None = Field(default=None, sa_type=LargeBinary)
    """The secret of one-time codes, sealed; with the two columns below."""
    totp_wrapped_key: bytes | None = Field(default=None, sa_type=LargeBinary)
    totp_kms_key_id: str | None = None
    totp_confirmed_at_s: int | None = Field(default=None, sa_type=BigInteger)
    """When a code was first shown for it; None: codes are not asked for yet."""
    totp_last_step: int = Field(default=0, sa_type=BigInteger)
    """The newest interval of 30 s whose code was used: no code counts twice."""
    created_at_s: int = Field(sa_type=BigInteger)
    changed_at_s: int = Field(sa_type=BigInteger)
    """When the status, the role or the fee changed last."""


class SupplierStatusChange(SQLModel, table=True):
    """Each change of a supplier's ``kyb_status``, for ever: what the audit of sales compares with.

    Market; only inserted.
    """

    __tablename__ = "supplier_status_change"
    __table_args__ = (
        CheckConstraint(f"kyb_status {_STATUS_KNOWN}", name="kyb_status_known"),
        Index("supplier_status_change_at", "supplier_id", "at_s"),
    )

    change_id: str = Field(primary_key=True)
    supplier_id: str = Field(foreign_key="supplier.supplier_id")
    kyb_status: str
    at_s: int = Field(sa_type=BigInteger)


class SupplierApplication(SQLModel, table=True):
    """What somebody said who wants to supply, until an account is made of it. Market."""

    __tablename__ = "supplier_application"

    application_id: str = Field(primary_key=True)
    email: str = Field(unique=True)
    content: str = Field(sa_type=Text)
    """The fields of the form, JSON."""
    mailed_at_s: int = Field(sa_type=BigInteger)
    """When a mail was last written for it: one an hour."""
    verified_at_s: int | None = Field(default=None, sa_type=BigInteger)
    created_at_s: int = Field(index=True, sa_type=BigInteger)


class SupplierToken(SQLModel, table=True):
    """A token of a mail or of a cookie, as its SHA-256; gone once used. Market."""

    __tablename__ = "supplier_token"
    __table_args__ = (
        CheckConstraint("purpose IN ('verify','sign_up','reset','undo')", name="purpose_known"),
        Index("supplier_token_email", "email", "purpose"),
    )

    token_hash: str = Field(primary_key=True)
    purpose: str
    email: str
    expires_at_s: int = Field(index=True, sa_type=BigInteger)
    created_at_s: int = Field(sa_type=BigInteger)


class SupplierSession(SQLModel, table=True):
    """A browser that is signed in, by the hash of its cookie; gone once revoked. Market."""

    __tablename__ = "supplier_session"
    __table_args__ = (Index("supplier_session_of", "supplier_id"),)

    session_hash: str = Field(primary_key=True)
    session_id: str = Field(unique=True)
    """What lists show: it signs nobody in."""
    supplier_id: str = Field(foreign_key="supplier.supplier_id")
    user_agent: str = Field(sa_type=Text)
    created_at_s: int = Field(sa_type=BigInteger)
    seen_at_s: int = Field(sa_type=BigInteger)
    """When it was last used, to the minute."""
    expires_at_s: int = Field(index=True, sa_type=BigInteger)
    """When it ends however much it is used."""
    fresh_at_s: int = Field(sa_type=BigInteger)
    """When the password, or a one-time code, was last shown in it."""


class SupplierKey(SQLModel, table=True):
    """A supplier's API key, as the hash of its 256 random bits. Market."""

    __tablename__ = "supplier_key"
    __table_args__ = (Index("supplier_key_of", "supplier_id"),)

    key_id: str = Field(primary_key=True)
    key_hash: str = Field(unique=True)
    supplier_id: str = Field(foreign_key="supplier.supplier_id")
    label: str
    scopes: str
    """Separated by spaces."""
    created_at_s: int = Field(sa_type=BigInteger)
    expires_at_s: int | None = Field(default=None, sa_type=BigInteger)
    revoked_at_s: int | None = Field(default=None, sa_type=BigInteger)


class SupplierThrottle(SQLModel, table=True):
    """How often something was tried lately, for all processes together. Market."""

    __tablename__ = "supplier_throttle"

    subject: str = Field(primary_key=True)
    """A keyed digest of an account or an address, with what is counted: neither can be read."""
    tries: int
    started_at_s: int = Field(sa_type=BigInteger)
    ends_at_s: int = Field(index=True, sa_type=BigInteger)
