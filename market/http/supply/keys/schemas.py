"""A supplier's API keys, as requests and answers state them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

LABEL_MAX = 100

SupplyScope = Literal["offers:read", "offers:write", "usage:read", "payouts:read", "kyb:read"]


class SupplyKeyWish(BaseModel):
    """A key to be made."""

    model_config = ConfigDict(extra="forbid")

    label: str = Field(default="", max_length=LABEL_MAX)
    scopes: list[SupplyScope] = Field(min_length=1, description="what it may do")
    expires_at: int | None = Field(default=None, description="null: never")


class SupplyKeyIssued(BaseModel):
    """A new key. ``api_key`` is shown this once."""

    key_id: str
    api_key: str
    label: str
    scopes: list[SupplyScope]
    expires_at: int | None = Field(description="null: never")


class SupplyKeyView(BaseModel):
    """A key as it stands. The key itself is not kept."""

    key_id: str
    label: str
    scopes: list[SupplyScope]
    created_at: int
    expires_at: int | None = Field(description="null: never")
    revoked_at: int | None = Field(description="null: not revoked")


class SupplyKeyList(BaseModel):
    """All keys of a supplier, oldest first."""

    keys: list[SupplyKeyView]


class SupplyKeyRevoked(BaseModel):
    """A key that works no more."""

    key_id: str
    revoked: Literal[True] = True
