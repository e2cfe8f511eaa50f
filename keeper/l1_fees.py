"""Reading what a rollup takes beside the gas price from its GasPriceOracle.

On Base and other chains of the OP stack a transaction also pays for posting its bytes to Ethereum.
A predeploy says how much. Since Fjord ``getL1FeeUpperBound`` tells it for a length, as if the bytes
could not be compressed; before (Bedrock, Ecotone) ``getL1Fee`` tells it for bytes, and is asked
with bytes that cannot be compressed. Both grow with the length, so two lengths tell of all others:
the formulas are a straight line beyond some 90 bytes, and every transaction here is longer.

Since Isthmus there may be an operator fee, too: so much for any transaction, and for each gas. The
same predeploy tells it for an amount of gas (``getOperatorFee``), and two amounts tell of all
others, whatever the formula of the day. Before that upgrade it reverts: there is no such fee.

============================================  ======================================================
no code at the predeploy's address            no such fee on this chain
an answer within the bound                    as it says
reverts, answers that cannot be, or beyond    the next endpoint is asked; in the end the fee counts
  the bound                                   as the bound, so that only what a rule binds is sent
the node does not answer                      ``NodeUnavailable``, as for the base fee
============================================  ======================================================
"""

from dataclasses import replace
from typing import Final

import structlog
from eth_utils.abi import function_signature_to_4byte_selector

from contracts.errors import Reverted
from keeper.gas import NO_L1_FEE, L1Fee
from keeper.node import Node
from keeper.node_values import WORD_BYTES

log = structlog.get_logger("keeper")

ORACLE: Final = "0x420000000000000000000000000000000000000F"
"""The GasPriceOracle's address on every chain of the OP stack."""
SHORT_BYTES: Final = 256
LONG_BYTES: Final = 1_024
"""The bound is on the fee of a transaction of this length."""
SMALL_GAS: Final = 1_000_000
LARGE_GAS: Final = 2_000_000
"""The bound is on the operator fee of this much gas, too."""

_UPPER_BOUND: Final = function_signature_to_4byte_selector("getL1FeeUpperBound(uint256)")
_FEE: Final = function_signature_to_4byte_selector("getL1Fee(bytes)")
_OPERATOR_FEE: Final = function_signature_to_4byte_selector("getOperatorFee(uint256)")
_SPREAD: Final = 0x9E3779B97F4A7C15


class L1FeeReader:
    """Tells the L1 data fee, and the operator fee in it, at a block; asked once for each block.

    Not shared between threads. ``fee_wei_max`` is the most that is believed of either, for
    ``LONG_BYTES`` and for ``LARGE_GAS``.
    """

    def __init__(self, node: Node, *, fee_wei_max: int) -> None:
        self._node = node
        self._fee_wei_max = fee_wei_max
        self._has_oracle = False
        self._block_hash: str | None = None
        self._fee = NO_L1_FEE

    def fetch(self, *, block_hash: str) -> L1Fee:
        """Return the fee at a block. Raises what the node raises."""
        if block_hash != self._block_hash:
            self._fee = self._ask(block_hash)
            self._block_hash = block_hash
        return self._fee

    def _ask(self, block_hash: str) -> L1Fee:
        # A predeploy does not vanish; a node that is behind may not have it yet.
        self._has_oracle = self._has_oracle or self._node.has_code(ORACLE, block=block_hash)
        if not self._has_oracle:
            return NO_L1_FEE
        for _ in range(self._node.endpoints_count):
            data = self._read_data_fee(block_hash)
            operator = None if data is None else self._read_operator_fee(block_hash)
            if data is not None and operator is not None:
                base_wei, gas_wei = operator
                return replace(data, base_wei=data.base_wei + base_wei, gas_wei=gas_wei)
            self._node.doubt("its L1 fee oracle says nothing that can be")
        log.warning("l1_fee_unknown", counts_as_wei=self._fee_wei_max)
        return L1Fee(base_wei=self._fee_wei_max)

    def _read_data_fee(self, block_hash: str) -> L1Fee | None:
        """Return the fee for a transaction's bytes; None where none can be believed."""
        for calls in (_build_bounds(), _build_fees()):
            try:
                words = [self._read(call, block_hash=block_hash) for call in calls]
            except Reverted:
                continue
            short_wei, long_wei = words
            if short_wei is None or long_wei is None:
                continue
            fee = fit_fee(short_wei=short_wei, long_wei=long_wei, fee_wei_max=self._fee_wei_max)
            if fee is not None:
                return fee
        return None

    def _read_operator_fee(self, block_hash: str) -> tuple[int, int] | None:
        """Return what the operator takes for any transaction and for each gas (wei).

        None where it cannot be believed.
        """
        try:
            small_wei = self._read(_build_operator_fee(SMALL_GAS), block_hash=block_hash)
            if small_wei == 0:
                return 0, 0
            large_wei = self._read(_build_operator_fee(LARGE_GAS), block_hash=block_hash)
        except Reverted:
            return 0, 0
        if small_wei is None or large_wei is None:
            return None
        return fit_operator_fee(
            small_wei=small_wei, large_wei=large_wei, fee_wei_max=self._fee_wei_max
        )

    def _read(self, call: bytes, *, block_hash: str) -> int | None:
        """Return the word that the oracle answers; None where it answers something else.

        Raises ``Reverted``.
        """
        request = {"to": ORACLE, "data": "0x" + call.hex()}
        answer = self._node.try_call(request, block=block_hash)
        return int.from_bytes(answer) if len(answer) == WORD_BYTES else None


def fit_fee(*, short_wei: int, long_wei: int, fee_wei_max: int) -> L1Fee | None:
    """Return the line through the fees of ``SHORT_BYTES`` and ``LONG_BYTES``, rounded up.

    None where they are beyond the bound, or the longer transaction would be the cheaper one.
    """
    if not short_wei <= long_wei <= fee_wei_max:
        return None
    byte_wei = -((short_wei - long_wei) // (LONG_BYTES - SHORT_BYTES))
    # Never below what a short transaction was said to cost.
    base_wei = max(0, short_wei - byte_wei * SHORT_BYTES)
    return L1Fee(base_wei=base_wei, byte_wei=byte_wei)


def fit_operator_fee(*, small_wei: int, large_wei: int, fee_wei_max: int) -> tuple[int, int] | None:
    """Return the line through the fees of ``SMALL_GAS`` and ``LARGE_GAS``: base, and wei per gas.

    Both rounded up. None where they are beyond the bound, or more gas would be the cheaper.
    """
    if not small_wei <= large_wei <= fee_wei_max:
        return None
    step_wei, step_gas = large_wei - small_wei, LARGE_GAS - SMALL_GAS
    base_wei = max(0, small_wei - step_wei * SMALL_GAS // step_gas)
    return base_wei, -(-step_wei // step_gas)


def _build_operator_fee(gas: int) -> bytes:
    return _OPERATOR_FEE + gas.to_bytes(32)


def _build_bounds() -> list[bytes]:
    return [_UPPER_BOUND + length.to_bytes(32) for length in (SHORT_BYTES, LONG_BYTES)]


def _build_fees() -> list[bytes]:
    calls = []
    for length in (SHORT_BYTES, LONG_BYTES):
        # Bytes without zeros, which cost less, and without repetition, which is compressed.
        content = bytes(1 + (n * n * _SPREAD >> 24) % 255 for n in range(length))
        calls.append(_FEE + (32).to_bytes(32) + length.to_bytes(32) + content)
    return calls
