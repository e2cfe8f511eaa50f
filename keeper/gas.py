"""What gas costs, and how much of it a transaction may use. Pure.

Wei, except where the name says USDC (1e-6 USDC).
"""

from dataclasses import dataclass
from typing import Final

from contracts.units import BPS_ONE, mul_div_down, mul_div_up

TRANSFER_GAS: Final = 21_000
"""What a transaction costs that does nothing but use up a nonce."""
WEI_PER_ETHER: Final = 10**18
TRANSACTION_GAS_MAX: Final = 2**24
"""The most gas that one transaction may use (EIP-7825)."""


@dataclass(frozen=True, slots=True)
class GasPrice:
    """What gas costs at a block: base fee and tip per gas, and one ether in 1e-6 USDC."""

    fee_wei: int = 0
    ether_price_usdc: int = 0

    def get_cost_usdc(self, gas: int) -> int:
        """Return what ``gas`` costs (1e-6 USDC), rounded up."""
        return gas_cost_usdc(gas, self.fee_wei, ether_price_usdc=self.ether_price_usdc)


FREE: Final = GasPrice()
"""Where gas costs nothing."""


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
