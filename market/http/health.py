"""The health of an offer, as answers state it."""

from pydantic import BaseModel, ConfigDict, Field

from market.endpoints.health import Standing
from serving.models.failures import Cause


class HealthView(BaseModel):
    """How an offer is doing: learned from requests only."""

    model_config = ConfigDict(from_attributes=True)

    standing: Standing
    failures: int = Field(description="in a row")
    cause: Cause | None = Field(description="of the newest failure")
    rests_s: float = Field(description="how long nothing will be sent to it yet")
