"""Which items a transaction takes where they neither all fit nor pay for it."""

from dataclasses import dataclass

from keeper.gas import GasPrice
from keeper.worth import decide_floor_usdc, decide_worthy


@dataclass(frozen=True)
class Due:
    """A hold to place, as far as it is weighed."""

    subject: int
    reason: str
    brings_usdc: int


def test_decide_worthy__a_release_behind_many_that_do_not_pay__goes_at_once() -> None:
    # Each hold is worth its share of 992 units, and none the 1,271 of a transaction of its own.
    price = GasPrice(fee_wei=10**9, ether_price_usdc=31_000_000)
    items = [*(Due(i, "open", 1_000) for i in range(50)), Due(50, "release", 0)]

    decision = decide_worthy("hold", items, price, count_max=1)

    assert [[item.subject for item in each] for each in decision.transactions] == [[50]]


def test_floor__gas_rises_and_falls__moves_only_where_it_must() -> None:
    floors = []
    kept_usdc = 0
    # A payment of its own uses 100,000 gas: at 31 USDC an ether, 3,100 units for each gwei.
    for gwei in (1, 2, 1, 3, 1, 0, 1):
        price = GasPrice(fee_wei=gwei * 10**9, ether_price_usdc=31_000_000)
        kept_usdc = decide_floor_usdc(price, kept_usdc)
        floors.append(kept_usdc)

    assert floors == [6_200, 6_200, 6_200, 18_600, 6_200, 0, 6_200]
