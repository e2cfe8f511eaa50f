"""Code that stands in for Base's GasPriceOracle where a local chain has no such predeploy.

It answers like the predeploy and takes no fee: anvil charges none. Put it at
``keeper.l1_fees.ORACLE`` by ``anvil_setCode``.
"""

from typing import Final

from eth_utils.abi import function_signature_to_4byte_selector

_UPPER_BOUND: Final = function_signature_to_4byte_selector("getL1FeeUpperBound(uint256)")
_FEE: Final = function_signature_to_4byte_selector("getL1Fee(bytes)")

_HEAD_BYTES: Final = 27
"""The length of what tells the two functions apart: where the first one's code begins."""


def build_oracle(*, base_wei: int, byte_wei: int, is_fjord: bool = True) -> str:
    """Return code (0x hex) whose fee is ``base_wei`` and ``byte_wei`` for each byte.

    Both are below 2**128. Without ``is_fjord`` it knows only ``getL1Fee``, as before that upgrade,
    and reverts where it is asked for the upper bound.
    """
    upper_bound = _UPPER_BOUND if is_fjord else b"\xff" * 4
    length_at, bytes_at = _HEAD_BYTES, _HEAD_BYTES + 7
    fee_at = bytes_at + 4
    code = bytes([0x5F, 0x35, 0x60, 0xE0, 0x1C, 0x80])  # the selector, twice
    code += b"\x63" + upper_bound + bytes([0x14, 0x60, length_at, 0x57])  # is it the upper bound?
    code += b"\x63" + _FEE + bytes([0x14, 0x60, bytes_at, 0x57])  # is it the fee of bytes?
    code += bytes([0x5F, 0x5F, 0xFD])  # neither: revert
    assert len(code) == length_at
    code += bytes([0x5B, 0x60, 0x04, 0x35, 0x60, fee_at, 0x56])  # the length is the argument
    code += bytes([0x5B, 0x60, 0x24, 0x35])  # the length stands before the bytes
    code += b"\x5b\x6f" + byte_wei.to_bytes(16) + b"\x02"  # times the fee of a byte
    code += b"\x6f" + base_wei.to_bytes(16) + b"\x01"  # and the fee of any transaction
    code += bytes([0x5F, 0x52, 0x60, 0x20, 0x5F, 0xF3])  # return it
    return "0x" + code.hex()
