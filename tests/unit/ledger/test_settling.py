"""What a supplier is owed for a day: rounding, fee, carrying over."""

import pytest

from ledger.suppliers.settling import Carry, DaySum, Payee, get_gross_usdc, settle

DAY = 20_000


def make_sum(
    paid_tokens: int, *, offer_id: str = "a", bid: int = 150_000, day: int = DAY
) -> DaySum:
    return DaySum(offer_id, day, bid, 1, paid_tokens, 0, paid_tokens)


def make_payee(**changes: object) -> Payee:
    values: dict[str, object] = {
        "network": "base",
        "rail": "chain",
        "asset": "USDC",
        "minimum_usdc": 1,
        "address": "0xabc",
        **changes,
    }
    return Payee(**values)  # type: ignore[arg-type]


def test_get_gross__a_million_tokens_at_15_cents__is_15_cents() -> None:
    assert get_gross_usdc([make_sum(1_000_000)]) == 150_000


def test_get_gross__remainders_of_two_offers__are_dropped_for_each() -> None:
    # 10 tokens at 0.15 USD for a million are 1.5 units; of one offer twice they are 3.
    assert get_gross_usdc([make_sum(10), make_sum(10, offer_id="b")]) == 2
    assert get_gross_usdc([make_sum(10), make_sum(10, bid=150_000)]) == 3


def test_get_gross__repriced_within_the_day__counts_each_bid_and_rounds_once() -> None:
    assert get_gross_usdc([make_sum(5, bid=100_000), make_sum(5, bid=100_001)]) == 1


def test_get_gross__two_days_of_one_offer__are_rounded_apart() -> None:
    assert get_gross_usdc([make_sum(10), make_sum(10, day=DAY + 1)]) == 2


@pytest.mark.parametrize(
    ("tokens", "fee_bps", "fee_usdc"),
    [(1_000_000, 1_500, 22_500), (7, 1_500, 1), (0, 1_500, 0), (1_000_000, 0, 0), (7, 10_000, 1)],
)
def test_settle__fee__is_rounded_up(tokens: int, fee_bps: int, fee_usdc: int) -> None:
    settled = settle(
        [make_sum(tokens)], day=DAY, fee_bps=fee_bps, carried_in_usdc=0, payee=make_payee()
    )

    assert settled.fee_usdc == fee_usdc
    assert settled.net_usdc + settled.carried_out_usdc == settled.gross_usdc - fee_usdc


def test_settle__what_was_carried__is_paid_with_the_day_and_bears_no_fee_again() -> None:
    settled = settle(
        [make_sum(1_000_000)], day=DAY, fee_bps=1_500, carried_in_usdc=1_000, payee=make_payee()
    )

    assert (settled.net_usdc, settled.carried_out_usdc) == (128_500, 0)


@pytest.mark.parametrize(
    ("payee", "carry"),
    [
        (make_payee(minimum_usdc=127_501), Carry.BELOW_MINIMUM),
        (make_payee(minimum_usdc=127_500), None),
        (make_payee(address=None), Carry.NO_ADDRESS),
        (make_payee(address=None, is_cooling=True), Carry.ADDRESS_COOLING),
        (make_payee(is_approved=False), Carry.SUSPENDED),
    ],
)
def test_settle__not_payable__is_carried_whole_and_says_why(
    payee: Payee, carry: Carry | None
) -> None:
    settled = settle([make_sum(1_000_000)], day=DAY, fee_bps=1_500, carried_in_usdc=0, payee=payee)

    assert settled.carry is carry
    assert (settled.net_usdc, settled.carried_out_usdc) == (
        (127_500, 0) if carry is None else (0, 127_500)
    )


def test_settle__a_sum_that_came_late__is_in_the_period() -> None:
    settled = settle(
        [make_sum(1_000_000), make_sum(1_000_000, day=DAY - 3)],
        day=DAY,
        fee_bps=0,
        carried_in_usdc=0,
        payee=make_payee(),
    )

    assert (settled.first_day, settled.net_usdc, settled.requests) == (DAY - 3, 300_000, 2)
