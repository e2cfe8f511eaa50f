"""When the next harvest of a position can be expected, as honestly as it is known. Pure.

A harvest moves nothing below a cent of yield, so a position's interval alone promises nothing.
What the position has earned since its last harvest says how fast it earns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from contracts.units import SECONDS_PER_DAY, mul_div_up
from ledger.errors import HarvestTimes

HARVEST_MIN_USDC: Final = 10_000
"""Below a cent of yield the adapter harvests nothing."""

PENDING_USDC_LEAST: Final = 100
"""Less yield than this says too little of how fast a position earns: rounding is over 1 % of it."""

HORIZON_S: Final = 366 * SECONDS_PER_DAY
"""Beyond this, an estimate of when the yield reaches a cent is none."""


class NoHarvest(StrEnum):
    """Why no harvest is expected."""

    NO_PRINCIPAL = "no_principal"
    """The position has nothing in its vault that could earn."""
    YIELD_BELOW_MINIMUM = "yield_below_minimum"
    """The yield is below a cent, and nothing shows when it will not be."""
    UNKNOWN = "unknown"
    """The chain does not say what the position has earned."""


@dataclass(frozen=True, slots=True)
class HarvestOutlook:
    """When the next harvest comes: ``at_s``, or None and ``reason`` says why none is expected."""

    at_s: int | None
    is_estimate: bool = False
    """Whether the yield is still to reach a cent; ``at_s`` is when it does as fast as so far."""
    reason: NoHarvest | None = None


def read_harvest_times(row: Mapping[Any, Any]) -> HarvestTimes:
    """Return what a ``position`` row says of its harvests."""
    due_at_s = row["last_harvest_at_s"] + row["harvest_interval_s"]
    return HarvestTimes(
        has_shares=row["shares"] > 0,
        last_harvest_at_s=row["last_harvest_at_s"],
        look_at_s=max(due_at_s, row["harvest_look_at_s"]),
    )


def expect_harvest(times: HarvestTimes, *, pending_usdc: int | None, now_s: int) -> HarvestOutlook:
    """Return when the next harvest of at least a cent can come, never before ``now_s``.

    ``pending_usdc``: what a harvest would credit now (1e-6 USDC); None where nobody knows.
    ``now_s``: the chain's clock. Rounding: an estimate is rounded up, to a later second.
    """
    if not times.has_shares:
        return HarvestOutlook(None, reason=NoHarvest.NO_PRINCIPAL)
    if pending_usdc is None:
        return HarvestOutlook(None, reason=NoHarvest.UNKNOWN)
    if pending_usdc >= HARVEST_MIN_USDC:
        return HarvestOutlook(max(times.look_at_s, now_s))
    grown_s = max(0, now_s - times.last_harvest_at_s)
    if pending_usdc < PENDING_USDC_LEAST:
        return HarvestOutlook(None, reason=NoHarvest.YIELD_BELOW_MINIMUM)
    missing_usdc = HARVEST_MIN_USDC - pending_usdc
    reached_at_s = now_s + mul_div_up(grown_s, missing_usdc, pending_usdc)
    if reached_at_s - now_s > HORIZON_S:
        return HarvestOutlook(None, reason=NoHarvest.YIELD_BELOW_MINIMUM)
    return HarvestOutlook(max(times.look_at_s, reached_at_s), is_estimate=True)
