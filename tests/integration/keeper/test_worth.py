"""The keeper on a chain that takes an L1 data fee, by an oracle at the predeploy's address.

::

    no code there │ an old one, that knows only bytes │ Fjord's → both fees are counted
    0.20 USDC a transaction
    ├── harvest of 0.03, settlement of 0.001, payment of 0.001, payout of 0.01: wait, and say so
    ├── payments that pay for it together: go
    └── before a hold lapses: settled at a loss
a day's budget: what it cost is counted; past it items wait, and the alarm stands
    it reverts │ is silent │ says too much │ absurd figures: as dear as is believed at most
    what a transaction of each kind uses: about as much as is counted
"""

import json
import time
from collections.abc import Callable

import pytest
from eth_account import Account
from structlog.testing import capture_logs

from keeper import node
from keeper.l1_fees import ORACLE
from keeper.report import load_spending
from keeper.rounds import RoundOutcome
from keeper.wiring import build_watch
from keeper.worth import BUDGET, SHARE, SIZES, TOGETHER
from ledger.database.engine import read, write
from ledger.intents.days import load_gas, note_gas
from ledger.payments.floor import FloorRecord, load_floor
from scripts.stack.l1_oracle import build_oracle
from tests.support.authorizations import PAYER, authorize, load, record
from tests.support.deploy import USDC
from tests.support.evidence import keep, make_evidence
from tests.support.keepers import Stage

A_FIFTH_WEI = 50_000_000_000_000
"""0.20 USDC, with ether at 4,000."""
WORD = "7f" + "{:064x}" + "60005260{:02x}6000f3"
"""Code that returns a word and as many bytes."""
LIES = {
    "reverts": "0x60006000fd",
    "silent": "0x00",
    "two words": "0x" + WORD.format(7, 64),
    "one byte": "0x" + WORD.format(7, 1),
    "absurd": "0x" + WORD.format(2**256 - 1, 32),
    "over the bound": "0x" + WORD.format(10**16 + 1, 32),
    "invalid": "0xfe",
}


@pytest.fixture
def priced(stage: Stage) -> Stage:
    """A chain where gas costs next to nothing, and ether 4,000 USDC."""
    stage.settings.update(ETHER_PRICE_USDC="4000000000", TIP_WEI="1000", TIP_WEI_MAX="1000")
    stage.world.anvil.request("anvil_setNextBlockBaseFeePerGas", "0xa")
    stage.world.anvil.mine()
    stage.sync()
    return stage


def put_oracle(stage: Stage, code: str) -> None:
    """Put code at the predeploy's address; the next round is at a new block."""
    stage.world.anvil.request("anvil_setCode", ORACLE, code)
    stage.world.anvil.request("anvil_setNextBlockBaseFeePerGas", "0xa")
    stage.world.anvil.mine()
    stage.sync()


def charge_a_fifth(stage: Stage) -> None:
    put_oracle(stage, build_oracle(base_wei=A_FIFTH_WEI, byte_wei=0))


@pytest.mark.parametrize(
    "code",
    [
        build_oracle(base_wei=A_FIFTH_WEI, byte_wei=0),
        build_oracle(base_wei=A_FIFTH_WEI, byte_wei=0, is_fjord=False),
        build_oracle(base_wei=0, byte_wei=A_FIFTH_WEI // 400),
    ],
    ids=["fjord", "ecotone", "by the byte"],
)
def test_harvest__worth_less_than_its_data__waits_and_says_so(priced: Stage, code: str) -> None:
    token_id = priced.open_earning(30_000)
    put_oracle(priced, code)

    report = priced.tick()

    assert report.outcome is RoundOutcome.NOTHING_DUE
    (left,) = report.unworthy
    assert (left.kind, left.subject, left.reason) == ("harvest", token_id, SHARE)
    assert 29_990 <= left.brings_usdc <= 30_000
    assert 200_000 <= left.costs_usdc <= 205_000


def test_harvest__no_oracle__is_made(priced: Stage) -> None:
    priced.open_earning(30_000)

    assert priced.tick().acted == {"harvest": 1}


def test_settle__usage_below_its_cost__waits_and_goes_with_more(priced: Stage) -> None:
    token_id = priced.open_held()
    charge_a_fifth(priced)
    priced.spend(token_id, 1_000)

    report = priced.tick()
    assert report.acted == {}
    assert [(one.kind, one.reason, one.brings_usdc) for one in report.unworthy] == [
        ("settle", TOGETHER, 1_000)
    ]

    priced.spend(token_id, 249_000, request_id="request-2")
    assert priced.tick().acted == {"settle": 1}
    assert priced.chain_spent(token_id) == 250_000


def test_settle__before_its_hold_lapses__is_made_at_a_loss(priced: Stage) -> None:
    token_id = priced.open_held()
    charge_a_fifth(priced)
    priced.spend(token_id, 1)
    assert priced.tick().acted == {}

    left_s = priced.state(token_id).hold_expires_at_s - priced.world.anvil.now_s()
    priced.world.anvil.warp(left_s - 500)
    priced.ahead_s = left_s - 500
    priced.settings["MAX_STALENESS_S"] = str(2 * left_s)
    priced.sync()

    assert priced.tick().acted["settle"] == 1
    assert priced.chain_spent(token_id) == 1


@pytest.mark.parametrize("lie", sorted(LIES))
def test_oracle__lies__counts_as_much_as_is_believed(priced: Stage, lie: str) -> None:
    token_id = priced.open_held()
    priced.spend(token_id, 400_000)
    put_oracle(priced, LIES[lie])

    report = priced.tick()
    assert report.acted == {}
    assert [(one.kind, one.costs_usdc) for one in report.unworthy] == [("settle", 40_000_001)]

    position = priced.world.contracts.position
    priced.world.send("owner", position.functions.requestRelease(token_id))
    priced.sync()
    assert priced.tick().acted == {"settle": 1}, "a promise to the owner, at any price"


def pay(stage: Stage, number: int, value_usdc: int) -> str:
    account = Account.from_key(f"0x{number:064x}")
    stage.world.fund_usdc(account.address, USDC)
    return record(stage.engine, authorize(stage.world, value_usdc, account=account))


def test_payments__below_their_transaction__wait_for_others_that_pay(priced: Stage) -> None:
    priced.settings["PAYMENT_CONFIRMATIONS"] = "0"
    charge_a_fifth(priced)
    first = pay(priced, 0x71, 1_000)
    priced.sync()

    assert priced.tick().acted == {}
    assert load(priced.engine, first).error is None, "nothing is wrong with it"

    second = pay(priced, 0x72, 210_000)
    priced.sync()
    assert priced.tick().acted == {"x402": 2}
    priced.tick()
    assert [load(priced.engine, one).state for one in (first, second)] == ["settled"] * 2


def test_payment__below_its_share__is_told_what_would_do(priced: Stage) -> None:
    put_oracle(priced, build_oracle(base_wei=0, byte_wei=A_FIFTH_WEI // 544))
    payment_id = pay(priced, 0x73, 1_000)
    priced.sync()

    assert priced.tick().acted == {}

    payment = load(priced.engine, payment_id)
    assert (payment.state, payment.failures) == ("verified", 0)
    assert payment.error is not None
    assert payment.error.startswith("it is worth less than sending it costs now: at least 0.2")


def test_payout__below_its_cost__waits_until_it_is_overdue(priced: Stage) -> None:
    payee = "0x" + "5e" * 20
    priced.allow_paying()
    charge_a_fifth(priced)
    priced.settings["PAYOUT_OVERDUE_S"] = str(10**10)
    priced.owe(("payout-1", payee, 10_000))

    report = priced.tick()
    assert report.acted == {}
    assert [(one.kind, one.subject, one.reason) for one in report.unworthy] == [
        ("payout", "payout-1", TOGETHER)
    ]

    priced.settings["PAYOUT_OVERDUE_S"] = "60"
    assert priced.tick().acted == {"payout": 1}
    assert priced.received(payee) == (10_000, 0)


def test_rehearsal__with_an_oracle__shows_both_fees(priced: Stage) -> None:
    charge_a_fifth(priced)
    priced.open_earning(20 * USDC)

    (step,) = priced.rehearsal().run().steps

    assert (step.kind, step.l1_fee_wei) == ("harvest", A_FIFTH_WEI)
    assert step.fee_wei is not None
    assert step.fee_wei > A_FIFTH_WEI


def test_receipt__with_an_l1_fee__both_are_in_the_report(
    priced: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "_ask", _adding_l1_fee(node._ask))
    priced.open_earning(20 * USDC)
    assert priced.tick().acted == {"harvest": 1}

    with read(priced.engine) as connection:
        (spent,) = load_spending(connection, since_s=0, ether_price_usdc=4_000_000_000)

    assert spent.l1_fee_usdc == 200_000
    assert 200_000 < spent.fee_usdc < 210_000


def _adding_l1_fee(ask: Callable[..., object]) -> Callable[..., object]:
    """Let an endpoint's receipts say an L1 data fee, as those of the OP stack do."""

    def ask_with_fee(endpoint: object, method: str, params: list[object]) -> object:
        answer = ask(endpoint, method, params)
        if method == "eth_getTransactionReceipt" and isinstance(answer, dict):
            return {**answer, "l1Fee": hex(A_FIFTH_WEI)}
        return answer

    return ask_with_fee


def test_sizes__each_kind_on_the_chain__uses_about_what_is_counted(stage: Stage) -> None:
    stage.settings.update(SWEEP_MAX_AGE_S="0", PAYMENT_CONFIRMATIONS="0")
    stage.world.fund_usdc(PAYER.address, USDC)
    token_id = stage.open_earning()
    assert stage.tick().acted == {"harvest": 1}
    stage.want(token_id)
    stage.tick()
    stage.spend(token_id, 300_000)
    record(stage.engine, authorize(stage.world, 1_000))
    stage.sync()
    stage.allow_paying()
    stage.owe(("payout-1", "0x" + "5e" * 20, 10_000))
    keep(stage.engine, make_evidence("e", offer_id="offer-payout-1", day=20_000))
    while stage.tick().acted:
        pass

    counted = {}
    for intent in stage.intents():
        size = SIZES[intent.kind]
        bytes_ = 110 + len(str(intent.payload["data"])) // 2
        assert intent.gas_used is not None
        counted[intent.kind] = (
            intent.gas_used / (size.gas + size.item_gas),
            bytes_ / (size.bytes_ + size.item_bytes),
        )
    assert set(counted) == set(SIZES), json.dumps(counted)
    # Slots that are written for the first time cost more than they will later.
    assert all(0.6 <= part <= 1.45 for parts in counted.values() for part in parts), counted


def test_payments__gas_costs_money__markets_are_told_the_least_that_is_sent(priced: Stage) -> None:
    def floor() -> FloorRecord:
        with read(priced.engine) as connection:
            return load_floor(connection)

    priced.tick()
    free = floor()
    charge_a_fifth(priced)
    priced.tick()
    dear = floor()
    priced.tick()

    # Twice what a payment's own transaction costs; the gas is next to nothing.
    assert free.floor_usdc < 100
    assert 400_000 <= dear.floor_usdc <= 400_100
    assert dear.before_usdc == free.floor_usdc
    assert floor() == dear


def test_budget__used_up__items_wait_and_the_alarm_stands(
    priced: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Midnight may be near.
    monkeypatch.setattr("ledger.intents.days.SECONDS_PER_DAY", 10**10)
    token_id = priced.open_held()
    charge_a_fifth(priced)
    priced.settings.update(GAS_DAY_USDC_MAX="410000", GAS_ACCOUNT_DAY_USDC_MAX="0")
    priced.spend(token_id, 300_000)
    assert priced.tick().acted == {"settle": 1}
    with read(priced.engine) as connection:
        spent = load_gas(connection, now_s=int(time.time()))
    # What the receipt says: this chain takes no data fee, whatever its oracle says.
    fee_wei = priced.intents()[-1].fee_wei
    assert fee_wei is not None
    cost_usdc = -(-fee_wei * 4_000_000_000 // 10**18)
    assert (spent["settle", ""], spent["settle", str(token_id)]) == (cost_usdc, cost_usdc)

    with write(priced.engine) as connection:
        note_gas(connection, "settle", [], cost_usdc=250_000, now_s=int(time.time()))
    priced.spend(token_id, 300_000, request_id="request-2")
    keeper = priced.keeper()
    watch = build_watch(priced.keeper_settings(), priced.house(), keeper)
    with capture_logs() as logs:
        report = watch.run(keeper.tick)

    assert report.acted == {}
    assert [(one.kind, one.subject, one.reason) for one in report.unworthy] == [
        ("settle", token_id, BUDGET)
    ]
    alarms = {line["alarm"] for line in logs if line["event"] == "alarm"}
    assert "gas_budget" in alarms
