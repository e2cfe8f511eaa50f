"""When the next harvest of a position can be expected, as honestly as it is known. Pure.

A harvest moves nothing below a cent of yield, so a position's interval alone promises nothing.
What the position has earned since its last harvest says how fast its principal earns. Where the
principal has changed since then, the yield was earned by the principal of each moment, and the rest
will be earned by the principal of now::

    principal   100 ──────┐                    earned: 100 a + 20 b, in USDC seconds
                          └── 20 ── 20 ···     to come: 20 a second
                last      change   now
                harvest │   a    │  b  │
"""

from collections.abc import Mapping, Sequence
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
"""An estimate that lies further ahead than this is not given."""


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


@dataclass(frozen=True, slots=True)
class PrincipalStep:
    """A position's principal from a moment of the chain's clock on (1e-6 USDC)."""

    from_s: int
    principal_usdc: int


def read_harvest_times(row: Mapping[Any, Any]) -> HarvestTimes:
    """Return what a ``position`` row says of its harvests."""
    due_at_s = row["last_harvest_at_s"] + row["harvest_interval_s"]
    return HarvestTimes(
        has_shares=row["shares"] > 0,
        last_harvest_at_s=row["last_harvest_at_s"],
        look_at_s=max(due_at_s, row["harvest_look_at_s"]),
    )


def expect_harvest(
    times: HarvestTimes,
    *,
    pending_usdc: int | None,
    now_s: int,
    steps: Sequence[PrincipalStep] = (),
) -> HarvestOutlook:
    """Return when the next harvest of at least a cent can come, never before ``now_s``.

    ``pending_usdc``: what a harvest would credit now (1e-6 USDC); None where that is unknown.
    ``now_s``: the chain's clock. ``steps``: the principal since the last harvest at the latest,
    oldest first; none where it has not changed. Rounding: an estimate is rounded up, to a later
    second.
    """
    if not times.has_shares:
        return HarvestOutlook(None, reason=NoHarvest.NO_PRINCIPAL)
    if pending_usdc is None:
        return HarvestOutlook(None, reason=NoHarvest.UNKNOWN)
    if pending_usdc >= HARVEST_MIN_USDC:
        return HarvestOutlook(max(times.look_at_s, now_s))
    steps = steps or (PrincipalStep(times.last_harvest_at_s, 1),)
    principal_usdc = steps[-1].principal_usdc
    if pending_usdc < PENDING_USDC_LEAST or principal_usdc == 0:
        return HarvestOutlook(None, reason=NoHarvest.YIELD_BELOW_MINIMUM)
    missing_usdc = HARVEST_MIN_USDC - pending_usdc
    worked_usdc_s = _get_worked(steps, first_s=times.last_harvest_at_s, last_s=now_s)
    reached_at_s = now_s + mul_div_up(worked_usdc_s, missing_usdc, pending_usdc * principal_usdc)
    if reached_at_s - now_s > HORIZON_S:
        return HarvestOutlook(None, reason=NoHarvest.YIELD_BELOW_MINIMUM)
    return HarvestOutlook(max(times.look_at_s, reached_at_s), is_estimate=True)


def _get_worked(steps: Sequence[PrincipalStep], *, first_s: int, last_s: int) -> int:
    """Return for how many seconds how much principal has earned, in 1e-6 USDC seconds."""
    ends_s = [*(step.from_s for step in steps[1:]), last_s]
    return sum(
        step.principal_usdc * max(0, min(end_s, last_s) - max(step.from_s, first_s))
        for step, end_s in zip(steps, ends_s, strict=True)
    )
