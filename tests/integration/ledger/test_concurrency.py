"""What the ledger's functions do to each other on PostgreSQL, where transactions really overlap.

Each meeting is staged: one transaction has done its part and is open, the other one runs into its
lock, the first commits, and the second must decide on what it left.

::

    reserve   the hold shrinks │ the same request │ another position's request
    post      void │ reserve of what it frees │ the position is minted again
    sweep     renew │ post │ sweep
    plan      plan │ post of other usage
    close     abandon │ close
    mark_sent the same nonce by another keeper
    demand    dropped while it is noted
    bind      another deployment at the same time
    storm     all of it at once, from several processes' worth of writers
"""

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, Engine, select, text

from contracts.errors import CurrentError, Rejected
from ledger.audit import find_violations
from ledger.chain.position_rows import delete_position
from ledger.database.engine import PostgresLimits, read, write, write_until_through
from ledger.database.locks import lock_positions
from ledger.database.schema import bind_deployment
from ledger.database.writer import GroupWriter
from ledger.errors import (
    LedgerContended,
    LedgerUnavailable,
    RefusalReason,
    RequestIdConflict,
    ReserveRefused,
    UsageResolved,
    WrongDeployment,
)
from ledger.intents import lifecycle, record
from ledger.intents.record import IntentMoved, SignedTransaction
from ledger.spending.admission import AdmissionRules
from ledger.spending.batches import (
    PlannedBatch,
    abandon_batch,
    close_batch,
    plan_batch,
    reopen_batch,
)
from ledger.spending.demand import drop_demand, note_demand
from ledger.spending.leases import sweep_leases
from ledger.spending.metering import MeterCall, Post, Renew, Reserve, Reserved, Void
from ledger.tables import Demand, Usage, table_of
from ledger.tables.usage import Charge, Reservation
from tests.support.ledgers import (
    DEPLOYMENT,
    NOW_S,
    Databases,
    make_state,
    put_cursor,
    put_positions,
)
from tests.support.waiting import LIMIT_S, wait_until

T = TypeVar("T")

RULES = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=300)
HOLD_USDC = 500_000
TOKENS = range(4)

PATIENT = PostgresLimits(connections_max=20, checkout_timeout_s=LIMIT_S, lock_timeout_ms=60_000)


@pytest.fixture
def engine(postgres: Databases) -> Engine:
    engine = postgres.open_ledger(limits=PATIENT)
    with write(engine) as connection:
        put_positions(connection, *[make_state(token_id) for token_id in TOKENS])
        put_cursor(connection)
    return engine


def wish(request_id: str = "r", ceiling_usdc: int = 100_000, token_id: int = 0) -> Reservation:
    return Reservation(request_id, token_id, 0, "key", "model", ceiling_usdc, 1, 1)


def meet(
    engine: Engine, first: Callable[[Connection], object], second: Callable[[Connection], T]
) -> T:
    """Run ``second`` while ``first`` is done and not committed; it must wait for the commit."""
    with ThreadPoolExecutor(1) as pool:
        with write(engine) as connection:
            first(connection)
            running = pool.submit(write_until_through, engine, second)
            wait_until_blocked(engine, running)
        return running.result(LIMIT_S)


def wait_until_blocked(engine: Engine, running: "Future[Any]") -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def is_blocked() -> bool:
        assert not running.done(), f"it did not wait: {running}"
        with read(engine) as connection:
            return bool(connection.execute(waiting).scalar_one())

    wait_until(is_blocked, "it waits")


def prepare(engine: Engine, *calls: MeterCall[Any]) -> None:
    with write(engine) as connection:
        for call in calls:
            call(connection)


def assert_sound(engine: Engine) -> None:
    """L1 and L3; of L4 the half that needs no chain."""
    with read(engine) as connection:
        assert [v for v in find_violations(connection) if "unlike the chain" not in v.detail] == []


def drawn_usdc(engine: Engine, token_id: int = 0) -> int:
    query = text("SELECT drawn_usdc FROM position WHERE token_id = :token_id")
    with read(engine) as connection:
        return int(connection.execute(query, {"token_id": token_id}).scalar_one())


# ------------------------------------------------------------------------------------- the meter


def test_reserve__hold_shrinks_meanwhile__refused(engine: Engine) -> None:
    shrunk = make_state(hold_usdc=99_999)
    with pytest.raises(ReserveRefused) as caught:
        meet(engine, lambda c: put_positions(c, shrunk), Reserve(wish(), RULES, NOW_S))
    assert caught.value.reason is RefusalReason.HOLD_PENDING
    assert_sound(engine)


def test_reserve__key_revoked_meanwhile__refused(engine: Engine) -> None:
    revoked = make_state(key_epoch=1)
    with pytest.raises(ReserveRefused) as caught:
        meet(engine, lambda c: put_positions(c, revoked), Reserve(wish(), RULES, NOW_S))
    assert caught.value.reason is RefusalReason.KEY_REVOKED


def test_reserve__the_same_request_twice_at_once__reserved_once(engine: Engine) -> None:
    call = Reserve(wish(), RULES, NOW_S)
    assert meet(engine, call, call) == Reserved(100_000, HOLD_USDC - 100_000)
    assert drawn_usdc(engine) == 100_000


def test_reserve__another_position_takes_the_request_id_meanwhile__conflicts(
    engine: Engine,
) -> None:
    with pytest.raises(RequestIdConflict):
        meet(
            engine,
            Reserve(wish(), RULES, NOW_S),
            Reserve(wish(token_id=1), RULES, NOW_S),
        )
    assert drawn_usdc(engine, 1) == 0
    assert_sound(engine)


def test_reserve__two_that_fit_only_one_at_a_time__one(engine: Engine) -> None:
    with pytest.raises(ReserveRefused):
        meet(
            engine,
            Reserve(wish("a", 300_000), RULES, NOW_S),
            Reserve(wish("b", 300_000), RULES, NOW_S),
        )
    assert drawn_usdc(engine) == 300_000


def test_post__voided_meanwhile__refused_and_drawn_once(engine: Engine) -> None:
    prepare(engine, Reserve(wish(), RULES, NOW_S))
    with pytest.raises(UsageResolved, match="voided"):
        meet(engine, Void("r", "test", NOW_S), Post("r", Charge(1, 1, 1), NOW_S))
    assert drawn_usdc(engine) == 0
    assert_sound(engine)


def test_reserve__what_a_post_frees_meanwhile__admitted(engine: Engine) -> None:
    prepare(engine, Reserve(wish("big", HOLD_USDC), RULES, NOW_S))
    reserved = meet(engine, Post("big", Charge(1, 1, 1), NOW_S), Reserve(wish(), RULES, NOW_S))
    assert reserved == Reserved(100_000, HOLD_USDC - 1 - 100_000)


def test_post__position_minted_again_meanwhile__drawn_is_what_usage_adds_up_to(
    engine: Engine,
) -> None:
    prepare(engine, Reserve(wish(), RULES, NOW_S))
    with write(engine) as connection:
        delete_position(connection, 0)

    def mint(connection: Connection) -> None:
        lock_positions(connection, [0])
        put_positions(connection, make_state())

    posted = meet(engine, mint, Post("r", Charge(10, 1, 1), NOW_S))
    assert posted.hold_left_usdc == HOLD_USDC - 10
    assert drawn_usdc(engine) == 10
    assert_sound(engine)


def test_mint__usage_of_the_lost_position_is_posted_meanwhile__drawn_is_its_cost(
    engine: Engine,
) -> None:
    prepare(engine, Reserve(wish(), RULES, NOW_S))
    with write(engine) as connection:
        delete_position(connection, 0)

    def mint(connection: Connection) -> None:
        lock_positions(connection, [0])
        put_positions(connection, make_state())

    meet(engine, Post("r", Charge(10, 1, 1), NOW_S), mint)
    assert drawn_usdc(engine) == 10


# ------------------------------------------------------------------------------------ the leases


def test_sweep__renewed_meanwhile__left_alone(engine: Engine) -> None:
    prepare(engine, Reserve(wish(), RULES, NOW_S))
    late_s = NOW_S + RULES.lease_s
    swept = meet(engine, Renew("r", late_s + 1), lambda c: sweep_leases(c, now_s=late_s))
    assert swept == 0
    assert drawn_usdc(engine) == 100_000


def test_sweep__posted_meanwhile__left_alone(engine: Engine) -> None:
    prepare(engine, Reserve(wish(), RULES, NOW_S))
    late_s = NOW_S + RULES.lease_s
    swept = meet(engine, Post("r", Charge(1, 1, 1), NOW_S), lambda c: sweep_leases(c, now_s=late_s))
    assert swept == 0
    assert drawn_usdc(engine) == 1


def test_sweep__two_at_once__each_lease_once(engine: Engine) -> None:
    for token_id in TOKENS:
        prepare(engine, Reserve(wish(f"r{token_id}", token_id=token_id), RULES, NOW_S))
    swept: list[int] = []

    def sweep(connection: Connection) -> None:
        swept.append(sweep_leases(connection, now_s=NOW_S + RULES.lease_s))

    meet(engine, sweep, sweep)
    assert swept == [len(TOKENS), 0]
    assert drawn_usdc(engine) == 0
    assert_sound(engine)


def test_renew__swept_meanwhile__refused(engine: Engine) -> None:
    prepare(engine, Reserve(wish(), RULES, NOW_S))
    late_s = NOW_S + RULES.lease_s
    with pytest.raises(UsageResolved, match="voided"):
        meet(engine, lambda c: sweep_leases(c, now_s=late_s), Renew("r", late_s + 1))


# ----------------------------------------------------------------------------------- the batches


def plan(connection: Connection) -> PlannedBatch | None:
    return plan_batch(connection, limits_usdc=dict.fromkeys(TOKENS, HOLD_USDC), now_s=NOW_S)


def prepare_posted(engine: Engine, count: int = 3) -> None:
    for number in range(count):
        reservation = wish(f"posted-{number}", 100, number % 2)
        post_call = Post(reservation.request_id, Charge(50, 1, 1), NOW_S)
        prepare(engine, Reserve(reservation, RULES, NOW_S), post_call)


def prepare_batch(engine: Engine) -> PlannedBatch:
    prepare_posted(engine)
    with write(engine) as connection:
        planned = plan(connection)
    assert planned is not None
    return planned


def test_plan_batch__two_keepers_at_once__each_usage_in_one_batch(engine: Engine) -> None:
    prepare_posted(engine)
    with write(engine) as first, write(engine) as second:
        planned = plan(first)
        # It waits for nothing: what the first one is taking is not there for it.
        assert plan(second) is None
    assert planned is not None
    assert planned.total_usdc == 150
    assert_sound(engine)


def test_plan_batch__a_keeper_that_read_before_the_other_committed__takes_nothing_twice(
    engine: Engine,
) -> None:
    prepare_posted(engine)
    planned: list[PlannedBatch | None] = []
    go = threading.Barrier(4)

    def plan_one(connection: Connection) -> None:
        connection.execute(text("SELECT 1"))
        go.wait(LIMIT_S)
        planned.append(plan(connection))

    with ThreadPoolExecutor(go.parties) as pool:
        for done in [pool.submit(write_until_through, engine, plan_one) for _ in range(go.parties)]:
            done.result(LIMIT_S)
    totals = [batch.total_usdc for batch in planned if batch is not None]
    assert len(planned) == go.parties
    assert sum(totals) == 150
    assert_sound(engine)


def test_plan_batch__usage_is_posted_meanwhile__goes_into_the_next_batch(engine: Engine) -> None:
    prepare_posted(engine)
    prepare(engine, Reserve(wish("late"), RULES, NOW_S))
    with write(engine) as connection:
        planned = plan(connection)
        # Posting waits for no plan: requests go on while a batch is put together.
        prepare(engine, Post("late", Charge(7, 1, 1), NOW_S))
    with write(engine) as connection:
        following = plan(connection)
    assert planned is not None
    assert following is not None
    assert (planned.total_usdc, following.total_usdc) == (150, 7)
    assert_sound(engine)


def close(batch_id: str) -> Callable[[Connection], bool]:
    return lambda c: close_batch(c, batch_id, block_number=11, tx_hash="0x00")


def test_close_batch__given_up_meanwhile__settles_what_was_freed(engine: Engine) -> None:
    batch_id = prepare_batch(engine).batch_id
    assert meet(engine, lambda c: abandon_batch(c, batch_id), close(batch_id))
    assert drawn_usdc(engine) == 0
    assert_sound(engine)


def test_close_batch__its_usage_is_given_up_by_another_meanwhile__settles_it(
    engine: Engine,
) -> None:
    first = prepare_batch(engine).batch_id
    with write(engine) as connection:
        abandon_batch(connection, first)
        second = plan_batch(connection, limits_usdc={0: HOLD_USDC}, now_s=NOW_S)
    assert second is not None
    assert meet(engine, lambda c: abandon_batch(c, second.batch_id), close(first))
    assert drawn_usdc(engine) == 0
    assert_sound(engine)


def test_abandon_batch__settled_meanwhile__changes_nothing(engine: Engine) -> None:
    batch_id = prepare_batch(engine).batch_id
    meet(engine, close(batch_id), lambda c: abandon_batch(c, batch_id))
    assert drawn_usdc(engine) == 0
    assert_sound(engine)


def test_close_and_reopen__twice_at_once__once(engine: Engine) -> None:
    batch_id = prepare_batch(engine).batch_id
    assert meet(engine, close(batch_id), close(batch_id))
    assert drawn_usdc(engine) == 0
    meet(engine, lambda c: reopen_batch(c, batch_id), lambda c: reopen_batch(c, batch_id))
    assert drawn_usdc(engine) == 100
    assert_sound(engine)


# ------------------------------------------------------------------------- keepers, keys, binding


def plan_simulated(connection: Connection, intent_id: str) -> None:
    lifecycle.plan_intent(
        connection, intent_id=intent_id, kind="hold", reason="", payload={}, now_s=NOW_S
    )
    lifecycle.mark_simulated(connection, intent_id, now_s=NOW_S)


def test_mark_sent__another_keeper_takes_the_nonce_meanwhile__moved(engine: Engine) -> None:
    signed = SignedTransaction("0x5e", 7, "0xaa", "0x02")
    with write(engine) as connection:
        plan_simulated(connection, "a")
        plan_simulated(connection, "b")
    with pytest.raises(IntentMoved, match="nonce 7"):
        meet(
            engine,
            lambda c: lifecycle.mark_sent(c, "a", signed, now_s=NOW_S),
            lambda c: lifecycle.mark_sent(c, "b", signed, now_s=NOW_S),
        )
    with read(engine) as connection:
        states = [record.load_intent(connection, name) for name in "ab"]
    assert [None if i is None else i.state for i in states] == ["sent", "simulated"]


def test_mark_simulated__abandoned_meanwhile__moved(engine: Engine) -> None:
    with write(engine) as connection:
        plan_simulated(connection, "a")
    with pytest.raises(IntentMoved):
        meet(
            engine,
            lambda c: lifecycle.mark_abandoned(c, "a", error="no", now_s=NOW_S),
            lambda c: lifecycle.mark_simulated(c, "a", now_s=NOW_S),
        )


def test_plan_intent__the_same_at_once__is_new_once(engine: Engine) -> None:
    new: list[bool] = []

    def plan_it(connection: Connection) -> None:
        values = {"intent_id": "a", "kind": "hold", "reason": "", "now_s": NOW_S}
        new.append(lifecycle.plan_intent(connection, payload={"x": 1}, **values))  # type: ignore[arg-type]

    meet(engine, plan_it, plan_it)
    assert new == [True, False]


def test_note_demand__dropped_meanwhile__is_noted(engine: Engine) -> None:
    with write(engine) as connection:
        note_demand(connection, token_id=0, required_usdc=1, now_s=NOW_S)
    meet(
        engine,
        lambda c: drop_demand(c, wanted_before_s=NOW_S + 1),
        lambda c: note_demand(c, token_id=0, required_usdc=2, now_s=NOW_S + 1),
    )
    with read(engine) as connection:
        demand = table_of(Demand)
        assert connection.execute(select(demand.c.required_usdc)).scalars().all() == [2]


def test_bind_deployment__two_differing_at_once__one_is_refused(postgres: Databases) -> None:
    engine = postgres.open_ledger()
    with write(engine) as connection:
        connection.execute(text("DELETE FROM deployment"))
    other = replace(DEPLOYMENT, position="0x" + "b1" * 20)
    with pytest.raises(WrongDeployment, match="position"):
        meet(
            engine,
            lambda c: bind_deployment(c, DEPLOYMENT),
            lambda c: bind_deployment(c, other),
        )


# --------------------------------------------------------------------------------- circles, storm


def test_write__two_wait_for_each_other__one_is_taken_back_and_runs_again(engine: Engine) -> None:
    both_hold_one = threading.Barrier(2)
    tries: list[int] = []

    def run(first: int, second: int) -> None:
        def lock_both(connection: Connection) -> None:
            tries.append(first)
            lock_positions(connection, [first])
            if len(tries) <= 2:
                both_hold_one.wait(LIMIT_S)
            lock_positions(connection, [second])

        write_until_through(engine, lock_both)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(run, 0, 1), pool.submit(run, 1, 0)]:
            done.result(LIMIT_S)
    assert len(tries) > 2


def test_write__taken_back__says_that_it_may_be_tried_again(engine: Engine) -> None:
    with pytest.raises(LedgerContended), write(engine) as connection:
        connection.execute(text("DO $$ BEGIN RAISE 'x' USING ERRCODE = '40P01'; END $$"))


def test_storm__everything_at_once__l1_and_l3_hold(engine: Engine) -> None:
    seeds = range(4)
    writers = [GroupWriter(engine) for _ in range(2)]

    def work(seed: int) -> None:
        luck = random.Random(seed)
        for number in range(10):
            with suppress(Rejected, LedgerUnavailable):
                play(engine, writers[seed % 2], luck, f"{seed}-{number}")

    with ThreadPoolExecutor(len(seeds)) as pool:
        for done in [pool.submit(work, seed) for seed in seeds]:
            done.result(LIMIT_S)
    for writer in writers:
        writer.close()
    assert_sound(engine)
    assert count_deadlocks(engine) == 0
    usage = table_of(Usage)
    with read(engine) as connection:
        states = set(connection.execute(select(usage.c.state).distinct()).scalars())
    # It was a storm only if all of it happened.
    assert states >= {"voided", "settled"}


def count_deadlocks(engine: Engine) -> int:
    """Return how many transactions the database took back; each session reports as it ends."""
    engine.dispose()
    query = text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    with read(engine) as connection:
        return int(connection.execute(query).scalar_one())


def play(engine: Engine, writer: GroupWriter, luck: random.Random, name: str) -> None:
    """Make a random move; what the ledger refuses is no matter."""
    token_id = luck.choice(TOKENS)
    requests = [f"{name}-{index}" for index in range(5)]
    calls = [
        writer.submit(Reserve(wish(r, luck.randint(1, 20_000), luck.choice(TOKENS)), RULES, NOW_S))
        for r in requests
    ]
    for call in calls:
        with suppress(CurrentError):
            call.result(LIMIT_S)
    ends: list[Future[Any]] = [
        writer.submit(Post(requests[0], Charge(1, 1, 1), NOW_S)),
        writer.submit(Post(requests[1], Charge(1, 1, 1), NOW_S)),
        writer.submit(Void(requests[1], "test", NOW_S)),
        writer.submit(Renew(requests[2], NOW_S + 600)),
        writer.submit(Void(requests[2], "test", NOW_S)),
        writer.submit(lambda c: sweep_leases(c, now_s=NOW_S + 300, limit=3)),
    ]
    with write(engine) as connection:
        lock_positions(connection, [token_id])
        put_positions(connection, make_state(token_id, hold_usdc=luck.randint(1, HOLD_USDC)))
    ends[0].exception(LIMIT_S)  # so that there is something to plan
    with write(engine) as connection:
        planned = plan(connection)
    if planned is not None:
        end = abandon_batch if luck.random() < 0.3 else close_it
        write_until_through(engine, lambda c: end(c, planned.batch_id))
    for future in ends:
        with suppress(CurrentError):
            future.result(LIMIT_S)


def close_it(connection: Connection, batch_id: str) -> None:
    close(batch_id)(connection)
