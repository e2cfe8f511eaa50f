"""Answers of the operations for monitors."""

from pydantic import BaseModel, Field


class Readiness(BaseModel):
    """Whether requests would be let through, and what lacks."""

    ready: bool
    ledger: bool = Field(description="the ledger answers")
    mirror: bool = Field(description="the mirror of the chain is recent enough")
    mirror_block_number: int | None = Field(description="null: nothing is mirrored")
    mirror_lag_blocks: int | None = Field(description="how far the node was ahead")
    mirror_age_s: int | None = Field(description="since the mirror was at the head")
    mirror_age_s_max: int
    upstream: bool = Field(description="upstream lists its models, as of at most 2 s ago")
    operator_credit: bool = Field(
        description="upstream did not refuse lately for want of the operator's own credit"
    )
    clock: bool = Field(description="this host's clock is at most 5 s off the database's")
    clock_ahead_s: int = Field(
        description="how far this host's clock is ahead of the database's; below zero: behind"
    )
