"""What is kept of usage that was moved to the archive."""

from sqlalchemy import BigInteger, Index, Text
from sqlmodel import Field, SQLModel


class UsageDay(SQLModel, table=True):
    """The sums of a UTC day's archived, charged usage that has all of this in common.

    Written only by ``ledger.spending.archiving``, in the transaction that takes the usage out.
    Amounts in 1e-6 USDC.
    """

    __tablename__ = "usage_day"
    __table_args__ = (Index("usage_day_token", "token_id", "day"),)

    sum_id: str = Field(primary_key=True)
    """SHA-256 of what they have in common: labels may be long."""
    token_id: int = Field(sa_type=BigInteger)
    key_id: str
    day: int = Field(sa_type=BigInteger)
    """The UTC day of ``reserved_at_s``, in days since 1970."""
    model: str
    end_user: str | None = None
    labels: str | None = Field(default=None, sa_type=Text)
    requests: int = Field(sa_type=BigInteger)
    prompt_tokens: int = Field(sa_type=BigInteger)
    cached_tokens: int = Field(sa_type=BigInteger)
    completion_tokens: int = Field(sa_type=BigInteger)
    cost_usdc: int = Field(sa_type=BigInteger)
