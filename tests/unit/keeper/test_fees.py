"""Fees: within their bounds, and high enough to take a stuck transaction's place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.gas import gas_cost_usdc
from keeper.transactor.fees import FeeRules, Fees, decide_fees, decide_replacement

GWEI = 10**9
RULES = FeeRules(fee_wei_max=100 * GWEI, tip_wei=1 * GWEI, tip_wei_max=10 * GWEI)


@pytest.mark.parametrize(
    ("base_fee_wei", "expected"),
    [
        (0, Fees(1 * GWEI, 1 * GWEI)),
        (10 * GWEI, Fees(21 * GWEI, 1 * GWEI)),
        (99 * GWEI, Fees(100 * GWEI, 1 * GWEI)),
        (99 * GWEI + 1, None),
    ],
)
def test_decide_fees__base_fee__room_for_its_double_within_the_bound(
    base_fee_wei: int, expected: Fees | None
) -> None:
    assert decide_fees(base_fee_wei, RULES) == expected


def test_decide_replacement__stuck__tip_doubles_and_the_whole_rises_by_an_eighth() -> None:
    fees = decide_replacement(Fees(21 * GWEI, 1 * GWEI), 10 * GWEI, RULES)

    assert fees == Fees(23_625_000_000, 2 * GWEI)


def test_decide_replacement__base_fee_rose__covers_its_double() -> None:
    fees = decide_replacement(Fees(21 * GWEI, 1 * GWEI), 30 * GWEI, RULES)

    assert fees == Fees(62 * GWEI, 2 * GWEI)


def test_decide_replacement__tip_near_its_bound__rises_to_it() -> None:
    fees = decide_replacement(Fees(21 * GWEI, 6 * GWEI), 5 * GWEI, RULES)

    assert fees == Fees(23_625_000_000, 10 * GWEI)


@given(
    max_fee_wei=st.integers(0, 200 * GWEI),
    tip_wei=st.integers(0, 20 * GWEI),
    base_fee_wei=st.integers(0, 300 * GWEI),
)
def test_decide_replacement__any__within_the_bounds_and_taken_by_a_node(
    max_fee_wei: int, tip_wei: int, base_fee_wei: int
) -> None:
    stuck = Fees(max_fee_wei, min(tip_wei, max_fee_wei))

    fees = decide_replacement(stuck, base_fee_wei, RULES)

    if fees is not None:
        assert fees.max_fee_wei <= RULES.fee_wei_max
        assert fees.tip_wei <= min(RULES.tip_wei_max, fees.max_fee_wei)
        for raised_wei, stuck_wei in (
            (fees.max_fee_wei, stuck.max_fee_wei),
            (fees.tip_wei, stuck.tip_wei),
        ):
            assert 8 * raised_wei >= 9 * stuck_wei
            assert 10 * (raised_wei - 1) >= 11 * stuck_wei, "10 % and 1 wei more"


@pytest.mark.parametrize("stuck", [Fees(90 * GWEI, 1 * GWEI), Fees(50 * GWEI, 9 * GWEI)])
def test_decide_replacement__bounds_reached__none(stuck: Fees) -> None:
    assert decide_replacement(stuck, 10 * GWEI, RULES) is None


def test_decide_replacement__no_tip__both_fees_rise_all_the_same() -> None:
    rules = FeeRules(fee_wei_max=100, tip_wei=0, tip_wei_max=10)

    assert decide_replacement(Fees(8, 0), 0, rules) == Fees(10, 1)
    assert decide_replacement(Fees(0, 0), 0, rules) == Fees(1, 1)


@pytest.mark.parametrize(
    ("gas", "fee_wei", "price_usdc", "expected"),
    [
        (0, GWEI, 4_000_000_000, 0),
        (150_000, GWEI, 0, 0),
        (150_000, GWEI, 4_000_000_000, 600_000),
        (1, 1, 4_000_000_000, 1),
    ],
)
def test_gas_cost_usdc__rounds_up(gas: int, fee_wei: int, price_usdc: int, expected: int) -> None:
    assert gas_cost_usdc(gas, fee_wei, ether_price_usdc=price_usdc) == expected
