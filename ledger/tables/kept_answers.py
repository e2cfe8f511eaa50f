"""Requests with an idempotency key, and their sealed answers."""

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlmodel import Field, SQLModel


class KeptAnswer(SQLModel, table=True):
    """A request with an idempotency key, and its answer for whoever repeats it. Proxy, market.

    Nothing in a row can be read without the repeated request's own keys: the id and the digest are
    keyed hashes, the answer is sealed. The row counts while something is reserved or charged for
    its request.
    """

    __tablename__ = "kept_answer"
    __table_args__ = (
        CheckConstraint("state IN ('open','kept','dropped')", name="kept_state_known"),
        CheckConstraint("(state = 'kept') = (sealed IS NOT NULL)", name="kept_when_sealed"),
        # What an owner keeps in all is added up from the index alone.
        Index("kept_answer_of_owner", "owner", "sealed_bytes"),
    )

    lookup_id: str = Field(primary_key=True)
    body_digest: str
    request_id: str
    """The request that runs, or that was charged."""
    owner: str
    """The owner whose answers count together: ``position <token id>``, ``account <account id>``,
    and ``free <account id>`` for what cost nothing."""
    state: str
    """``open``: no answer yet; ``dropped``: there was no room to keep it."""
    sealed: bytes | None = None
    sealed_bytes: int = Field(default=0, sa_type=BigInteger)
    """The length of ``sealed``."""
    expires_at_s: int = Field(index=True, sa_type=BigInteger)
