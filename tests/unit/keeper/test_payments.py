"""Which signed payments are sent, and when somebody must hear of one that waits.

::

    decide
    ├── the oldest first, as many as fit; none while a transaction is on its way
    ├── refused when tried, or about to run out: not sent
    ├── failed in a block, or of a payer with code: alone, last, few, one of each payer
    │   └── those beyond, and those past a budget: set aside, so that others get their turn
    ├── failed when tried, and passes now: as any other
    └── too much was burnt today: each alone
    our own ether does not do: fewer are tried, nobody is blamed
    alarm: waits for too long; shown as metrics
"""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from eth_abi.abi import encode

from contracts.authorizations import AGGREGATE_SELECTOR, Authorization
from keeper.alarms import Alarm, AlarmRules, Vitals, decide_alarms
from keeper.budgets import Budgets
from keeper.duties.calls import ChainCall
from keeper.duties.duty import Action
from keeper.duties.registry import Rules
from keeper.duties.x402_choice import (
    PaymentDue,
    PaymentItem,
    find_waiting,
    get_apart_cost_usdc,
)
from keeper.duties.x402_following import is_payers_doing
from keeper.duties.x402_trial import NOBODY, PaymentTrial, Trial
from keeper.errors import EtherShort
from keeper.gas import GasPrice, is_burnt
from keeper.metrics import KeeperMetrics
from keeper.worth import BUDGET, SHARE, Unworthy, decide_floor_usdc
from ledger.intents.record import IntentRecord, IntentState
from ledger.payments.records import PaymentRecord
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
    trials: int = 0,
    value_usdc: int = 7,
) -> PaymentDue:
    return PaymentDue(
        payment_id=payment_id,
        value_usdc=value_usdc,
        valid_before_s=NOW_S + left_s,
        created_at_s=NOW_S - age_s,
        failures=failures,
        refusal=refusal,
        payer=payer,
        has_code=has_code,
        trials=trials,
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


def test_decide__failed_when_tried__shares_a_transaction_behind_the_others() -> None:
    assert transactions(make_payment("x", age_s=9, trials=2), make_payment("a")) == [["a", "x"]]


def test_decide__failed_in_a_block__each_alone_behind_all_others() -> None:
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


BURNT = Budgets(kind_usdc_max=100, spent_usdc={("x402", ""): 350, ("x402", "paid"): 250})


def test_decide__too_much_was_burnt_today__sound_ones_go_alone() -> None:
    sound = [make_payment(f"{n}", age_s=-n, payer=f"{n % 3}") for n in range(4)]
    scene = Scene(NOW_S, payments=(*sound, make_payment("c", has_code=True)), budgets=BURNT)

    actions = decide(scene, RULES)

    assert [[item.subject for item in one.items] for one in actions] == [["0"], ["1"], ["2"], ["c"]]
    assert [one.reason for one in actions] == ["alone x1"] * 3 + ["apart x1"]


def test_decide__sound_ones_cost_more_than_the_budget__share_a_transaction() -> None:
    paid = Budgets(kind_usdc_max=100, spent_usdc={("x402", ""): 350, ("x402", "paid"): 251})
    scene = Scene(NOW_S, payments=(make_payment("a"), make_payment("b")), budgets=paid)

    assert [len(one.items) for one in decide(scene, RULES)] == [2]


def test_find_waiting__apart_beyond_a_round_and_past_a_budget__are_set_aside() -> None:
    apart = [make_payment(name, payer=name, has_code=True) for name in "abc"]
    sound = [make_payment(name) for name in "klmn"]
    refused = make_payment("r", has_code=True, refusal="usdc: paused")
    small, budget = make_payment("s", has_code=True), make_payment("q")
    unworthy = [Unworthy("x402", "s", SHARE, 1, 2), Unworthy("x402", "q", BUDGET, 1, 2)]
    payments = [*apart, *sound, refused, small, budget]

    sent = [*(PaymentItem(name, 7, "apart", name) for name in "ab"), PaymentItem("k", 7, "signed")]

    assert find_waiting(payments, sent, unworthy) == {"c": None, "q": None}


def test_find_waiting__one_of_each_payer_goes_alone__the_payers_others_are_set_aside() -> None:
    payments = [make_payment(name, payer=payer) for name, payer in ("ap", "bp", "cq")]

    assert find_waiting(payments, [PaymentItem("a", 7, "alone", "p")], []) == {"b": None}


def test_floor__pays_for_a_transaction_apart() -> None:
    # 10 gwei and ether at 2: a payment alone uses 100,000 gas, one apart may burn 221,000.
    price = GasPrice(fee_wei=10**10, ether_price_usdc=20_000_000)
    apart_usdc = get_apart_cost_usdc(price, RULES)
    floor_usdc = decide_floor_usdc(price, 0, apart_usdc=apart_usdc)

    assert (apart_usdc, floor_usdc) == (44_200, 55_250)
    due = make_payment("a", has_code=True, value_usdc=floor_usdc)
    assert len(decide(Scene(NOW_S, payments=(due,), gas_price=price), RULES)) == 1
    for kept_usdc, expected in ((44_199, 55_250), (44_200, 44_200), (176_801, 55_250)):
        assert decide_floor_usdc(price, kept_usdc, apart_usdc=apart_usdc) == expected


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


class PoorNode:
    """Executes calls of at most so much gas: the sender's ether covers no more."""

    def __init__(self, gas_max: int) -> None:
        self._gas_max = gas_max

    def try_call(self, call: dict[str, str], **_at: str) -> bytes:
        gas = int(call["gas"], 16)
        if gas > self._gas_max:
            raise EtherShort("insufficient funds for gas * price + value")
        count = (gas - 60_000) // 200_000
        return bytes(encode(["(bool,bytes)[]"], [[(True, b"")] * count]))


def make_record(payment_id: str) -> PaymentRecord:
    party = "0x" + "11" * 20
    signed = Authorization(party, party, 7, 0, NOW_S, "0x" + "22" * 32, b"\x01" * 65)
    rest: list[Any] = [None, 0, 0, None, None, None, 0, None, NOW_S]
    return PaymentRecord(payment_id, "account", signed, "topup", "", "verified", *rest)


@pytest.mark.parametrize(("gas_max", "tried"), [(860_000, "abcd"), (859_999, "ab"), (0, "")])
def test_trial__our_ether_covers_less__tries_fewer_and_blames_nobody(
    gas_max: int, tried: str
) -> None:
    address = SimpleNamespace(address="0x" + "33" * 20)
    contracts: Any = SimpleNamespace(usdc=address, multicall3=address)
    node: Any = PoorNode(gas_max)
    trial = PaymentTrial(node, contracts, gas_each=200_000)
    records = tuple(make_record(name) for name in "abcd")

    found, refusals = trial.run_affordable(records, Trial("0x0a", "0x" + "44" * 20, fee_wei=1))

    assert "".join(one.payment_id for one in found) == tried
    assert refusals == [None] * len(tried)


def test_is_burnt__nine_tenths_of_what_was_given() -> None:
    assert is_burnt({"gas": 1_000}, 900)
    assert not is_burnt({"gas": 1_000}, 899)
    assert not is_burnt({}, 10**6), "what was estimated is used up as a rule"


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
