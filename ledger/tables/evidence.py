"""What the lab has found out about offers."""

from sqlalchemy import BigInteger, CheckConstraint, Index, Text
from sqlmodel import Field, SQLModel


class MarketEvidence(SQLModel, table=True):
    """One probe of one offer by one method. Written once, never changed. Market."""

    __tablename__ = "market_evidence"
    __table_args__ = (
        CheckConstraint(
            "method IN ('first_token','border','prompt_tokens','tool_calls',"
            "'completion_tokens','logprobs')",
            name="method_known",
        ),
        CheckConstraint(
            "looks > 0 AND peak_milli >= 1000 AND cost_usdc >= 0", name="wealth_makes_sense"
        ),
        Index("market_evidence_offer", "offer_id", "made_at_s"),
        Index("market_evidence_model", "model", "made_at_s"),
        Index("market_evidence_day", "day"),
    )

    evidence_id: str = Field(primary_key=True)
    offer_id: str = Field(foreign_key="market_offer.offer_id")
    offer_version: int = Field(sa_type=BigInteger)
    model: str
    method: str
    day: int = Field(sa_type=BigInteger)
    """The UTC day that it was made on."""
    made_at_s: int = Field(sa_type=BigInteger)
    observed: str = Field(sa_type=Text)
    """What was observed, in categories, as JSON: from these of a year the wealth follows."""
    transcript: str = Field(sa_type=Text)
    """Questions and answers as JSON, for the seller and for disputes."""
    transcript_hash: str
    """keccak of the transcript, 0x hex: what is published of it."""
    cost_usdc: int = Field(sa_type=BigInteger)
    """What the market's operator paid for the probe, 1e-6 USDC."""
    looks: int = Field(sa_type=BigInteger)
    """Observations of this method in the year so far, this probe's among them."""
    peak_milli: int = Field(sa_type=BigInteger)
    """The method's largest wealth of the year so far, in 1/1000 of the first stake, rounded down
    and at most 10^15."""
