"""Where owners of positions are told what happens to them, and what they were told."""

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel


class Webhook(SQLModel, table=True):
    """An owner's endpoint, and what it knows of the position. Proxy.

    ``seen`` is compared and set with the deliveries that come of it, so each change is told once.
    """

    __tablename__ = "webhook"
    __table_args__ = (Index("webhook_token", "token_id"),)

    webhook_id: str = Field(primary_key=True)
    token_id: int = Field(sa_type=BigInteger)
    key_epoch: int = Field(default=0, sa_type=BigInteger)
    """The epoch of the root key that set it: it ends with that key."""
    url: str = Field(sa_type=Text)
    events: str = Field(sa_type=Text)
    """The kinds of events that it wants, as a JSON list."""
    low_usdc: int = Field(sa_type=BigInteger)
    """Below this much unspent allowance (1e-6 USDC) it is told so."""
    secret: bytes
    """What deliveries are signed by, sealed."""
    secret_before: bytes | None = None
    secret_before_until_s: int = Field(default=0, sa_type=BigInteger)
    """Until then deliveries are signed by the secret before as well."""
    seen: str = Field(sa_type=Text)
    """What of the position the last look saw, as ``proxy.webhooks.happenings`` writes it."""
    next_number: int = Field(sa_type=BigInteger)
    busy_until_s: int = Field(sa_type=BigInteger)
    """Until then a process delivers to it: one at a time, so that the order holds. Afterwards, when
    it was let go: whose turn was longest ago comes first."""
    answer_ms: int | None = Field(default=None, sa_type=BigInteger)
    """How long its last try took, milliseconds; None before the first: who is swift has places that
    slow endpoints cannot take."""
    created_at_s: int = Field(sa_type=BigInteger)
    ended_at_s: int | None = Field(default=None, sa_type=BigInteger)
    """When it was deleted, or said that it is gone."""


class WebhookDelivery(SQLModel, table=True):
    """Something that an endpoint is or was told. Proxy."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        CheckConstraint("state IN ('waiting','delivered','failed')", name="state_known"),
        UniqueConstraint("webhook_id", "number", name="webhook_delivery_once"),
        Index("webhook_delivery_due", "state", "next_try_at_s"),
    )

    delivery_id: str = Field(primary_key=True)
    webhook_id: str = Field(foreign_key="webhook.webhook_id")
    number: int = Field(sa_type=BigInteger)
    """Its place in the order of its endpoint."""
    message_id: str
    """The same where it is replayed: the endpoint can tell that it knows it."""
    kind: str
    body: str = Field(sa_type=Text)
    state: str
    tries: int
    next_try_at_s: int = Field(sa_type=BigInteger)
    created_at_s: int = Field(sa_type=BigInteger)
    ended_at_s: int | None = Field(default=None, sa_type=BigInteger)
    said: str | None = Field(default=None, sa_type=Text)
    """What came of the last try: an HTTP status, or why there was none."""
