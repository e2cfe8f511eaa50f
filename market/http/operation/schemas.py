"""Answers of the operations for monitors."""

from pydantic import BaseModel, Field


class Readiness(BaseModel):
    """Whether requests would be let through, and what lacks."""

    ready: bool
    ledger: bool = Field(description="the ledger answers")
    clock: bool = Field(description="this host's clock is at most 5 s off the database's")
    clock_ahead_s: int = Field(
        description="how far this host's clock is ahead of the database's; below zero: behind"
    )
    models: int = Field(description="how many models are listed")
