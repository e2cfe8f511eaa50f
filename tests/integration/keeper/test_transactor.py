"""Transactions that are dropped, stuck or brought back: nothing is charged twice.

::

    nonce     one that nobody has any more, below one that is sent → filled
    fees      over the bound → nothing is signed │ a spike after sending → raised, lands once
              stuck six times, whatever the first tip → each replacement is taken
    batch     fails, and would again → kept until it is deeper than reorgs, then given up
    batch     fails, given up, and a reorg brings it back
              ├── before the next one lands → the next one is cancelled
              │                               └── and its fee raised → it still does nothing
              └── and the next one lands too → the position's next batch offsets it
    USDC      paused → what moves USDC fails, settlement goes on
"""

import threading
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest
import structlog
from eth_typing import HexStr
from hexbytes import HexBytes

from contracts.errors import Retryable
from contracts.transport import HttpTransport
from keeper.rounds import RoundOutcome
from keeper.transactor.means import CANCELLED, Means
from keeper.transactor.sending import Transactor
from keeper.wiring import build_duties, open_signer
from ledger.database.clock import LedgerClock
from ledger.database.engine import read
from ledger.intents.record import FILL
from ledger.spending.strays import load_overcharges
from scripts.audit import audit
from tests.support.anvil import CHAIN_ID
from tests.support.keepers import Crash, Stage, crash_at
from tests.support.liars import Forgetful
from tests.support.waiting import LIMIT_S

COST = 300_000
GWEI = 10**9


@pytest.fixture
def token_id(stage: Stage) -> int:
    """Return a position with a live hold and posted usage."""
    token_id = stage.open_held()
    stage.spend(token_id, COST)
    return token_id


def go_on(stage: Stage, rounds: int = 8) -> None:
    """Let fresh keepers go on, whatever a round raises, with blocks after each."""
    for _ in range(rounds):
        with suppress(Retryable):
            stage.keeper().tick()
        stage.world.anvil.mine(2)
        stage.sync()


def assert_clean(stage: Stage) -> None:
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []
    assert not {"planned", "simulated", "sent", "mined"} & set(stage.intent_states("settle"))


def send_raw(stage: Stage, *raw_txs: str | None) -> None:
    for raw_tx in raw_txs:
        assert raw_tx is not None
        stage.world.anvil.request("eth_sendRawTransaction", raw_tx)


def settle_above_a_foreign_nonce(stage: Stage) -> int:
    """Let the keeper's key send a transaction that no keeper knows, and the keeper settle after it;
    return the block before both."""
    anvil, keeper = stage.world.anvil, stage.world.accounts["keeper"]
    anvil.mine(3)
    stage.sync()
    before = anvil.head().number
    transaction: dict[str, Any] = {
        "to": stage.world.accounts["outsider"].address,
        "value": 0,
        "nonce": 1,
        "gas": 21_000,
        "gasPrice": 10 * GWEI,
        "chainId": CHAIN_ID,
    }
    send_raw(stage, keeper.sign_transaction(transaction).raw_transaction.to_0x_hex())
    stage.sync()
    stage.tick()
    return before


def wait_for_block_of(stage: Stage, tx_hash: str | None) -> int:
    """Return the number of the block that has a transaction: a pool takes it a moment earlier."""
    assert tx_hash is not None
    found = stage.world.anvil.web3.eth.wait_for_transaction_receipt(
        HexStr(tx_hash), timeout=LIMIT_S, poll_latency=0.01
    )
    return found["blockNumber"]


# ------------------------------------------------------------------------------------------- nonces


def test_gap__nonce_of_nobody_below_one_that_is_sent__is_filled(
    stage: Stage, token_id: int
) -> None:
    anvil = stage.world.anvil
    before = settle_above_a_foreign_nonce(stage)
    settle = stage.intents()[-1]
    assert (settle.kind, settle.nonce) == ("settle", 2)

    anvil.reorg(anvil.head().number - before)
    anvil.mine()
    stage.sync()
    go_on(stage)

    assert stage.chain_spent(token_id) == COST
    assert stage.intents()[-1].kind == FILL
    assert {intent.nonce for intent in stage.intents()} == {0, 1, 2}
    assert stage.intent_states("settle") == ["confirmed"]
    assert_clean(stage)


def test_gap__reorg_takes_it_and_what_lies_above__both_land_in_the_same_round(
    stage: Stage, token_id: int
) -> None:
    anvil = stage.world.anvil
    before = settle_above_a_foreign_nonce(stage)
    assert stage.intents()[-1].state == "mined"

    anvil.reorg(anvil.head().number - before)
    stage.sync()
    stage.keeper().tick()

    assert stage.chain_spent(token_id) == COST, "not only after a receipt was waited for in vain"


def test_wait__reorg_takes_a_lower_nonce__ends_at_once_and_both_land(
    stage: Stage, token_id: int
) -> None:
    anvil = stage.world.anvil
    hold_block = stage.intents()[0].mined_block
    assert hold_block is not None

    def take_the_hold(reached: str) -> None:
        if reached == "simulated":
            anvil.set_automine(False)
        if reached == "sent":
            anvil.reorg(anvil.head().number - hold_block + 1)

    report = stage.keeper(take_the_hold).tick()

    assert report.waits_for is not None
    assert report.waits_for.endswith("lands only after nonce 0, which a reorg has taken")

    anvil.set_automine(True)
    stage.sync()
    go_on(stage)
    assert stage.chain_spent(token_id) == COST
    assert_clean(stage)


# --------------------------------------------------------------------------------------------- fees


def test_fees__over_the_bound__nothing_is_signed_until_they_fall(
    stage: Stage, token_id: int
) -> None:
    anvil = stage.world.anvil
    stage.settings["FEE_WEI_MAX"] = str(5 * GWEI)
    anvil.request("anvil_setNextBlockBaseFeePerGas", hex(100 * GWEI))
    anvil.mine()
    stage.sync()

    assert stage.tick().outcome is RoundOutcome.WAITING
    assert stage.intents()[-1].raw_tx is None

    anvil.request("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    anvil.mine()
    stage.sync()
    go_on(stage)
    assert stage.chain_spent(token_id) == COST
    assert_clean(stage)


def test_fees__spike_after_sending__raised_until_it_lands_once(stage: Stage, token_id: int) -> None:
    anvil = stage.world.anvil
    anvil.set_automine(False)
    assert stage.tick().outcome is RoundOutcome.WAITING
    first = stage.intents()[-1]
    anvil.request("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    anvil.mine()
    stage.sync()
    assert stage.usage_states() == {"request-1": "settling"}, "its fee is below the block's"
    stage.ahead_s = 61
    stage.settings["MAX_STALENESS_S"] = "200"

    with suppress(Retryable):
        stage.keeper().tick()

    raised = stage.intents()[-1]
    assert raised.tx_hashes[1:] == (first.tx_hash,)
    anvil.set_automine(True)
    anvil.mine()
    go_on(stage)
    assert stage.chain_spent(token_id) == COST
    assert_clean(stage)


# ------------------------------------------------------------------------------- given up, and back


def give_up_and_plan_another(stage: Stage) -> tuple[str, str]:
    """Let a settlement fail for good and the next one be signed, then take the failure back.

    Return both as raw transactions: on the chain as it is now each of them can land.
    """
    anvil, position = stage.world.anvil, stage.world.contracts.position
    keeper = stage.world.accounts["keeper"].address
    anvil.mine(3)
    stage.sync()
    depth_from = anvil.head().number
    with pytest.raises(Crash):
        stage.keeper(crash_at("stored")).tick()
    first = stage.intents()[-1]
    assert first.raw_tx is not None
    stage.world.send("admin", position.functions.setSettler(keeper, False))
    send_raw(stage, first.raw_tx)
    stage.sync()
    go_on(stage, rounds=4)
    assert set(stage.batch_states()) == {"abandoned"}
    assert stage.usage_states()["request-1"] == "posted"
    stage.world.send("admin", position.functions.setSettler(keeper, True))
    stage.sync()
    with pytest.raises(Crash):
        stage.keeper(crash_at("stored")).tick()
    second = stage.intents()[-1]
    assert second.intent_id != first.intent_id
    assert second.raw_tx is not None
    anvil.reorg(anvil.head().number - depth_from)
    return first.raw_tx, second.raw_tx


@pytest.mark.usefixtures("token_id")
def test_failed__would_fail_again__is_kept_until_no_reorg_brings_it_back(stage: Stage) -> None:
    anvil, position = stage.world.anvil, stage.world.contracts.position
    keeper = stage.world.accounts["keeper"].address
    stage.settings["GIVE_UP_BLOCKS"] = "20"
    with pytest.raises(Crash):
        stage.keeper(crash_at("stored")).tick()
    raw_tx = stage.intents()[-1].raw_tx
    stage.world.send("admin", position.functions.setSettler(keeper, False))
    send_raw(stage, raw_tx)
    failed_in = wait_for_block_of(stage, stage.intents()[-1].tx_hash)
    anvil.mine(2)
    stage.sync()
    for _ in range(3):
        stage.keeper().tick()
    assert stage.intent_states("settle") == ["planned"]

    anvil.mine(failed_in + 19 - anvil.head().number)
    stage.sync()
    stage.keeper().tick()
    assert stage.intent_states("settle") == ["planned"]
    assert stage.usage_states() == {"request-1": "settling"}

    anvil.mine()
    stage.sync()
    stage.keeper().tick()
    assert stage.intent_states("settle")[0] == "abandoned"
    assert stage.usage_states() == {"request-1": "posted"}
    assert_clean(stage)


def test_given_up__lands_after_a_deep_reorg__settles_and_the_next_is_cancelled(
    stage: Stage, token_id: int
) -> None:
    first, _ = give_up_and_plan_another(stage)

    send_raw(stage, first)
    stage.sync()
    go_on(stage)

    assert stage.chain_spent(token_id) == COST
    assert len(stage.settlements()) == 1
    assert stage.usage_states() == {"request-1": "settled"}
    states = stage.batch_states()
    assert (states[0], set(states[1:])) == ("settled", {"abandoned"})
    assert_clean(stage)


def test_given_up__lands_beside_the_next_one__the_next_batch_offsets_it(
    stage: Stage, token_id: int
) -> None:
    first, second = give_up_and_plan_another(stage)

    send_raw(stage, first, second)
    stage.sync()
    go_on(stage)
    assert stage.chain_spent(token_id) == 2 * COST, "the chain could not know"
    states = stage.batch_states()
    assert (states[0], states[-1]) == ("settled", "settled")
    with read(stage.engine) as connection:
        assert load_overcharges(connection) == {token_id: COST}
    assert_clean(stage)

    stage.spend(token_id, COST, request_id="request-2")
    stage.spend(token_id, 7, request_id="request-3")
    go_on(stage)

    assert set(stage.usage_states().values()) == {"settled"}
    assert stage.chain_spent(token_id) == 2 * COST + 7, "as much as was used, in the end"
    with read(stage.engine) as connection:
        assert load_overcharges(connection) == {}
    assert_clean(stage)


def build_transactor(stage: Stage) -> Transactor:
    settings, house = stage.keeper_settings(), stage.house()
    signer = open_signer(settings)
    return Transactor(
        Means(
            engine=stage.engine,
            node=house.node,
            signer=signer,
            endings=build_duties(settings, house, sender=signer.address),
            rules=settings.send_rules(),
            chain_id=CHAIN_ID,
            stop=threading.Event(),
            clock=LedgerClock(stage.engine),
        )
    )


def test_cancelled__its_fee_is_raised__is_no_settlement(stage: Stage, token_id: int) -> None:
    with pytest.raises(Crash):
        stage.keeper(crash_at("stored")).tick()
    transactor = build_transactor(stage)

    raised = transactor.raise_fee(transactor.cancel(stage.intents()[-1]))
    transactor.send(raised)
    done = transactor.wait(raised)

    assert (len(done.tx_hashes), done.cancel_tx_hashes) == (3, done.tx_hashes[:2])
    assert done.error == CANCELLED, "a receipt of success, and nothing was settled"
    assert stage.chain_spent(token_id) == 0
    stage.sync()
    go_on(stage)
    assert stage.chain_spent(token_id) == COST
    assert_clean(stage)


@pytest.mark.parametrize("tip_wei", ["0", "1", "1000000"])
@pytest.mark.sampled(3)
def test_fees__stuck_again_and_again__each_replacement_is_taken(
    stage: Stage, token_id: int, tip_wei: str
) -> None:
    anvil = stage.world.anvil
    stage.settings.update(TIP_WEI=tip_wei, MAX_STALENESS_S="1000")
    anvil.set_automine(False)
    assert stage.tick().outcome is RoundOutcome.WAITING
    for _ in range(6):
        stage.ahead_s += 61
        with suppress(Retryable), structlog.testing.capture_logs() as lines:
            stage.keeper().tick()
        assert [line for line in lines if line["event"] == "send_refused"] == []
    anvil.mine()
    anvil.set_automine(True)

    stuck = stage.intents()[-1]
    assert len(stuck.tx_hashes) >= 4
    assert anvil.web3.eth.get_transaction_receipt(HexBytes(str(stuck.tx_hash)))["status"] == 1
    stage.sync()
    go_on(stage)
    assert stage.chain_spent(token_id) == COST
    assert_clean(stage)


# --------------------------------------------------------------------------------------------- USDC


def test_usdc__paused__settlement_goes_on_and_the_rest_later(stage: Stage, token_id: int) -> None:
    usdc = stage.world.contracts.usdc.functions
    stage.world.send("admin", usdc.pause())
    stage.world.anvil.warp(1_800)
    stage.settings["SWEEP_MAX_AGE_S"] = "0"
    stage.sync()

    for _ in range(3):
        stage.keeper().tick()
        stage.world.anvil.mine()
        stage.sync()
    assert stage.chain_spent(token_id) == COST
    payouts = stage.world.contracts.payouts.address
    assert usdc.balanceOf(payouts).call() == 0
    assert stage.intent_states("sweep") == ["abandoned"] * len(stage.intent_states("sweep"))

    stage.world.send("admin", usdc.unpause())
    stage.sync()
    go_on(stage, rounds=4)
    assert usdc.balanceOf(payouts).call() == COST
    assert_clean(stage)


# --------------------------------------------------------------------------------------- old states


@pytest.mark.usefixtures("token_id")
@pytest.mark.parametrize("endpoints", [1, 3])
def test_mined__nodes_have_forgotten_its_block_since__is_closed_and_the_next_settles(
    stage: Stage, token_id: int, endpoints: int
) -> None:
    with pytest.raises(Crash):
        stage.keeper(crash_at("mined")).tick()
    with ExitStack() as opened:
        for _ in range(endpoints):
            honest = opened.enter_context(closing(HttpTransport(stage.world.anvil.url)))
            stage.endpoints.append(Forgetful(honest, kept_blocks=64))
        stage.world.anvil.mine(100)
        stage.sync()
        stage.spend(token_id, COST, request_id="request-2")
        go_on(stage, rounds=3)
    assert stage.usage_states() == {"request-1": "settled", "request-2": "settled"}
    assert stage.intent_states("settle") == ["confirmed", "confirmed"]
    assert_clean(stage)
