"""A keeper that dies at any line, and a chain that takes things back: every charge lands once.

::

    crash after planned │ simulated │ stored │ sent │ included │ mined → settled once; and so for
    harvest, sweep, a hold opened, topped up, renewed, freed (payouts, payments: in their files)
    sent, and
    ├── the pool forgot it → the very same transaction again
    ├── it is stuck → a higher fee on the same nonce; either of the two may land
    ├── it reverts in its block → the same batch again, under another nonce
    │   └── it would again → usage is posted again, a later batch settles it
    ├── somebody else used its nonce → the same batch again, under another nonce
    │   └── but the batch is on chain → nothing is given up
    └── its block is reorganised away, shallow or deep → the same transaction again
        ├── while another is signed → neither takes the other's nonce
        └── it freed a hold → it frees nothing now; the hold is decided anew
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from contracts.errors import Retryable
from keeper.rounds import RoundOutcome
from ledger.audit import find_bad_debt
from ledger.database.engine import read, write
from ledger.errors import ReserveRefused
from ledger.intents.record import IntentMoved
from ledger.spending.admission import AdmissionRules
from ledger.spending.metering import Post, Reserve
from ledger.tables.usage import Charge, Reservation
from scripts.audit import audit
from tests.support.anvil import CHAIN_ID, AnvilError
from tests.support.keepers import Crash, Stage, crash_at
from tests.support.waiting import LIMIT_S

COST = 300_000
STEPS = ("planned", "simulated", "stored", "sent", "included", "mined")
UNSIGNED = ("planned", "simulated")


@pytest.fixture
def token_id(stage: Stage) -> int:
    """Return a position with a live hold and posted usage."""
    token_id = stage.open_held()
    stage.spend(token_id, COST)
    return token_id


def finish(stage: Stage) -> None:
    """Let keepers and indexer go on until every intent is final."""
    for _ in range(6):
        stage.tick()
        stage.world.anvil.mine(3)
        stage.sync()


def assert_settled_once(stage: Stage, token_id: int) -> None:
    assert stage.chain_spent(token_id) == COST
    assert len(stage.settlements()) == 1
    assert stage.usage_states() == {"request-1": "settled"}
    assert stage.state(token_id).spent_usdc == COST
    assert not {"planned", "simulated", "sent", "mined"} & set(stage.intent_states("settle"))
    stage.assert_sound()


def send_beside(stage: Stage, role: str, *, to: str, data: str = "0x") -> None:
    """Give the pool a transaction of ``role`` that goes before the keeper's; wait for nothing."""
    account = stage.world.accounts[role]
    web3 = stage.world.anvil.web3
    transaction: dict[str, Any] = {
        "to": to,
        "data": data,
        "value": 0,
        "nonce": web3.eth.get_transaction_count(account.address),
        "gas": 500_000,
        "gasPrice": 50 * 10**9,
        "chainId": CHAIN_ID,
    }
    signed = account.sign_transaction(transaction)
    web3.eth.send_raw_transaction(signed.raw_transaction)


# First of all: after many snapshots anvil has lost the state of the block that it must go back to.
def test_settle__carried_by_another_transaction_that_a_reorg_takes__is_sent_again(
    stage: Stage, token_id: int
) -> None:
    with pytest.raises(Crash):
        stage.keeper(crash_at("stored")).tick()
    payload = stage.intents()[-1].payload
    before = stage.world.anvil.head().number
    send_beside(stage, "keeper", to=payload["to"], data=payload["data"])
    stage.world.anvil.mine(3)
    finish(stage)
    assert stage.intent_states("settle") == ["replaced"]

    reorg_from(stage, before + 1)
    stage.sync()
    assert stage.usage_states() == {"request-1": "settling"}
    finish(stage)

    assert_settled_once(stage, token_id)
    assert stage.intent_states("settle") == ["confirmed"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.sampled(2)
def test_settle__crash_after_any_step__settles_once(stage: Stage, token_id: int, step: str) -> None:
    with pytest.raises(Crash):
        stage.keeper(crash_at(step)).tick()
    before = stage.intents()[-1]

    finish(stage)

    assert_settled_once(stage, token_id)
    settles = [intent for intent in stage.intents() if intent.kind == "settle"]
    assert [intent.intent_id for intent in settles] == [before.intent_id], "the very same intent"
    if step not in UNSIGNED:
        assert settles[0].tx_hash == before.tx_hash, "the very same transaction"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # Each step once as the first and as the second; all pairs take a minute.
        pytest.param(first, second, marks=[] if (i + 2) % 6 == j else pytest.mark.slow)
        for i, first in enumerate(STEPS)
        for j, second in enumerate(STEPS)
    ],
)
@pytest.mark.sampled(3)
def test_settle__crash_twice__settles_once(
    stage: Stage, token_id: int, first: str, second: str
) -> None:
    with pytest.raises(Crash):
        stage.keeper(crash_at(first)).tick()
    # The first may have died with everything done: then the second finds nothing to do.
    with suppress(Crash):
        stage.keeper(crash_at(second)).tick()
    stage.sync()

    finish(stage)

    assert_settled_once(stage, token_id)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["harvest", "sweep"])
@pytest.mark.sampled(3)
def test_harvest_and_sweep__crash_after_any_step__done_once(
    stage: Stage, kind: str, step: str
) -> None:
    contracts = stage.world.contracts
    if kind == "harvest":
        stage.open_earning()
        events = contracts.position.events.YieldCredited
    else:
        stage.spend(stage.open_held(), COST)
        stage.tick()
        stage.settings["SWEEP_MAX_AGE_S"] = "0"
        events = contracts.position.events.Swept
    with pytest.raises(Crash):
        stage.keeper(crash_at(step)).tick()
    # A harvest that was decided rests, whatever became of it.
    stage.world.anvil.warp(301)
    stage.sync()

    finish(stage)

    assert len(events.get_logs(from_block=0)) == 1
    expected = ["abandoned", "confirmed"] if step in UNSIGNED else ["confirmed"]
    assert sorted(stage.intent_states(kind)) == expected
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.sampled(2)
def test_hold__crash_after_any_step__ends_with_the_hold(stage: Stage, step: str) -> None:
    token_id = stage.open_credited()
    stage.want(token_id)
    with pytest.raises(Crash):
        stage.keeper(crash_at(step)).tick()
    stage.world.anvil.mine()
    stage.sync()

    finish(stage)

    held_usdc = stage.world.contracts.position.functions.accountOf(token_id).call()[3]
    assert held_usdc == stage.state(token_id).hold_usdc == 5_000_000
    placed = stage.world.contracts.position.events.HoldPlaced.get_logs(from_block=0)
    assert len(placed) == 1
    # What was not signed is decided anew: the world may have moved on.
    expected = ["abandoned", "confirmed"] if step in UNSIGNED else ["confirmed"]
    assert sorted(stage.intent_states("hold")) == expected


def ask_to_renew(stage: Stage, token_id: int) -> None:
    stage.world.anvil.warp(4_600)
    stage.want(token_id)


def ask_to_top_up(stage: Stage, token_id: int) -> None:
    stage.want(token_id, 6_000_000)


def ask_to_free(stage: Stage, token_id: int) -> None:
    stage.world.send("owner", stage.world.contracts.position.functions.requestRelease(token_id))


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("ask", "reason", "expected_usdc"),
    [
        (ask_to_renew, "renew", 5_000_000),
        (ask_to_top_up, "top_up", 6_000_000),
        (ask_to_free, "release", 0),
    ],
)
@pytest.mark.sampled(16)
def test_hold__crash_while_it_is_changed__ends_as_it_was_meant(
    stage: Stage,
    ask: Callable[[Stage, int], None],
    reason: str,
    expected_usdc: int,
    step: str,
) -> None:
    token_id = stage.open_held()
    ask(stage, token_id)
    stage.sync()
    with pytest.raises(Crash):
        stage.keeper(crash_at(step)).tick()
    if ask is ask_to_top_up:
        ask(stage, token_id)  # the request that found no room is tried again
    stage.world.anvil.mine()
    stage.sync()

    finish(stage)

    position = stage.world.contracts.position
    account = position.functions.accountOf(token_id).call()
    assert account[3] == stage.state(token_id).hold_usdc == expected_usdc
    assert [i.reason for i in stage.intents()][1:] == [f"{reason} x1"] * (1 + (step in UNSIGNED))
    assert len(position.events.HoldPlaced.get_logs(from_block=0)) == 2
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []


def test_settle__indexer_was_first__nothing_is_sent_again(stage: Stage, token_id: int) -> None:
    with pytest.raises(Crash):
        stage.keeper(crash_at("sent")).tick()
    stage.sync()
    assert stage.usage_states() == {"request-1": "settled"}

    finish(stage)

    assert_settled_once(stage, token_id)


def test_settle__raw_transaction_sent_again_by_anybody__changes_nothing(
    stage: Stage, token_id: int
) -> None:
    stage.tick()
    raw_tx = stage.intents()[-1].raw_tx

    with pytest.raises(AnvilError, match="nonce too low"):
        stage.world.anvil.request("eth_sendRawTransaction", raw_tx)

    finish(stage)
    assert_settled_once(stage, token_id)


def test_settle__pool_forgot_it__the_same_transaction_again(stage: Stage, token_id: int) -> None:
    anvil = stage.world.anvil
    anvil.set_automine(False)
    assert stage.tick().outcome is RoundOutcome.WAITING
    sent = stage.intents()[-1]
    assert sent.tx_hash is not None
    anvil.drop_transaction(sent.tx_hash)

    assert stage.tick().outcome is RoundOutcome.WAITING
    anvil.mine()
    anvil.set_automine(True)
    finish(stage)

    assert_settled_once(stage, token_id)
    assert stage.intents()[-1].tx_hash == sent.tx_hash


def test_settle__in_no_block__nothing_else_is_sent(stage: Stage, token_id: int) -> None:
    other = stage.world.open_position(role="second_owner")
    stage.sync()
    stage.world.anvil.set_automine(False)
    assert stage.tick().outcome is RoundOutcome.WAITING
    rehearsed = stage.rehearsal().run()
    assert rehearsed.outcome is RoundOutcome.WAITING
    assert stage.intents()[-1].intent_id in (rehearsed.waits_for or "")
    stage.want(other)

    assert stage.tick().outcome is RoundOutcome.WAITING
    assert len(stage.intent_states("settle")) == 1
    assert stage.usage_states() == {"request-1": "settling"}
    with pytest.raises(ReserveRefused):
        stage.spend(token_id, 5_000_000, request_id="request-2")


@pytest.mark.parametrize("lands", ["first", "raised"])
def test_settle__stuck__fee_is_raised_and_either_lands_once(
    stage: Stage, token_id: int, lands: str
) -> None:
    anvil = stage.world.anvil
    anvil.set_automine(False)
    assert stage.tick().outcome is RoundOutcome.WAITING
    first = stage.intents()[-1]
    stage.ahead_s = 61
    stage.settings["MAX_STALENESS_S"] = "200"

    assert stage.tick().outcome is RoundOutcome.WAITING
    raised = stage.intents()[-1]
    assert raised.tx_hashes == (raised.tx_hash, first.tx_hash)
    assert raised.nonce == first.nonce
    if lands == "first":
        assert raised.tx_hash is not None
        anvil.drop_transaction(raised.tx_hash)
        anvil.request("eth_sendRawTransaction", first.raw_tx)
    anvil.mine()
    anvil.set_automine(True)
    finish(stage)

    assert_settled_once(stage, token_id)


def test_settle__reverts_in_its_block__the_same_batch_again(stage: Stage, token_id: int) -> None:
    anvil, position = stage.world.anvil, stage.world.contracts.position
    keeper_address = stage.world.accounts["keeper"].address
    anvil.set_automine(False)
    assert stage.tick().outcome is RoundOutcome.WAITING
    forbid = position.encode_abi("setSettler", args=[keeper_address, False])
    send_beside(stage, "admin", to=position.address, data=forbid)
    anvil.mine()
    anvil.set_automine(True)
    stage.sync()

    stage.tick()
    reverted = stage.intents()[-1]
    assert (reverted.state, reverted.error) == ("mined", "position: not settler")
    assert stage.usage_states() == {"request-1": "settling"}, "its block may still go"

    stage.world.send("admin", position.functions.setSettler(keeper_address, True))
    anvil.mine(2)
    stage.sync()
    finish(stage)
    assert_settled_once(stage, token_id)
    assert stage.intent_states("settle") == ["confirmed"]
    assert stage.intents()[-1].failed_tx_hashes == (reverted.tx_hash,)
    assert stage.batch_states() == ["settled"]


def test_settle__somebody_used_its_nonce__the_same_batch_again(stage: Stage, token_id: int) -> None:
    with pytest.raises(Crash):
        stage.keeper(crash_at("stored")).tick()
    send_beside(stage, "keeper", to=stage.world.accounts["outsider"].address)
    stage.sync()

    assert stage.tick().outcome is RoundOutcome.WAITING
    assert stage.usage_states() == {"request-1": "settling"}, "not deep enough to be sure"

    stage.world.anvil.mine(3)
    stage.sync()
    finish(stage)
    assert_settled_once(stage, token_id)
    assert stage.intent_states("settle") == ["confirmed"]
    assert stage.batch_states() == ["settled"]


def test_settle__somebody_used_its_nonce_for_the_same_batch__nothing_is_given_up(
    stage: Stage, token_id: int
) -> None:
    with pytest.raises(Crash):
        stage.keeper(crash_at("stored")).tick()
    payload = stage.intents()[-1].payload
    send_beside(stage, "keeper", to=payload["to"], data=payload["data"])
    stage.world.anvil.mine(3)

    stage.keeper().tick()  # before the indexer has told the ledger
    assert stage.usage_states() == {"request-1": "settling"}

    finish(stage)
    assert_settled_once(stage, token_id)
    assert stage.intent_states("settle") == ["replaced"]
    assert stage.batch_states() == ["settled"]


@pytest.mark.parametrize("confirmations", [0, 2])
def test_settle__its_block_is_reorganised_away__the_same_transaction_again(
    stage: Stage, token_id: int, confirmations: int
) -> None:
    stage.settings["CONFIRMATIONS"] = str(confirmations)
    stage.tick()
    stage.tick()
    settled = stage.intents()[-1]
    assert settled.state == ("confirmed" if confirmations == 0 else "mined")
    stage.world.anvil.reorg(1)
    stage.world.anvil.mine()
    stage.sync()
    assert stage.settlements() == []
    assert stage.usage_states() == {"request-1": "settling"}

    finish(stage)

    assert_settled_once(stage, token_id)
    assert stage.intents()[-1].tx_hash == settled.tx_hash


def test_hold_and_settle__deep_reorg__both_again_in_their_order(stage: Stage) -> None:
    token_id = stage.open_credited()
    depth_from = stage.world.anvil.head().number
    stage.want(token_id)
    stage.tick()
    stage.spend(token_id, COST)
    stage.tick()
    stage.world.anvil.mine(5)
    stage.sync()
    stage.tick()
    assert {str(intent.state) for intent in stage.intents()} == {"confirmed"}

    stage.world.anvil.reorg(stage.world.anvil.head().number - depth_from)
    stage.world.anvil.mine()
    stage.sync()
    assert stage.usage_states() == {"request-1": "settling"}
    assert stage.state(token_id).hold_usdc == 0

    finish(stage)

    assert_settled_once(stage, token_id)
    assert {str(intent.state) for intent in stage.intents()} == {"confirmed"}


def test_settle__receipt_lost_in_a_killed_wait__time_is_bounded(
    stage: Stage, token_id: int
) -> None:
    stage.world.anvil.set_automine(False)
    stage.settings["RECEIPT_TIMEOUT_S"] = "0.2"
    began_s = time.monotonic()

    assert stage.tick().outcome is RoundOutcome.WAITING

    assert time.monotonic() - began_s < LIMIT_S
    stage.world.anvil.mine()
    stage.world.anvil.set_automine(True)
    finish(stage)
    assert_settled_once(stage, token_id)


def block_of(stage: Stage, kind: str) -> int:
    """Return the block of the last intent of a kind that is in one."""
    blocks = [intent.mined_block for intent in stage.intents() if intent.kind == kind]
    return [block for block in blocks if block is not None][-1]


def reorg_from(stage: Stage, block_number: int) -> None:
    """Replace every block from ``block_number`` on, and let the indexer see it."""
    stage.world.anvil.reorg(stage.world.anvil.head().number - block_number + 1)


def go_on(stage: Stage, rounds: int) -> None:
    """Let fresh keepers go on, whatever a round raises, with a block after each."""
    for _ in range(rounds):
        with suppress(Retryable):
            stage.keeper().tick()
        stage.world.anvil.mine()
        stage.sync()


def test_settle__reorg_of_a_confirmed_one_while_the_next_is_signed__both_land(
    stage: Stage, token_id: int
) -> None:
    stage.tick()
    stage.world.anvil.mine(4)
    stage.sync()
    stage.tick()
    assert stage.intent_states("settle") == ["confirmed"]
    stage.spend(token_id, COST, request_id="request-2")

    def take_back(step: str) -> None:
        if step == "simulated":
            reorg_from(stage, block_of(stage, "settle"))

    with pytest.raises(IntentMoved):
        stage.keeper(take_back).tick()
    stage.sync()
    go_on(stage, rounds=15)
    assert stage.chain_spent(token_id) == 2 * COST
    assert set(stage.usage_states().values()) == {"settled"}
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []


def test_release__taken_back_by_a_reorg__is_not_repeated_over_new_requests(stage: Stage) -> None:
    token_id = stage.open_held()
    position = stage.world.contracts.position.functions
    stage.world.anvil.mine(3)
    stage.sync()
    stage.tick()
    stage.world.send("owner", position.requestRelease(token_id))
    stage.sync()
    asked_in = stage.world.anvil.head().number
    stage.tick()
    stage.world.anvil.mine(3)
    stage.sync()
    stage.tick()
    assert stage.state(token_id).hold_usdc == 0

    reorg_from(stage, asked_in)
    stage.sync()
    assert stage.state(token_id).hold_usdc > COST, "the hold is live again"
    stage.spend(token_id, COST)
    stage.tick()
    stage.world.send("owner", position.withdrawUnspentYield(token_id))
    stage.sync()
    go_on(stage, rounds=6)
    assert_settled_once(stage, token_id)


def test_mint__taken_back_by_a_reorg__reservations_end_and_nothing_else_is_held_up(
    stage: Stage,
) -> None:
    first = stage.world.anvil.head().number + 1
    token_id = stage.open_held()
    now_s = int(time.time())
    rules = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=1)
    with write(stage.engine) as connection:
        for name in ("lost", "posted"):
            wish = Reservation(name, token_id, 0, "key", "model", COST, 1, 1)
            Reserve(wish, rules, now_s - 2)(connection)
    reorg_from(stage, first)
    stage.sync()
    with write(stage.engine) as connection:
        posted = Post("posted", Charge(COST, 1, 1), now_s)(connection)
    assert posted.hold_left_usdc == 0
    assert stage.keeper().tick().leases_voided == 1
    assert stage.usage_states() == {"lost": "voided", "posted": "posted"}
    with read(stage.engine) as connection:
        assert [debt.subject for debt in find_bad_debt(connection)] == ["usage posted"]
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []
