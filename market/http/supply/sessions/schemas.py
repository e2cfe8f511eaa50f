"""Sessions of suppliers and reviewers, as requests and answers state them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from market.http.supply.accounts.schemas import SupplierAccount


class SignInWish(BaseModel):
    """Who wants to sign in."""

    model_config = ConfigDict(extra="forbid")

    email: str = Field(max_length=254)
    password: str = Field(max_length=256)
    code: str | None = Field(
        default=None, description="a one-time code, where they are on; else null"
    )


class SessionBegun(BaseModel):
    """A session. Its cookie came with the answer."""

    session_id: str
    csrf_token: str = Field(description="to be sent as `x-csrf-token` with what changes something")
    expires_at: int = Field(description="when it ends however much it is used")
    account: SupplierAccount


class Confirmation(BaseModel):
    """The password, or a one-time code, shown again."""

    model_config = ConfigDict(extra="forbid")

    password: str | None = Field(default=None, max_length=256)
    code: str | None = Field(default=None, description="a one-time code, where they are on")


class Confirmed(BaseModel):
    """What decides where money goes may be done for a while."""

    until_at: int


class SessionView(BaseModel):
    """A browser that is signed in."""

    session_id: str
    user_agent: str
    is_current: bool = Field(description="whether it is the session that asks")
    created_at: int
    seen_at: int = Field(description="when it was last used, to the minute")
    expires_at: int


class SessionList(BaseModel):
    """All sessions of an account, newest first."""

    csrf_token: str = Field(description="of the session that asks")
    sessions: list[SessionView]


class SessionsEnded(BaseModel):
    """Sessions that work no more."""

    ended: Literal[True] = True
