"""Which signed payments are sent, and when somebody must hear of one that waits.

::

    decide
    ├── the oldest first, as many as fit; none while a transaction is on its way
    ├── refused when tried, or about to run out: not sent
    └── failed before, or of a payer with code: alone, last, few, one of each payer
    alarm: waits for too long; shown as metrics
"""

from dataclasses import replace

import pytest

from contracts.authorizations import AGGREGATE_SELECTOR
from keeper.alarms import Alarm, AlarmRules, Vitals, decide_alarms
from keeper.duties.calls import ChainCall
from keeper.duties.duty import Action
from keeper.duties.registry import Rules
from keeper.duties.x402 import PaymentDue, PaymentItem
from keeper.duties.x402_following import is_payers_doing
from keeper.duties.x402_trial import NOBODY, Trial
from keeper.gas import GasPrice
from keeper.metrics import KeeperMetrics
from keeper.worth import SHARE, Unworthy
from ledger.intents.record import IntentRecord, IntentState
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
    payer: str = "",
    has_code: bool = False,
) -> PaymentDue:
    return PaymentDue(
        payment_id, 7, NOW_S + left_s, NOW_S - age_s, failures, refusal, payer, has_code
    )


def transactions(*payments: PaymentDue, rules: Rules = RULES) -> list[list[object]]:
    """Return the ids in each transaction."""
    actions = decide(Scene(NOW_S, payments=payments), rules)
    return [[item.subject for item in action.items] for action in actions]


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


def test_decide__failed_before__each_alone_behind_all_others() -> None:
    doubted = [make_payment(name, age_s=9, failures=n, payer=name) for n, name in enumerate("xyz")]
    sound = [make_payment(name) for name in "abc"]

    assert transactions(*doubted, *sound) == [["x", "a", "b"], ["y"], ["z"]]
    assert transactions(*doubted[1:]) == [["y"], ["z"]]


def test_decide__payers_with_code__few_and_one_of_each_payer() -> None:
    contracts = [
        make_payment(name, age_s=age_s, payer=payer, has_code=True)
        for name, age_s, payer in (("a", 4, "p"), ("b", 3, "p"), ("c", 2, "q"), ("d", 1, "r"))
    ]

    assert transactions(*contracts, make_payment("k")) == [["k"], ["a"], ["c"]]


def test_decide__apart_and_none_allowed__waits() -> None:
    rules = RULES.model_copy(update={"payment_apart_max": 0})

    assert transactions(make_payment("a", has_code=True), rules=rules) == []


def test_decide__apart__pays_for_all_that_it_may_burn() -> None:
    # 221,000 gas cost 22.1 units; what a payment among others uses costs 7.
    price = GasPrice(fee_wei=10**6, ether_price_usdc=100_000_000)
    assert price.get_cost_usdc(221_000, size_bytes=724) == 23

    for value_usdc, expected in ((22, []), (23, [["a"]])):
        payment = replace(make_payment("a", has_code=True), value_usdc=value_usdc)
        scene = Scene(NOW_S, payments=(payment,), gas_price=price)
        found = [[item.subject for item in one.items] for one in decide(scene, RULES)]
        assert found == expected
        unworthy = [] if expected else [Unworthy("x402", "a", SHARE, value_usdc, 23)]
        assert find_unworthy(scene, RULES) == unworthy


@pytest.mark.parametrize(
    ("data", "gas_used", "expected"),
    [
        (AGGREGATE_SELECTOR + "00", 150_000, True),
        (AGGREGATE_SELECTOR + "00", 460_000, False),
        ("0xcf092995", 220_000, True),
        ("0xcf092995", None, False),
    ],
    ids=["among others", "all gas burnt", "alone", "in no block"],
)
def test_is_payers_doing__by_what_the_transaction_used(
    data: str, gas_used: int | None, expected: bool
) -> None:
    intent = IntentRecord(
        intent_id="x402:1",
        kind="x402",
        state=IntentState.MINED,
        reason="",
        payload={"data": data, "gas": 460_000},
        sender=None,
        nonce=None,
        tx_hash=None,
        raw_tx=None,
        mined_block=None,
        mined_block_hash=None,
        gas_used=gas_used,
        fee_wei=None,
        l1_fee_wei=None,
        earlier_tx_hashes=(),
        cancel_tx_hashes=(),
        failed_tx_hashes=(),
        failed_block=None,
        was_mined=False,
        error=None,
        created_at_s=0,
        updated_at_s=0,
    )

    assert is_payers_doing(intent) is expected


def test_trial__costs_something__is_executed_at_the_price_of_a_transaction() -> None:
    call = ChainCall("0x" + "11" * 20, "0x", (), gas=9)
    sender = "0x" + "22" * 20
    plain = {"from": sender, "to": call.to, "data": "0x", "gas": "0x9"}

    priced = Trial("0x0a", sender, fee_wei=1_000, tip_wei=7).build_request(call)
    assert priced == {**plain, "maxFeePerGas": "0x7d0", "maxPriorityFeePerGas": "0x7"}
    assert Trial("0x0a", sender).build_request(call) == plain
    dry = Trial("0x0a", NOBODY, fee_wei=1_000).build_request(call)
    assert dry == {**plain, "from": NOBODY}


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
