"""The intents' state machine: what may follow what, and that nothing else may.

::

    plan_intent       new │ the same again → not new │ the id taken by something else → conflict
    mark_*            from an allowed state → moved │ again → harmless │ from another → IntentMoved
    mark_sent         nonce free │ nonce of an open intent → IntentMoved
    try_again         its nonce is free for others, its hashes are remembered as failed
    plan_fill         stored as sent │ nonce of an open intent → IntentMoved
    answer_demand     unchanged since it was read → nothing required │ grown → left alone
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, select

from ledger.database.engine import write
from ledger.intents import lifecycle, queries, record
from ledger.intents.record import (
    Inclusion,
    IntentConflict,
    IntentMoved,
    IntentRecord,
    SignedTransaction,
)
from ledger.spending.demand import answer_demand, drop_demand, note_demand
from ledger.tables import Demand, table_of
from tests.support.ledgers import NOW_S, make_ledger

SENDER = "0x" + "5e" * 20


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    with write(engine) as connection:
        yield connection


def plan(connection: Connection, intent_id: str = "hold:1", **payload: object) -> bool:
    return lifecycle.plan_intent(
        connection,
        intent_id=intent_id,
        kind="hold",
        reason="open x1",
        payload={"to": "0x01", **payload},
        now_s=NOW_S,
    )


def load(connection: Connection, intent_id: str = "hold:1") -> IntentRecord:
    intent = record.load_intent(connection, intent_id)
    assert intent is not None
    return intent


def sign(nonce: int = 0, mark: str = "aa") -> SignedTransaction:
    return SignedTransaction(SENDER, nonce, "0x" + mark * 32, "0x02" + mark)


def include(block: int = 5, error: str | None = None) -> Inclusion:
    return Inclusion("0x" + "aa" * 32, block, f"0x{block:064x}", 50_000, 2**70, error)


Step = Callable[[Connection], object]
STEPS: dict[str, Step] = {
    "simulated": lambda c: lifecycle.mark_simulated(c, "hold:1", now_s=NOW_S + 1),
    "sent": lambda c: lifecycle.mark_sent(c, "hold:1", sign(), now_s=NOW_S + 2),
    "mined": lambda c: lifecycle.mark_mined(c, "hold:1", include(), now_s=NOW_S + 3),
    "reorged": lambda c: lifecycle.unmine(c, "hold:1", now_s=NOW_S + 4),
    "confirmed": lambda c: lifecycle.mark_final(c, load(c), now_s=NOW_S + 5),
    "abandoned": lambda c: lifecycle.mark_abandoned(c, "hold:1", error="no", now_s=NOW_S + 6),
    "replaced": lambda c: lifecycle.mark_replaced(c, "hold:1", error="no", now_s=NOW_S + 7),
    "tried_again": lambda c: lifecycle.try_again(c, load(c), failed_block=9, now_s=NOW_S + 8),
}
PATHS: dict[str, tuple[str, ...]] = {
    "planned": (),
    "simulated": ("simulated",),
    "sent": ("simulated", "sent"),
    "mined": ("simulated", "sent", "mined"),
    "confirmed": ("simulated", "sent", "mined", "confirmed"),
    "abandoned": ("abandoned",),
    "replaced": ("simulated", "sent", "replaced"),
}
ALLOWED: dict[str, set[str]] = {
    "planned": {"simulated", "abandoned", "replaced"},
    "simulated": {"simulated", "sent", "abandoned", "replaced"},
    "sent": {"sent", "mined", "reorged", "replaced", "tried_again"},
    "mined": {"mined", "reorged", "confirmed", "replaced", "tried_again"},
    "confirmed": {"reorged", "confirmed", "tried_again"},
    "abandoned": {"abandoned"},
    "replaced": {"replaced", "tried_again"},
}
ENDS = {"reorged": "sent", "tried_again": "planned"}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("state", PATHS)
def test_intent__each_step_from_each_state__only_the_drawn_ones(
    connection: Connection, state: str, step: str
) -> None:
    plan(connection)
    for name in PATHS[state]:
        STEPS[name](connection)
    assert load(connection).state == state

    if step in ALLOWED[state]:
        STEPS[step](connection)
        assert load(connection).state == ENDS.get(step, step)
    else:
        with pytest.raises(IntentMoved):
            STEPS[step](connection)
        assert load(connection).state == state


def test_try_again__sent_with_a_replacement__frees_the_nonce_and_remembers(
    connection: Connection,
) -> None:
    plan(connection)
    lifecycle.mark_simulated(connection, "hold:1", now_s=NOW_S)
    lifecycle.mark_sent(connection, "hold:1", sign(mark="aa"), now_s=NOW_S)
    first = load(connection)
    lifecycle.replace_transaction(connection, first, sign(mark="bb"), cancels=True, now_s=NOW_S)
    cancelling = load(connection)
    assert cancelling.tx_hashes == ("0x" + "bb" * 32, "0x" + "aa" * 32)
    assert cancelling.cancel_tx_hashes == ("0x" + "bb" * 32,)

    with pytest.raises(IntentMoved):
        lifecycle.try_again(connection, first, failed_block=9, now_s=NOW_S)
    lifecycle.try_again(connection, cancelling, failed_block=9, now_s=NOW_S)

    again = load(connection)
    assert (again.nonce, again.raw_tx) == (None, None)
    assert (again.tx_hashes, again.cancel_tx_hashes) == ((), ())
    assert again.failed_tx_hashes == cancelling.tx_hashes
    assert again.failed_block == 9
    assert dict(again.payload) == {"to": "0x01"}
    plan(connection, "hold:2")
    lifecycle.mark_simulated(connection, "hold:2", now_s=NOW_S)
    lifecycle.mark_sent(connection, "hold:2", sign(mark="cc"), now_s=NOW_S)


def test_unmine__a_mined_one__remembers_that_it_was(connection: Connection) -> None:
    plan(connection)
    for name in PATHS["mined"]:
        STEPS[name](connection)
    assert not load(connection).was_mined

    lifecycle.unmine(connection, "hold:1", now_s=NOW_S)

    assert load(connection).was_mined


def test_plan_fill__free_nonce__is_stored_as_sent(connection: Connection) -> None:
    intent_id = lifecycle.plan_fill(connection, sign(nonce=3), now_s=NOW_S)

    filled = load(connection, intent_id)
    assert (filled.state, filled.nonce, filled.raw_tx) == ("sent", 3, "0x02aa")
    assert queries.load_open_intents(connection) == [filled]


def test_plan_fill__nonce_of_an_open_intent__moved(engine: Engine) -> None:
    with write(engine) as connection:
        plan(connection)
        lifecycle.mark_simulated(connection, "hold:1", now_s=NOW_S)
        lifecycle.mark_sent(connection, "hold:1", sign(), now_s=NOW_S)

    with pytest.raises(IntentMoved), write(engine) as connection:
        lifecycle.plan_fill(connection, sign(mark="bb"), now_s=NOW_S)


def test_plan_intent__again__is_not_new_and_changes_nothing(connection: Connection) -> None:
    assert plan(connection, token_ids=[1, 2])
    lifecycle.mark_simulated(connection, "hold:1", now_s=NOW_S)

    assert not plan(connection, token_ids=[1, 2])
    assert load(connection).state == "simulated"


def test_plan_intent__same_id_for_another_thing__conflicts(connection: Connection) -> None:
    plan(connection, token_ids=[1])

    with pytest.raises(IntentConflict):
        plan(connection, token_ids=[2])


def test_mark_mined__reverted_there__ends_as_reverted_with_its_reason(
    connection: Connection,
) -> None:
    plan(connection)
    STEPS["simulated"](connection)
    STEPS["sent"](connection)
    lifecycle.mark_mined(connection, "hold:1", include(error="position: x"), now_s=NOW_S)

    assert lifecycle.mark_final(connection, load(connection), now_s=NOW_S) == "reverted"
    assert load(connection).error == "position: x"
    assert load(connection).fee_wei == 2**70


def test_unmine__mined__forgets_the_block_and_keeps_the_transaction(connection: Connection) -> None:
    plan(connection)
    for name in PATHS["mined"]:
        STEPS[name](connection)
    STEPS["reorged"](connection)

    intent = load(connection)
    assert (intent.mined_block, intent.fee_wei, intent.error) == (None, None, None)
    assert (intent.nonce, intent.raw_tx) == (0, "0x02aa")


@pytest.mark.parametrize("state", ["sent", "mined", "confirmed"])
def test_mark_sent__nonce_of_an_intent_that_may_land__is_refused(
    connection: Connection, state: str
) -> None:
    plan(connection)
    for name in PATHS[state]:
        STEPS[name](connection)
    plan(connection, "hold:2")
    lifecycle.mark_simulated(connection, "hold:2", now_s=NOW_S)

    with pytest.raises(IntentMoved):
        lifecycle.mark_sent(connection, "hold:2", sign(0, "bb"), now_s=NOW_S)
    lifecycle.mark_sent(connection, "hold:2", sign(1, "bb"), now_s=NOW_S)


def test_replace_transaction__twice__remembers_every_hash_newest_first(
    connection: Connection,
) -> None:
    plan(connection, token_ids=[1])
    for name in PATHS["sent"]:
        STEPS[name](connection)
    first = load(connection)
    lifecycle.replace_transaction(connection, first, sign(0, "bb"), now_s=NOW_S)
    lifecycle.replace_transaction(connection, load(connection), sign(0, "cc"), now_s=NOW_S)

    assert load(connection).tx_hashes == ("0x" + "cc" * 32, "0x" + "bb" * 32, "0x" + "aa" * 32)
    assert load(connection).payload == first.payload
    with pytest.raises(IntentMoved):
        lifecycle.replace_transaction(connection, first, sign(0, "dd"), now_s=NOW_S)
    with pytest.raises(ValueError, match="nonce"):
        lifecycle.replace_transaction(connection, load(connection), sign(1, "dd"), now_s=NOW_S)


def test_load_open_intents__several__by_nonce_then_unsigned(connection: Connection) -> None:
    for number, nonce in enumerate((5, 0, None)):
        intent_id = f"hold:{number}"
        plan(connection, intent_id)
        if nonce is not None:
            lifecycle.mark_simulated(connection, intent_id, now_s=NOW_S)
            lifecycle.mark_sent(connection, intent_id, sign(nonce), now_s=NOW_S)
    plan(connection, "hold:9")
    lifecycle.mark_abandoned(connection, "hold:9", error="", now_s=NOW_S)

    found = [intent.intent_id for intent in queries.load_open_intents(connection)]
    assert found == ["hold:1", "hold:0", "hold:2"]


@pytest.mark.parametrize(("nonce", "expected"), [(0, ["hold:1"]), (1, [])])
def test_load_confirmed_from_nonce__nonce_unused_again__finds_it(
    connection: Connection, nonce: int, expected: list[str]
) -> None:
    plan(connection)
    for name in PATHS["confirmed"]:
        STEPS[name](connection)

    found = queries.load_confirmed_from_nonce(connection, sender=SENDER, nonce=nonce)

    assert [intent.intent_id for intent in found] == expected


@pytest.mark.parametrize(("read_usdc", "left_usdc"), [(7, 0), (6, 7)])
def test_answer_demand__only_what_was_read__is_answered(
    connection: Connection, read_usdc: int, left_usdc: int
) -> None:
    note_demand(connection, token_id=0, required_usdc=7, now_s=NOW_S)

    answer_demand(connection, token_id=0, required_usdc=read_usdc)

    demand = table_of(Demand)
    assert connection.execute(select(demand.c.required_usdc)).scalar_one() == left_usdc


def test_drop_demand__not_repeated__is_dropped(connection: Connection) -> None:
    note_demand(connection, token_id=0, required_usdc=7, now_s=NOW_S)

    assert drop_demand(connection, wanted_before_s=NOW_S) == 0
    assert drop_demand(connection, wanted_before_s=NOW_S + 1) == 1
