"""Who gets how much of what a request cost. Pure.

The buyer's charge is the exact worth of a request (1e-12 USDC, see ``serving.models.prices``)
rounded up, once. The fee is the operator's part of that charge, rounded down: it never exceeds
what was agreed, however small the sale. All else is the seller's. With a fee of 5 %, a sale of
less than 20 units of 1e-6 USDC leaves no fee.
"""

from dataclasses import dataclass

from contracts.units import BPS_ONE, TOKENS_PER_MTOK, mul_div_down, mul_div_up
from serving.models.prices import Price, Tokens, get_worth


@dataclass(frozen=True, slots=True)
class Split:
    """Where a buyer's money goes, in 1e-6 USDC: ``cost = earning + fee``, always."""

    cost_usdc: int
    earning_usdc: int
    fee_usdc: int


def split_cost(tokens: Tokens, price: Price, *, ceiling_usdc: int, fee_bps: int) -> Split:
    """Return the charge, never above what was reserved, and its parts.

    The fee comes out of the seller's price: a buyer pays what the offer says.
    """
    assert 0 <= fee_bps <= BPS_ONE
    worth = min(get_worth(tokens, price), ceiling_usdc * TOKENS_PER_MTOK)
    cost_usdc = mul_div_up(worth, 1, TOKENS_PER_MTOK)
    fee_usdc = mul_div_down(cost_usdc, fee_bps, BPS_ONE)
    return Split(cost_usdc, cost_usdc - fee_usdc, fee_usdc)
