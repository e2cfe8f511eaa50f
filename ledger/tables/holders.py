"""Processes that hold leases."""

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel


class LeaseHolder(SQLModel, table=True):
    """A process that reserves or claims. Proxy and market; whoever finds it dead deletes its row.

    See ``ledger.database.heartbeat``.
    """

    __tablename__ = "lease_holder"

    holder_id: str = Field(primary_key=True)
    role: str
    beats: int = Field(sa_type=BigInteger)
    """Counts up every second on PostgreSQL. Others see that it moves, and compare no clocks."""
    started_at_s: int = Field(sa_type=BigInteger)
    beat_at_s: int = Field(sa_type=BigInteger)
    """By the ledger's clock; for people."""
