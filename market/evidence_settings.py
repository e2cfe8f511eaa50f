"""What of the market's settings concerns the lab and what follows from it, all ``MARKET_…``."""

from pydantic import Field

from contracts.units import SECONDS_PER_DAY
from market.paid_call_settings import PaidCallSettings


class EvidenceSettings(PaidCallSettings):
    """How long earnings vest."""

    vesting_s: int = Field(
        default=7 * SECONDS_PER_DAY,
        ge=0,
        le=90 * SECONDS_PER_DAY,
        description="how long after a sale the earnings of an offer of grade D wait to be paid out,"
        " seconds: where it is convicted meanwhile, its buyers get them back",
    )
