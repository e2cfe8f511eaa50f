"""What a transaction costs, by its gas and its length, and how much gas it may use. Pure.

Wei, except where the name says USDC (1e-6 USDC).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from contracts.units import BPS_ONE, mul_div_down, mul_div_up

TRANSFER_GAS: Final = 21_000
"""What a transaction costs that does nothing but use up a nonce."""
WEI_PER_ETHER: Final = 10**18
TRANSACTION_GAS_MAX: Final = 2**24
"""The most gas that one transaction may use (EIP-7825)."""

BURNT_PARTS: Final = (9, 10)
"""From this part of the gas that it was given on, a transaction's gas is burnt: payers that are
keys use less than half of it unless ``KEEPER_PAYMENT_GAS`` is set low."""


@dataclass(frozen=True, slots=True)
class L1Fee:
    """What a rollup takes beside the gas price: for posting a transaction's bytes to Ethereum, and
    for its operator.

    ``base_wei`` for any transaction, ``byte_wei`` for each of its bytes and ``gas_wei`` for each
    gas that it uses; all 0 elsewhere.
    """

    base_wei: int = 0
    byte_wei: int = 0
    gas_wei: int = 0

    def get_fee_wei(self, size_bytes: int) -> int:
        """Return what is taken for a transaction of so many bytes, without its signature.

        What is taken for its gas is not in it: ``GasPrice.gas_wei``.
        """
        return self.base_wei + self.byte_wei * size_bytes


NO_L1_FEE: Final = L1Fee()


@dataclass(frozen=True, slots=True)
class GasPrice:
    """What a transaction costs at a block: base fee and tip per gas, and the L1 data fee.

    ``ether_price_usdc`` is one ether in 1e-6 USDC.
    """

    fee_wei: int = 0
    ether_price_usdc: int = 0
    l1_fee: L1Fee = NO_L1_FEE

    @property
    def gas_wei(self) -> int:
        """What each gas costs: base fee and tip, and the operator's share."""
        return self.fee_wei + self.l1_fee.gas_wei

    def get_cost_usdc(self, gas: int, *, size_bytes: int = 0) -> int:
        """Return what ``gas`` and a transaction's bytes cost (1e-6 USDC), rounded up.

        ``size_bytes`` 0: no transaction of its own, so that no data fee is due.
        """
        l1_fee_wei = self.l1_fee.get_fee_wei(size_bytes) if size_bytes else 0
        return self.convert_usdc(gas * self.gas_wei + l1_fee_wei)

    def convert_usdc(self, wei: int) -> int:
        """Return what ``wei`` is worth (1e-6 USDC), rounded up."""
        return gas_cost_usdc(1, wei, ether_price_usdc=self.ether_price_usdc)


FREE: Final = GasPrice()
"""Where a transaction costs nothing."""


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


def is_burnt(payload: Mapping[str, Any], gas_used: int) -> bool:
    """Tell whether a transaction used up what it was given, rather than what it was found to need.

    ``payload`` is its intent's: ``gas`` is there where it was given.
    """
    gas = payload.get("gas")
    return gas is not None and gas_used * BURNT_PARTS[1] >= int(gas) * BURNT_PARTS[0]
