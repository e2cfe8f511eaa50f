"""What a call costs at an instant. Pure. Amounts in 1e-6 USDC.

Quota that is not sold by the end of its period is worth nothing, so a price may fall to a floor
within the period: see ``market.pricing.falling``.
"""

from dataclasses import dataclass
from decimal import ROUND_UP, Decimal

from market.pricing.falling import find_step
from market.resale.operations import Operation


@dataclass(frozen=True, slots=True)
class QuotaPrice:
    """The price of one unit of a connection. ``floor_usdc`` None: it does not fall."""

    usdc: int
    floor_usdc: int | None = None


@dataclass(frozen=True, slots=True)
class CallPrice:
    """What a call costs now, and until when that stands (None: until the owner changes it)."""

    usdc: int
    """Of a unit, or of the whole call where ``is_flat``."""
    is_flat: bool
    units_max: int
    valid_until_s: int | None

    @property
    def ceiling_usdc(self) -> int:
        """The most that the call can come to."""
        return self.usdc if self.is_flat else self.usdc * self.units_max

    def get_cost_usdc(self, units: int) -> int:
        """Return what the call comes to, of the units that it took."""
        return self.usdc if self.is_flat else self.usdc * min(units, self.units_max)


def mark_up(base_cost_usdc: int, markup: Decimal) -> int:
    """Return the base cost times the markup, rounded up to 1e-6 USDC."""
    return int((base_cost_usdc * markup).to_integral_value(rounding=ROUND_UP))


def find_price(
    operation: Operation, price: QuotaPrice, *, starts_at_s: int, ends_at_s: int, now_s: int
) -> CallPrice:
    """Return the price of a call of an operation at ``now_s``, in the period that it is in."""
    is_flat = operation.price_usdc is not None
    start_usdc = price.usdc if operation.price_usdc is None else operation.price_usdc
    # The floor is of a unit: a call that takes several falls to that of them all.
    floor_usdc = price.floor_usdc
    if floor_usdc is not None and is_flat:
        floor_usdc *= max(1, operation.units_max)
    if floor_usdc is None or floor_usdc >= start_usdc:
        return CallPrice(start_usdc, is_flat, operation.units_max, None)
    step = find_step(starts_at_s=starts_at_s, ends_at_s=ends_at_s, now_s=now_s)
    usdc = step.get_price(start_usdc, floor_usdc)
    return CallPrice(usdc, is_flat, operation.units_max, step.until_s)
