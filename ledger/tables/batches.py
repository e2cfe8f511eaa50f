"""The batches that settle usage on chain, and what the keeper is asked to hold for."""

from sqlalchemy import BigInteger, CheckConstraint, Index, text
from sqlmodel import Field, SQLModel

from ledger.tables.predicates import BATCH_OPEN, unqualified


class Batch(SQLModel, table=True):
    """A settlement: planned by the keeper, settled by the indexer when the chain says so.

    An abandoned batch is settled all the same where the chain says so.
    """

    __tablename__ = "batch"
    __table_args__ = (
        CheckConstraint("state IN ('planned','settled','abandoned')", name="state_known"),
        Index(
            "batch_open",
            "batch_id",
            sqlite_where=text(unqualified(BATCH_OPEN)),
            postgresql_where=text(unqualified(BATCH_OPEN)),
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
    archived_at_s: int | None = Field(default=None, sa_type=BigInteger)
    """When its usage was moved to the archive; None: its usage is in ``usage``."""
    archive_sha256: str | None = None
    """Of the archived content; says whether a file is the one that was written."""


class BatchItem(SQLModel, table=True):
    """What one batch charges one position. Keeper."""

    __tablename__ = "batch_item"

    batch_id: str = Field(primary_key=True, foreign_key="batch.batch_id")
    token_id: int = Field(primary_key=True, sa_type=BigInteger)
    cost_usdc: int = Field(sa_type=BigInteger)
    """What the chain charges: the costs of the usage less ``offset_usdc``."""
    offset_usdc: int = Field(default=0, sa_type=BigInteger)
    """An earlier double charge of the position, which this batch leaves out."""
    archived_usdc: int = Field(
        default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")}
    )
    """The costs of the usage that was moved to the archive: it is in ``usage`` no more."""


class BatchStray(SQLModel, table=True):
    """Usage that a batch's receipts name, but that is not the batch's now. Keeper and indexer.

    Its batch was given up, or another batch that names it too is settled. Nearly always empty.
    """

    __tablename__ = "batch_stray"

    request_id: str = Field(primary_key=True, foreign_key="usage.request_id")
    batch_id: str = Field(primary_key=True, foreign_key="batch.batch_id", index=True)


class Demand(SQLModel, table=True):
    """A position whose key was issued or used: the keeper should hold for it. Proxy."""

    __tablename__ = "demand"
    __table_args__ = (Index("demand_wanted", "wanted_at_s"),)

    token_id: int = Field(primary_key=True, sa_type=BigInteger)
    required_usdc: int = Field(sa_type=BigInteger)
    """The largest ceiling that found no hold since the keeper last looked."""
    wanted_at_s: int = Field(sa_type=BigInteger)
