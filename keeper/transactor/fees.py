"""Which fees a transaction offers, at first and when it is stuck. Pure; wei per gas."""

from dataclasses import dataclass
from typing import Final

from contracts.units import BPS_ONE, mul_div_up

LEAST_BUMP_BPS: Final = 1_000
BUMP_BPS: Final = 1_250
"""Nodes take a transaction's place with another of the same nonce only for 10% more on both fees;
an eighth leaves room for their rounding. A fee of 0 rises too: some nodes ask for more, not for as
much again."""


@dataclass(frozen=True, slots=True)
class FeeRules:
    """Bounds on fees, in wei per gas. ``fee_wei_max`` bounds the sum of base fee and tip."""

    fee_wei_max: int
    tip_wei: int
    tip_wei_max: int


@dataclass(frozen=True, slots=True)
class Fees:
    """EIP-1559 fees per gas, in wei."""

    max_fee_wei: int
    tip_wei: int


def decide_fees(base_fee_wei: int, rules: FeeRules) -> Fees | None:
    """Return fees that stay valid while the base fee doubles, or None where it is over the bound.

    Six full blocks double the base fee; unused fee is not paid.
    """
    if base_fee_wei + rules.tip_wei > rules.fee_wei_max:
        return None
    max_fee_wei = min(2 * base_fee_wei + rules.tip_wei, rules.fee_wei_max)
    return Fees(max_fee_wei=max_fee_wei, tip_wei=min(rules.tip_wei, max_fee_wei))


def decide_replacement(stuck: Fees, base_fee_wei: int, rules: FeeRules) -> Fees | None:
    """Return fees that take a stuck transaction's place, or None where they pass the bounds.

    The tip doubles, up to its bound: an eighth more each time would take an hour from a first tip
    to one that a full block notices.
    """
    least_tip_wei = max(_bump(stuck.tip_wei), rules.tip_wei)
    least_wei = _bump(stuck.max_fee_wei)
    if least_tip_wei > rules.tip_wei_max or least_wei > rules.fee_wei_max:
        return None
    tip_wei = max(least_tip_wei, min(2 * stuck.tip_wei, rules.tip_wei_max))
    max_fee_wei = max(least_wei, 2 * base_fee_wei + tip_wei)
    return Fees(max_fee_wei=min(max_fee_wei, rules.fee_wei_max), tip_wei=tip_wei)


def _bump(fee_wei: int) -> int:
    """Return the least fee that takes the place of ``fee_wei``: at least 10% and 1 wei more."""
    least_wei = mul_div_up(fee_wei, BPS_ONE + LEAST_BUMP_BPS, BPS_ONE) + 1
    return max(least_wei, mul_div_up(fee_wei, BPS_ONE + BUMP_BPS, BPS_ONE))
