"""What follows for money where the lab has convicted an offer."""

from sqlalchemy import BigInteger, CheckConstraint, Index, Text, UniqueConstraint
from sqlmodel import Field, SQLModel


class MarketConviction(SQLModel, table=True):
    """An offer that two independent methods convict: once for each start of its evidence. Market.

    ``open`` until all that can be refunded is; ``overturned`` where the operator found it wrong.
    """

    __tablename__ = "market_conviction"
    __table_args__ = (
        CheckConstraint("state IN ('open','refunded','overturned')", name="state_known"),
        UniqueConstraint("offer_id", "counts_from_s", name="market_conviction_once"),
        Index("market_conviction_seller", "seller"),
    )

    conviction_id: str = Field(primary_key=True)
    offer_id: str = Field(foreign_key="market_offer.offer_id")
    seller: str
    model: str
    state: str
    evidence: str = Field(sa_type=Text)
    """What convicts it, for people."""
    counts_from_s: int = Field(sa_type=BigInteger)
    """Since when evidence counts: the year's start, or when the operator let the offer back."""
    refunds_from_s: int = Field(sa_type=BigInteger)
    """The last clean probe, or ``counts_from_s``: sales since then are refunded."""
    convicted_at_s: int = Field(sa_type=BigInteger)
    ended_at_s: int | None = Field(default=None, sa_type=BigInteger)


class MarketRefund(SQLModel, table=True):
    """What a buyer got back of one sale: all that it cost. Market.

    Written in the transaction that credits the buyer; later only ``is_borne`` changes.
    """

    __tablename__ = "market_refund"
    __table_args__ = (
        CheckConstraint("amount_usdc > 0 AND earning_usdc >= 0", name="something_is_refunded"),
        Index("market_refund_conviction", "conviction_id"),
        Index("market_refund_credit", "credit_id"),
    )

    sale_id: str = Field(primary_key=True, foreign_key="market_sale.sale_id")
    conviction_id: str = Field(foreign_key="market_conviction.conviction_id")
    account_id: str
    credit_id: str = Field(foreign_key="market_credit.credit_id")
    """The credit that it is part of: one for an account and a transaction."""
    amount_usdc: int = Field(sa_type=BigInteger)
    """What the sale had cost: the seller's earning, and the market's own fee and margin."""
    earning_usdc: int = Field(sa_type=BigInteger)
    """The part of it that the seller does not get."""
    is_borne: bool = False
    """Whether the operator bears the seller's part, as the conviction was overturned."""
    refunded_at_s: int = Field(sa_type=BigInteger)
