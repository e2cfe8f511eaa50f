"""The bodies of requests for root keys and of their answers."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from proxy.http.keys.child_schemas import ChildView
from proxy.http.token_ids import parse_token_id


class KeyRequest(BaseModel):
    """A signed wish for an API key."""

    model_config = ConfigDict(extra="ignore", strict=True)

    tokenId: Annotated[int, BeforeValidator(parse_token_id)] = Field(
        description="the position's token id, as a string or a number", examples=["0"]
    )
    signature: str = Field(
        description="0x…; EIP-191 signature, by the position's owner, of exactly"
        " `Issue Current API key for token <tokenId> at <timestamp>`"
    )
    timestamp: int = Field(
        ge=0, lt=2**53, description="milliseconds since 1970, within five minutes of our clock"
    )


class SignInRequest(BaseModel):
    """A signed wish for an API key, by EIP-4361."""

    model_config = ConfigDict(extra="ignore", strict=True)

    message: str = Field(
        max_length=4_096, description="the message as `GET /keys/nonce` states it, filled in"
    )
    signature: str = Field(description="0x…; EIP-191 signature of the message by its address")


class NonceView(BaseModel):
    """A nonce for one sign-in, and what the message must say."""

    nonce: str
    expires_at_s: int
    domain: str
    uri: str
    version: str
    chain_id: int
    statement: str = Field(description="free to change; the other fields are not")
    resources: list[str]
    template: str = Field(description="the message; fill in what is in <angle brackets>")


class KeyIssued(BaseModel):
    """A fresh API key. It is shown once and not stored."""

    apiKey: str
    tokenId: str
    keyEpoch: int
    keyId: str


class KeySelf(BaseModel):
    """The key that asks."""

    keyId: str
    tokenId: str
    keyEpoch: int
    kind: Literal["root", "child"]
    child: ChildView | None
