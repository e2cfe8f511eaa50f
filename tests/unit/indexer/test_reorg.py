"""``indexer.reorg.reconcile``: every way a block can fit, or not fit, the window."""

import pytest

from contracts.blocks import BlockRange, BlockRef
from indexer.reorg import Duplicate, Extend, Gap, Outcome, Rewind, Unrecoverable, reconcile


def block(number: int, fork: str = "a", parent_fork: str | None = None) -> BlockRef:
    parent = fork if parent_fork is None else parent_fork
    return BlockRef(number, f"0x{fork}{number}", f"0x{parent}{number - 1}", number * 2)


WINDOW = [block(number) for number in (7, 8, 9)]


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (block(9), Duplicate()),
        (block(7), Duplicate()),
        (block(10), Extend()),
        (block(11), Gap(next_number=10)),
        (block(500, "b"), Gap(next_number=10)),
        (block(10, "b"), Rewind(8)),
        (block(9, "b"), Rewind(8)),
        (block(8, "b"), Rewind(7)),
        (block(7, "b"), Unrecoverable()),
        (block(6), Unrecoverable()),
        (block(0), Unrecoverable()),
    ],
)
def test_reconcile__each_case__its_outcome(candidate: BlockRef, expected: Outcome) -> None:
    assert reconcile(WINDOW, candidate) == expected


def test_reconcile__sibling_of_the_only_block__unrecoverable() -> None:
    assert reconcile([block(7)], block(8, "b")) == Unrecoverable()


def test_reconcile__same_parent_after_fork__extends() -> None:
    assert reconcile(WINDOW, block(10, "b", parent_fork="a")) == Extend()


@pytest.mark.parametrize("count_max", [1, 2, 3, 7, 100])
def test_chunks__any_size__cover_the_range_once(count_max: int) -> None:
    blocks = BlockRange(3, 12)
    chunks = list(blocks.chunks(count_max))
    assert [n for c in chunks for n in range(c.first, c.last + 1)] == list(range(3, 13))
    assert all(chunk.count <= count_max for chunk in chunks)


@pytest.mark.parametrize(("first", "last"), [(-1, 3), (4, 3)])
def test_block_range__not_a_range__refused(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="not a block range"):
        BlockRange(first, last)
