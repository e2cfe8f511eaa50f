"""The tables. Each says which process causes its writes; all writes go through this package.

Chain-derived tables (``event``, ``block``, ``mirror``, and every column of ``position`` but
``drawn_usdc``) are written only from events and can be rebuilt from them. Table classes do not
validate: decode and check before constructing rows.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Table, Text
from sqlmodel import Field, SQLModel

from ledger.types import Uint256


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
    """Every event of our contracts on the current chain. Indexer."""

    __tablename__ = "event"
    __table_args__ = (Index("event_token", "token_id", "block_number", "log_index"),)

    block_hash: str = Field(primary_key=True)
    log_index: int = Field(primary_key=True)
    block_number: int = Field(index=True, sa_type=BigInteger)
    block_timestamp_s: int = Field(sa_type=BigInteger)
    tx_hash: str
    contract: str
    name: str
    token_id: int | None = Field(default=None, sa_type=BigInteger)
    batch_id: str | None = Field(default=None, index=True)
    args: str = Field(sa_type=Text)
    """The arguments as a JSON object; integers as decimal strings."""


class Position(SQLModel, table=True):
    """One position: the chain's numbers (indexer) and ``drawn_usdc`` (this ledger's own).

    The hot row of the request path.
    """

    __tablename__ = "position"
    __table_args__ = (
        CheckConstraint("drawn_usdc >= 0", name="drawn_not_negative"),
        CheckConstraint("hold_usdc >= 0", name="hold_not_negative"),
        CheckConstraint("spent_usdc + withdrawn_usdc <= credited_usdc", name="solvent"),
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


class Batch(SQLModel, table=True):
    """A settlement: planned by the keeper, settled by the indexer when the chain says so."""

    __tablename__ = "batch"
    __table_args__ = (
        CheckConstraint("state IN ('planned','settled','abandoned')", name="state_known"),
    )

    batch_id: str = Field(primary_key=True)
    state: str
    receipts_root: str
    total_usdc: int = Field(sa_type=BigInteger)
    planned_at_s: int = Field(sa_type=BigInteger)
    settled_block: int | None = Field(default=None, sa_type=BigInteger)
    settled_tx_hash: str | None = None


class BatchItem(SQLModel, table=True):
    """What one batch charges one position. Keeper."""

    __tablename__ = "batch_item"

    batch_id: str = Field(primary_key=True, foreign_key="batch.batch_id")
    token_id: int = Field(primary_key=True, sa_type=BigInteger)
    cost_usdc: int = Field(sa_type=BigInteger)


class Intent(SQLModel, table=True):
    """A transaction meant, before it is sent. Keeper. States: see ``ledger.intents``."""

    __tablename__ = "intent"
    __table_args__ = (Index("intent_open", "state"),)

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


class ApiKey(SQLModel, table=True):
    """A root key that was issued. The key itself is not stored: it is an HMAC. Proxy."""

    __tablename__ = "api_key"

    key_id: str = Field(primary_key=True)
    token_id: int = Field(index=True, sa_type=BigInteger)
    key_epoch: int = Field(sa_type=BigInteger)
    issued_at_s: int = Field(sa_type=BigInteger)


class Demand(SQLModel, table=True):
    """A position whose key was issued or used: the keeper should hold for it. Proxy."""

    __tablename__ = "demand"

    token_id: int = Field(primary_key=True, sa_type=BigInteger)
    required_usdc: int = Field(sa_type=BigInteger)
    """The largest ceiling that found no hold since the keeper last looked."""
    wanted_at_s: int = Field(sa_type=BigInteger)


def table_of(model: type[SQLModel]) -> Table:
    """Return the Core table of a SQLModel class."""
    table: Table = model.__table__  # type: ignore[attr-defined]
    return table
