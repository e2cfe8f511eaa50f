"""Fees: within their bounds, and high enough to take a stuck transaction's place."""

import pytest

from keeper.fees import FeeRules, Fees, decide_fees, decide_replacement, gas_cost_usdc

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


def test_decide_replacement__stuck__both_fees_rise_by_an_eighth_at_least() -> None:
    fees = decide_replacement(Fees(21 * GWEI, 1 * GWEI), 10 * GWEI, RULES)

    assert fees == Fees(23_625_000_000, 1_125_000_000)


def test_decide_replacement__base_fee_rose__covers_its_double() -> None:
    fees = decide_replacement(Fees(21 * GWEI, 1 * GWEI), 30 * GWEI, RULES)

    assert fees == Fees(61_125_000_000, 1_125_000_000)


@pytest.mark.parametrize("stuck", [Fees(90 * GWEI, 1 * GWEI), Fees(50 * GWEI, 9 * GWEI)])
def test_decide_replacement__bounds_reached__none(stuck: Fees) -> None:
    assert decide_replacement(stuck, 10 * GWEI, RULES) is None


def test_decide_replacement__no_tip__stays_valid() -> None:
    rules = FeeRules(fee_wei_max=100, tip_wei=0, tip_wei_max=10)

    assert decide_replacement(Fees(8, 0), 0, rules) == Fees(9, 0)


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
