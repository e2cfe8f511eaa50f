"""Reading the L1 data fee from a rollup's GasPriceOracle.

On Base and other chains of the OP stack a transaction also pays for posting its bytes to Ethereum.
A predeploy says how much. Since Fjord ``getL1FeeUpperBound`` tells it for a length, as if the bytes
could not be compressed; before (Bedrock, Ecotone) ``getL1Fee`` tells it for bytes, and is asked
with bytes that cannot be compressed. Both grow with the length, so two lengths tell of all others:
the formulas are a straight line beyond some 90 bytes, and every transaction here is longer.

============================================  ======================================================
no code at the predeploy's address            no such fee on this chain
an answer within the bound                    as it says
reverts, answers that cannot be, or beyond    the next endpoint is asked; in the end the fee counts
  the bound                                   as the bound, so that only what a rule binds is sent
the node does not answer                      ``NodeUnavailable``, as for the base fee
============================================  ======================================================
"""

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

_UPPER_BOUND: Final = function_signature_to_4byte_selector("getL1FeeUpperBound(uint256)")
_FEE: Final = function_signature_to_4byte_selector("getL1Fee(bytes)")
_SPREAD: Final = 0x9E3779B97F4A7C15


class L1FeeReader:
    """Tells the L1 data fee at a block, asked once for each block. Not shared between threads.

    ``fee_wei_max`` is the most that is believed, for ``LONG_BYTES``.
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
            for calls in (_build_bounds(), _build_fees()):
                fee = self._read(calls, block_hash=block_hash)
                if fee is not None:
                    return fee
            self._node.doubt("its L1 fee oracle says nothing that can be")
        log.warning("l1_fee_unknown", counts_as_wei=self._fee_wei_max)
        return L1Fee(base_wei=self._fee_wei_max)

    def _read(self, calls: list[bytes], *, block_hash: str) -> L1Fee | None:
        """Return what the oracle says; None where it does not say it so, or cannot be believed."""
        words: list[int] = []
        for call in calls:
            request = {"to": ORACLE, "data": "0x" + call.hex()}
            try:
                answer = self._node.try_call(request, block=block_hash)
            except Reverted:
                return None
            if len(answer) != WORD_BYTES:
                return None
            words.append(int.from_bytes(answer))
        short_wei, long_wei = words
        return fit_fee(short_wei=short_wei, long_wei=long_wei, fee_wei_max=self._fee_wei_max)


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


def _build_bounds() -> list[bytes]:
    return [_UPPER_BOUND + length.to_bytes(32) for length in (SHORT_BYTES, LONG_BYTES)]


def _build_fees() -> list[bytes]:
    calls = []
    for length in (SHORT_BYTES, LONG_BYTES):
        # Bytes without zeros, which cost less, and without repetition, which is compressed.
        content = bytes(1 + (n * n * _SPREAD >> 24) % 255 for n in range(length))
        calls.append(_FEE + (32).to_bytes(32) + length.to_bytes(32) + content)
    return calls
