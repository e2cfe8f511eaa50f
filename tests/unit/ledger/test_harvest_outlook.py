"""When a harvest is promised, and when the answer is that none is in sight.

::

    no shares                    → none: no principal, whatever the chain says
    the chain does not say       → none: unknown
    a cent or more is there      → when the keeper looks at it, never in the past
    less                         → when a cent is reached as fast as so far, not before it is due
    too little to tell, or years → none: below the minimum
    the principal changed        → at the pace of the principal of now
"""

import pytest

from ledger.chain.harvest_outlook import (
    HORIZON_S,
    HarvestOutlook,
    NoHarvest,
    PrincipalStep,
    expect_harvest,
    read_harvest_times,
)
from ledger.errors import HarvestTimes

LAST_S = 1_800_000_000
DUE_S = LAST_S + 1_800


def make_times(*, has_shares: bool = True, look_at_s: int = DUE_S) -> HarvestTimes:
    return HarvestTimes(has_shares, LAST_S, look_at_s)


@pytest.mark.parametrize(
    ("after_s", "pending_usdc", "expected"),
    [
        (600, 10_000, HarvestOutlook(DUE_S)),
        (600, 9_999, HarvestOutlook(DUE_S, is_estimate=True)),
        (1_800, 10_000, HarvestOutlook(DUE_S)),
        (5_000, 10_000, HarvestOutlook(LAST_S + 5_000)),
        # A third of a cent in 1,000 s: the rest takes 2,000 s more, which is after it is due.
        (1_000, 3_333, HarvestOutlook(LAST_S + 3_001, is_estimate=True)),
        (1_000, 100, HarvestOutlook(LAST_S + 100_000, is_estimate=True)),
        (1_000, 99, HarvestOutlook(None, reason=NoHarvest.YIELD_BELOW_MINIMUM)),
        (1_000, 0, HarvestOutlook(None, reason=NoHarvest.YIELD_BELOW_MINIMUM)),
        (HORIZON_S, 5_000, HarvestOutlook(LAST_S + 2 * HORIZON_S, is_estimate=True)),
        (HORIZON_S, 4_999, HarvestOutlook(None, reason=NoHarvest.YIELD_BELOW_MINIMUM)),
        (1_000, None, HarvestOutlook(None, reason=NoHarvest.UNKNOWN)),
    ],
)
def test_expect_harvest__yield_so_far__says_when_or_why_not(
    after_s: int, pending_usdc: int | None, expected: HarvestOutlook
) -> None:
    outlook = expect_harvest(make_times(), pending_usdc=pending_usdc, now_s=LAST_S + after_s)

    assert outlook == expected


@pytest.mark.parametrize("pending_usdc", [None, 0, 50_000])
def test_expect_harvest__nothing_in_the_vault__none(pending_usdc: int | None) -> None:
    times = make_times(has_shares=False)

    outlook = expect_harvest(times, pending_usdc=pending_usdc, now_s=DUE_S)

    assert outlook == HarvestOutlook(None, reason=NoHarvest.NO_PRINCIPAL)


def test_expect_harvest__keeper_looks_later__not_before_that() -> None:
    times = make_times(look_at_s=DUE_S + 900)

    assert expect_harvest(times, pending_usdc=20_000, now_s=DUE_S).at_s == DUE_S + 900


@pytest.mark.parametrize(
    ("principals", "at_s"),
    [
        # 4,000 of 10,000 came in 1,000 s of one principal: 6,000 more take 1,500 s.
        ([(0, 7)], LAST_S + 2_500),
        # Four times the principal from now on: a quarter of the time.
        ([(0, 7), (1_000, 28)], LAST_S + 1_375 + 425),
        # Half of it left at half-time: 750 of 1,000 principal seconds, 0.5 a second from now.
        ([(-90, 1_000), (500, 500)], LAST_S + 1_000 + 2_250),
        # What happened before the last harvest does not count.
        ([(-9_000, 1), (-100, 7)], LAST_S + 2_500),
    ],
)
def test_expect_harvest__principal_changed__pace_of_the_principal_of_now(
    principals: list[tuple[int, int]], at_s: int
) -> None:
    steps = [PrincipalStep(LAST_S + after_s, usdc) for after_s, usdc in principals]

    outlook = expect_harvest(
        make_times(look_at_s=LAST_S + 1_800),
        pending_usdc=4_000,
        now_s=LAST_S + 1_000,
        steps=steps,
    )

    assert outlook == HarvestOutlook(at_s, is_estimate=True)


def test_expect_harvest__all_principal_withdrawn__none() -> None:
    steps = [PrincipalStep(LAST_S, 1_000_000), PrincipalStep(LAST_S + 500, 0)]

    outlook = expect_harvest(make_times(), pending_usdc=9_000, now_s=DUE_S, steps=steps)

    assert outlook == HarvestOutlook(None, reason=NoHarvest.YIELD_BELOW_MINIMUM)


@pytest.mark.parametrize(("rests_until_s", "look_at_s"), [(0, DUE_S), (DUE_S + 60, DUE_S + 60)])
def test_read_harvest_times__row__later_of_interval_and_rest(
    rests_until_s: int, look_at_s: int
) -> None:
    row = {
        "shares": 1,
        "last_harvest_at_s": LAST_S,
        "harvest_interval_s": 1_800,
        "harvest_look_at_s": rests_until_s,
    }

    assert read_harvest_times(row) == make_times(look_at_s=look_at_s)
