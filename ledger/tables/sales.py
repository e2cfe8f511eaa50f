"""What the market sold, what it owes for that, and the jobs that are being worked at."""

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

from ledger.tables.predicates import JOB_OPEN, SALE_RESERVED, SALE_UNPAID, unqualified


class MarketSale(SQLModel, table=True):
    """One attempt to serve one request by one offer: its reservation, its split. Market.

    A request that fails over has several, of which at most one is posted.
    """

    __tablename__ = "market_sale"
    __table_args__ = (
        CheckConstraint("state IN ('reserved','posted','voided')", name="state_known"),
        CheckConstraint("(state = 'posted') = (cost_usdc IS NOT NULL)", name="cost_when_posted"),
        CheckConstraint("cost_usdc >= 0 AND cost_usdc <= ceiling_usdc", name="cost_fits"),
        CheckConstraint(
            "cost_usdc = earning_usdc + fee_usdc + margin_usdc"
            " AND earning_usdc >= 0 AND fee_usdc >= 0 AND margin_usdc >= 0",
            name="split_adds_up",
        ),
        UniqueConstraint("request_id", "attempt", name="market_sale_attempt"),
        Index("market_sale_seller", "seller", "reserved_at_s"),
        Index("market_sale_account", "account_id", "reserved_at_s"),
        Index(
            "market_sale_open",
            "lease_expires_at_s",
            sqlite_where=text(unqualified(SALE_RESERVED)),
            postgresql_where=text(unqualified(SALE_RESERVED)),
        ),
        Index(
            "market_sale_unpaid",
            "payout_address",
            sqlite_where=text(unqualified(SALE_UNPAID)),
            postgresql_where=text(unqualified(SALE_UNPAID)),
        ),
    )

    sale_id: str = Field(primary_key=True)
    request_id: str
    attempt: int
    account_id: str = Field(foreign_key="market_account.account_id")
    key_id: str
    offer_id: str = Field(index=True, foreign_key="market_offer.offer_id")
    seller: str
    payout_address: str
    endpoint: str
    model: str
    state: str
    input_usdc_per_mtok: int = Field(sa_type=BigInteger)
    output_usdc_per_mtok: int = Field(sa_type=BigInteger)
    cached_input_usdc_per_mtok: int | None = Field(default=None, sa_type=BigInteger)
    """Price of the prompt tokens that the endpoint had cached; None: the input price."""
    per_request_usdc: int | None = Field(default=None, sa_type=BigInteger)
    """What the request costs beside its tokens; None: nothing."""
    unit: str | None = None
    """The offer's unit, which ``prompt_tokens`` counts; None for tokens."""
    fee_bps: int
    ceiling_usdc: int = Field(sa_type=BigInteger)
    prompt_tokens: int | None = Field(default=None, sa_type=BigInteger)
    completion_tokens: int | None = Field(default=None, sa_type=BigInteger)
    cached_tokens: int | None = Field(default=None, sa_type=BigInteger)
    """The part of ``prompt_tokens`` that was charged at the cached price."""
    cost_usdc: int | None = Field(default=None, sa_type=BigInteger)
    earning_usdc: int | None = Field(default=None, sa_type=BigInteger)
    fee_usdc: int | None = Field(default=None, sa_type=BigInteger)
    margin_usdc: int | None = Field(default=None, sa_type=BigInteger)
    void_reason: str | None = None
    """``<cause>`` of a seller's failure, or why the request ended otherwise."""
    is_seller_failure: bool = False
    is_cut: bool | None = None
    """Whether the seller reported more than can be true; None before it is posted, and for sales of
    older versions."""
    day: int = Field(sa_type=BigInteger)
    """The UTC day whose cap it counts against."""
    reserved_at_s: int = Field(sa_type=BigInteger)
    lease_expires_at_s: int = Field(sa_type=BigInteger)
    holder_id: str | None = None
    """The process that reserved it; None: a job's, which outlives its process."""
    resolved_at_s: int | None = Field(default=None, sa_type=BigInteger)
    supply_offer_id: str | None = None
    """The supplier's offer whose ceilings it counts against; None: a seller's own sale."""
    bound_tokens: int | None = Field(default=None, sa_type=BigInteger)
    """The tokens that were reserved of a supplier's quota."""
    vesting_s: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")}
    )
    """How long after it was posted its earning is the buyer's again where the offer is convicted,
    seconds; no payout has it before."""
    payout_id: str | None = Field(default=None, index=True)
    """The payout that its earning is part of, or the conviction that gave it back to the buyer
    (``ledger.selling.convictions``); of a supplier's sale: the offer and the day that it counts for
    (``supply_day``)."""


class MarketPayout(SQLModel, table=True):
    """A payout to one address: the sum of the earnings of the sales that name it. Market.

    Written once, but for ``batch_id``; ``payout_item`` says how far the keeper has come with it.
    """

    __tablename__ = "market_payout"
    __table_args__ = (
        CheckConstraint("amount_usdc > 0", name="amount_positive"),
        # What waits, however much was paid before.
        Index(
            "market_payout_waits",
            "planned_at_s",
            "payout_id",
            sqlite_where=text("batch_id IS NULL"),
            postgresql_where=text("batch_id IS NULL"),
        ),
    )

    payout_id: str = Field(primary_key=True)
    seller: str = Field(index=True)
    payee: str
    amount_usdc: int = Field(sa_type=BigInteger)
    planned_at_s: int = Field(sa_type=BigInteger)
    batch_id: str | None = None
    """The batch that pays it, None while it waits for one. Keeper."""


class MarketJob(SQLModel, table=True):
    """A job that a seller works on after its submission was answered, and its one sale. Market."""

    __tablename__ = "market_job"
    __table_args__ = (
        CheckConstraint(
            "state IN ('submitting','queued','in_progress',"
            "'completed','failed','cancelled','expired')",
            name="state_known",
        ),
        UniqueConstraint(
            "account_id", "endpoint", "scope", "idempotency_key", name="market_job_once"
        ),
        Index(
            "market_job_due",
            "next_poll_at_s",
            sqlite_where=text(unqualified(JOB_OPEN)),
            postgresql_where=text(unqualified(JOB_OPEN)),
        ),
    )

    job_id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="market_account.account_id")
    endpoint: str
    scope: str
    """The path's min segment, empty without one: the same idempotency key is another below it."""
    idempotency_key: str | None = None
    request_digest: str | None = None
    model: str
    sale_id: str
    """The attempt that it is served by; its reservation stands until the deadline."""
    offer_id: str
    upstream_id: str | None = Field(default=None, sa_type=Text)
    state: str
    error_code: str | None = None
    result: str | None = Field(default=None, sa_type=Text)
    """JSON of what was delivered."""
    quantity: int = Field(sa_type=BigInteger)
    """The most that it can come to, in its unit's base."""
    flat_fee_usdc: int = Field(default=0, sa_type=BigInteger)
    """What the buyer pays beside the price, as its reservation has it."""
    polls_failed: int = 0
    """Failed polls in a row."""
    created_at_s: int = Field(sa_type=BigInteger)
    deadline_s: int = Field(sa_type=BigInteger)
    next_poll_at_s: int = Field(sa_type=BigInteger)
    """While it is submitted: when its process is taken for dead."""
    resolved_at_s: int | None = Field(default=None, sa_type=BigInteger)


class MarketArtifact(SQLModel, table=True):
    """Where a seller keeps what it made. Its id is the right to fetch it. Market."""

    __tablename__ = "market_artifact"

    artifact_id: str = Field(primary_key=True)
    sale_id: str
    offer_id: str
    url: str = Field(sa_type=Text)
    expires_at_s: int = Field(index=True, sa_type=BigInteger)
