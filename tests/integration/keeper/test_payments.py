"""What buyers have signed comes to the treasury once, whoever submits it, and is credit once.

::

    payments ──► one transaction ──► settled, credited, L7
    crash after planned │ simulated │ stored │ sent │ included │ mined → once
    submitted by somebody else: before │ meanwhile → credit all the same
    the nonce is used, and no money came: cancelled │ another transfer → failed, no credit
    └── also where one of three endpoints forges the transfer
    refused: drained │ paused │ blacklisted → the others go on; it may pass later; else expired
    refused in its block only → tried again, alone
    a wallet: asked by USDC (ERC-1271); one that burns all gas spoils nobody else's payment
    a reorg takes it: lands again │ can never land again → credit taken back as far as it is there
    confirmations, dry run, alarm
"""

from collections.abc import Callable
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from sqlalchemy import Connection, func, select, update

from contracts.transport import HttpTransport
from keeper.budgets import Budgets
from keeper.duties.moment import REORGS_DEEPEST
from keeper.duties.x402_following import EXPIRY_SLACK_S
from keeper.rounds import RoundOutcome
from ledger.database.engine import read, write
from ledger.intents.lifecycle import mark_abandoned, plan_intent
from ledger.market_audit import find_market_mismatches
from ledger.payments.outcomes import (
    PAYER_BURNT,
    free_unsent,
    load_waiting_payments,
    mark_payments_sent,
)
from ledger.payments.records import PaymentRefused
from ledger.tables import KeeperDay, MarketAccount, X402Payment, table_of
from tests.support.authorizations import (
    BURNING_CODE,
    PAYER,
    PRICE_READING_CODE,
    authorize,
    build_submission,
    cancel,
    deploy_wallet,
    load,
    load_credit,
    load_credit_rows,
    record,
    submit,
)
from tests.support.deploy import USDC
from tests.support.keepers import Crash, Stage, crash_at
from tests.support.liars import Liar

STEPS = ("planned", "simulated", "stored", "sent", "included", "mined")
PRICE = 250_000

_day = table_of(KeeperDay)


@pytest.fixture
def shop(stage: Stage) -> Stage:
    """A ledger and a chain, with a payer who has USDC; payments settle in their block."""
    stage.settings["PAYMENT_CONFIRMATIONS"] = "0"
    stage.world.fund_usdc(PAYER.address, 10 * USDC)
    stage.sync()
    return stage


def given_up(connection: Connection) -> str:
    """Return the id of an intent that was given up unsigned."""
    intent_id = "x402:given-up"
    payload: dict[str, Any] = {"to": "0x", "data": "0x", "token_ids": []}
    plan_intent(
        connection, intent_id=intent_id, kind="x402", reason="signed x1", payload=payload, now_s=1
    )
    mark_abandoned(connection, intent_id, error="reverted", now_s=1)
    return intent_id


def load_spent(stage: Stage) -> dict[tuple[str, str], int]:
    """Return what was spent, as of the only day that there is in a test."""
    with read(stage.engine) as connection:
        query = select(_day.c.kind, _day.c.account, func.sum(_day.c.gas_usdc))
        rows = connection.execute(query.group_by(_day.c.kind, _day.c.account))
        return {(str(kind), str(account)): int(usdc) for kind, account, usdc in rows}


def balance_of(stage: Stage, address: str) -> int:
    return int(stage.world.contracts.usdc.functions.balanceOf(address).call())


def paid(stage: Stage) -> int:
    return balance_of(stage, stage.world.contracts.payouts.address)


def go_on(stage: Stage, rounds: int = 4) -> None:
    """Let keepers and indexer go on; rests are over at once."""
    for _ in range(rounds):
        stage.tick()
        stage.world.anvil.mine()
        stage.sync()
        make_due(stage)


def make_due(stage: Stage) -> None:
    """End all rests."""
    payment = table_of(X402Payment)
    with write(stage.engine) as connection:
        connection.execute(update(payment).values(look_at_s=0))


def blamed(stage: Stage) -> set[str]:
    """Return the payers who are refused."""
    payment = table_of(X402Payment)
    query = select(payment.c.payer).where(payment.c.failed_in_block_s.is_not(None))
    with read(stage.engine) as connection:
        return set(connection.execute(query).scalars())


def assert_settled_once(stage: Stage, payment_id: str, value_usdc: int = PRICE) -> None:
    payment = load(stage.engine, payment_id)
    assert (payment.state, payment.credited_usdc) == ("settled", value_usdc)
    assert paid(stage) == value_usdc
    assert load_credit(stage.engine) == [value_usdc]
    assert load_credit_rows(stage.engine) == [value_usdc]
    assert_sound(stage)


def outlive(stage: Stage, payment_id: str) -> None:
    """Let the chain's clock pass a payment's validity, however slow the machine is."""
    over_at_s = load(stage.engine, payment_id).authorization.valid_before_s + EXPIRY_SLACK_S
    stage.world.anvil.warp(over_at_s - stage.world.anvil.now_s())
    stage.sync()


def assert_sound(stage: Stage) -> None:
    with read(stage.engine) as connection:
        assert find_market_mismatches(connection) == []


def drain(stage: Stage, account: LocalAccount = PAYER) -> None:
    """Let a payer spend all that it has elsewhere."""
    left = balance_of(stage, account.address)
    elsewhere = stage.world.accounts["outsider"].address
    submit(stage.world, authorize(stage.world, left, account=account, payee=elsewhere))
    stage.sync()


def sent_kinds(stage: Stage) -> list[str]:
    return stage.intent_states("x402")


# ---------------------------------------------------------------------------------------- as meant


def test_payments__of_several__go_in_one_transaction(shop: Stage) -> None:
    others = [Account.from_key("0x" + f"{n:02x}" * 32) for n in range(0x61, 0x65)]
    for account in others:
        shop.world.fund_usdc(account.address, USDC)
    amounts = [1, 2, PRICE, USDC]
    ids = [
        record(shop.engine, authorize(shop.world, amount, account=account))
        for account, amount in zip(others, amounts, strict=True)
    ]
    shop.sync()

    report = shop.tick()
    assert report.acted == {"x402": 4}
    assert report.steps[0].amount_usdc == sum(amounts)
    shop.tick()

    assert [load(shop.engine, id_).state for id_ in ids] == ["settled"] * 4
    assert paid(shop) == sum(amounts)
    assert sorted(load_credit(shop.engine)) == amounts
    assert len(sent_kinds(shop)) == 1
    assert load(shop.engine, ids[0]).tx_hash == shop.intents()[0].tx_hash
    assert_sound(shop)


def test_payments__of_one_payer__are_one_account(shop: Stage) -> None:
    ids = [record(shop.engine, authorize(shop.world, PRICE)) for _ in range(3)]
    go_on(shop, 2)

    assert {load(shop.engine, id_).state for id_ in ids} == {"settled"}
    assert load_credit(shop.engine) == [3 * PRICE]
    assert_sound(shop)


def test_payments__more_than_fit__go_in_several(shop: Stage) -> None:
    shop.settings["PAYMENT_ITEMS_MAX"] = "2"
    ids = [record(shop.engine, authorize(shop.world, PRICE)) for _ in range(5)]
    go_on(shop, 5)

    assert {load(shop.engine, id_).state for id_ in ids} == {"settled"}
    assert len(sent_kinds(shop)) == 3
    assert paid(shop) == 5 * PRICE


def test_payment__without_confirmations__waits_for_them(shop: Stage) -> None:
    shop.settings["PAYMENT_CONFIRMATIONS"] = "2"
    payment_id = record(shop.engine, authorize(shop.world, PRICE))
    shop.tick()
    shop.tick()
    assert load(shop.engine, payment_id).state == "sent"

    shop.world.anvil.mine(2)
    shop.sync()
    shop.tick()

    assert_settled_once(shop, payment_id)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.sampled(3)
def test_payment__crash_after_any_step__settles_once(shop: Stage, step: str) -> None:
    payment_id = record(shop.engine, authorize(shop.world, PRICE))
    with pytest.raises(Crash):
        shop.keeper(crash_at(step)).tick()
    shop.world.anvil.wait_until_mined()

    go_on(shop)

    assert_settled_once(shop, payment_id)
    assert load(shop.engine, payment_id).failures == 0
    assert sent_kinds(shop).count("confirmed") == 1


def test_payment__in_no_block__is_not_sent_again(shop: Stage) -> None:
    payment_id = record(shop.engine, authorize(shop.world, PRICE))
    shop.world.anvil.set_automine(False)
    assert shop.tick().outcome is RoundOutcome.WAITING
    assert shop.tick().outcome is RoundOutcome.WAITING
    assert load(shop.engine, payment_id).state == "sent"

    shop.world.anvil.mine()
    shop.world.anvil.set_automine(True)
    go_on(shop)

    assert_settled_once(shop, payment_id)
    assert len(sent_kinds(shop)) == 1


# --------------------------------------------------------------------------- somebody else submits


def test_payment__submitted_by_somebody_else__is_credit(shop: Stage) -> None:
    signed = authorize(shop.world, PRICE)
    payment_id = record(shop.engine, signed)
    submit(shop.world, signed)
    shop.sync()

    go_on(shop)

    assert_settled_once(shop, payment_id)
    assert sent_kinds(shop) == [], "nothing was left to send"


@pytest.mark.parametrize("step", ["planned", "stored"])
def test_payment__submitted_by_somebody_else_meanwhile__is_credit(shop: Stage, step: str) -> None:
    signed = authorize(shop.world, PRICE)
    payment_id = record(shop.engine, signed)
    with pytest.raises(Crash):
        shop.keeper(crash_at(step)).tick()
    submit(shop.world, signed)
    shop.sync()

    go_on(shop)

    assert_settled_once(shop, payment_id)


def test_payment__submitted_in_the_same_block_before_ours__is_credit(shop: Stage) -> None:
    signed = authorize(shop.world, PRICE)
    payment_id = record(shop.engine, signed)
    shop.world.anvil.set_automine(False)
    send_first(shop, build_submission(shop.world, signed))
    shop.tick()
    shop.world.anvil.mine()
    shop.world.anvil.set_automine(True)

    go_on(shop)

    assert_settled_once(shop, payment_id)


def send_first(stage: Stage, call: Any) -> None:
    """Give the pool a transaction that goes before the keeper's."""
    account, web3 = stage.world.accounts["outsider"], stage.world.anvil.web3
    built = call.build_transaction(
        {
            "nonce": web3.eth.get_transaction_count(account.address),
            "gas": 300_000,
            "gasPrice": 50 * 10**9,
            "chainId": stage.world.deployment.chain_id,
            "from": account.address,
        }
    )
    web3.eth.send_raw_transaction(account.sign_transaction(built).raw_transaction)


# ------------------------------------------------------------------- the nonce without the money


def use_for_another_amount(stage: Stage, nonce: str) -> None:
    submit(stage.world, authorize(stage.world, 1, nonce=nonce))


def use_for_another_payee(stage: Stage, nonce: str) -> None:
    elsewhere = stage.world.accounts["outsider"].address
    submit(stage.world, authorize(stage.world, PRICE, payee=elsewhere, nonce=nonce))


@pytest.mark.parametrize(
    ("use", "error"),
    [
        (None, "cancelled by the payer"),
        (use_for_another_amount, "its nonce was used for another transfer"),
        (use_for_another_payee, "its nonce was used for another transfer"),
    ],
)
def test_payment__nonce_used_without_the_money__is_no_credit(
    shop: Stage, use: Callable[[Stage, str], None] | None, error: str
) -> None:
    signed = authorize(shop.world, PRICE)
    payment_id = record(shop.engine, signed)
    before = paid(shop)
    if use is None:
        cancel(shop.world, signed)
    else:
        use(shop, signed.nonce)
    shop.sync()

    go_on(shop)

    payment = load(shop.engine, payment_id)
    assert (payment.state, payment.error, payment.credited_usdc) == ("failed", error, 0)
    assert paid(shop) - before in (0, 1)
    assert load_credit(shop.engine) == [0]
    assert_sound(shop)


def test_payment__cancelled_but_not_for_good__rests_and_says_why(shop: Stage) -> None:
    signed = authorize(shop.world, PRICE)
    payment_id = record(shop.engine, signed)
    cancel(shop.world, signed)
    shop.sync()

    shop.tick()

    payment = load(shop.engine, payment_id)
    assert (payment.state, payment.error) == ("verified", "cancelled by the payer")
    assert payment.failures == 1


class Forger(Liar):
    """An endpoint in whose receipts every log moves ``PRICE``."""

    def request(self, method: str, params: list[Any]) -> Any:
        answer = super().request(method, params)
        if method != "eth_getTransactionReceipt" or answer is None:
            return answer
        forged = [{**log, "data": "0x" + f"{PRICE:064x}"} for log in answer["logs"]]
        return {**answer, "logs": forged}


def test_payment__an_endpoint_forges_the_transfer__is_no_credit(shop: Stage) -> None:
    endpoints = [HttpTransport(shop.world.anvil.url) for _ in range(3)]
    shop.endpoints = [Forger(endpoints[0]), *endpoints[1:]]
    signed = authorize(shop.world, PRICE)
    payment_id = record(shop.engine, signed)
    use_for_another_amount(shop, signed.nonce)
    shop.sync()

    go_on(shop)
    for endpoint in endpoints:
        endpoint.close()

    assert load(shop.engine, payment_id).state == "failed"
    assert load_credit(shop.engine) == [0]


# ----------------------------------------------------------------------------------------- refused


def pause(stage: Stage, refused: bool) -> None:
    usdc = stage.world.contracts.usdc.functions
    stage.world.send("admin", usdc.pause() if refused else usdc.unpause())


def blacklist(stage: Stage, refused: bool) -> None:
    usdc = stage.world.contracts.usdc.functions
    stage.world.send("admin", usdc.blacklist(PAYER.address, refused))


def empty(stage: Stage, refused: bool) -> None:
    if refused:
        drain(stage)
    else:
        stage.world.fund_usdc(PAYER.address, PRICE)


@pytest.mark.parametrize(
    ("refuse", "reason"),
    [
        (pause, "usdc: paused"),
        (blacklist, "usdc: blacklisted"),
        (empty, "erc20: transfer amount exceeds balance"),
    ],
)
def test_payment__refused_now__is_not_sent_and_may_pass_later(
    shop: Stage, refuse: Callable[[Stage, bool], None], reason: str
) -> None:
    payment_id = record(shop.engine, authorize(shop.world, PRICE))
    refuse(shop, True)
    shop.sync()

    assert shop.tick().outcome is RoundOutcome.NOTHING_DUE
    payment = load(shop.engine, payment_id)
    assert (payment.state, payment.failures) == ("verified", 1)
    assert payment.error is not None
    assert reason in payment.error
    assert sent_kinds(shop) == []

    refuse(shop, False)
    go_on(shop)
    assert load(shop.engine, payment_id).state == "settled"
    assert_sound(shop)


def test_payment__refused__stops_nobody_else(shop: Stage) -> None:
    poor = Account.from_key("0x" + "71" * 32)
    bad = record(shop.engine, authorize(shop.world, PRICE, account=poor))
    good = record(shop.engine, authorize(shop.world, PRICE))

    go_on(shop, 2)

    assert load(shop.engine, bad).state == "verified"
    assert load(shop.engine, good).state == "settled"
    assert paid(shop) == PRICE


def test_payment__drained_in_its_block__is_tried_again_and_expires(shop: Stage) -> None:
    payment_id = record(shop.engine, authorize(shop.world, PRICE))
    left = balance_of(shop, PAYER.address)
    elsewhere = shop.world.accounts["outsider"].address
    shop.world.anvil.set_automine(False)
    # A node's state of the next block must not show it before.
    shop.settings["RECEIPT_TIMEOUT_S"] = "0.05"
    shop.tick()
    send_first(shop, build_submission(shop.world, authorize(shop.world, left, payee=elsewhere)))
    shop.world.anvil.mine()
    shop.world.anvil.set_automine(True)
    del shop.settings["RECEIPT_TIMEOUT_S"]
    shop.sync()
    shop.tick()
    shop.tick()
    payment = load(shop.engine, payment_id)
    assert (payment.state, payment.credited_usdc) == ("verified", 0)
    assert payment.error is not None
    assert blamed(shop) == {PAYER.address.lower()}
    with pytest.raises(PaymentRefused):
        record(shop.engine, authorize(shop.world, PRICE))

    outlive(shop, payment_id)
    go_on(shop)

    payment = load(shop.engine, payment_id)
    assert (payment.state, payment.credited_usdc) == ("expired", 0)
    assert load_credit(shop.engine) == [0]
    assert_sound(shop)


def test_payment__keeper_was_away_too_long__costs_nobody_anything(shop: Stage) -> None:
    payment_id = record(shop.engine, authorize(shop.world, PRICE))
    ends_at_s = load(shop.engine, payment_id).authorization.valid_before_s
    shop.world.anvil.warp_to(ends_at_s)
    shop.sync()
    go_on(shop, 1)
    assert load(shop.engine, payment_id).state == "verified", "a reorg may still go back"
    assert sent_kinds(shop) == []

    shop.world.anvil.warp_to(ends_at_s + 60)
    shop.sync()
    go_on(shop, 1)

    assert load(shop.engine, payment_id).state == "expired"
    assert paid(shop) == 0
    assert_sound(shop)


def test_payment__failed_when_tried_and_its_intent_was_given_up__shares_a_transaction(
    shop: Stage,
) -> None:
    # Given up unsigned, then refused when tried: nothing was burnt.
    retried = record(shop.engine, authorize(shop.world, PRICE))
    payment = table_of(X402Payment)
    with write(shop.engine) as connection:
        connection.execute(update(payment).values(failures=2))
        mark_payments_sent(connection, [retried], intent_id=given_up(connection), now_s=1)
        assert free_unsent(connection, [retried], now_s=1) == []
    fresh = record(shop.engine, authorize(shop.world, PRICE))

    go_on(shop, 2)

    assert {load(shop.engine, id_).state for id_ in (retried, fresh)} == {"settled"}
    assert [one.reason for one in shop.intents()][-1] == "signed x2"


def test_payment__our_ether_is_gone__waits_and_nobody_has_failed(shop: Stage) -> None:
    sender = shop.keeper().addresses[0]
    payment_id = record(shop.engine, authorize(shop.world, PRICE))
    shop.world.anvil.request("anvil_setBalance", sender, "0x1")
    shop.tick()
    waiting = load(shop.engine, payment_id)
    shop.world.anvil.request("anvil_setBalance", sender, hex(10**20))
    go_on(shop, 2)

    assert (waiting.state, waiting.error, waiting.failures) == ("verified", None, 0)
    assert_settled_once(shop, payment_id)


# ----------------------------------------------------------------------------------------- wallets


def test_payment__of_a_wallet__is_settled(shop: Stage) -> None:
    wallet = deploy_wallet(shop.world)
    shop.world.fund_usdc(wallet, USDC)
    payment_id = record(shop.engine, authorize(shop.world, PRICE, payer=wallet))
    shop.sync()

    go_on(shop, 2)

    assert_settled_once(shop, payment_id)


def test_payment__of_a_wallet_that_burns_all_gas__spoils_no_other(shop: Stage) -> None:
    burner = Account.from_key("0x" + "72" * 32)
    shop.world.fund_usdc(burner.address, USDC)
    shop.world.anvil.request("anvil_setCode", burner.address, BURNING_CODE)
    bad = record(shop.engine, authorize(shop.world, PRICE, account=burner))
    good = [record(shop.engine, authorize(shop.world, PRICE)) for _ in range(3)]
    shop.sync()

    go_on(shop, 2)

    assert load(shop.engine, bad).state == "verified"
    assert {load(shop.engine, id_).state for id_ in good} == {"settled"}


def test_payment__that_burns_all_gas_in_its_block_only__is_alone_then_and_blamed_alone(
    shop: Stage,
) -> None:
    burner = Account.from_key("0x" + "73" * 32)
    shop.world.fund_usdc(burner.address, USDC)
    shop.sync()
    bad = record(shop.engine, authorize(shop.world, PRICE, account=burner))
    good = [record(shop.engine, authorize(shop.world, PRICE)) for _ in range(4)]
    shop.settings["ETHER_PRICE_USDC"] = "4000000000"
    shop.settings["PAYMENT_GAS"] = "120000"
    shop.world.anvil.set_automine(False)
    shop.settings["RECEIPT_TIMEOUT_S"] = "0.05"
    shop.tick()
    shop.world.anvil.request("anvil_setCode", burner.address, BURNING_CODE)
    shop.world.anvil.mine()
    shop.sync()
    shop.tick()
    shop.tick()
    states = {id_: load(shop.engine, id_) for id_ in (bad, *good)}
    assert all(one.failures == 1 for one in states.values() if one.state != "settled")
    assert blamed(shop) == set(), "who spoilt it cannot be told"

    # It passes its next trial, and burns its own gas only.
    shop.world.anvil.request("anvil_setCode", burner.address, "0x")
    make_due(shop)
    shop.settings["PAYMENT_APART_MAX"] = "9"
    shop.tick()
    shop.world.anvil.request("anvil_setCode", burner.address, BURNING_CODE)
    shop.world.anvil.mine()
    shop.world.anvil.set_automine(True)
    del shop.settings["RECEIPT_TIMEOUT_S"]
    shop.sync()
    go_on(shop, 6)

    assert {load(shop.engine, id_).state for id_ in good} == {"settled"}
    assert blamed(shop) == {burner.address.lower()}
    assert (load(shop.engine, bad).state, load(shop.engine, bad).error) == ("failed", PAYER_BURNT)
    apart = [one for one in shop.intents() if one.reason == "apart x1" and one.error is not None]
    assert [one.gas_used is not None and one.gas_used < 200_000 for one in apart] == [True]
    assert shop.keeper().stopped_kinds() == []
    assert paid(shop) == 4 * PRICE
    fees_wei = {"": 0, "apart": 0, "paid": 0}
    for one in shop.intents():
        is_shared = not one.reason.startswith("apart")
        fund = "" if is_shared else "apart" if one.error is not None else "paid"
        fees_wei[fund] += one.fee_wei or 0
    budgets = Budgets(spent_usdc=load_spent(shop))
    spent_usdc = {fund: budgets.get_spent_usdc("x402", fund) for fund in fees_wei}
    for fund, fee_wei in fees_wei.items():
        assert abs(spent_usdc[fund] - fee_wei * 4_000_000_000 // 10**18) < 10, fund
    assert_sound(shop)


def test_payment__of_a_payer_who_burns_alone_again_and_again__trips_no_breaker(
    shop: Stage,
) -> None:
    shop.settings["FAILURES_MAX"] = "2"
    burners = [Account.from_key("0x" + f"{n:02x}" * 32) for n in range(0x81, 0x84)]
    for burner in burners:
        shop.world.fund_usdc(burner.address, USDC)
        shop.world.anvil.request("anvil_setCode", burner.address, PRICE_READING_CODE)
        record(shop.engine, authorize(shop.world, PRICE, account=burner))
    shop.sync()
    shop.settings["PAYMENT_APART_MAX"] = "3"

    go_on(shop, 2)
    good = record(shop.engine, authorize(shop.world, PRICE))
    go_on(shop, 2)

    assert load(shop.engine, good).state == "settled"
    assert len(sent_kinds(shop)) == 1, "the trial saw what the code does at a price"


# ------------------------------------------------------------------------------------------ reorgs


def settle(stage: Stage) -> str:
    """Settle one payment in the newest block."""
    payment_id = record(stage.engine, authorize(stage.world, PRICE))
    stage.world.anvil.mine()
    stage.sync()
    stage.tick()
    stage.tick()
    assert_settled_once(stage, payment_id)
    return payment_id


def test_payment__reorged__lands_again_and_is_credit_once(shop: Stage) -> None:
    payment_id = settle(shop)

    shop.world.anvil.reorg(1)
    shop.sync()
    assert paid(shop) == 0

    go_on(shop)

    assert_settled_once(shop, payment_id)


def test_payment__reorged_before_it_is_settled__is_on_its_way_again_and_has_not_failed(
    shop: Stage,
) -> None:
    shop.settings["PAYMENT_CONFIRMATIONS"] = "2"
    payment_id = record(shop.engine, authorize(shop.world, PRICE))
    shop.tick()
    assert sent_kinds(shop) == ["mined"]

    # Another block has the number of the one that its transaction was mined in.
    shop.world.anvil.reorg(1)
    shop.sync()
    for _ in range(2):
        shop.tick()
        payment = load(shop.engine, payment_id)
        assert (payment.state, payment.error, payment.failures) == ("sent", None, 0)

    go_on(shop)

    assert_settled_once(shop, payment_id)
    assert load(shop.engine, payment_id).failures == 0


@pytest.mark.parametrize("spent_usdc", [0, 100_000, PRICE])
def test_payment__reorged_and_gone_for_good__credit_is_taken_back(
    shop: Stage, spent_usdc: int
) -> None:
    payment_id = settle(shop)
    account = table_of(MarketAccount)
    with write(shop.engine) as connection:
        connection.execute(update(account).values(reserved_usdc=spent_usdc))
    shop.world.anvil.reorg(1)
    drain(shop)
    outlive(shop, payment_id)

    go_on(shop)

    payment = load(shop.engine, payment_id)
    assert (payment.state, payment.credited_usdc) == ("expired", spent_usdc)
    assert load_credit(shop.engine) == [spent_usdc]
    assert sum(load_credit_rows(shop.engine)) == spent_usdc


def test_payment__deep_enough__is_final(shop: Stage) -> None:
    def is_final() -> bool:
        payment = table_of(X402Payment)
        with read(shop.engine) as connection:
            return bool(connection.execute(payment.select()).mappings().one()["is_final"])

    payment_id = settle(shop)
    shop.world.anvil.mine(3)
    go_on(shop, 2)
    assert not is_final(), "a reorg may still take its block"

    shop.world.anvil.mine(REORGS_DEEPEST)
    go_on(shop, 2)

    assert is_final()
    assert_settled_once(shop, payment_id)


def test_payment__credited_in_advance_and_never_settled__credit_is_taken_back(
    shop: Stage,
) -> None:
    payment_id = record(shop.engine, authorize(shop.world, PRICE), credits_now=True)
    assert load_credit(shop.engine) == [PRICE]
    outlive(shop, payment_id)
    go_on(shop, 1)

    assert load(shop.engine, payment_id).state == "expired"
    assert load_credit(shop.engine) == [0]
    assert load_credit_rows(shop.engine) == [PRICE, -PRICE]
    assert_sound(shop)


def test_payment__credited_in_advance__is_credit_once(shop: Stage) -> None:
    payment_id = record(shop.engine, authorize(shop.world, PRICE), credits_now=True)
    go_on(shop, 2)

    assert_settled_once(shop, payment_id)


# ------------------------------------------------------------------------------------ to look at


def test_dry_run__shows_payments_and_leaves_no_trace(shop: Stage) -> None:
    payment_id = record(shop.engine, authorize(shop.world, PRICE))

    report = shop.rehearsal().run()

    assert [(s.kind, s.items, s.amount_usdc, s.error) for s in report.steps] == [
        ("x402", 1, PRICE, None)
    ]
    assert load(shop.engine, payment_id).state == "verified"
    assert shop.intents() == []


def test_waiting__counts_what_nothing_is_wrong_with(shop: Stage) -> None:
    poor = Account.from_key("0x" + "74" * 32)
    record(shop.engine, authorize(shop.world, PRICE, account=poor))
    good = record(shop.engine, authorize(shop.world, PRICE + 1))
    shop.world.anvil.set_automine(False)
    shop.settings["RECEIPT_TIMEOUT_S"] = "0.05"
    shop.tick()

    with read(shop.engine) as connection:
        waiting = load_waiting_payments(connection)
    shop.world.anvil.mine()
    shop.world.anvil.set_automine(True)
    del shop.settings["RECEIPT_TIMEOUT_S"]

    since_s = load(shop.engine, good).created_at_s
    assert (waiting.value_usdc, waiting.since_s) == (PRICE + 1, {good: since_s})


def test_mismatch__credit_without_its_row__is_found(shop: Stage) -> None:
    settle(shop)
    payment = table_of(X402Payment)
    with write(shop.engine) as connection:
        connection.execute(update(payment).values(credited_usdc=PRICE - 1))

    with read(shop.engine) as connection:
        subjects = [subject for subject, _ in find_market_mismatches(connection)]
    assert any(subject.startswith("payment ") for subject in subjects)
