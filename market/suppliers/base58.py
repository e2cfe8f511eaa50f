"""Base58check, as TRON and Bitcoin write addresses. Pure.

Four bytes of a double SHA-256 stand behind the payload: a slip of one letter is found.
"""

from hashlib import sha256
from typing import Final

ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
CHECKSUM_BYTES: Final = 4
TEXT_MAX: Final = 128
"""Longer texts are not decoded: the work grows with the square of the length."""
_VALUES: Final = {letter: value for value, letter in enumerate(ALPHABET)}


def decode_check(text: str) -> bytes:
    """Return the payload of a base58check text. Raises ``ValueError`` with what is wrong."""
    if not 0 < len(text) <= TEXT_MAX:
        raise ValueError("not a base58check text")
    number = 0
    for letter in text:
        value = _VALUES.get(letter)
        if value is None:
            raise ValueError(f"{letter!r} is not a letter of base58")
        number = number * 58 + value
    zeros = len(text) - len(text.lstrip(ALPHABET[0]))
    decoded = bytes(zeros) + number.to_bytes(-(-number.bit_length() // 8), "big")
    payload, checksum = decoded[:-CHECKSUM_BYTES], decoded[-CHECKSUM_BYTES:]
    if len(decoded) <= CHECKSUM_BYTES or _sum(payload) != checksum:
        raise ValueError("the checksum is wrong: a letter is not as it was")
    return payload


def _sum(payload: bytes) -> bytes:
    return sha256(sha256(payload).digest()).digest()[:CHECKSUM_BYTES]
