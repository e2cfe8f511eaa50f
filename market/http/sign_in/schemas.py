"""Signing in with a wallet, as requests and answers state it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LABEL_MAX = 100


class KeyWish(BaseModel):
    """A signed challenge, to be traded for a key."""

    model_config = ConfigDict(extra="ignore")

    message: str = Field(max_length=10_000, description="the challenge, unchanged")
    signature: str = Field(
        max_length=100_000, description="0x…; EIP-191 signature of the message by its address"
    )
    label: str = Field(default="", max_length=LABEL_MAX)
    expires_at: int | None = Field(default=None, description="null: never")
    session: bool = Field(
        default=False,
        description="true sets the key as a cookie of this browser that no script reads, and shows"
        " it nowhere; it expires in a week unless `expires_at` says otherwise. A buyer's cookie"
        " shows and manages the account, and buys nothing",
    )
    trusted_only: bool | None = Field(
        default=None,
        description="of a buyer's key: whether its requests go to approved sellers only; null: as"
        " the market has it",
    )


class ChallengeView(BaseModel):
    """What a wallet is to sign, by EIP-4361."""

    message: str
    nonce: str
    expires_at: int


class KeyIssued(BaseModel):
    """A new key. ``api_key`` is shown this once; empty where it was set as a cookie."""

    key_id: str
    api_key: str
    label: str
    expires_at: int | None = Field(description="null: never")
    trusted_only: bool | None = Field(description="null: as the market has it")


class KeyView(BaseModel):
    """A key as it stands. The key itself is not kept."""

    key_id: str
    label: str
    created_at: int
    expires_at: int | None = Field(description="null: never")
    revoked_at: int | None = Field(description="null: not revoked")
    trusted_only: bool | None = Field(description="null: as the market has it")
    is_current: bool = Field(description="whether it is the key that asks")


class KeyList(BaseModel):
    """All keys of a wallet, oldest first."""

    keys: list[KeyView]


class KeyRevoked(BaseModel):
    """A key that works no more."""

    key_id: str
    revoked: Literal[True] = True
