"""Rounds of the keeper on a real chain with real contracts, beside the real indexer.

::

    tick
    ├── mirror old, empty or of another fork → STALE, nothing sent
    ├── our clock behind the indexer's → acts; the chain tells whether the mirror stands still
    ├── our clock ahead → STALE, and says that it may be the clock
    ├── nothing due → NOTHING_DUE, nothing sent
    ├── harvest, hold, settle, sweep → ACTED
    │   └── not mirrored yet → not decided again
    ├── release asked for → settled, freed, and left alone for the grace
    ├── an action would revert → FAILED, nothing signed; again and again → its kind rests,
    │   whichever process tries
    └── dry run → the same decisions, no trace
"""

import time

import pytest

from contracts.errors import Reverted
from keeper.errors import LockHeld
from keeper.lock import hold_lock
from keeper.rounds import RoundOutcome
from ledger.chain.mirror import load_mirror, save_observation
from ledger.database.engine import open_engine, read, write
from ledger.intents.rests import load_rests
from tests.support.deploy import USDC
from tests.support.keepers import Stage


def test_tick__nothing_due__sends_nothing(stage: Stage) -> None:
    stage.world.open_position()
    stage.sync()

    assert stage.tick().outcome is RoundOutcome.NOTHING_DUE
    assert stage.intents() == []


def test_tick__deposit_to_treasury__every_unit_arrives(stage: Stage) -> None:
    token_id = stage.open_earning()

    assert stage.tick().acted == {"harvest": 1}
    credited_usdc = stage.state(token_id).credited_usdc
    assert 20 * USDC - 4 <= credited_usdc <= 20 * USDC

    stage.want(token_id)
    assert stage.tick().acted == {"hold": 1}
    assert stage.state(token_id).hold_usdc == 5 * USDC

    stage.spend(token_id, 300_000, request_id="one")
    stage.spend(token_id, 1, request_id="two")
    assert stage.tick().acted == {"settle": 1}
    assert stage.usage_states() == {"one": "settled", "two": "settled"}
    assert stage.batch_states() == ["settled"]
    assert stage.state(token_id).spent_usdc == stage.chain_spent(token_id) == 300_001

    stage.settings["SWEEP_MAX_AGE_S"] = "0"
    assert stage.tick().acted == {"sweep": 1}
    payouts = stage.world.contracts.payouts.address
    assert stage.world.contracts.usdc.functions.balanceOf(payouts).call() == 300_001
    assert stage.tick().outcome is RoundOutcome.NOTHING_DUE

    stage.world.anvil.mine(2)
    stage.sync()
    stage.tick()
    assert {str(intent.state) for intent in stage.intents()} == {"confirmed"}
    assert all(intent.gas_used and intent.fee_wei for intent in stage.intents())
    stage.assert_sound()


@pytest.mark.parametrize("confirmations", ["0", "2"])
def test_tick__effect_not_mirrored_yet__is_not_decided_again(
    stage: Stage, confirmations: str
) -> None:
    stage.settings.update(CONFIRMATIONS=confirmations, MAX_STALENESS_S="10000")
    token_id = stage.open_credited()
    stage.want(token_id)
    # Past the chain's clock, so that every round would ask for another expiry.
    stage.ahead_s = 2_000
    keeper = stage.keeper()

    assert keeper.tick().acted == {"hold": 1}
    for _ in range(3):
        stage.ahead_s += 1
        assert keeper.tick().outcome is RoundOutcome.NOTHING_DUE
    assert len(stage.intent_states("hold")) == 1


def test_tick__settlement_not_mirrored_yet__is_not_decided_again(stage: Stage) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 300_000)
    keeper = stage.keeper()

    assert keeper.tick().acted == {"settle": 1}
    for _ in range(3):
        assert keeper.tick().outcome is RoundOutcome.NOTHING_DUE
    assert len(stage.settlements()) == 1

    stage.sync()
    assert stage.keeper().tick().outcome is RoundOutcome.NOTHING_DUE
    assert stage.usage_states() == {"request-1": "settled"}


def test_tick__several_positions__share_a_transaction(stage: Stage) -> None:
    tokens = [stage.world.open_position(role=role) for role in ("owner", "second_owner")]
    stage.world.earn(40 * USDC)
    stage.world.anvil.warp(1_800)
    stage.sync()

    assert stage.tick().acted == {"harvest": 2}
    for token_id in tokens:
        stage.want(token_id)
    assert stage.tick().acted == {"hold": 2}
    for token_id in tokens:
        stage.spend(token_id, 700_000 + token_id, request_id=f"request-{token_id}")
    assert stage.tick().acted == {"settle": 2}

    assert [stage.chain_spent(token_id) for token_id in tokens] == [700_000, 700_001]
    assert len(stage.settlements()) == 1
    stage.assert_sound()


def test_tick__one_vault_cannot_pay__the_others_are_harvested(stage: Stage) -> None:
    token_id = stage.open_earning()
    poor = stage.world.open_position(role="second_owner")
    stage.world.anvil.warp(1_800)
    stage.sync()

    report = stage.tick()

    assert report.acted == {"harvest": 1}, "the poor one earned nothing yet"
    assert stage.state(token_id).credited_usdc > 0
    assert stage.state(poor).credited_usdc == 0

    stage.world.earn(USDC)
    stage.world.send("admin", stage.world.vault.functions.setLiquidity(0))
    stage.world.anvil.warp(1_800)
    stage.sync()
    assert stage.tick().outcome is RoundOutcome.NOTHING_DUE, (
        "every quote is refused, nothing is sent"
    )


def test_tick__harvest_not_worth_its_gas__waits(stage: Stage) -> None:
    dear_usdc = 10**15
    stage.settings["ETHER_PRICE_USDC"] = str(dear_usdc)
    stage.open_earning()

    waiting = stage.tick()
    assert waiting.outcome is RoundOutcome.NOTHING_DUE

    stage.settings["HARVEST_MAX_AGE_S"] = "0"
    assert stage.tick().outcome is RoundOutcome.NOTHING_DUE, "it rests, in the next process too"
    stage.world.anvil.warp(1_800)
    stage.sync()
    assert stage.tick().outcome is RoundOutcome.NOTHING_DUE, "no age makes it go at a loss"

    # A tenth of the yield: its cost, and not the margin that one in time must bring.
    (harvest,) = waiting.unworthy
    price_usdc = harvest.brings_usdc * dear_usdc // (10 * harvest.costs_usdc)
    stage.settings |= {"ETHER_PRICE_USDC": str(price_usdc), "HARVEST_MAX_AGE_S": "86400"}
    stage.settings["HARVEST_MARGIN_BPS"] = "1000000"
    stage.settings |= {"GAS_DAY_USDC_MAX": "0", "GAS_ACCOUNT_DAY_USDC_MAX": "0"}
    stage.world.anvil.warp(1_800)
    stage.sync()
    assert stage.tick().outcome is RoundOutcome.NOTHING_DUE
    stage.settings["HARVEST_MAX_AGE_S"] = "0"
    stage.world.anvil.warp(86_400)
    stage.sync()
    assert stage.tick().acted == {"harvest": 1}


def test_tick__release_asked_for__settles_frees_and_leaves_time_to_withdraw(stage: Stage) -> None:
    token_id = stage.open_held()
    stage.settings["SETTLE_MAX_AGE_S"] = "600"
    stage.spend(token_id, 300_000)
    position = stage.world.contracts.position
    stage.world.send("owner", position.functions.requestRelease(token_id))
    stage.sync()

    assert stage.tick().acted == {"settle": 1}
    assert stage.tick().acted == {"hold": 1}
    state = stage.state(token_id)
    assert (state.hold_usdc, state.release_requested_at_s) == (0, None)

    stage.want(token_id)
    assert stage.tick().outcome is RoundOutcome.NOTHING_DUE, "the grace"
    stage.world.send("owner", position.functions.withdrawUnspentYield(token_id))
    stage.sync()
    assert stage.state(token_id).unspent_usdc == 0

    stage.settings["RELEASE_GRACE_S"] = "0"
    assert stage.tick().outcome is RoundOutcome.NOTHING_DUE, "no credit is left to hold"
    stage.assert_sound()


def test_tick__release_without_a_hold__is_answered_once(stage: Stage) -> None:
    token_id = stage.open_credited()
    request = stage.world.contracts.position.functions.requestRelease(token_id)
    stage.world.send("owner", request)
    stage.sync()

    assert stage.tick().acted == {"hold": 1}
    assert stage.tick().outcome is RoundOutcome.NOTHING_DUE


def test_tick__hold_near_expiry__is_renewed_by_the_chain_s_clock(stage: Stage) -> None:
    token_id = stage.open_held()
    before_s = stage.state(token_id).hold_expires_at_s
    stage.world.anvil.warp(7_200 - 2_700 + 60)
    stage.sync()

    assert stage.tick().acted == {"hold": 1}
    state = stage.state(token_id)
    assert state.hold_usdc == 5 * USDC
    assert state.hold_expires_at_s >= before_s + 4_500


def test_tick__mirror_is_old__stale_and_nothing_sent(stage: Stage) -> None:
    stage.open_earning()
    head = stage.world.anvil.head()
    with write(stage.engine) as connection:
        save_observation(
            connection,
            block_hash=head.block_hash,
            head_number=head.number,
            observed_at_s=int(time.time()) - 61,
        )

    assert stage.keeper().tick().outcome is RoundOutcome.STALE
    assert stage.intents() == []


def test_tick__clock_is_behind__settles_all_the_same(stage: Stage) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 300_000)
    stage.ahead_s = -90

    assert stage.tick().acted == {"settle": 1}
    assert stage.chain_spent(token_id) == 300_000


def test_tick__clock_is_behind_and_the_mirror_stands_still__the_chain_tells(stage: Stage) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 300_000)
    stage.ahead_s = -90
    stage.world.anvil.warp(61)
    report = stage.keeper().tick()

    assert report.outcome is RoundOutcome.STALE
    assert "behind our node's newest block" in str(report.waits_for)
    assert stage.intent_states("settle") == []


def test_tick__mirror_that_never_was_at_the_head__said_without_an_age(stage: Stage) -> None:
    stage.open_held()
    with write(stage.engine) as connection:
        mirror = load_mirror(connection)
        assert mirror is not None
        save_observation(
            connection,
            block_hash=mirror.block_hash,
            head_number=mirror.head_number,
            observed_at_s=0,
        )
    report = stage.keeper().tick()

    assert report.outcome is RoundOutcome.STALE
    assert "not been at the head yet" in str(report.waits_for)


def test_tick__clock_is_ahead__stale_and_says_what_else_it_may_be(stage: Stage) -> None:
    stage.open_held()
    stage.ahead_s = 90
    report = stage.keeper().tick()

    assert report.outcome is RoundOutcome.STALE
    assert "this clock is ahead, or the indexer stopped" in str(report.waits_for)

    stage.world.anvil.mine()
    assert "this clock" not in str(stage.keeper().tick().waits_for), "the mirror is behind"


def test_tick__mirror_is_of_another_fork__stale_and_nothing_sent(stage: Stage) -> None:
    stage.open_earning()
    stage.world.anvil.reorg(1)

    assert stage.keeper().tick().outcome is RoundOutcome.STALE
    assert stage.intents() == []

    stage.world.anvil.mine()
    stage.world.anvil.warp(1_800)
    stage.sync()
    assert stage.keeper().tick().outcome is RoundOutcome.ACTED


def test_tick__would_revert__signs_nothing_and_rests_after_some(stage: Stage) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 300_000)
    keeper_address = stage.world.accounts["keeper"].address
    set_settler = stage.world.contracts.position.functions.setSettler
    stage.world.send("admin", set_settler(keeper_address, False))
    stage.sync()
    stage.settings["FAILURES_MAX"] = "2"

    # Each a process of its own, as under cron.
    for _ in range(2):
        report = stage.keeper().tick()
        assert report.outcome is RoundOutcome.FAILED
        assert "position: not settler" in report.failures[0]
        assert stage.usage_states() == {"request-1": "posted"}, "the batch is given up"
    assert "stopped" in stage.keeper().tick().failures[0]
    assert stage.keeper().stopped_kinds() == ["settle"]
    assert stage.rehearsal().run().failures == ["settle: stopped after repeated failures"]
    assert stage.intent_states("settle") == ["abandoned", "abandoned"]

    stage.world.send("admin", set_settler(keeper_address, True))
    stage.sync()
    assert "stopped" in stage.tick().failures[0]
    stage.ahead_s = 600
    stage.settings["MAX_STALENESS_S"] = "1000"
    assert stage.tick().acted == {"settle": 1}
    assert stage.usage_states() == {"request-1": "settled"}
    with read(stage.engine) as connection:
        assert load_rests(connection) == {}
    stage.assert_sound()


def test_tick__gas_over_its_bound__waits_with_the_same_batch(stage: Stage) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 300_000)
    stage.settings.update(FEE_WEI_MAX="1", TIP_WEI="0", TIP_WEI_MAX="0")

    assert stage.tick().outcome is RoundOutcome.WAITING
    assert stage.tick().outcome is RoundOutcome.WAITING
    assert stage.intent_states("settle") == ["simulated"]

    for name in ("FEE_WEI_MAX", "TIP_WEI", "TIP_WEI_MAX"):
        del stage.settings[name]
    stage.tick()
    assert stage.usage_states() == {"request-1": "settled"}
    assert len(stage.settlements()) == 1


def test_rehearsal__everything_due__decides_the_same_and_leaves_no_trace(stage: Stage) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 300_000)

    report = stage.rehearsal().run()

    assert report.outcome is RoundOutcome.ACTED
    assert report.acted == {"settle": 1}
    assert stage.usage_states() == {"request-1": "posted"}
    assert stage.batch_states() == []
    assert stage.settlements() == []
    assert [intent.kind for intent in stage.intents()] == ["hold"]


def test_hold_lock__a_second_keeper__is_refused_until_the_first_ends(stage: Stage) -> None:
    other = open_engine(str(stage.engine.url))
    with hold_lock(stage.engine), pytest.raises(LockHeld), hold_lock(other):
        pass

    with hold_lock(other):
        pass


def test_node__revert__carries_the_contract_s_reason(stage: Stage) -> None:
    position = stage.world.contracts.position
    call = {"to": position.address, "data": position.encode_abi("hold", args=[[]])}

    with pytest.raises(Reverted) as refused:
        stage.house().node.call(call)

    assert refused.value.reason == "position: not settler"
