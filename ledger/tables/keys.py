"""Keys of positions."""

from sqlalchemy import BigInteger, CheckConstraint, Index, Text
from sqlmodel import Field, SQLModel


class ApiKey(SQLModel, table=True):
    """A root key that was issued. The key itself is not stored: it is an HMAC. Proxy."""

    __tablename__ = "api_key"

    key_id: str = Field(primary_key=True)
    token_id: int = Field(index=True, sa_type=BigInteger)
    key_epoch: int = Field(sa_type=BigInteger)
    issued_at_s: int = Field(sa_type=BigInteger)


class ChildKey(SQLModel, table=True):
    """A key under a root key: its limits, and what is used of them. Proxy.

    Changed only under its position's lock, the counters only with the usage that they count: see
    ``ledger.spending.children``. Amounts in 1e-6 USDC; None = no limit. Rows stay when a key is
    revoked.
    """

    __tablename__ = "child_key"
    __table_args__ = (
        CheckConstraint(
            "day_used_usdc >= 0 AND month_used_usdc >= 0 AND used_usdc >= 0", name="used_positive"
        ),
        CheckConstraint("open_requests >= 0", name="open_positive"),
        Index("child_key_token", "token_id", "key_epoch"),
    )

    key_id: str = Field(primary_key=True)
    token_id: int = Field(sa_type=BigInteger)
    key_epoch: int = Field(sa_type=BigInteger)
    label: str
    models: str | None = Field(default=None, sa_type=Text)
    request_usdc_max: int | None = Field(default=None, sa_type=BigInteger)
    day_usdc_max: int | None = Field(default=None, sa_type=BigInteger)
    month_usdc_max: int | None = Field(default=None, sa_type=BigInteger)
    lifetime_usdc_max: int | None = Field(default=None, sa_type=BigInteger)
    requests_per_minute_max: int | None = None
    concurrency_max: int | None = None
    expires_at_s: int | None = Field(default=None, sa_type=BigInteger)
    created_at_s: int = Field(sa_type=BigInteger)
    revoked_at_s: int | None = Field(default=None, sa_type=BigInteger)
    generation: int
    grace_until_s: int = Field(sa_type=BigInteger)
    day: int = Field(sa_type=BigInteger)
    day_used_usdc: int = Field(sa_type=BigInteger)
    month_used_usdc: int = Field(sa_type=BigInteger)
    used_usdc: int = Field(sa_type=BigInteger)
    minute: int = Field(sa_type=BigInteger)
    minute_requests: int
    open_requests: int


class KeyPolicy(SQLModel, table=True):
    """Who may serve the requests of a position, or of one child key of it. Proxy.

    Rows stay when a policy is lifted, so that every process hears of it.
    """

    __tablename__ = "key_policy"

    token_id: int = Field(primary_key=True, sa_type=BigInteger)
    key_id: str = Field(primary_key=True)
    """The child key's; empty for all keys of the position."""
    policy: str | None = Field(default=None, sa_type=Text)
    """JSON as ``serving.dialects.policy`` reads it; None: anybody."""
    changed_at_s: int = Field(index=True, sa_type=BigInteger)


class UsedNonce(SQLModel, table=True):
    """A sign-in nonce that was used; kept until it would have expired anyhow. Proxy."""

    __tablename__ = "used_nonce"

    nonce: str = Field(primary_key=True)
    expires_at_s: int = Field(index=True, sa_type=BigInteger)


class WalletSession(SQLModel, table=True):
    """A browser that a wallet signed in, by the hash of its cookie; gone once ended. Proxy."""

    __tablename__ = "wallet_session"
    __table_args__ = (Index("wallet_session_of", "address"),)

    session_hash: str = Field(primary_key=True)
    session_id: str = Field(unique=True)
    """What lists and usage show: it signs nobody in."""
    address: str
    user_agent: str = Field(sa_type=Text)
    created_at_s: int = Field(sa_type=BigInteger)
    expires_at_s: int = Field(index=True, sa_type=BigInteger)
