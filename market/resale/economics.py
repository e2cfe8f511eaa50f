"""What selling a subscription's unused quota comes to. Pure. Amounts in 1e-6 USDC."""

from dataclasses import dataclass
from typing import Final

from contracts.units import BPS_ONE, SECONDS_PER_DAY, mul_div_down, mul_div_up

FEE_BPS: Final = 1_000
"""The reference's worked example: the platform takes 10 % of what the consumer pays."""
SOON_S: Final = 7 * SECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class CallSplit:
    """Where a consumer's money goes: ``cost = earning + fee``, always."""

    cost_usdc: int
    earning_usdc: int
    fee_usdc: int


def split_call(
    price_usdc: int, *, transaction_fee_usdc: int = 0, fee_bps: int = FEE_BPS
) -> CallSplit:
    """Return the parts of a charge: the owner's rounds down, so the platform's rounds up.

    What the consumer pays for the transaction of its own payment is the platform's in whole.
    """
    earning_usdc = mul_div_down(price_usdc, BPS_ONE - fee_bps, BPS_ONE)
    cost_usdc = price_usdc + transaction_fee_usdc
    return CallSplit(cost_usdc, earning_usdc, cost_usdc - earning_usdc)


@dataclass(frozen=True, slots=True)
class Economics:
    """One period of a connection, as its owner is shown it. Units are the API's."""

    quota_units: int
    reserved_units: int
    buffer_units: int
    for_sale_units: int
    sold_units: int
    own_units: int
    left_units: int
    days_to_reset: int
    revenue_usdc: int
    earning_usdc: int
    fee_usdc: int
    subscription_usdc: int

    @property
    def net_usdc(self) -> int:
        """What remains after the subscription is paid; below zero where it is not yet."""
        return self.earning_usdc - self.subscription_usdc


def count_days(now_s: int, ends_at_s: int) -> int:
    """Return the days until a period ends, rounded up."""
    return mul_div_up(max(0, ends_at_s - now_s), 1, SECONDS_PER_DAY)


def list_warnings(
    figures: Economics, *, now_s: int, ends_at_s: int, key_fails: bool, elapsed_pct: int
) -> list[str]:
    """Return what the owner should look at, in words."""
    warnings = []
    if figures.reserved_units == 0 and figures.buffer_units == 0:
        warnings.append(
            "All of the quota is for sale: keep a reserve or a buffer, or your own calls will fail."
        )
    if key_fails:
        warnings.append("The API refuses the key: nothing is sold until the key is right again.")
    if figures.left_units > 0 and ends_at_s - now_s <= SOON_S and elapsed_pct >= 50:
        warnings.append(
            f"{figures.left_units} units will expire unsold in"
            f" {figures.days_to_reset} days: a lower price may sell them."
        )
    return warnings
