"""Payments to sellers, whatever happens on the way: each is made once, and the ledger says so.

::

    payable → one payment for each payee, then paid, or credited where USDC refuses the payee
    ├── crash after any step, or any two → the same batch
    ├── treasury too small → the payouts that it covers
    ├── payees that the contract refuses → left out, however many; the others are paid
    ├── payer's right withdrawn → nothing is signed, the payouts are free again
    └── the pool forgot it, or it is stuck → the same batch; either transaction may land
    USDC paused → nothing is lost
    audit → finds where ledger and chain differ

``test_keeper_payout_reorgs.py`` has what the chain takes back.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from contracts.errors import CurrentError
from keeper.rounds import RoundOutcome
from ledger.database.engine import read
from ledger.selling.payouts import find_payout_mismatches
from ledger.tables import PayoutBatch, table_of
from scripts.audit import audit
from tests.integration.keeper.test_crash import STEPS
from tests.support.deploy import USDC, World
from tests.support.keepers import Crash, Stage, crash_at, make_stage_on
from tests.support.ledgers import BOTH, Databases

PAYEE = "0x" + "aa" * 20
OTHER_PAYEE = "0x" + "bb" * 20
REFUSED_PAYEE = "0x" + "cc" * 20


@contextmanager
def open_paying(kind: str, world: World, folder: Path) -> Iterator[Stage]:
    """Open a stage whose keeper may pay from a treasury of 10 USDC."""
    with Databases(kind, folder) as databases:
        stage = make_stage_on(world, databases.open_unbound())
        refused = world.anvil.web3.to_checksum_address(REFUSED_PAYEE)
        world.send("admin", world.contracts.usdc.functions.blacklist(refused, True))
        stage.allow_paying()
        yield stage


@pytest.fixture(params=BOTH)
def stage(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Stage]:
    with open_paying(request.param, world, tmp_path) as stage:
        yield stage


def owe_three(stage: Stage) -> None:
    stage.owe(("a", PAYEE, 3), ("b", PAYEE, 4), ("c", REFUSED_PAYEE, 5))


def finish(stage: Stage, rounds: int = 6) -> None:
    """Let keepers and indexer go on until every intent is final."""
    for _ in range(rounds):
        with suppress(CurrentError):
            stage.keeper().tick()
        stage.world.anvil.mine(3)
        stage.sync()


def count_paid(stage: Stage) -> int:
    """Return how many batches the chain has paid."""
    return len(stage.world.contracts.payouts.events.BatchPaid.get_logs(from_block=0))


def assert_paid_once(stage: Stage, *, batches: int = 1) -> None:
    """Check that what ``owe_three`` owes was paid once, and that the ledger knows."""
    assert stage.received(PAYEE) == (7, 0)
    assert stage.received(REFUSED_PAYEE) == (0, 5)
    ends = {payout_id: states[-1] for payout_id, states in stage.payout_states().items()}
    assert ends == {"a": "paid", "b": "paid", "c": "credited"}
    assert count_paid(stage) == batches
    assert stage.payout_batch_states().count("paid") == batches
    assert not {"planned", "simulated", "sent", "mined"} & set(stage.intent_states("payout"))
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []


def set_payer(stage: Stage, allowed: bool) -> None:
    keeper = stage.world.accounts["keeper"].address
    call = stage.world.contracts.payouts.functions.setPayer(keeper, allowed)
    stage.world.send("admin", call)
    stage.sync()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.sampled(3)
def test_payout__crash_after_any_step__is_paid_once_by_the_same_batch(
    stage: Stage, step: str
) -> None:
    owe_three(stage)
    with pytest.raises(Crash):
        stage.keeper(crash_at(step)).tick()
    before = stage.intents()[-1]

    finish(stage)

    assert_paid_once(stage)
    (after,) = stage.intents()
    assert after.intent_id == before.intent_id
    assert before.tx_hash in (None, after.tx_hash)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(first, second, marks=[] if j == i + 3 else pytest.mark.slow)
        for i, first in enumerate(STEPS)
        for j, second in enumerate(STEPS)
    ],
)
@pytest.mark.sampled(3)
def test_payout__crash_twice__is_paid_once(stage: Stage, first: str, second: str) -> None:
    owe_three(stage)
    with pytest.raises(Crash):
        stage.keeper(crash_at(first)).tick()
    with suppress(Crash):
        stage.keeper(crash_at(second)).tick()
    stage.sync()

    finish(stage)

    assert_paid_once(stage)


def test_payout__payable__is_followed_to_its_end(stage: Stage) -> None:
    owe_three(stage)
    stage.owe(("d", "T-tron", 6))

    assert stage.keeper().tick().acted == {"payout": 3}
    assert stage.payout_states() == {"a": ["planned"], "b": ["planned"], "c": ["planned"]}
    assert stage.keeper().tick().acted == {}
    assert stage.payout_states() == {"a": ["sent"], "b": ["sent"], "c": ["sent"]}
    finish(stage)

    assert_paid_once(stage)
    assert stage.tick().outcome is RoundOutcome.NOTHING_DUE


@pytest.mark.parametrize("lands", ["first", "raised"])
def test_payout__stuck_and_forgotten__either_transaction_pays_once(
    stage: Stage, lands: str
) -> None:
    anvil = stage.world.anvil
    owe_three(stage)
    anvil.set_automine(False)
    assert stage.tick().outcome is RoundOutcome.WAITING
    first = stage.intents()[-1]
    assert first.tx_hash is not None
    anvil.drop_transaction(first.tx_hash)
    stage.ahead_s = 61
    stage.settings["MAX_STALENESS_S"] = "200"
    assert stage.tick().outcome is RoundOutcome.WAITING
    raised = stage.intents()[-1]
    assert raised.tx_hashes == (raised.tx_hash, first.tx_hash)
    if lands == "first":
        assert raised.tx_hash is not None
        anvil.drop_transaction(raised.tx_hash)
        anvil.request("eth_sendRawTransaction", first.raw_tx)
    anvil.mine()
    anvil.set_automine(True)

    finish(stage)

    assert_paid_once(stage)


def test_payout__treasury_too_small__pays_what_it_covers(stage: Stage) -> None:
    stage.owe(("a", PAYEE, 11 * USDC), ("b", OTHER_PAYEE, 10 * USDC))

    assert stage.tick().acted == {"payout": 1}
    assert [stage.received(payee)[0] for payee in (PAYEE, OTHER_PAYEE)] == [0, 10 * USDC]
    finish(stage)
    assert stage.tick().outcome is RoundOutcome.NOTHING_DUE

    stage.world.fund_usdc(stage.world.contracts.payouts.address, 11 * USDC)
    stage.sync()
    assert stage.tick().acted == {"payout": 1}
    assert stage.received(PAYEE) == (11 * USDC, 0)


def test_payout__more_refused_payees_than_a_batch_holds__the_others_are_paid(
    stage: Stage,
) -> None:
    treasury = stage.world.deployment.payouts
    stage.owe(*((f"bad-{n:03}", treasury, 1) for n in range(200)), ("good", PAYEE, 4))

    report = stage.keeper().tick()
    assert report.outcome is RoundOutcome.FAILED
    assert len(report.refused) == 200
    assert report.refused[0] == "payout bad-000: payouts: payee not allowed"
    assert stage.keeper().tick().acted == {"payout": 1}

    assert stage.received(PAYEE) == (4, 0)


def test_payout__right_withdrawn__nothing_is_signed_and_the_payouts_are_free(
    stage: Stage,
) -> None:
    owe_three(stage)
    set_payer(stage, False)

    assert "payouts: not payer" in stage.keeper().tick().failures[0]

    assert stage.payout_states() == {"a": ["freed"], "b": ["freed"], "c": ["freed"]}
    assert stage.intents()[-1].raw_tx is None
    set_payer(stage, True)
    finish(stage)
    assert_paid_once(stage)


def test_payout__usdc_paused__everything_is_credited_or_waits_and_nothing_is_lost(
    stage: Stage,
) -> None:
    usdc = stage.world.contracts.usdc.functions
    owe_three(stage)
    stage.world.send("admin", usdc.pause())
    finish(stage, rounds=3)
    stage.world.send("admin", usdc.unpause())
    finish(stage)

    paid, credited = stage.received(PAYEE)
    assert paid + credited == 7
    assert stage.received(REFUSED_PAYEE) == (0, 5)
    assert {states[-1] for states in stage.payout_states().values()} <= {"paid", "credited"}
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []


def test_audit__ledger_and_chain_differ__each_difference_is_told(stage: Stage) -> None:
    owe_three(stage)
    finish(stage)
    assert_paid_once(stage)
    batch = table_of(PayoutBatch)

    def find(change: str) -> list[str]:
        with stage.engine.connect() as connection:
            connection.exec_driver_sql(change)
            found = find_payout_mismatches(connection)
            connection.rollback()
        return [subject.split()[0] for subject, _ in found]

    assert find("UPDATE payout_item SET state = 'paid'") == ["payout"]
    assert find("UPDATE payout_item SET amount_usdc = 9 WHERE payout_id = 'a'") == ["payout"] * 2
    assert find("UPDATE market_payout SET batch_id = NULL WHERE payout_id = 'a'") == ["payout"]
    assert find("UPDATE payout_batch SET state = 'abandoned'") == ["payout"]
    assert find("DELETE FROM event WHERE name = 'BatchPaid'") == ["payout"]
    with read(stage.engine) as connection:
        assert find_payout_mismatches(connection) == []
        assert connection.execute(select(batch.c.state)).scalars().all() == ["paid"]
