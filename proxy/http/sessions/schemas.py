"""Sessions as requests and answers state them."""

from pydantic import BaseModel, ConfigDict, Field


class SessionMessage(BaseModel):
    """What a wallet signs to sign in."""

    message: str = Field(description="by EIP-4361; sign it as it is (EIP-191)")


class SessionWish(BaseModel):
    """A signed wish for a session."""

    model_config = ConfigDict(extra="ignore", strict=True)

    message: str = Field(max_length=4_096, description="the message, as it was given")
    signature: str = Field(max_length=65_536, description="0x…; by the message's address")


class SessionView(BaseModel):
    """One browser in which a wallet is signed in."""

    session_id: str
    user_agent: str = Field(description="what the browser says of itself: untrusted text")
    created_at_s: int
    expires_at_s: int
    is_this: bool


class OwnedPosition(BaseModel):
    """A position in a list of its owner's."""

    token_id: int
    principal_usdc: int
    unspent_usdc: int = Field(description="credited, and neither spent nor taken out")


class SessionState(BaseModel):
    """Who is signed in here. All null and empty where nobody is."""

    address: str | None
    session_id: str | None
    expires_at_s: int | None
    sessions: list[SessionView] = Field(description="of this wallet, newest first")
    positions: list[OwnedPosition] = Field(description="that this wallet owns")


class SessionEnded(BaseModel):
    """A session that has ended."""

    session_id: str


class OwnedPositions(BaseModel):
    """The positions of a wallet. Public: all of it is on chain."""

    owner: str
    positions: list[OwnedPosition]
