"""What the contracts did, as the indexer mirrors it."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, text
from sqlmodel import Field, SQLModel

from ledger.tables.predicates import HAS_SHARES_POSTGRES, HAS_SHARES_SQLITE
from ledger.tables.types import Uint256

# Laid out as PostgreSQL gives it back, so that the tables can be compared with a database.
_HARVEST_LOOK = """(
CASE
    WHEN harvest_look_at_s > (last_harvest_at_s + harvest_interval_s) THEN harvest_look_at_s
    ELSE last_harvest_at_s + harvest_interval_s
END)"""


class Deployment(SQLModel, table=True):
    """The contracts that this database mirrors: one row, written by the first process to start."""

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
    """The log's index in its block. The table never has two blocks of one height."""
    block_hash: bytes
    block_timestamp_s: int = Field(sa_type=BigInteger)
    tx_hash: bytes
    contract: str
    name: str
    token_id: int | None = Field(default=None, sa_type=BigInteger)
    settled_batch_id: str | None = None
    """The batch id of a ``BatchSettled`` event; None for all other events."""
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
    hold_placing_usdc: int | None = Field(default=None, sa_type=BigInteger)
    """The least that a smaller placement on its way asks for; NULL where none is. Keeper."""
    drawn_usdc: int = Field(default=0, sa_type=BigInteger)
    """L1: sum of ceilings of reserved usage and costs of posted and settling usage."""

    harvest_look_at_s: int = Field(default=0, sa_type=BigInteger)
    """The keeper considers no harvest before this: the last one was too poor or refused. Keeper."""
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
