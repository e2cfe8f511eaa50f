"""Which signed payments are sent, and when somebody must hear of one that waits.

::

    decide
    ├── the oldest first, as many as fit; none while a transaction is on its way
    ├── refused when tried, or about to run out: not sent
    └── failed before: last, one at most
    alarm: waits for too long; shown as metrics
"""

from dataclasses import replace

import pytest

from keeper.alarms import Alarm, AlarmRules, Vitals, decide_alarms
from keeper.duties.duty import Action
from keeper.duties.registry import Rules
from keeper.duties.x402 import PaymentDue, PaymentItem
from keeper.gas import GasPrice
from keeper.metrics import KeeperMetrics
from keeper.worth import TOGETHER, Unworthy
from tests.support.decisions import Scene, decide, find_unworthy

NOW_S = 1_800_000_000
RULES = Rules(payment_items_max=3, payment_landing_s=15)
ALARM_RULES = AlarmRules(0, 10**12, 60, 3_600, 120, 5, 5)
WELL = Vitals(0, None, 0, {}, (), balance_wei=1, fee_wei=1)


def make_payment(
    payment_id: str,
    *,
    left_s: int = 300,
    age_s: int = 0,
    failures: int = 0,
    refusal: str | None = None,
) -> PaymentDue:
    return PaymentDue(payment_id, 7, NOW_S + left_s, NOW_S - age_s, failures, refusal)


def sent(*payments: PaymentDue, kinds: frozenset[str] = frozenset()) -> list[str]:
    """Return the ids that are sent, in their order."""
    scene = Scene(NOW_S, payments=payments, kinds_in_flight=kinds)
    actions = decide(scene, RULES)
    assert all(action.kind == "x402" for action in actions)
    items = [item for action in actions for item in action.items]
    return [item.payment_id for item in items if isinstance(item, PaymentItem)]


def test_decide__several__the_oldest_that_fit() -> None:
    payments = [
        make_payment(name, age_s=age_s) for name, age_s in zip("abcd", (1, 4, 2, 3), strict=True)
    ]

    assert sent(*payments) == ["b", "d", "c"]


def test_decide__one_on_its_way__nothing() -> None:
    assert sent(make_payment("a"), kinds=frozenset({"x402"})) == []


@pytest.mark.parametrize(("left_s", "expected"), [(15, []), (16, ["a"]), (-1, [])])
def test_decide__about_to_run_out__is_not_sent(left_s: int, expected: list[str]) -> None:
    assert sent(make_payment("a", left_s=left_s)) == expected


def test_decide__refused__is_left_out() -> None:
    assert sent(make_payment("a", refusal="usdc: paused"), make_payment("b")) == ["b"]


def test_decide__failed_before__last_and_one_at_most() -> None:
    doubted = [make_payment(name, age_s=9, failures=1) for name in "xy"]
    sound = [make_payment(name) for name in "abc"]

    assert sent(*doubted, *sound) == ["a", "b", "x"]
    assert sent(*doubted) == ["x"]


def test_decide__failed_before_and_too_small_to_go_alone__is_left_alone_and_named() -> None:
    # A share costs 7 units, a transaction of one 10, and the payment brings 7.
    scene = Scene(
        NOW_S,
        payments=(make_payment("x", failures=1),),
        gas_price=GasPrice(fee_wei=10**6, ether_price_usdc=100_000_000),
    )

    assert decide(scene, RULES) == []
    assert find_unworthy(scene, RULES) == [Unworthy("x402", "x", TOGETHER, 7, 10)]


def test_action__of_payments__says_how_much() -> None:
    items = (PaymentItem("a", 7, "signed"), PaymentItem("b", 8, "signed"))
    action = Action("x402", items)

    assert (action.amount_usdc, action.token_ids, action.reason) == (15, (), "signed x2")


@pytest.mark.parametrize("age_s", [None, 0, 120])
def test_alarm__payments_in_time__is_none(age_s: int | None) -> None:
    assert decide_alarms(replace(WELL, oldest_payment_s=age_s), ALARM_RULES) == []


def test_alarm__payment_waits_too_long__with_its_figures() -> None:
    vitals = replace(WELL, oldest_payment_s=121, payments_usdc=5)
    metrics = KeeperMetrics()

    alarms = decide_alarms(vitals, ALARM_RULES)
    metrics.note_vitals(vitals, alarms)

    assert alarms == [Alarm("payment_late", {"age_s": 121, "payments_usdc": 5})]
    value = metrics.registry.get_sample_value
    assert value("current_keeper_alarm", {"alarm": "payment_late"}) == 1
    assert value("current_keeper_payment_age_seconds") == 121
    assert value("current_keeper_payments_usdc") == 5
