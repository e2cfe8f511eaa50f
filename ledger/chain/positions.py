"""What the chain says of a position, and the allowance that follows from it. Pure.

The formulas are the position contract's own (``contracts/YieldFundedPosition.vy``); ``current
audit`` compares them with its views.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from contracts.units import BPS_ONE, SECONDS_PER_DAY, mul_div_down, utc_day

NEVER: Final = 0


@dataclass(slots=True)
class PositionState:
    """The chain's numbers for one position after some event. Amounts in 1e-6 USDC.

    Not frozen, for the sake of ``indexer.project`` alone, which folds on copies of its own.
    """

    token_id: int
    owner: str
    model_tier: int
    daily_smoothing_bps: int
    vault: str = ""
    principal_usdc: int = 0
    shares: int = 0
    harvest_interval_s: int = 0
    last_harvest_at_s: int = 0
    key_epoch: int = 0
    credited_usdc: int = 0
    spent_usdc: int = 0
    withdrawn_usdc: int = 0
    hold_usdc: int = 0
    hold_expires_at_s: int = NEVER
    day: int = 0
    day_base_usdc: int = 0
    day_spent_usdc: int = 0
    release_requested_at_s: int | None = None

    @property
    def unspent_usdc(self) -> int:
        """Credit that was neither settled nor withdrawn; the live hold is part of it."""
        return self.credited_usdc - self.spent_usdc - self.withdrawn_usdc


STATE_FIELDS: Final = tuple(PositionState.__annotations__)
"""The columns of ``position`` that mirror the chain; ``PositionState`` has the same names."""


def build_state(row: Mapping[Any, Any]) -> PositionState:
    """Return the chain's numbers from a ``position`` row."""
    return PositionState(**{name: row[name] for name in STATE_FIELDS})


@dataclass(frozen=True, slots=True)
class Allowance:
    """A position's allowance at one moment, as the contract's ``accountOf`` would state it."""

    unspent_usdc: int
    held_usdc: int
    """The hold while it lives, else 0."""
    day_cap_usdc: int
    day_spent_usdc: int
    remaining_usdc: int
    """What may still be spent today, the live hold included: ``remainingAllowance``."""
    withdrawable_usdc: int
    """What the owner could take out now: ``withdrawableYield``."""
    grantable_usdc: int
    """The largest hold that the contract would grant now, in absolute terms: what the day allows,
    or the live hold where that is more."""


def get_allowance(state: PositionState, *, now_s: int) -> Allowance:
    """Return the allowance at ``now_s``, rolling the UTC day over as the contract's views do.

    Rounding: the cap is rounded down, in favour of the depositor's later days.
    """
    held_usdc = state.hold_usdc if now_s < state.hold_expires_at_s else 0
    if utc_day(now_s) == state.day:
        base_usdc, day_spent_usdc = state.day_base_usdc, state.day_spent_usdc
    else:
        base_usdc, day_spent_usdc = state.unspent_usdc, 0
    formula_usdc = mul_div_down(base_usdc, state.daily_smoothing_bps, BPS_ONE)
    # A hold that lives across midnight is a promise; the new day's cap cannot cut it.
    cap_usdc = max(formula_usdc, day_spent_usdc + held_usdc)
    return Allowance(
        unspent_usdc=state.unspent_usdc,
        held_usdc=held_usdc,
        day_cap_usdc=cap_usdc,
        day_spent_usdc=day_spent_usdc,
        remaining_usdc=min(state.unspent_usdc, cap_usdc - day_spent_usdc),
        withdrawable_usdc=state.unspent_usdc - held_usdc,
        grantable_usdc=max(held_usdc, min(state.unspent_usdc, formula_usdc - day_spent_usdc)),
    )


def next_utc_day_s(now_s: int) -> int:
    """Return when the daily cap resets: the next UTC midnight after ``now_s``."""
    return (utc_day(now_s) + 1) * SECONDS_PER_DAY
