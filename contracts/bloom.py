"""A block's bloom filter: whether logs of ours are possible. Pure.

A bloom may say yes where there is nothing, and some chains fill it with zeros. So it is only ever a
reason to doubt an empty answer, never one to skip a block.
"""

from collections.abc import Iterable
from typing import Final

from eth_utils.crypto import keccak

BITS: Final = 2_048
TELLING_BITS_MAX: Final = BITS // 2
"""A bloom with more bits set says yes to nearly everything, so its yes is no reason to doubt."""


def build_mask(value: str) -> int:
    """Return the three bits that a log's address or topic (0x hex) sets."""
    digest = keccak(bytes.fromhex(value.removeprefix("0x")))
    mask = 0
    for place in (0, 2, 4):
        mask |= 1 << (int.from_bytes(digest[place : place + 2], "big") % BITS)
    return mask


class BloomQuery:
    """Logs of some addresses with some first topics, as a question to blooms."""

    def __init__(self, *, addresses: Iterable[str], topics: Iterable[str]) -> None:
        self._addresses = [build_mask(address) for address in addresses]
        self._topics = [build_mask(topic) for topic in topics]

    def is_possible(self, bloom: int) -> bool:
        """Tell whether the block may hold such a log; False is certain if the bloom is right."""
        return any(bloom & mask == mask for mask in self._addresses) and any(
            bloom & mask == mask for mask in self._topics
        )

    def doubts_empty(self, bloom: int) -> bool:
        """Tell whether an empty answer about the block deserves another look."""
        return self.is_possible(bloom) and bloom.bit_count() <= TELLING_BITS_MAX
