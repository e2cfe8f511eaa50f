"""Which items a transaction takes where they neither all fit nor pay for it, and what dust never
gets by any rule.

::

    thirty payouts of a cent, a cover or a lapse of one unit, an old harvest of a cent: wait
    the same where they bring their share: go, also alone
    a release: goes whatever it costs
"""

from dataclasses import dataclass

import pytest

from keeper.gas import GasPrice
from keeper.worth import (
    BINDING,
    RELEASE,
    SHARE,
    decide_floor_usdc,
    decide_worthy,
    get_share_usdc,
)


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


DEAR = GasPrice(fee_wei=10**10, ether_price_usdc=4_000_000_000)
"""10 gwei, with ether at 4,000: 0.04 USDC for a thousand gas."""
BINDING_REASONS = [
    (kind, reason)
    for kind, reasons in BINDING.items()
    for reason in sorted(reasons)
    if reason != RELEASE
]


@pytest.mark.parametrize(("kind", "reason"), BINDING_REASONS)
def test_decide_worthy__dust_that_a_rule_binds__waits_until_it_brings_its_share(
    kind: str, reason: str
) -> None:
    share_usdc = get_share_usdc(kind, DEAR)
    assert share_usdc > 600_000
    dust = [Due(i, reason, share_usdc - 1) for i in range(30)]

    decision = decide_worthy(kind, dust, DEAR, count_max=200)

    assert decision.transactions == []
    assert {one.reason for one in decision.unworthy} == {SHARE}
    worthy = Due(30, reason, share_usdc)
    assert decide_worthy(kind, [*dust, worthy], DEAR, count_max=200).transactions == [(worthy,)]


@pytest.mark.parametrize("kind", ["settle", "hold"])
def test_decide_worthy__a_release__goes_whatever_it_costs(kind: str) -> None:
    item = Due(1, RELEASE, 0)

    assert decide_worthy(kind, [item], DEAR, count_max=200).transactions == [(item,)]
