"""Who gets how much of what a request cost. Pure.

From the exact worth of a request (1e-12 USDC, see ``serving.models.prices``) everything is rounded
once: the buyer's charge up, the seller's pay and the fee down. What is left between them, less than
three units of 1e-6 USDC, is the operator's.
"""

from dataclasses import dataclass

from contracts.units import BPS_ONE, TOKENS_PER_MTOK, mul_div_up
from serving.models.prices import Price, Tokens, get_worth


@dataclass(frozen=True, slots=True)
class Split:
    """Where a buyer's money goes, in 1e-6 USDC: ``cost = earning + fee + margin``, always."""

    cost_usdc: int
    earning_usdc: int
    fee_usdc: int
    margin_usdc: int


def split_cost(tokens: Tokens, price: Price, *, ceiling_usdc: int, fee_bps: int) -> Split:
    """Return the charge, never above what was reserved, and its parts.

    The fee comes out of the seller's price: a buyer pays what the offer says.
    """
    assert 0 <= fee_bps <= BPS_ONE
    worth = min(get_worth(tokens, price), ceiling_usdc * TOKENS_PER_MTOK)
    cost_usdc = mul_div_up(worth, 1, TOKENS_PER_MTOK)
    earning_usdc = worth * (BPS_ONE - fee_bps) // (TOKENS_PER_MTOK * BPS_ONE)
    fee_usdc = worth * fee_bps // (TOKENS_PER_MTOK * BPS_ONE)
    return Split(cost_usdc, earning_usdc, fee_usdc, cost_usdc - earning_usdc - fee_usdc)
