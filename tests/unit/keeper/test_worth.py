"""What is sent for its worth: both fees are counted, and a rule sends the rest at a loss.

::

    costs
    ├── gas and bytes, base and items, rounded up
    └── every kind of transaction has a size and its binding reasons
    decide
    ├── an item below its share: left alone, with both figures
    ├── items below their transaction together: wait, and go with those that pay for it
    ├── many small ones ahead hold up nobody
    └── settle before a hold lapses, on release; cover; overdue payouts: sent whatever they cost
    the L1 data fee: the line through two lengths; nothing beyond the bound, nothing that falls
"""

from dataclasses import replace

import pytest

from contracts.units import SECONDS_PER_DAY
from keeper.duties.payout import PayoutDue
from keeper.duties.positions import PositionFacts
from keeper.duties.registry import KINDS, Rules
from keeper.duties.x402 import PaymentDue
from keeper.gas import WEI_PER_ETHER, GasPrice, L1Fee
from keeper.l1_fees import LONG_BYTES, SHORT_BYTES, fit_fee
from keeper.printing import build_lines, build_unworthy_lines
from keeper.rounds import RoundReport
from keeper.worth import BINDING, SIZES, Unworthy, get_cost_usdc, get_share_usdc
from tests.support.decisions import Scene, decide, find_unworthy
from tests.support.ledgers import NOW_S, OWNER, make_state

ONE_WEI_IS_ONE = WEI_PER_ETHER
"""An ether price at which a wei is 1e-6 USDC, so that costs can be read off."""
RULES = Rules()
A_DOLLAR_A_TRANSACTION = GasPrice(0, ONE_WEI_IS_ONE, L1Fee(base_wei=1_000_000))
A_UNIT_A_BYTE = GasPrice(0, ONE_WEI_IS_ONE, L1Fee(byte_wei=1))


def make_position(token_id: int, *, posted_usdc: int, left_s: int = 7_000) -> PositionFacts:
    """Return a position with a hold of 5 USDC, and usage that is old enough to be settled."""
    state = make_state(
        token_id,
        credited_usdc=20_000_000,
        hold_usdc=5_000_000,
        hold_lives_s=left_s,
    )
    return PositionFacts(
        state=state,
        drawn_usdc=posted_usdc,
        drawn_current_usdc=posted_usdc,
        posted_usdc=posted_usdc,
        posted_since_s=NOW_S - 601,
    )


def make_payment(payment_id: str, value_usdc: int, *, age_s: int = 0) -> PaymentDue:
    return PaymentDue(payment_id, value_usdc, NOW_S + 300, NOW_S - age_s)


def make_payout(payout_id: str, amount_usdc: int, *, age_s: int = 31) -> PayoutDue:
    return PayoutDue(payout_id, OWNER, amount_usdc, NOW_S - age_s)


def sent(scene: Scene) -> dict[str, list[int | str]]:
    """Return the subjects that are sent, by kind."""
    found: dict[str, list[int | str]] = {}
    for action in decide(scene, RULES):
        found.setdefault(action.kind, []).extend(item.subject for item in action.items)
    return found


# ------------------------------------------------------------------------------------------- costs


def test_sizes__every_kind__has_one_and_its_binding_reasons() -> None:
    assert set(SIZES) == set(BINDING) == set(KINDS)


@pytest.mark.parametrize(
    ("price", "expected_usdc"),
    [
        (GasPrice(10**9, 4_000_000_000), 256_000),
        (GasPrice(10**9, 4_000_000_000, L1Fee(base_wei=5 * 10**13)), 456_000),
        (GasPrice(0, 4_000_000_000, L1Fee(byte_wei=10**11)), 151_200),
        (GasPrice(1, 1, L1Fee(1, 1)), 1),
        (GasPrice(10**9, 0, L1Fee(10**18, 10**18)), 0),
    ],
)
def test_cost__settlement_of_two__is_gas_and_data(price: GasPrice, expected_usdc: int) -> None:
    assert get_cost_usdc("settle", 2, price) == expected_usdc


def test_share__hold__includes_the_settlement_that_follows() -> None:
    assert get_share_usdc("hold", A_UNIT_A_BYTE) == 128 + 64
    assert get_share_usdc("settle", A_UNIT_A_BYTE) == 64


# ---------------------------------------------------------------------------------------- deciding


@pytest.mark.parametrize(("posted_usdc", "goes"), [(999_999, False), (1_000_000, True)])
def test_settle__usage_below_its_cost__waits(posted_usdc: int, goes: bool) -> None:
    positions = (make_position(1, posted_usdc=posted_usdc),)
    scene = Scene(positions=positions, gas_price=A_DOLLAR_A_TRANSACTION)

    assert ("settle" in sent(scene)) is goes
    left = [Unworthy("settle", 1, "together", posted_usdc, 1_000_000)]
    assert find_unworthy(scene, RULES) == ([] if goes else left)


def test_settle__before_its_hold_lapses__is_made_at_a_loss() -> None:
    positions = (
        make_position(1, posted_usdc=1, left_s=599),
        make_position(2, posted_usdc=1),
    )
    scene = Scene(positions=positions, gas_price=A_DOLLAR_A_TRANSACTION)

    assert sent(scene)["settle"] == [1, 2], "the second one shares what is sent anyway"


def test_settle__owner_asks_for_release__is_made_at_a_loss() -> None:
    position = make_position(1, posted_usdc=1)
    asked = replace(position, state=replace(position.state, release_requested_at_s=NOW_S))
    scene = Scene(positions=(asked,), gas_price=A_DOLLAR_A_TRANSACTION)

    assert sent(scene)["settle"] == [1]


def test_hold__credit_below_its_cost__is_not_opened() -> None:
    price = GasPrice(0, ONE_WEI_IS_ONE, L1Fee(base_wei=1_000))
    for credited_usdc, goes in ((999, False), (1_000, True)):
        state = make_state(1, credited_usdc=credited_usdc, hold_usdc=0)
        wanted = PositionFacts(state=state, drawn_usdc=0, wanted_at_s=NOW_S)
        scene = Scene(positions=(wanted,), gas_price=price)
        assert sent(scene) == ({"hold": [1]} if goes else {})


def test_hold__served_usage_without_a_hold__is_covered_at_a_loss() -> None:
    state = make_state(1, credited_usdc=10, hold_usdc=0)
    served = PositionFacts(state=state, drawn_usdc=1, drawn_current_usdc=1)
    scene = Scene(positions=(served,), gas_price=A_DOLLAR_A_TRANSACTION)

    assert sent(scene) == {"hold": [1]}


def test_x402__payments_below_their_transaction__wait_until_others_pay_for_it() -> None:
    few = tuple(make_payment(name, 300_000) for name in "abc")
    scene = Scene(payments=few, gas_price=A_DOLLAR_A_TRANSACTION)

    assert sent(scene) == {}
    assert {one.reason for one in find_unworthy(scene, RULES)} == {"together"}
    assert sent(replace(scene, payments=(*few, make_payment("d", 100_000)))) == {
        "x402": ["a", "b", "c", "d"]
    }


def test_x402__payment_below_its_share__is_left_out_and_told_the_least() -> None:
    payments = (make_payment("small", 543, age_s=9), make_payment("large", 724))
    scene = Scene(payments=payments, gas_price=A_UNIT_A_BYTE)

    assert sent(scene) == {"x402": ["large"]}
    assert find_unworthy(scene, RULES) == [Unworthy("x402", "small", "share", 543, 544)]


def test_x402__many_small_ones_ahead__hold_up_nobody() -> None:
    small = tuple(make_payment(f"{n:02}", 1, age_s=99) for n in range(RULES.payment_items_max))
    scene = Scene(
        payments=(*small, make_payment("large", 2_000_000)), gas_price=A_DOLLAR_A_TRANSACTION
    )

    assert "large" in sent(scene)["x402"]


def test_sweep__less_than_its_cost__stays() -> None:
    scene = Scene(owed_usdc=999_999, owed_since_s=0, gas_price=A_DOLLAR_A_TRANSACTION)

    assert sent(scene) == {}
    assert sent(replace(scene, owed_usdc=1_000_000)) == {"sweep": [""]}


def test_payout__less_than_its_cost__waits_until_it_is_overdue() -> None:
    scene = Scene(
        payouts=(make_payout("a", 1),), treasury_usdc=10, gas_price=A_DOLLAR_A_TRANSACTION
    )

    assert sent(scene) == {}
    overdue = make_payout("a", 1, age_s=7 * SECONDS_PER_DAY)
    assert sent(replace(scene, payouts=(overdue,))) == {"payout": ["a"]}


def test_payout__too_small_ones__take_nothing_of_the_treasury() -> None:
    small = tuple(make_payout(f"{n:02}", 63, age_s=99) for n in range(20))
    scene = Scene(
        payouts=(*small, make_payout("large", 1_000)), treasury_usdc=1_000, gas_price=A_UNIT_A_BYTE
    )

    assert sent(scene) == {"payout": ["large"]}


# ------------------------------------------------------------------------------------------ saying


def test_lines__not_worth__say_both_figures_and_why() -> None:
    report = RoundReport(
        unworthy=[
            Unworthy("x402", "a", "share", 1_000, 14_700),
            Unworthy("x402", "b", "share", 2_000, 14_700),
            Unworthy("settle", 7, "together", 5, 200_000),
        ]
    )

    assert list(build_unworthy_lines(report)) == [
        "Not worth its cost: x402 x2, each costs 0.014700 USDC; all together bring 0.003000 USDC.",
        "Not worth its cost: settle x1, one transaction for all costs 0.200000 USDC;"
        " all together bring 0.000005 USDC.",
    ]
    first, *_ = build_lines(report, is_dry_run=True, ether_price_usdc=1)
    assert first == (
        '{"event": "not_worth_its_cost", "job": "x402", "item": "a", "reason": "share",'
        ' "brings_usdc": 1000, "costs_usdc": 14700}'
    )


# ------------------------------------------------------------------------------------- L1 data fee


@pytest.mark.parametrize(
    ("short_wei", "long_wei", "expected"),
    [
        (0, 0, L1Fee()),
        (50, 50, L1Fee(base_wei=50)),
        (256_000, 1_024_000, L1Fee(byte_wei=1_000)),
        (256_028, 1_024_028, L1Fee(base_wei=28, byte_wei=1_000)),
        (100, 101, L1Fee(base_wei=0, byte_wei=1)),
        (101, 100, None),
        (0, 10**16 + 1, None),
        (2**255, 2**256 - 1, None),
    ],
)
def test_fit_fee__two_lengths__are_a_line_or_not_believed(
    short_wei: int, long_wei: int, expected: L1Fee | None
) -> None:
    fee = fit_fee(short_wei=short_wei, long_wei=long_wei, fee_wei_max=10**16)

    assert fee == expected
    if fee is not None:
        assert fee.get_fee_wei(SHORT_BYTES) >= short_wei
        assert fee.get_fee_wei(LONG_BYTES) >= long_wei
