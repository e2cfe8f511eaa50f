"""Which items a transaction takes where they neither all fit nor pay for it."""

from dataclasses import dataclass

from keeper.gas import GasPrice
from keeper.worth import decide_worthy


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
