"""Payments that the chain takes back, refuses or has from somebody else: each is made once.

::

    paid, and its block is reorganised away, shallow or deep
    ├── → sent again, the same transaction; also with a crash on the way
    ├── it lands in another block while nobody looks → paid there
    └── somebody else's carried it → the same batch again
    sent, and
    ├── it reverts in its block → the same batch again
    │   └── and again → kept until no reorg brings it back, then its payouts join another batch
    └── somebody else used its nonce, also for the same batch → the same batch, or paid
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from contracts.errors import CurrentError
from keeper.duties.payout import GIVE_UP_BLOCKS_MIN
from keeper.rounds import RoundOutcome
from keeper.transactor.recovery import ATTEMPTS_MAX
from ledger.database.engine import read
from ledger.tables import PayoutBatch, table_of
from tests.integration.keeper.test_crash import reorg_from, send_beside
from tests.integration.keeper.test_payouts import (
    assert_paid_once,
    count_paid,
    finish,
    open_paying,
    owe_three,
    set_payer,
)
from tests.support.deploy import World
from tests.support.keepers import Crash, Stage, crash_at
from tests.support.ledgers import BOTH


@pytest.fixture(params=BOTH)
def stage(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Stage]:
    with open_paying(request.param, world, tmp_path) as stage:
        yield stage


# First of all: after many snapshots anvil has lost the state of the block that it must go back to.
def test_payout__carried_by_another_transaction_that_a_reorg_takes__is_sent_again(
    stage: Stage,
) -> None:
    owe_three(stage)
    with pytest.raises(Crash):
        stage.keeper(crash_at("stored")).tick()
    payload = stage.intents()[-1].payload
    before = stage.world.anvil.head().number
    send_beside(stage, "keeper", to=payload["to"], data=payload["data"])
    stage.world.anvil.mine(3)
    finish(stage)
    assert stage.intent_states("payout") == ["replaced"]
    assert_paid_once(stage)

    reorg_from(stage, before + 1)
    stage.sync()
    assert stage.payout_batch_states() == ["sent"]
    finish(stage)

    assert_paid_once(stage)
    assert stage.intent_states("payout") == ["confirmed"]


@pytest.mark.parametrize("blocks", [1, 6])
def test_payout__its_block_is_reorganised_away__the_same_transaction_again(
    stage: Stage, blocks: int
) -> None:
    owe_three(stage)
    before = stage.world.anvil.head().number
    finish(stage, rounds=1 if blocks == 1 else 4)
    paid = stage.intents()[-1]
    assert paid.state == ("mined" if blocks == 1 else "confirmed")
    reorg_from(stage, before + 1)
    stage.world.anvil.mine()
    stage.sync()
    assert count_paid(stage) == 0

    finish(stage)

    assert_paid_once(stage)
    assert stage.intents()[-1].tx_hash == paid.tx_hash


def forbid_in_its_block(stage: Stage) -> None:
    """Let a payment be sent that reverts in its block: the right to pay goes right before it."""
    anvil, payouts = stage.world.anvil, stage.world.contracts.payouts
    keeper = stage.world.accounts["keeper"].address
    anvil.set_automine(False)
    assert stage.tick().outcome is RoundOutcome.WAITING
    forbid = payouts.encode_abi("setPayer", args=[keeper, False])
    send_beside(stage, "admin", to=payouts.address, data=forbid)
    anvil.mine()
    anvil.set_automine(True)
    stage.sync()
    stage.tick()


@pytest.mark.parametrize("step", [None, "planned_again"])
def test_payout__reverts_in_its_block__the_same_batch_again(stage: Stage, step: str | None) -> None:
    owe_three(stage)
    forbid_in_its_block(stage)
    reverted = stage.intents()[-1]
    assert (reverted.state, reverted.error) == ("mined", "payouts: not payer")
    assert set(map(tuple, stage.payout_states().values())) == {("sent",)}
    set_payer(stage, True)
    stage.world.anvil.mine(2)
    stage.sync()
    if step is not None:
        with pytest.raises(Crash):
            stage.keeper(crash_at(step)).tick()

    finish(stage)

    assert_paid_once(stage)
    assert stage.intents()[-1].failed_tx_hashes == (reverted.tx_hash,)


def test_payout__lands_in_another_block_while_nobody_looks__is_paid_there(stage: Stage) -> None:
    owe_three(stage)
    before = stage.world.anvil.head().number
    finish(stage, rounds=4)
    raw_tx = stage.intents()[-1].raw_tx
    assert raw_tx is not None
    reorg_from(stage, before + 1)
    stage.world.anvil.mine(4)
    stage.house().node.send_raw(raw_tx)
    stage.world.anvil.mine(4)
    stage.sync()
    assert stage.payout_batch_states() == ["sent"]

    finish(stage, rounds=2)

    assert_paid_once(stage)
    with read(stage.engine) as connection:
        paid_block = connection.execute(select(table_of(PayoutBatch).c.paid_block)).scalar_one()
    assert stage.intents()[-1].mined_block != paid_block


@pytest.mark.parametrize("step", ["taken_back", "included", "mined"])
@pytest.mark.sampled(3)
def test_payout__reorg_and_crash__is_paid_once(stage: Stage, step: str) -> None:
    owe_three(stage)
    before = stage.world.anvil.head().number
    finish(stage, rounds=4)
    reorg_from(stage, before + 1)
    stage.world.anvil.mine()
    stage.sync()
    with pytest.raises(Crash):
        stage.keeper(crash_at(step)).tick()

    finish(stage)

    assert_paid_once(stage)


def test_payout__given_up__only_below_every_reorg_and_then_another_batch_pays(
    stage: Stage,
) -> None:
    owe_three(stage)
    forbid_in_its_block(stage)
    raw_tx = stage.intents()[-1].raw_tx
    assert raw_tx is not None
    finish(stage, rounds=4)
    assert stage.payout_batch_states() == ["sent"], "kept: a reorg may bring it back"
    stage.world.anvil.mine(GIVE_UP_BLOCKS_MIN)
    finish(stage, rounds=2)
    assert stage.payout_batch_states()[0] == "abandoned"

    set_payer(stage, True)
    finish(stage)

    assert_paid_once(stage)
    with suppress(CurrentError):
        stage.house().node.send_raw(raw_tx)
    finish(stage, rounds=1)
    assert_paid_once(stage)


@pytest.mark.parametrize("is_same_batch", [False, True])
def test_payout__somebody_used_its_nonce__is_paid_once(stage: Stage, is_same_batch: bool) -> None:
    owe_three(stage)
    with pytest.raises(Crash):
        stage.keeper(crash_at("stored")).tick()
    payload = stage.intents()[-1].payload
    if is_same_batch:
        send_beside(stage, "keeper", to=payload["to"], data=payload["data"])
    else:
        send_beside(stage, "keeper", to=stage.world.accounts["outsider"].address)
    stage.world.anvil.mine(3)
    stage.sync()

    finish(stage)

    assert_paid_once(stage)
    expected = "replaced" if is_same_batch else "confirmed"
    assert stage.intent_states("payout") == [expected]


def test_payout__reverts_in_every_attempt__is_kept_until_no_reorg_brings_one_back(
    stage: Stage,
) -> None:
    owe_three(stage)
    for _ in range(ATTEMPTS_MAX):
        forbid_in_its_block(stage)
        set_payer(stage, True)
        stage.world.anvil.set_automine(False)
        stage.world.anvil.mine(3)
        stage.sync()
        stage.tick()
    stage.world.anvil.set_automine(True)
    finish(stage, rounds=3)
    last = stage.intents()[-1]
    assert (last.state, len(last.failed_tx_hashes)) == ("mined", ATTEMPTS_MAX - 1)
    assert stage.payout_batch_states() == ["sent"]

    stage.world.anvil.mine(GIVE_UP_BLOCKS_MIN)
    stage.sync()
    finish(stage)

    assert_paid_once(stage)
    assert stage.payout_batch_states() == ["abandoned", "paid"]
