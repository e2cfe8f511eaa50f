"""Telling a contract's end from a node's own trouble, whatever the node calls it. Pure.

A revert is told by its data: nodes hand the contract's own bytes on, in one place or another, with
codes and words of their own. Without data, words decide, and only words about an execution: a node
whose backend "reverted to a snapshot" has not run our call.
"""

import re
from typing import Any, Final

REVERT_CODE: Final = 3
"""The code of EIP-1474's successors for a revert; most nodes use it by now."""
REASON_CHARACTERS_MAX: Final = 200

_ERROR_SELECTOR: Final = bytes.fromhex("08c379a0")
"""``Error(string)``."""
_PANIC_SELECTOR: Final = bytes.fromhex("4e487b71")
"""``Panic(uint256)``."""
_WORD: Final = 32
_HEX: Final = re.compile(r"0x(?:[0-9a-f]{2})*\b", re.IGNORECASE)
_DATA_NAMES: Final = ("data", "result", "return", "output", "originalError")
_DEPTH_MAX: Final = 4
_REVERTED: Final = re.compile(
    r"^(?:.{0,80}\b(?:execution|exception|transaction|call|vm|evm)\b.{0,40}?)?\brevert(?:ed)?"
    r"(?: with reason string)?(?:\b:?\s*(.*)|$)",
    re.IGNORECASE | re.DOTALL,
)
_HALTED: Final = re.compile(
    r"out of ?gas|gas required exceeds|gas uint64 overflow|invalid ?(?:fe ?)?opcode"
    r"|opcode ?not ?found|bad instruction|invalid ?jump|stack ?(?:underflow|overflow|limit)"
    r"|write protection|^evm error|vm execution error",
    re.IGNORECASE,
)
"""What nodes say where the contract burnt its gas, or broke a rule of the machine."""


def find_revert_data(data: Any, *, depth: int = 0) -> bytes | None:
    """Return the bytes with which a contract reverted, out of an error's ``data``; None for none.

    Nodes give them as hex, behind a word ("Reverted 0x…"), or in an object, by name or by the
    transaction's hash.
    """
    if isinstance(data, str):
        match = _HEX.search(data)
        return None if match is None else bytes.fromhex(match[0][2:])
    if not isinstance(data, dict) or depth == _DEPTH_MAX:
        return None
    nested = [data[name] for name in _DATA_NAMES if name in data]
    nested += [value for value in data.values() if isinstance(value, dict)]
    for value in nested:
        found = find_revert_data(value, depth=depth + 1)
        if found is not None:
            return found
    return None


def find_revert_reason(code: int, message: str, data: bytes | None) -> str | None:
    """Return the contract's own reason where a node's error is the contract's end, else None.

    Empty for a revert without a reason; the node's words where the contract did not come to its
    end. At most ``REASON_CHARACTERS_MAX`` printable characters, as they are a stranger's.
    """
    reason = None if data is None else _decode_reason(data)
    if reason:
        return _clean(reason)
    match = _REVERTED.search(message)
    if match is not None:
        words = (match[1] or "").split(", data:")[0]
        return _clean(words.strip("' ,"))
    if _HALTED.search(message) is not None:
        return _clean(message)
    return "" if code == REVERT_CODE or data is not None else None


def _decode_reason(data: bytes) -> str:
    """Return the text of ``Error(string)``, a panic's code, or nothing for any other data."""
    selector, body = data[:4], data[4:]
    if selector == _PANIC_SELECTOR and len(body) == _WORD:
        return f"panic {int.from_bytes(body):#x}"
    if selector != _ERROR_SELECTOR or len(body) < 2 * _WORD:
        return ""
    length = int.from_bytes(body[_WORD : 2 * _WORD])
    text = body[2 * _WORD : 2 * _WORD + min(length, 4 * REASON_CHARACTERS_MAX)]
    return text.decode("utf-8", errors="replace")


def _clean(text: str) -> str:
    return "".join(one for one in text[:REASON_CHARACTERS_MAX] if one.isprintable())
