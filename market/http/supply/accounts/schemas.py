"""A supplier's account, as requests and answers state it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

KybStatus = Literal[
    "draft", "pending", "under_review", "revision_needed", "approved", "rejected", "suspended"
]


class AccountWish(BaseModel):
    """The password of a new account. The address is the one that was confirmed."""

    model_config = ConfigDict(extra="forbid")

    password: str = Field(min_length=12, max_length=256)


class SupplierAccount(BaseModel):
    """An account as it stands."""

    supplier_id: str
    email: str
    role: Literal["supplier", "reviewer", "operator"]
    kyb_status: KybStatus
    has_codes: bool = Field(description="whether one-time codes are asked for")
    created_at: int


class ResetWish(BaseModel):
    """Whose password is to be chosen again."""

    model_config = ConfigDict(extra="forbid")

    email: str = Field(max_length=254)


class PasswordReset(BaseModel):
    """Another password, by the token of a mail."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(max_length=64)
    password: str = Field(min_length=12, max_length=256)


class PasswordChange(BaseModel):
    """Another password, by the present one."""

    model_config = ConfigDict(extra="forbid")

    password: str = Field(max_length=256)
    new_password: str = Field(min_length=12, max_length=256)


class PasswordChanged(BaseModel):
    """The password is another now; sessions were ended."""

    changed: Literal[True] = True


class CodesBegun(BaseModel):
    """A secret for an app of one-time codes (TOTP), shown this once."""

    secret: str = Field(description="base32")
    url: str = Field(description="otpauth://…, to be shown as a QR code")


class CodeWish(BaseModel):
    """A one-time code."""

    model_config = ConfigDict(extra="forbid")

    code: str = Field(min_length=6, max_length=6, description="six digits")


class Codes(BaseModel):
    """Whether one-time codes are asked for."""

    has_codes: bool
