"""Sellers' subscriptions to APIs whose unused quota is sold by the call, and every such call."""

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from ledger.tables.predicates import CALL_RESERVED, CALL_UNPAID, unqualified


class ApiConnection(SQLModel, table=True):
    """A subscription to an API, as its owner sells it. Market."""

    __tablename__ = "api_connection"
    __table_args__ = (
        CheckConstraint("status IN ('enabled','disabled','deleted')", name="status_known"),
        Index("api_connection_owner", "owner"),
        Index("api_connection_changed", "changed_at_s"),
        # A name stands for one connection of an owner; a deleted one frees it.
        Index(
            "api_connection_name",
            "owner",
            "name",
            unique=True,
            sqlite_where=text("status != 'deleted'"),
            postgresql_where=text("status != 'deleted'"),
        ),
    )

    connection_id: str = Field(primary_key=True)
    owner: str = Field(foreign_key="market_seller.address")
    name: str
    base_url: str = Field(sa_type=Text)
    terms: str = Field(sa_type=Text)
    """JSON: all else that the owner has said, as ``market.resale.connection_terms`` reads it."""
    payout_address: str
    status: str
    suspended_for: str | None = Field(default=None, sa_type=Text)
    """Why the market has taken it off sale; None: it has not. Enabling it again clears this."""
    version: int = Field(sa_type=BigInteger)
    """Counts the changes of everything above: a call at an older version is refused."""
    created_at_s: int = Field(sa_type=BigInteger)
    changed_at_s: int = Field(sa_type=BigInteger)


class ApiConnectionKey(SQLModel, table=True):
    """The credential of a connection, sealed. Gone when the connection is deleted. Market."""

    __tablename__ = "api_connection_key"

    connection_id: str = Field(primary_key=True, foreign_key="api_connection.connection_id")
    ciphertext: bytes
    wrapped_key: bytes
    kms_key_id: str = Field(index=True)


class ApiName(SQLModel, table=True):
    """A connection's owner whom the operator lets sell under an API's own name. Market."""

    __tablename__ = "api_name"

    name: str = Field(primary_key=True)
    owner: str = Field(primary_key=True)
    approved_at_s: int = Field(sa_type=BigInteger)


class ApiPeriod(SQLModel, table=True):
    """What is sold of one period of a connection's quota. Market. The hot row of a call.

    Units are the API's: calls or credits.
    """

    __tablename__ = "api_period"
    __table_args__ = (
        CheckConstraint("sold_units >= 0 AND reserved_units >= 0", name="not_negative"),
        # R1: however many processes sell.
        CheckConstraint("sold_units + reserved_units <= for_sale_units", name="fits"),
    )

    connection_id: str = Field(primary_key=True, foreign_key="api_connection.connection_id")
    starts_at_s: int = Field(primary_key=True, sa_type=BigInteger)
    ends_at_s: int = Field(sa_type=BigInteger)
    for_sale_units: int = Field(sa_type=BigInteger)
    """What may be sold in all: it falls as the owner uses more than the reserve."""
    sold_units: int = Field(sa_type=BigInteger)
    reserved_units: int = Field(sa_type=BigInteger)
    own_units: int = Field(sa_type=BigInteger)
    """What the owner has used, as the API's own count of what remains tells."""
    lost_units: int = Field(sa_type=BigInteger)
    """What the API counted and nobody paid for."""
    carried_units: int = Field(default=0, sa_type=BigInteger)
    """What was sold of the same time under other terms: a change of them renews no quota."""
    read_at_s: int = Field(default=0, sa_type=BigInteger)
    """When the API said last what remains; 0: never."""


class ApiCall(SQLModel, table=True):
    """One attempt at one call by one connection: its reservation, its split; the audit log. Market.

    A call that fails over has several, of which at most one is posted.
    """

    __tablename__ = "api_call"
    __table_args__ = (
        CheckConstraint("state IN ('reserved','posted','voided')", name="state_known"),
        CheckConstraint("(state = 'posted') = (cost_usdc IS NOT NULL)", name="cost_when_posted"),
        CheckConstraint("cost_usdc >= 0 AND cost_usdc <= ceiling_usdc", name="cost_fits"),
        CheckConstraint("units >= 0 AND units <= units_max", name="units_fit"),
        CheckConstraint(
            "cost_usdc = earning_usdc + fee_usdc AND earning_usdc >= 0 AND fee_usdc >= 0",
            name="split_adds_up",
        ),
        UniqueConstraint("request_id", "attempt", name="api_call_attempt"),
        Index("api_call_connection", "connection_id", "call_id"),
        Index("api_call_owner", "owner", "call_id"),
        Index("api_call_account", "account_id", "call_id"),
        Index(
            "api_call_open",
            "lease_expires_at_s",
            sqlite_where=text(unqualified(CALL_RESERVED)),
            postgresql_where=text(unqualified(CALL_RESERVED)),
        ),
        Index(
            "api_call_unpaid",
            "payout_address",
            sqlite_where=text(unqualified(CALL_UNPAID)),
            postgresql_where=text(unqualified(CALL_UNPAID)),
        ),
    )

    call_id: str = Field(primary_key=True)
    request_id: str
    attempt: int
    account_id: str = Field(foreign_key="market_account.account_id")
    key_id: str
    connection_id: str = Field(foreign_key="api_connection.connection_id")
    owner: str
    payout_address: str
    operation: str
    """``METHOD /path/{parameter}``: never a parameter's value."""
    state: str
    period_starts_at_s: int = Field(sa_type=BigInteger)
    units_max: int = Field(sa_type=BigInteger)
    price_usdc: int = Field(sa_type=BigInteger)
    """What a unit costs, or the whole call where ``is_flat``."""
    is_flat: bool
    transaction_fee_usdc: int = Field(sa_type=BigInteger)
    """What the consumer pays for the transaction of a payment by x402; part of the fee."""
    ceiling_usdc: int = Field(sa_type=BigInteger)
    fee_bps: int = Field(default=1_000, sa_type=BigInteger)
    """What the platform takes of the price, in 1/100 of a per cent."""
    count_on: str = Field(default="2xx", sa_type=Text)
    """The statuses that are charged, joined by commas, as the operation stated them then."""
    units: int | None = Field(default=None, sa_type=BigInteger)
    cost_usdc: int | None = Field(default=None, sa_type=BigInteger)
    earning_usdc: int | None = Field(default=None, sa_type=BigInteger)
    fee_usdc: int | None = Field(default=None, sa_type=BigInteger)
    status: int | None = None
    """The API's HTTP status; None where no answer came."""
    void_reason: str | None = None
    is_api_failure: bool = False
    api_ms: int | None = Field(default=None, sa_type=BigInteger)
    """How long the API took, in milliseconds."""
    whole_ms: int | None = Field(default=None, sa_type=BigInteger)
    """From the consumer's request to the charge, in milliseconds."""
    reserved_at_s: int = Field(sa_type=BigInteger)
    lease_expires_at_s: int = Field(sa_type=BigInteger)
    holder_id: str | None = None
    """The process that reserved it."""
    resolved_at_s: int | None = Field(default=None, sa_type=BigInteger)
    payout_id: str | None = Field(default=None, index=True)
    """The payout that its earning is part of."""


class ApiFlag(SQLModel, table=True):
    """Why a consumer of a connection is slowed down: its owner sees it. Market."""

    __tablename__ = "api_flag"

    connection_id: str = Field(primary_key=True, foreign_key="api_connection.connection_id")
    account_id: str = Field(primary_key=True)
    reason: str = Field(primary_key=True)
    detail: str = Field(sa_type=Text)
    flagged_at_s: int = Field(sa_type=BigInteger)
