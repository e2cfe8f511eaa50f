"""What buyers and sellers ask the lab to look at."""

from typing import Any, Final

from sqlalchemy import BigInteger, Index, Text, UniqueConstraint, text
from sqlmodel import Field, SQLModel

_ZERO: Final[Any] = {"server_default": text("0")}


class MarketDispute(SQLModel, table=True):
    """A buyer's doubt about one request, or a seller's wish for a re-test. Market.

    Written once. Evidence that is made later answers it.
    """

    __tablename__ = "market_dispute"
    __table_args__ = (
        UniqueConstraint("sale_id", name="market_dispute_once"),
        Index("market_dispute_asked", "asked_by", "filed_at_s"),
        Index("market_dispute_filed", "filed_at_s"),
        Index("market_dispute_offer", "offer_id"),
    )

    dispute_id: str = Field(primary_key=True)
    offer_id: str = Field(foreign_key="market_offer.offer_id")
    model: str
    asked_by: str
    """The buyer's account, or the seller's address."""
    sale_id: str | None = Field(default=None, foreign_key="market_sale.sale_id")
    """The sale that the buyer doubts; None: a re-test that the seller asks for."""
    reason: str = Field(sa_type=Text)
    """In the buyer's words, for the operator only."""
    filed_at_s: int = Field(sa_type=BigInteger)


class MarketProbeTurn(SQLModel, table=True):
    """That a process probes an offer: no other one begins before then. Market.

    One row for each offer that was ever probed, with what its probes cost beside their evidence.
    """

    __tablename__ = "market_probe_turn"

    offer_id: str = Field(primary_key=True, foreign_key="market_offer.offer_id")
    until_s: int = Field(sa_type=BigInteger)
    booked_usdc: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    """What probes that left no evidence cost, or may have, and the one under way may; 1e-6 USDC."""
    booked_at_s: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    """When the last of them began."""
    disputed_usdc: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    """What was booked on ``disputed_day`` for probes that only a dispute pays for."""
    disputed_day: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs=_ZERO)
    """A UTC day."""
