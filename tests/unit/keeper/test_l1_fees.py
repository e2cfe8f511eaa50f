"""What a rollup takes beside the gas price, as its oracle says it, and as receipts do.

::

    the oracle knows no operator fee │ none is taken │ Isthmus │ Jovian → a line through two answers
    ├── for any transaction and for each gas; in costs and shares
    └── beyond the bound, falling, no word → not believed: the next endpoint, then the bound
"""

from collections.abc import Callable
from typing import Any, cast

import pytest
from eth_utils.abi import function_signature_to_4byte_selector

from contracts.errors import Reverted
from keeper.gas import GasPrice, L1Fee
from keeper.l1_fees import L1FeeReader, fit_operator_fee
from keeper.node import Node
from keeper.worth import get_cost_usdc, get_share_usdc

BOUND_WEI = 10**16
UPPER_BOUND = function_signature_to_4byte_selector("getL1FeeUpperBound(uint256)")
OPERATOR_FEE = function_signature_to_4byte_selector("getOperatorFee(uint256)")


class OracleNode:
    """A node's oracle: a data fee of 1,000 and 10 a byte, and an operator fee."""

    endpoints_count = 2

    def __init__(self, operator_fee: Callable[[int], bytes]) -> None:
        self._operator_fee = operator_fee
        self.doubts = 0

    def has_code(self, _address: str, **_at: str) -> bool:
        return True

    def try_call(self, request: dict[str, Any], **_at: str) -> bytes:
        call = bytes.fromhex(request["data"].removeprefix("0x"))
        argument = int.from_bytes(call[4:36])
        if call[:4] == UPPER_BOUND:
            return (1_000 + 10 * argument).to_bytes(32)
        assert call[:4] == OPERATOR_FEE
        return self._operator_fee(argument)

    def doubt(self, _reason: str) -> None:
        self.doubts += 1


def fetch(operator_fee: Callable[[int], bytes]) -> tuple[L1Fee, int]:
    """Return what is read of an oracle, and how often its node was doubted."""
    node = OracleNode(operator_fee)
    reader = L1FeeReader(cast(Node, node), fee_wei_max=BOUND_WEI)
    return reader.fetch(block_hash="0x01"), node.doubts


def revert(_gas: int) -> bytes:
    raise Reverted("")


@pytest.mark.parametrize(
    ("operator_fee", "base_wei", "gas_wei"),
    [
        (revert, 1_000, 0),
        (lambda _: bytes(32), 1_000, 0),
        # Isthmus: a scalar of 1,500,000 millionths a gas, and a constant of 7.
        (lambda gas: (gas * 1_500_000 // 10**6 + 7).to_bytes(32), 1_007, 2),
        # Jovian: a scalar of 3 hundreds a gas.
        (lambda gas: (gas * 300 + 7).to_bytes(32), 1_007, 300),
        (lambda _: (5).to_bytes(32), 1_005, 0),
    ],
    ids=["before", "none", "isthmus", "jovian", "constant"],
)
def test_operator_fee__as_the_oracle_says__is_in_what_transactions_and_gas_cost(
    operator_fee: Callable[[int], bytes], base_wei: int, gas_wei: int
) -> None:
    assert fetch(operator_fee) == (L1Fee(base_wei=base_wei, byte_wei=10, gas_wei=gas_wei), 0)


@pytest.mark.parametrize(
    "operator_fee",
    [
        lambda gas: (BOUND_WEI + gas).to_bytes(32),
        lambda gas: (10**9 - gas).to_bytes(32),
        lambda _: b"\1",
    ],
    ids=["beyond", "falls", "no word"],
)
def test_operator_fee__cannot_be__counts_as_much_as_is_believed(
    operator_fee: Callable[[int], bytes],
) -> None:
    assert fetch(operator_fee) == (L1Fee(base_wei=BOUND_WEI), 2)


def test_fit_operator_fee__at_the_bound__is_believed() -> None:
    assert fit_operator_fee(small_wei=0, large_wei=2_000_001, fee_wei_max=2_000_001) == (0, 3)
    assert fit_operator_fee(small_wei=0, large_wei=2_000_002, fee_wei_max=2_000_001) is None


def test_costs__with_an_operator_fee__count_it_for_each_gas() -> None:
    # One wei is one unit of USDC: a payment uses 100,000 gas, and adds 65,000 to others'.
    one = GasPrice(0, 10**18, L1Fee(base_wei=7, gas_wei=2))

    assert get_cost_usdc("x402", 1, one) == 200_007
    assert get_share_usdc("x402", one) == 130_000
    assert one.get_cost_usdc(50_000) == 100_000
