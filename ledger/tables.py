"""The tables. Each says which process causes its writes; all writes go through this package.

Chain-derived tables (``event``, ``block``, ``mirror``, and every column of ``position`` but
``drawn_usdc``) are written only from events and can be rebuilt from them. Table classes do not
validate: decode and check before constructing rows.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel

from ledger.types import Uint256

HAS_SHARES_SQLITE = f"shares > '{0:078d}'"
"""Positions without shares are due for ever and never harvested. Text on SQLite: 78 digits."""
HAS_SHARES_POSTGRES = "shares > 0"
# Laid out as PostgreSQL gives it back, so that the tables can be compared with a database.
_HARVEST_LOOK = """(
CASE
    WHEN harvest_look_at_s > (last_harvest_at_s + harvest_interval_s) THEN harvest_look_at_s
    ELSE last_harvest_at_s + harvest_interval_s
END)"""
BATCH_OPEN = "batch.state = 'planned'"
PAYOUT_BATCH_OPEN = "payout_batch.state IN ('planned', 'sent')"
INTENT_OPEN = "intent.state IN ('planned', 'simulated', 'sent', 'mined')"
"""What is looked for in every round, among what is over: written in queries as their indexes have
it, or SQLite would not use them."""
_NONCE_TAKEN = "state IN ('planned', 'simulated', 'sent', 'mined', 'confirmed')"


def _unqualified(predicate: str) -> str:
    return predicate.partition(".")[2]


class Deployment(SQLModel, table=True):
    """The contracts that this database mirrors: one row, written once, by whoever starts first."""

    __tablename__ = "deployment"

    chain_id: int = Field(primary_key=True, sa_type=BigInteger)
    position: str
    adapter: str
    payouts: str
    block_number: int = Field(sa_type=BigInteger)
    block_hash: str
    batch_prefix: str
    """48 hex digits, random: the upper 24 bytes of every batch id that this ledger makes."""
    next_batch_number: int = Field(default=0, sa_type=BigInteger)
    """The lower 8 bytes of the next batch id. Sequential ids share a storage word on chain."""


class Mirror(SQLModel, table=True):
    """How far the mirror is: one row. Indexer."""

    __tablename__ = "mirror"

    chain_id: int = Field(primary_key=True, sa_type=BigInteger)
    block_number: int = Field(sa_type=BigInteger)
    """The newest mirrored block; everything up to and including it is mirrored."""
    block_hash: str
    block_timestamp_s: int = Field(sa_type=BigInteger)
    head_number: int = Field(sa_type=BigInteger)
    """The newest block that the node has shown."""
    observed_at_s: int = Field(sa_type=BigInteger)
    """Wall clock when the mirror last was at the node's head; staleness counts from here."""


class Block(SQLModel, table=True):
    """The window of unfinalised blocks. Indexer.

    Invariant: numbers are consecutive and each row's ``parent_hash`` is the ``block_hash`` of the
    row before it. The newest row is the mirror's cursor.
    """

    __tablename__ = "block"

    number: int = Field(primary_key=True, sa_type=BigInteger)
    block_hash: str
    parent_hash: str
    timestamp_s: int = Field(sa_type=BigInteger)


class Event(SQLModel, table=True):
    """Every event of our contracts on the current chain, as its log's words. Indexer.

    Rows are as narrow as a fold needs them: a backfill writes hundreds of thousands.
    """

    __tablename__ = "event"
    __table_args__ = (
        Index(
            "event_token",
            "token_id",
            "block_number",
            "log_index",
            sqlite_where=text("token_id IS NOT NULL"),
            postgresql_where=text("token_id IS NOT NULL"),
        ),
        Index(
            "event_contract",
            "name",
            "block_number",
            sqlite_where=text("token_id IS NULL"),
            postgresql_where=text("token_id IS NULL"),
        ),
        Index(
            "event_batch",
            "settled_batch_id",
            sqlite_where=text("settled_batch_id IS NOT NULL"),
            postgresql_where=text("settled_batch_id IS NOT NULL"),
        ),
        {"sqlite_with_rowid": False},
    )

    block_number: int = Field(primary_key=True, sa_type=BigInteger)
    log_index: int = Field(primary_key=True)
    """In its block. Two blocks at one height never are in the table together."""
    block_hash: bytes
    block_timestamp_s: int = Field(sa_type=BigInteger)
    tx_hash: bytes
    contract: str
    name: str
    token_id: int | None = Field(default=None, sa_type=BigInteger)
    settled_batch_id: str | None = None
    """Of ``BatchSettled`` only."""
    words: bytes
    """The arguments, 32 bytes each: the indexed ones, then the others."""


class Position(SQLModel, table=True):
    """One position: the chain's numbers (indexer) and ``drawn_usdc`` (this ledger's own).

    The hot row of the request path.
    """

    __tablename__ = "position"
    __table_args__ = (
        CheckConstraint("drawn_usdc >= 0", name="drawn_not_negative"),
        CheckConstraint("hold_usdc >= 0", name="hold_not_negative"),
        CheckConstraint("spent_usdc + withdrawn_usdc <= credited_usdc", name="solvent"),
        Index(
            "position_harvest_look",
            text(_HARVEST_LOOK),
            "token_id",
            sqlite_where=text(HAS_SHARES_SQLITE),
            postgresql_where=text(HAS_SHARES_POSTGRES),
        ),
        Index(
            "position_release",
            "token_id",
            sqlite_where=text("release_requested_at_s IS NOT NULL"),
            postgresql_where=text("release_requested_at_s IS NOT NULL"),
        ),
    )

    token_id: int = Field(primary_key=True, sa_type=BigInteger)
    owner: str
    model_tier: int
    daily_smoothing_bps: int
    vault: str
    principal_usdc: int = Field(sa_type=BigInteger)
    shares: int = Field(sa_column=Column(Uint256(), nullable=False))
    harvest_interval_s: int
    last_harvest_at_s: int = Field(sa_type=BigInteger)
    key_epoch: int = Field(sa_type=BigInteger)
    credited_usdc: int = Field(sa_type=BigInteger)
    spent_usdc: int = Field(sa_type=BigInteger)
    withdrawn_usdc: int = Field(sa_type=BigInteger)
    hold_usdc: int = Field(sa_type=BigInteger)
    """The last placed hold less what was settled from it; counts only until it expires."""
    hold_expires_at_s: int = Field(sa_type=BigInteger)
    day: int = Field(sa_type=BigInteger)
    """The UTC day of the last event that touched the account; the two fields below are of it."""
    day_base_usdc: int = Field(sa_type=BigInteger)
    """Unspent credit when that day was first touched, plus what was credited since."""
    day_spent_usdc: int = Field(sa_type=BigInteger)
    release_requested_at_s: int | None = Field(default=None, sa_type=BigInteger)
    """When the owner last asked for the hold to be freed, until a later hold answers it."""

    hold_unconfirmed_usdc: int = Field(default=0, sa_type=BigInteger)
    """By how much unconfirmed events raised the hold; not spendable yet."""
    hold_confirmed_expires_at_s: int = Field(default=0, sa_type=BigInteger)
    """The earliest expiry that any still possible chain gives the hold."""
    drawn_usdc: int = Field(default=0, sa_type=BigInteger)
    """L1: sum of ceilings of reserved usage and costs of posted and settling usage."""

    harvest_look_at_s: int = Field(default=0, sa_type=BigInteger)
    """Not looked at for a harvest before this, though due: it was poor or refused. Keeper."""
    harvest_failures: int = 0
    """How often in a row its harvest failed. Keeper."""
    harvest_sent_at_s: int = Field(default=0, sa_type=BigInteger)
    """The time of the block from which a harvest was last sent. Keeper."""


class HoldRaise(SQLModel, table=True):
    """A hold raised or prolonged by an event that is not confirmed yet. Indexer."""

    __tablename__ = "hold_raise"

    token_id: int = Field(primary_key=True, sa_type=BigInteger)
    block_number: int = Field(primary_key=True, sa_type=BigInteger)
    log_index: int = Field(primary_key=True)
    raised_usdc: int = Field(sa_type=BigInteger)
    expires_before_s: int = Field(sa_type=BigInteger)


class Usage(SQLModel, table=True):
    """One request: its reservation, its cost, its receipt. Proxy; batches by keeper and indexer."""

    __tablename__ = "usage"
    __table_args__ = (
        CheckConstraint(
            "state IN ('reserved','posted','settling','settled','voided','written_off')",
            name="state_known",
        ),
        CheckConstraint("ceiling_usdc >= 0", name="ceiling_not_negative"),
        CheckConstraint("cost_usdc >= 0 AND cost_usdc <= ceiling_usdc", name="cost_fits"),
        CheckConstraint(
            "(state IN ('reserved','voided')) = (cost_usdc IS NULL)", name="cost_when_posted"
        ),
        CheckConstraint(
            "(state IN ('settling','settled')) = (batch_id IS NOT NULL)", name="batch_when_batched"
        ),
        Index("usage_open", "state", "token_id"),
        Index("usage_batch", "batch_id"),
        Index("usage_token", "token_id", "reserved_at_s"),
    )

    request_id: str = Field(primary_key=True)
    token_id: int = Field(sa_type=BigInteger)
    key_epoch: int = Field(sa_type=BigInteger)
    key_id: str
    model: str
    state: str
    ceiling_usdc: int = Field(sa_type=BigInteger)
    cost_usdc: int | None = Field(default=None, sa_type=BigInteger)
    input_usdc_per_mtok: int = Field(sa_type=BigInteger)
    output_usdc_per_mtok: int = Field(sa_type=BigInteger)
    prompt_tokens: int | None = Field(default=None, sa_type=BigInteger)
    completion_tokens: int | None = Field(default=None, sa_type=BigInteger)
    reserved_at_s: int = Field(sa_type=BigInteger)
    lease_expires_at_s: int = Field(sa_type=BigInteger)
    resolved_at_s: int | None = Field(default=None, sa_type=BigInteger)
    batch_id: str | None = None
    void_reason: str | None = None
    cached_input_usdc_per_mtok: int | None = Field(default=None, sa_type=BigInteger)
    """The price of prompt tokens that the provider had cached; None = as any other."""
    cached_tokens: int | None = Field(default=None, sa_type=BigInteger)
    """Those of ``prompt_tokens`` that were charged at that price."""


class Batch(SQLModel, table=True):
    """A settlement: planned by the keeper, settled by the indexer when the chain says so.

    One that was given up settles all the same where the chain says so.
    """

    __tablename__ = "batch"
    __table_args__ = (
        CheckConstraint("state IN ('planned','settled','abandoned')", name="state_known"),
        Index(
            "batch_open",
            "batch_id",
            sqlite_where=text(_unqualified(BATCH_OPEN)),
            postgresql_where=text(_unqualified(BATCH_OPEN)),
        ),
    )

    batch_id: str = Field(primary_key=True)
    state: str
    receipts_root: str
    total_usdc: int = Field(sa_type=BigInteger)
    planned_at_s: int = Field(sa_type=BigInteger)
    settled_block: int | None = Field(default=None, sa_type=BigInteger)
    settled_tx_hash: str | None = None
    given_up: bool = False
    """Whether it was ever abandoned: a reorg that takes its settlement back leaves it so again."""


class BatchItem(SQLModel, table=True):
    """What one batch charges one position. Keeper."""

    __tablename__ = "batch_item"

    batch_id: str = Field(primary_key=True, foreign_key="batch.batch_id")
    token_id: int = Field(primary_key=True, sa_type=BigInteger)
    cost_usdc: int = Field(sa_type=BigInteger)
    """What the chain charges: the costs of the usage less ``offset_usdc``."""
    offset_usdc: int = Field(default=0, sa_type=BigInteger)
    """What the position was charged twice for before, and is not charged here."""


class BatchStray(SQLModel, table=True):
    """Usage that a batch's receipts name, but that is not the batch's now. Keeper and indexer.

    Its batch was given up, or another batch that names it too is settled. Nearly always empty.
    """

    __tablename__ = "batch_stray"

    request_id: str = Field(primary_key=True, foreign_key="usage.request_id")
    batch_id: str = Field(primary_key=True, foreign_key="batch.batch_id", index=True)


class Intent(SQLModel, table=True):
    """A transaction meant, before it is sent. Keeper. States: see ``ledger.intents``."""

    __tablename__ = "intent"
    __table_args__ = (
        Index(
            "intent_open",
            "intent_id",
            sqlite_where=text(_unqualified(INTENT_OPEN)),
            postgresql_where=text(_unqualified(INTENT_OPEN)),
        ),
        Index("intent_nonce", "sender", "nonce"),
        # A signed transaction has its nonce to itself, whoever signs at the same time.
        Index(
            "intent_nonce_taken",
            "sender",
            "nonce",
            unique=True,
            sqlite_where=text(_NONCE_TAKEN),
            postgresql_where=text(_NONCE_TAKEN),
        ),
    )

    intent_id: str = Field(primary_key=True)
    kind: str
    state: str
    reason: str
    """Why the keeper decided so, for the log and the operator."""
    payload: str = Field(sa_type=Text)
    """What the action needs to be built again, as JSON."""
    sender: str | None = None
    nonce: int | None = Field(default=None, sa_type=BigInteger)
    tx_hash: str | None = None
    raw_tx: str | None = Field(default=None, sa_type=Text)
    """The signed transaction, stored before it is sent: sending it again cannot act twice."""
    mined_block: int | None = Field(default=None, sa_type=BigInteger)
    mined_block_hash: str | None = None
    gas_used: int | None = Field(default=None, sa_type=BigInteger)
    fee_wei: int | None = Field(default=None, sa_column=Column(Uint256(), nullable=True))
    error: str | None = Field(default=None, sa_type=Text)
    created_at_s: int = Field(sa_type=BigInteger)
    updated_at_s: int = Field(sa_type=BigInteger)


class PayoutBatch(SQLModel, table=True):
    """A payment to sellers: one ``pay`` of the payouts contract. Keeper."""

    __tablename__ = "payout_batch"
    __table_args__ = (
        CheckConstraint("state IN ('planned','sent','paid','abandoned')", name="state_known"),
        Index(
            "payout_batch_open",
            "batch_id",
            sqlite_where=text(_unqualified(PAYOUT_BATCH_OPEN)),
            postgresql_where=text(_unqualified(PAYOUT_BATCH_OPEN)),
        ),
        Index("payout_batch_paid", "paid_block"),
    )

    batch_id: str = Field(primary_key=True)
    state: str
    total_usdc: int = Field(sa_type=BigInteger)
    planned_at_s: int = Field(sa_type=BigInteger)
    paid_block: int | None = Field(default=None, sa_type=BigInteger)
    paid_tx_hash: str | None = None


class PayoutItem(SQLModel, table=True):
    """One payout of the market in one batch. Keeper. States: see ``ledger.payouts``."""

    __tablename__ = "payout_item"
    __table_args__ = (
        CheckConstraint(
            "state IN ('planned','sent','paid','credited','freed')", name="state_known"
        ),
        CheckConstraint("amount_usdc > 0", name="amount_positive"),
        # A payout is paid once: in one batch that is not freed.
        Index(
            "payout_item_live",
            "payout_id",
            unique=True,
            sqlite_where=text("state != 'freed'"),
            postgresql_where=text("state != 'freed'"),
        ),
    )

    batch_id: str = Field(primary_key=True, foreign_key="payout_batch.batch_id")
    payout_id: str = Field(primary_key=True)
    payee: str
    amount_usdc: int = Field(sa_type=BigInteger)
    state: str


class KeeperRest(SQLModel, table=True):
    """What failed, and how long it is left alone. Keeper. Forgotten with the next success."""

    __tablename__ = "keeper_rest"
    __table_args__ = (CheckConstraint("failures > 0", name="failed"),)

    kind: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    """A token or payout id; empty for the whole kind."""
    failures: int
    """How often in a row."""
    until_s: int = Field(sa_type=BigInteger)


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
    ``ledger.children``. Amounts in 1e-6 USDC; None = no limit. Rows stay when a key is revoked.
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


class UsedNonce(SQLModel, table=True):
    """A sign-in nonce that was used; kept until it would have expired anyhow. Proxy."""

    __tablename__ = "used_nonce"

    nonce: str = Field(primary_key=True)
    expires_at_s: int = Field(index=True, sa_type=BigInteger)


class Demand(SQLModel, table=True):
    """A position whose key was issued or used: the keeper should hold for it. Proxy."""

    __tablename__ = "demand"
    __table_args__ = (Index("demand_wanted", "wanted_at_s"),)

    token_id: int = Field(primary_key=True, sa_type=BigInteger)
    required_usdc: int = Field(sa_type=BigInteger)
    """The largest ceiling that found no hold since the keeper last looked."""
    wanted_at_s: int = Field(sa_type=BigInteger)


def table_of(model: type[SQLModel]) -> Table:
    """Return the Core table of a SQLModel class."""
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table


class MarketAccount(SQLModel, table=True):
    """A buyer of the market: what it paid in, what it spent. Market. The hot row of a sale."""

    __tablename__ = "market_account"
    __table_args__ = (
        CheckConstraint("kind IN ('prepaid','operator')", name="kind_known"),
        CheckConstraint("spent_usdc >= 0 AND reserved_usdc >= 0", name="not_negative"),
        CheckConstraint("spent_usdc + reserved_usdc <= credited_usdc", name="covered"),
    )

    account_id: str = Field(primary_key=True)
    kind: str
    wallet: str | None = Field(default=None, unique=True)
    """The address that signs in for it, lower case; the operator's own account has none."""
    credited_usdc: int = Field(sa_type=BigInteger)
    spent_usdc: int = Field(sa_type=BigInteger)
    reserved_usdc: int = Field(sa_type=BigInteger)
    created_at_s: int = Field(sa_type=BigInteger)


class MarketCredit(SQLModel, table=True):
    """Money that came into an account, once for each id. Market."""

    __tablename__ = "market_credit"

    credit_id: str = Field(primary_key=True)
    account_id: str = Field(index=True, foreign_key="market_account.account_id")
    amount_usdc: int = Field(sa_type=BigInteger)
    source: str
    credited_at_s: int = Field(sa_type=BigInteger)


class MarketSeller(SQLModel, table=True):
    """A wallet that sells. Market."""

    __tablename__ = "market_seller"
    __table_args__ = (
        CheckConstraint("payout_policy IN ('at_once','daily')", name="policy_known"),
        CheckConstraint("fee_bps IS NULL OR fee_bps BETWEEN 0 AND 10000", name="fee_in_range"),
    )

    address: str = Field(primary_key=True)
    """Lower case."""
    fee_bps: int | None = None
    """What was agreed with this seller; None for the market's usual fee."""
    payout_policy: str = "at_once"
    is_trusted: bool = False
    created_at_s: int = Field(sa_type=BigInteger)


class MarketKey(SQLModel, table=True):
    """A seller's or a buyer's API key, as the hash of its 256 random bits. Market."""

    __tablename__ = "market_key"
    __table_args__ = (
        CheckConstraint("kind IN ('seller','buyer')", name="kind_known"),
        Index("market_key_owner", "kind", "owner"),
    )

    key_id: str = Field(primary_key=True)
    key_hash: str = Field(unique=True)
    kind: str
    owner: str
    """A seller's address or a buyer's account id."""
    label: str
    created_at_s: int = Field(sa_type=BigInteger)
    expires_at_s: int | None = Field(default=None, sa_type=BigInteger)
    revoked_at_s: int | None = Field(default=None, sa_type=BigInteger)


class MarketNonce(SQLModel, table=True):
    """A sign-in that was used, until it would have expired anyway. Market."""

    __tablename__ = "market_nonce"

    nonce: str = Field(primary_key=True)
    expires_at_s: int = Field(index=True, sa_type=BigInteger)


class MarketOffer(SQLModel, table=True):
    """What a seller offers, and how much of its limits is used. Market.

    Either both prices are set or the multiplier. ``day_used_usdc`` counts for ``day`` only; both
    counters hold what is reserved and what was sold, and never pass the limits beside them.
    """

    __tablename__ = "market_offer"
    __table_args__ = (
        CheckConstraint("status IN ('active','paused','deleted')", name="status_known"),
        CheckConstraint(
            "(cost_multiplier_ppm IS NULL) = (price_input_usdc_per_mtok IS NOT NULL"
            " AND price_output_usdc_per_mtok IS NOT NULL)",
            name="priced_one_way",
        ),
        CheckConstraint("day_used_usdc >= 0 AND total_used_usdc >= 0", name="not_negative"),
        UniqueConstraint("seller", "idempotency_key", name="market_offer_once"),
        Index("market_offer_seller", "seller"),
        Index("market_offer_changed", "changed_at_s"),
    )

    offer_id: str = Field(primary_key=True)
    seller: str = Field(foreign_key="market_seller.address")
    model: str
    upstream_model: str
    """What the seller's endpoint calls it."""
    provider: str
    seller_base_url: str = Field(sa_type=Text)
    price_input_usdc_per_mtok: int | None = Field(default=None, sa_type=BigInteger)
    price_output_usdc_per_mtok: int | None = Field(default=None, sa_type=BigInteger)
    cost_multiplier_ppm: int | None = Field(default=None, sa_type=BigInteger)
    cap_daily_usdc: int | None = Field(default=None, sa_type=BigInteger)
    quota_total_usdc: int | None = Field(default=None, sa_type=BigInteger)
    rate_limit_rpm: int | None = None
    unit: str | None = None
    """What media are priced by; the input price is then for a million of it. None for tokens."""
    payout_address: str
    status: str
    version: int = Field(sa_type=BigInteger)
    """Counts the changes of everything above: a sale at an older version is refused."""
    day: int = Field(default=0, sa_type=BigInteger)
    day_used_usdc: int = Field(default=0, sa_type=BigInteger)
    total_used_usdc: int = Field(default=0, sa_type=BigInteger)
    idempotency_key: str | None = None
    request_digest: str | None = None
    """A keyed digest of the request that made it: the same key with another content is refused."""
    created_at_s: int = Field(sa_type=BigInteger)
    changed_at_s: int = Field(sa_type=BigInteger)


class MarketOfferKey(SQLModel, table=True):
    """The provider key of an offer, sealed. Gone when the offer is deleted. Market."""

    __tablename__ = "market_offer_key"

    offer_id: str = Field(primary_key=True, foreign_key="market_offer.offer_id")
    ciphertext: bytes
    wrapped_key: bytes
    kms_key_id: str = Field(index=True)


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
            sqlite_where=text("state = 'reserved'"),
            postgresql_where=text("state = 'reserved'"),
        ),
        Index(
            "market_sale_unpaid",
            "payout_address",
            sqlite_where=text("state = 'posted' AND payout_id IS NULL"),
            postgresql_where=text("state = 'posted' AND payout_id IS NULL"),
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
    unit: str | None = None
    """As its offer's: what ``prompt_tokens`` counts, None for tokens."""
    fee_bps: int
    ceiling_usdc: int = Field(sa_type=BigInteger)
    prompt_tokens: int | None = Field(default=None, sa_type=BigInteger)
    completion_tokens: int | None = Field(default=None, sa_type=BigInteger)
    cost_usdc: int | None = Field(default=None, sa_type=BigInteger)
    earning_usdc: int | None = Field(default=None, sa_type=BigInteger)
    fee_usdc: int | None = Field(default=None, sa_type=BigInteger)
    margin_usdc: int | None = Field(default=None, sa_type=BigInteger)
    void_reason: str | None = None
    """``<cause>`` of a seller's failure, or why the request ended otherwise."""
    is_seller_failure: bool = False
    day: int = Field(sa_type=BigInteger)
    """The UTC day whose cap it counts against."""
    reserved_at_s: int = Field(sa_type=BigInteger)
    lease_expires_at_s: int = Field(sa_type=BigInteger)
    resolved_at_s: int | None = Field(default=None, sa_type=BigInteger)
    payout_id: str | None = Field(default=None, index=True)
    """The payout that its earning is part of."""


class MarketPayout(SQLModel, table=True):
    """What is to be paid to one address: the earnings of the sales that name it. Market.

    Written once, but for ``batch_id``; how far the payment has come, the keeper's own rows say.
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


class MarketPayment(SQLModel, table=True):
    """A transfer that a payer has signed (EIP-3009), and what became of it. Market and keeper.

    States: see ``ledger.payments``. What it brings is credit of ``account_id``.
    """

    __tablename__ = "market_payment"
    __table_args__ = (
        CheckConstraint(
            "state IN ('verified','sent','settled','failed','expired')", name="state_known"
        ),
        CheckConstraint("purpose IN ('request','topup')", name="purpose_known"),
        CheckConstraint("value_usdc > 0", name="value_positive"),
        CheckConstraint("credited_usdc BETWEEN 0 AND value_usdc", name="credit_fits"),
        UniqueConstraint("payer", "nonce", name="market_payment_once"),
        Index("market_payment_account", "account_id", "payment_id"),
        Index(
            "market_payment_open",
            "look_at_s",
            sqlite_where=text("state IN ('verified','sent')"),
            postgresql_where=text("state IN ('verified','sent')"),
        ),
        Index(
            "market_payment_young",
            "settled_block",
            sqlite_where=text("state = 'settled' AND is_final = false"),
            postgresql_where=text("state = 'settled' AND is_final = false"),
        ),
    )

    payment_id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="market_account.account_id")
    payer: str
    payee: str
    value_usdc: int = Field(sa_type=BigInteger)
    valid_after_s: int = Field(sa_type=BigInteger)
    valid_before_s: int = Field(sa_type=BigInteger)
    nonce: str
    """32 bytes, 0x hex, lower case; of the payer's choice. USDC takes it once."""
    signature: str = Field(sa_type=Text)
    purpose: str
    request_digest: str
    """Of what it was made for: the same authorization does not pay for anything else."""
    state: str
    error: str | None = Field(default=None, sa_type=Text)
    """Why it would not go through when it was last tried, or why it ended."""
    failures: int = 0
    look_at_s: int = Field(sa_type=BigInteger)
    """When the keeper looks at it again."""
    from_block: int = Field(sa_type=BigInteger)
    """It was not used before this block."""
    intent_id: str | None = None
    """The keeper's newest transaction that carries it."""
    tx_hash: str | None = None
    settled_block: int | None = Field(default=None, sa_type=BigInteger)
    settled_block_hash: str | None = None
    is_final: bool = False
    """Its block is deeper than any reorg that is followed."""
    credited_usdc: int = Field(default=0, sa_type=BigInteger)
    """How much of it is credit of the account, spent or not."""
    request_id: str | None = None
    """The request that it is being used for, or was."""
    claimed_until_s: int | None = Field(default=None, sa_type=BigInteger)
    created_at_s: int = Field(sa_type=BigInteger)
    updated_at_s: int = Field(sa_type=BigInteger)


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
            sqlite_where=text("state IN ('submitting','queued','in_progress')"),
            postgresql_where=text("state IN ('submitting','queued','in_progress')"),
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
    """In a row."""
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


class MarketProvider(SQLModel, table=True):
    """A provider of a buyer's own, asked before the market or after it. Market."""

    __tablename__ = "market_provider"
    __table_args__ = (
        CheckConstraint("position IN ('priority','fallback')", name="position_known"),
        CheckConstraint("status IN ('active','paused','deleted')", name="status_known"),
        Index("market_provider_account", "account_id"),
        Index("market_provider_changed", "changed_at_s"),
    )

    provider_id: str = Field(primary_key=True)
    account_id: str = Field(foreign_key="market_account.account_id")
    label: str
    base_url: str = Field(sa_type=Text)
    models: str = Field(sa_type=Text)
    """JSON: the buyer's name of a model to the provider's."""
    position: str
    status: str
    version: int = Field(sa_type=BigInteger)
    created_at_s: int = Field(sa_type=BigInteger)
    changed_at_s: int = Field(sa_type=BigInteger)


class MarketProviderKey(SQLModel, table=True):
    """The key of a buyer's provider, sealed. Gone when the provider is deleted. Market."""

    __tablename__ = "market_provider_key"

    provider_id: str = Field(primary_key=True, foreign_key="market_provider.provider_id")
    ciphertext: bytes
    wrapped_key: bytes
    kms_key_id: str = Field(index=True)
