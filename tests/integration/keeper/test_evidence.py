"""A day's evidence goes on chain once: with a keeper that dies and a chain that takes things back.

::

    days with evidence → the oldest first, one transaction each; today and a day without: none
    └── evidence that comes late → belongs to the next day that has no root
    crash after any step → once, by the very same intent
    its block is reorganised away, shallow or deep → the same root once more
    the keeper's key may not settle → tried again an hour later; then as ever
    a ledger restored from before it → takes the root over from the chain
"""

import time

import pytest
from eth_utils.address import to_checksum_address

from contracts.units import utc_day
from keeper.duties.day_root import EvidenceFacts, EvidenceItem, decide_evidence
from keeper.duties.moment import Moment
from ledger.audit import find_stranded_batches, find_violations
from ledger.database.engine import read, write
from ledger.selling.day_roots import get_batch_id, load_last_day, load_published
from ledger.selling.evidence import build_day_root, load_day
from ledger.spending.lost_batches import find_lost_batches, take_over
from tests.support.evidence import keep, make_evidence
from tests.support.keepers import Crash, Stage, crash_at

STEPS = ("planned", "simulated", "stored", "sent", "included", "mined")
SELLER = "0x00000000000000000000000000000000000000b1"
OFFER = "offer-p"


@pytest.fixture
def day(stage: Stage) -> int:
    """Return a day that is over, with two probes of an offer."""
    stage.owe(("p", SELLER, 1))
    stage.settings["EVIDENCE_AFTER_S"] = "600"
    day = utc_day(int(time.time())) - 4
    rows = [make_evidence(name, offer_id=OFFER, day=day) for name in ("e1", "e2")]
    keep(stage.engine, *rows)
    return day


def roots_on_chain(stage: Stage) -> dict[str, str]:
    """Return the root of each batch that the chain has, and check that none charges anybody."""
    events = stage.world.contracts.position.events.BatchSettled.get_logs(from_block=0)
    assert all(one["args"]["total"] == one["args"]["itemCount"] == 0 for one in events)
    roots = {
        "0x" + one["args"]["batchId"].hex(): "0x" + one["args"]["receiptsRoot"].hex()
        for one in events
    }
    assert len(roots) == len(events)
    return roots


def expected_root(stage: Stage, day: int) -> str:
    with read(stage.engine) as connection:
        root = build_day_root(load_day(connection, day))
    assert root is not None
    return root


def finish(stage: Stage) -> None:
    """Let keepers and indexer go on until every intent is final."""
    for _ in range(4):
        stage.world.anvil.mine(3)
        stage.sync()
        stage.keeper().tick(["evidence"])
    stage.sync()


def assert_published(stage: Stage, day: int) -> None:
    """Check that chain and ledger have the day's root, once, and agree about it."""
    root = expected_root(stage, day)
    assert roots_on_chain(stage) == {get_batch_id(day): root}
    with read(stage.engine) as connection:
        published = load_published(connection, day)
        assert find_violations(connection) == []
        assert find_stranded_batches(connection) == []
    assert published is not None
    assert published[0] == root
    receipt = stage.world.anvil.web3.eth.get_transaction_receipt(published[2])  # type: ignore[arg-type]
    assert receipt["blockNumber"] == published[1]
    assert not {"planned", "simulated", "sent", "mined"} & set(stage.intent_states("evidence"))


def test_tick__days_with_evidence__oldest_first_and_once(stage: Stage, day: int) -> None:
    today = utc_day(int(time.time()))
    keep(stage.engine, make_evidence("later", offer_id=OFFER, day=day + 2))
    keep(stage.engine, make_evidence("now", offer_id=OFFER, day=today))

    assert stage.tick().acted == {"evidence": 1}
    assert list(roots_on_chain(stage)) == [get_batch_id(day)]
    keep(stage.engine, make_evidence("late", offer_id=OFFER, day=day))
    for _ in range(3):
        stage.tick()

    days = (day, day + 1, day + 2)
    assert roots_on_chain(stage) == {
        get_batch_id(one): expected_root(stage, one) for one in days
    }, "what came late is in the next day's root"
    with read(stage.engine) as connection:
        assert [row.evidence_id for row in load_day(connection, day + 1)] == ["late"]
        assert [row.evidence_id for row in load_day(connection, today)] == ["now"]
        assert load_published(connection, today) is None


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.sampled(2)
def test_tick__crash_after_any_step__published_once(stage: Stage, day: int, step: str) -> None:
    with pytest.raises(Crash):
        stage.keeper(crash_at(step)).tick()
    before = stage.intents()[-1]

    finish(stage)

    assert_published(stage, day)
    intents = [intent.intent_id for intent in stage.intents() if intent.kind == "evidence"]
    assert intents == [before.intent_id] == [f"evidence:{get_batch_id(day)}"]


@pytest.mark.parametrize("is_final", [False, True])
def test_reorg__takes_the_root__is_sent_again(stage: Stage, day: int, is_final: bool) -> None:
    stage.tick()
    if is_final:
        finish(stage)
        assert stage.intent_states("evidence") == ["confirmed"]
    with read(stage.engine) as connection:
        published = load_published(connection, day)
    assert published is not None
    head = stage.world.anvil.head().number
    stage.world.anvil.reorg(head - published[1] + 1)
    stage.sync()
    with read(stage.engine) as connection:
        assert load_published(connection, day) is None
    assert roots_on_chain(stage) == {}

    finish(stage)

    assert_published(stage, day)


def test_tick__key_may_not_settle__tried_again_an_hour_later(stage: Stage, day: int) -> None:
    position = stage.world.contracts.position
    keeper = to_checksum_address(stage.world.accounts["keeper"].address)
    stage.world.send("admin", position.functions.setSettler(keeper, False))
    stage.sync()
    assert stage.tick().failures != []
    assert stage.intent_states("evidence") == ["abandoned"]
    assert stage.batch_states() == ["abandoned"]

    stage.world.send("admin", position.functions.setSettler(keeper, True))
    stage.sync()
    stage.tick()
    assert roots_on_chain(stage) == {}
    stage.ahead_s = 3_601
    stage.settings["MAX_STALENESS_S"] = "10000"
    finish(stage)

    assert_published(stage, day)


def test_restore__backup_from_before_the_root__takes_it_over(stage: Stage, day: int) -> None:
    stage.tick()
    finish(stage)
    root = expected_root(stage, day)
    with write(stage.engine) as connection:
        connection.exec_driver_sql("DELETE FROM batch")
        connection.exec_driver_sql("DELETE FROM intent")
        (lost,) = find_lost_batches(connection, above_block=0)
        assert take_over(connection, lost, now_s=1) == []
        assert load_last_day(connection) == day
        assert find_lost_batches(connection, above_block=0) == []
    finish(stage)

    assert roots_on_chain(stage) == {get_batch_id(day): root}
    assert_published(stage, day)


def test_decide__in_flight_or_resting__waits() -> None:
    facts = EvidenceFacts(5)
    at = {"block_number": 1, "block_hash": "0x", "now_s": 1}

    assert decide_evidence(facts, Moment(**at)).transactions == [(EvidenceItem(5),)]  # type: ignore[arg-type]
    assert decide_evidence(EvidenceFacts(), Moment(**at)).transactions == []  # type: ignore[arg-type]
    flying = Moment(**at, kinds_in_flight=frozenset({"evidence"}))  # type: ignore[arg-type]
    assert decide_evidence(facts, flying).transactions == []
    resting = Moment(**at, resting=frozenset({("evidence", "5")}))  # type: ignore[arg-type]
    assert decide_evidence(facts, resting).transactions == []
