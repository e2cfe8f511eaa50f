"""The overview's own arithmetic: yield by share prices, which blocks are asked, what agrees."""

from dataclasses import replace
from typing import Any

import pytest

from proxy.books_proof import BookProof
from proxy.vault_watch import Pace, SharePrice, choose_blocks, measure_pace

DAY_S = 86_400


def prices(*points: tuple[int, int]) -> list[SharePrice]:
    """Return share prices from pairs of day and price."""
    return [SharePrice(day, day * DAY_S, price) for day, price in points]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        # 1 % in 73 days is 5 % in 365.
        (prices((0, 1_000_000), (5, 1_000_500), (73, 1_010_000)), Pace(50_000, 73 * DAY_S)),
        (prices((0, 1_000_000), (365, 900_000)), Pace(-100_000, 365 * DAY_S)),
        (prices((0, 1_000_000), (365, 1_000_000)), Pace(0, 365 * DAY_S)),
        (prices((0, 1_000_000)), None),
        ([], None),
        (prices((0, 0), (1, 5)), None),
        ([SharePrice(1, 100, 5), SharePrice(2, 159, 6)], None),
    ],
)
def test_measure_pace__share_prices__give_the_yield_of_a_year(
    history: list[SharePrice], expected: Pace | None
) -> None:
    assert measure_pace(history) == expected


@pytest.mark.parametrize(
    ("head", "first", "expected"),
    [(100, 0, [0, 25, 50, 75, 100]), (2, 0, [0, 1, 2]), (7, 7, [7]), (0, 0, [0])],
)
def test_choose_blocks__a_range__both_ends_and_none_twice(
    head: int, first: int, expected: list[int]
) -> None:
    assert choose_blocks(head=head, first=first, count=5) == expected


PROOF = BookProof(
    block_number=5,
    block_hash="0x05",
    compared_at_s=1,
    positions=2,
    positions_on_chain=2,
    unspent_usdc=70,
    unspent_on_chain_usdc=70,
    contract_balance_usdc=70,
)


@pytest.mark.parametrize(
    ("change", "agrees"),
    [
        ({}, True),
        ({"contract_balance_usdc": 71}, True),
        ({"contract_balance_usdc": 69}, False),
        ({"unspent_usdc": 69}, False),
        ({"positions": 1}, False),
    ],
)
def test_book_proof__one_figure_differs__does_not_agree(
    change: dict[str, Any], agrees: bool
) -> None:
    assert replace(PROOF, **change).agrees is agrees
