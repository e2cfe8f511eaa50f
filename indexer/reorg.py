"""Deciding how a block fits the mirrored chain. Pure.

Invariant of the window: numbers are consecutive, and each block's ``parent_hash`` is the hash of
the block before it. The last block is the mirror's cursor.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from contracts.blocks import BlockRef


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The block is in the window already."""


@dataclass(frozen=True, slots=True)
class Extend:
    """The block is the cursor's child."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The block is above the cursor's child; the blocks from ``next_number`` on come first."""

    next_number: int


@dataclass(frozen=True, slots=True)
class Rewind:
    """The mirrored chain is not the node's. ``block_number`` is the highest block that may still
    be common; compare hashes from there downwards."""

    block_number: int


@dataclass(frozen=True, slots=True)
class Unrecoverable:
    """The fork is below the window: more was reorganised than the mirror can take back."""


Outcome = Duplicate | Extend | Gap | Rewind | Unrecoverable


def reconcile(window: Sequence[BlockRef], block: BlockRef) -> Outcome:
    """Say how ``block``, read from the node, fits the window (oldest first, not empty).

    ::

        window      ... 7 - 8 - 9          block
        Duplicate   same number, same hash as one of the window
        Extend      number 10, parent is 9's hash
        Gap         number above 10
        Rewind      number 10, another parent; or number in 1..9 of the window, another hash
        Unrecoverable   number below the window, or at its first block with another hash
    """
    assert window
    first, last = window[0], window[-1]
    if block.number > last.number + 1:
        return Gap(next_number=last.number + 1)
    if block.number == last.number + 1:
        if block.parent_hash == last.block_hash:
            return Extend()
        # The parent is not ours, so the fork is at or below the parent's parent.
        return Rewind(last.number - 1) if last.number > first.number else Unrecoverable()
    if block.number < first.number:
        return Unrecoverable()
    if window[block.number - first.number].block_hash == block.block_hash:
        return Duplicate()
    return Rewind(block.number - 1) if block.number > first.number else Unrecoverable()
