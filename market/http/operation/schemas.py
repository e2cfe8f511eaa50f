"""What watches the market, as answers state it."""

from pydantic import BaseModel, Field


class Readiness(BaseModel):
    """Whether requests would be let through, and what lacks."""

    ready: bool
    ledger: bool = Field(description="the ledger answers")
    models: int = Field(description="how many models are listed")
