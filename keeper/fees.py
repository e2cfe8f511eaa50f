"""What a transaction may cost. Pure; wei, except where the name says USDC."""

from dataclasses import dataclass
from typing import Final

from contracts.units import BPS_ONE, mul_div_down, mul_div_up

TRANSFER_GAS: Final = 21_000
"""What a transaction that only uses up a nonce costs."""
WEI_PER_ETHER: Final = 10**18
BUMP_BPS: Final = 1_250
"""Nodes take a transaction's place with another of the same nonce only for 10% more on both fees;
an eighth leaves room for their rounding."""

TRANSACTION_GAS_MAX: Final = 2**24
"""What one transaction may use at most (EIP-7825)."""


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

    Six full blocks double the base fee; what is not used is not paid.
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
    return mul_div_up(fee_wei, BPS_ONE + BUMP_BPS, BPS_ONE)


def gas_cost_usdc(gas: int, fee_wei: int, *, ether_price_usdc: int) -> int:
    """Return what ``gas`` costs in 1e-6 USDC, rounded up: cost is never thought too small."""
    return mul_div_up(gas * fee_wei, ether_price_usdc, WEI_PER_ETHER)


def add_gas_margin(gas: int, *, margin_bps: int) -> int:
    """Return an estimate with its margin: the state may change before the transaction lands."""
    return gas + mul_div_down(gas, margin_bps, BPS_ONE)


def get_least_gas(data: bytes) -> int:
    """Return the gas without which no node takes a transaction with this calldata (EIP-7623)."""
    zeros = data.count(0)
    tokens = zeros + 4 * (len(data) - zeros)
    return TRANSFER_GAS + 10 * tokens
