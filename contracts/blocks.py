"""Blocks and block ranges as plain values. Standard library only."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BlockRef:
    """One block: its number, its hash, its parent's hash (lower-case 0x hex) and its time."""

    number: int
    block_hash: str
    parent_hash: str
    timestamp_s: int


@dataclass(frozen=True, slots=True)
class Header(BlockRef):
    """A block as a node shows it, with what helps to doubt an answer about its logs."""

    logs_bloom: int
    """2048 bits; 0 also where the node does not say."""
    transaction_count: int | None
    """None where the node does not say."""

    @property
    def ref(self) -> BlockRef:
        """The part that the mirror keeps."""
        return BlockRef(self.number, self.block_hash, self.parent_hash, self.timestamp_s)


@dataclass(frozen=True, slots=True)
class BlockRange:
    """The blocks from ``first`` to ``last``, both included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise ValueError(f"not a block range: {self.first}..{self.last}")

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    def chunks(self, count_max: int) -> Iterator["BlockRange"]:
        """Cut the range into consecutive ranges of at most ``count_max`` blocks."""
        assert count_max > 0
        for first in range(self.first, self.last + 1, count_max):
            yield BlockRange(first, min(first + count_max - 1, self.last))
