"""The ledger as an event loop sees it, and the writer's groups below it, on both databases.

::

    write
    ├── a crowd at once: each gets its own result, in the order in which they came
    ├── fails: takes back its own writes only, alone in a group or among others
    ├── nobody waits any more (too late, cancelled)
    │   ├── before it is begun, or before its transaction is: never run
    │   └── later: written, and its result handed to ``on_abandoned``
    ├── loop closed meanwhile: written all the same, and the writer goes on
    └── writer closed: refused at once
    persist ─ again where the ledger is unavailable, and only there
    read    ─ too late
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, Final

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.pool import QueuePool

from ledger.audit import find_violations
from ledger.database.engine import PostgresLimits, is_postgres, read, write
from ledger.database.on_loop import RETRY_DELAYS_S, LoopLedger
from ledger.database.writer import CROWD, CROWD_WAIT_S, GroupWriter
from ledger.errors import (
    LedgerUnavailable,
    RefusalReason,
    RequestIdConflict,
    ReserveRefused,
    UnknownUsage,
    UsageResolved,
)
from ledger.spending.admission import AdmissionRules
from ledger.spending.metering import Post, Posted, Reserve, Reserved
from ledger.tables.usage import Charge, Reservation
from tests.support.clocks import let_time_run_out
from tests.support.ledgers import NOW_S, Databases, make_state, put_cursor, put_positions
from tests.support.waiting import LIMIT_S, until_it

RULES: Final = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=300)
HOLD_USDC: Final = 500_000
CROWD_OF_ALL: Final = 5_000
PATIENT_S: Final = LIMIT_S
IMPATIENT_S: Final = 0.05
LIMITS: Final = PostgresLimits(
    connections_max=2, checkout_timeout_s=LIMIT_S, lock_timeout_ms=60_000
)


@pytest.fixture
def engine(databases: Databases) -> Engine:
    ledger = databases.open_ledger(limits=LIMITS)
    with write(ledger) as connection:
        put_positions(connection, make_state(hold_usdc=HOLD_USDC))
        put_cursor(connection)
        connection.execute(text("CREATE TABLE note (number INTEGER PRIMARY KEY)"))
    return ledger


@pytest.fixture
def writer(engine: Engine) -> Iterator[GroupWriter]:
    writer = GroupWriter(engine)
    yield writer
    writer.close()


class Gate:
    """Keeps the writer busy, so that what is submitted meanwhile is one group."""

    def __init__(self, writer: GroupWriter) -> None:
        self._begun, self._open = threading.Event(), threading.Event()
        writer.submit(self._wait)
        assert self._begun.wait(LIMIT_S)

    def _wait(self, _: Connection) -> None:
        self._begun.set()
        assert self._open.wait(LIMIT_S)

    def open(self) -> None:
        self._open.set()


def wish(request_id: str, ceiling_usdc: int = 1) -> Reserve:
    reservation = Reservation(request_id, 0, 0, "key", "model", ceiling_usdc, 1, 1)
    return Reserve(reservation, RULES, NOW_S)


def note(number: int) -> Callable[[Connection], int]:
    def call(connection: Connection) -> int:
        connection.execute(text("INSERT INTO note VALUES (:number)"), {"number": number})
        return number

    return call


def spoil(number: int, error: Exception) -> Callable[[Connection], int]:
    def call(connection: Connection) -> int:
        note(number)(connection)
        raise error

    return call


def load_notes(engine: Engine) -> list[int]:
    with read(engine) as connection:
        return list(connection.execute(text("SELECT number FROM note ORDER BY number")).scalars())


async def flush(ledger: LoopLedger) -> None:
    """Return when everything that was submitted before is written, and delivered."""
    await ledger.write(lambda _: None)


def open_ledger(engine: Engine, writer: GroupWriter, timeout_s: float = PATIENT_S) -> LoopLedger:
    at_once = (0.0,) * len(RETRY_DELAYS_S)
    return LoopLedger(engine, writer, timeout_s=timeout_s, retry_delays_s=at_once)


# -------------------------------------------------------------------------- together, and in order


async def test_write__a_crowd_at_once__each_gets_its_own_result_in_order(
    engine: Engine, writer: GroupWriter
) -> None:
    ledger = open_ledger(engine, writer)
    wishes = [ledger.write(wish(f"r{number}")) for number in range(CROWD_OF_ALL)]

    reserved = await asyncio.gather(*wishes)

    assert [found.hold_left_usdc for found in reserved] == [
        HOLD_USDC - number - 1 for number in range(CROWD_OF_ALL)
    ]
    with read(engine) as connection:
        assert find_violations(connection) == []
        drawn_usdc = connection.execute(text("SELECT drawn_usdc FROM position")).scalar_one()
    assert drawn_usdc == CROWD_OF_ALL


async def test_write__two_loops_ledgers_on_one_writer__each_hears_of_its_own(
    engine: Engine, writer: GroupWriter
) -> None:
    first, second = (open_ledger(engine, writer) for _ in range(2))
    gate = Gate(writer)
    asked = [ledger.write(note(n)) for n, ledger in enumerate((first, second, first, second))]
    told = asyncio.gather(*asked)
    await asyncio.sleep(0)
    gate.open()

    assert await told == [0, 1, 2, 3]


async def test_write__different_calls_in_one_group__in_the_order_they_came(
    engine: Engine, writer: GroupWriter
) -> None:
    ledger, gate = open_ledger(engine, writer), Gate(writer)
    seen: list[str] = []

    def look(connection: Connection) -> int:
        seen.append("looked")
        count: int = connection.execute(text("SELECT count(*) FROM usage")).scalar_one()
        return count

    asked = [ledger.write(call) for call in (look, wish("a"), look, wish("b"), wish("c"), look)]
    told = asyncio.gather(*asked)
    await asyncio.sleep(0)
    gate.open()

    left_usdc = [HOLD_USDC - number for number in (1, 2, 3)]
    reserved = [Reserved(1, left) for left in left_usdc]
    assert await told == [0, reserved[0], 1, reserved[1], reserved[2], 3]


def test_group__after_a_crowd__waits_for_the_next_one(
    writer: GroupWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("ledger.database.writer.time", SimpleNamespace(sleep=waits.append))

    def write_group(size: int) -> None:
        gate = Gate(writer)
        calls: list[Future[None]] = [writer.submit(lambda _: None) for _ in range(size)]
        gate.open()
        for call in calls:
            call.result(LIMIT_S)

    write_group(CROWD - 1)
    write_group(CROWD)
    assert waits == []  # neither followed a crowd
    write_group(1)
    assert waits == [CROWD_WAIT_S]  # the gate's own group did


# ---------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("others", [0, 2])
async def test_write__fails__takes_back_its_own_writes_only(
    engine: Engine, writer: GroupWriter, others: int
) -> None:
    ledger, gate = open_ledger(engine, writer), Gate(writer)
    good: list[Awaitable[Any]] = [ledger.write(note(number)) for number in range(others)]
    good += [ledger.write(wish(f"r{number}")) for number in range(others)]
    bad = ledger.write(spoil(7, KeyError("spoilt")))
    told = asyncio.gather(*good, bad, return_exceptions=True)
    await asyncio.sleep(0)
    gate.open()

    *answers, failure = await told

    assert isinstance(failure, KeyError)
    assert not any(isinstance(answer, Exception) for answer in answers)
    assert load_notes(engine) == list(range(others))


async def test_write__the_database_refuses_one__only_that_one_fails(
    engine: Engine, writer: GroupWriter
) -> None:
    ledger, gate = open_ledger(engine, writer), Gate(writer)
    calls: list[Callable[[Connection], Any]]
    calls = [note(0), wish("r", 3), note(1), note(1), wish("r", 4), wish("s", HOLD_USDC), note(2)]
    told = asyncio.gather(*[ledger.write(call) for call in calls], return_exceptions=True)
    await asyncio.sleep(0)
    gate.open()

    answers = await told

    failures = {
        n: type(answer) for n, answer in enumerate(answers) if isinstance(answer, Exception)
    }
    assert failures == {3: IntegrityError, 4: RequestIdConflict, 5: ReserveRefused}
    assert load_notes(engine) == [0, 1, 2]
    with read(engine) as connection:
        assert find_violations(connection) == []


async def test_post__amounts_and_figures__what_does_not_fit_changes_nothing(
    engine: Engine, writer: GroupWriter
) -> None:
    ledger, gate = open_ledger(engine, writer), Gate(writer)
    calls: list[Callable[[Connection], Any]] = [
        wish("r", 10),
        Post("r", Charge(11, 1, 2), NOW_S),
        Post("r", Charge(-1, 1, 2), NOW_S),
        Post("r", Charge(10, 1, 2), NOW_S),
        Post("r", Charge(10, 1, 2), NOW_S + 9),  # the same once more
        Post("r", Charge(10, 1, 3), NOW_S),
        Post("r", Charge(10, 1, 2, cached_tokens=1), NOW_S),
        Post("r", Charge(9, 1, 2), NOW_S),
        Post("unknown", Charge(0, 0, 0), NOW_S),
        wish("s", 5),
        Post("s", Charge(0, 0, 0), NOW_S),
    ]
    told = asyncio.gather(*[ledger.write(call) for call in calls], return_exceptions=True)
    await asyncio.sleep(0)
    gate.open()

    answers = await told

    failures = {
        n: type(answer) for n, answer in enumerate(answers) if isinstance(answer, Exception)
    }
    assert failures == {
        1: ValueError,
        2: ValueError,
        5: UsageResolved,
        6: UsageResolved,
        7: UsageResolved,
        8: UnknownUsage,
    }
    assert answers[3] == answers[4] == Posted(10, HOLD_USDC - 10)
    assert answers[10] == Posted(0, HOLD_USDC - 10)
    with read(engine) as connection:
        assert find_violations(connection) == []


async def test_reserve__hold_not_confirmed_yet__only_the_confirmed_part_is_given(
    engine: Engine, writer: GroupWriter
) -> None:
    with write(engine) as connection:
        connection.execute(text("UPDATE position SET hold_unconfirmed_usdc = 499990"))
    ledger = open_ledger(engine, writer)

    with pytest.raises(ReserveRefused) as refused:
        await ledger.write(wish("r", 11))
    assert refused.value.reason is RefusalReason.HOLD_PENDING
    assert await ledger.write(wish("s", 10)) == Reserved(10, 0)


async def test_write__one_cannot_be_told__the_others_are(
    engine: Engine, writer: GroupWriter
) -> None:
    ledger, gate = open_ledger(engine, writer), Gate(writer)
    # No future takes this one: a generator would end by it.
    odd = asyncio.create_task(ledger.write(spoil(0, StopIteration())))
    good = asyncio.create_task(ledger.write(note(1)))
    await asyncio.sleep(0)
    gate.open()

    assert await good == 1
    let_time_run_out(ledger)
    with pytest.raises(LedgerUnavailable):
        await odd
    assert load_notes(engine) == [1]


# ------------------------------------------------------------------------- nobody waits any more


async def test_write__too_late_before_it_is_begun__never_run(
    engine: Engine, writer: GroupWriter
) -> None:
    ledger = open_ledger(engine, writer, IMPATIENT_S)
    abandoned: list[int] = []
    gate = Gate(writer)
    late = [ledger.write(note(number), on_abandoned=abandoned.append) for number in range(20)]

    told = await asyncio.gather(*late, return_exceptions=True)
    gate.open()
    await flush(open_ledger(engine, writer))

    assert [type(answer) for answer in told] == [LedgerUnavailable] * 20
    assert load_notes(engine) == []
    assert abandoned == []


async def test_write__begun_one_after_another__run_out_in_that_order(
    engine: Engine, writer: GroupWriter
) -> None:
    ledger, gate = open_ledger(engine, writer, IMPATIENT_S), Gate(writer)
    ended: list[int] = []
    waited_s: list[float] = []

    async def ask(number: int) -> None:
        begun_s = time.monotonic()
        with pytest.raises(LedgerUnavailable):
            await ledger.write(note(number))
        waited_s.append(time.monotonic() - begun_s)
        ended.append(number)

    asking = [asyncio.create_task(ask(0))]
    await asyncio.sleep(IMPATIENT_S / 2)
    asking.append(asyncio.create_task(ask(1)))
    await asyncio.gather(*asking)
    assert ended == [0, 1]
    # One timer, but each has its own time; a loop's timer may ring a moment early.
    assert min(waited_s) > 0.9 * IMPATIENT_S
    # After nobody was left to wait, the timer is set anew for the next one.
    await ask(2)
    gate.open()
    await flush(open_ledger(engine, writer))
    assert load_notes(engine) == []


async def test_write__answered__leaves_no_timer_for_those_who_were(
    engine: Engine, writer: GroupWriter
) -> None:
    ledger = open_ledger(engine, writer, IMPATIENT_S)

    async def is_answered() -> bool:
        try:
            await ledger.write(lambda _: None)
        except LedgerUnavailable:
            return False
        return True

    await until_it(is_answered, "an answer in time")
    gate = Gate(writer)
    cancelled = asyncio.create_task(ledger.write(note(1)))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(LedgerUnavailable):
        await ledger.write(note(2))
    gate.open()
    await asyncio.gather(cancelled, return_exceptions=True)
    assert cancelled.cancelled()
    await flush(open_ledger(engine, writer))
    assert load_notes(engine) == []


@pytest.mark.parametrize("how", ["too late", "cancelled"])
async def test_write__abandoned_while_it_runs__written_and_handed_over(
    engine: Engine, writer: GroupWriter, how: str
) -> None:
    ledger = open_ledger(engine, writer)
    running, proceed = threading.Event(), threading.Event()
    abandoned: list[int] = []

    def slow(connection: Connection) -> int:
        running.set()
        assert proceed.wait(LIMIT_S)
        return note(1)(connection)

    asking = asyncio.create_task(ledger.write(slow, on_abandoned=abandoned.append))
    await asyncio.to_thread(running.wait, LIMIT_S)
    if how == "cancelled":
        asking.cancel()
    else:
        let_time_run_out(ledger)
    [told] = await asyncio.gather(asking, return_exceptions=True)
    proceed.set()
    await flush(open_ledger(engine, writer))

    assert isinstance(told, LedgerUnavailable if how == "too late" else asyncio.CancelledError)
    assert load_notes(engine) == [1]
    assert abandoned == [1]


async def test_write__abandoned_and_fails__nothing_is_handed_over(
    engine: Engine, writer: GroupWriter
) -> None:
    ledger = open_ledger(engine, writer)
    running, proceed = threading.Event(), threading.Event()
    abandoned: list[int] = []

    def slow(connection: Connection) -> int:
        running.set()
        assert proceed.wait(LIMIT_S)
        return spoil(1, ValueError("spoilt"))(connection)

    asking = asyncio.create_task(ledger.write(slow, on_abandoned=abandoned.append))
    await asyncio.to_thread(running.wait, LIMIT_S)
    let_time_run_out(ledger)
    with pytest.raises(LedgerUnavailable):
        await asking
    proceed.set()
    await flush(open_ledger(engine, writer))

    assert abandoned == []
    assert load_notes(engine) == []


async def test_write__transaction_cannot_begin_until_nobody_waits__never_run(
    engine: Engine, writer: GroupWriter
) -> None:
    ledger = open_ledger(engine, writer, IMPATIENT_S)
    taken = [engine.connect() for _ in range(LIMITS.connections_max if is_postgres(engine) else 1)]
    for connection in taken:
        connection.execute(text("SELECT 1"))  # on SQLite this takes the write lock

    with pytest.raises(LedgerUnavailable):
        await ledger.write(wish("late"))
    await asyncio.sleep(IMPATIENT_S)
    for connection in taken:
        connection.rollback()
        connection.close()
    await flush(open_ledger(engine, writer))

    with read(engine) as reading:
        assert reading.execute(text("SELECT count(*) FROM usage")).scalar_one() == 0


def test_write__loop_closed_meanwhile__written_and_the_writer_goes_on(
    engine: Engine, writer: GroupWriter
) -> None:
    running, proceed = threading.Event(), threading.Event()

    def slow(connection: Connection) -> int:
        running.set()
        assert proceed.wait(LIMIT_S)
        return note(1)(connection)

    async def leave_it_running() -> None:
        task = asyncio.create_task(open_ledger(engine, writer).write(slow))
        await asyncio.to_thread(running.wait, LIMIT_S)
        assert not task.done()

    asyncio.run(leave_it_running())  # cancels what still runs, and closes the loop
    proceed.set()

    assert writer.submit(note(2)).result(LIMIT_S) == 2
    assert load_notes(engine) == [1, 2]


async def test_write__writer_closed__refused_at_once(engine: Engine) -> None:
    writer = GroupWriter(engine)
    ledger = open_ledger(engine, writer)
    last = asyncio.create_task(ledger.write(note(1)))
    await asyncio.sleep(0)
    await asyncio.to_thread(writer.close)

    with pytest.raises(LedgerUnavailable, match="closed"):
        await ledger.write(note(2))
    ledger.submit_and_forget(note(3))
    assert await last == 1  # it was submitted before
    assert load_notes(engine) == [1]


# --------------------------------------------------------------------------- persist, forget, read


@pytest.mark.parametrize("failures", [0, 1, len(RETRY_DELAYS_S)])
async def test_persist__unavailable_for_a_while__written_once(
    engine: Engine, writer: GroupWriter, failures: int
) -> None:
    tries: list[int] = []

    def call(connection: Connection) -> int:
        tries.append(1)
        answer = note(len(tries))(connection)
        if len(tries) <= failures:
            raise LedgerUnavailable("locked")
        return answer

    assert await open_ledger(engine, writer).persist(call) == failures + 1
    assert load_notes(engine) == [failures + 1]


@pytest.mark.parametrize(
    ("error", "expected"), [(LedgerUnavailable("full"), len(RETRY_DELAYS_S) + 1), (ValueError(), 1)]
)
async def test_persist__goes_on_failing__told_so(
    engine: Engine, writer: GroupWriter, error: Exception, expected: int
) -> None:
    tries: list[int] = []

    def call(_: Connection) -> Any:
        tries.append(1)
        raise error

    with pytest.raises(type(error)):
        await open_ledger(engine, writer).persist(call)
    assert len(tries) == expected


async def test_forget__fails__the_next_one_is_written(engine: Engine, writer: GroupWriter) -> None:
    ledger = open_ledger(engine, writer)
    ledger.submit_and_forget(spoil(1, KeyError("spoilt")))
    ledger.submit_and_forget(note(2))
    await flush(ledger)
    assert load_notes(engine) == [2]


async def test_read__takes_too_long__told_so(engine: Engine, writer: GroupWriter) -> None:
    ledger, proceed = open_ledger(engine, writer, IMPATIENT_S), threading.Event()
    with pytest.raises(LedgerUnavailable, match="no answer within"):
        await ledger.read(lambda _: proceed.wait(LIMIT_S))
    proceed.set()
    await asyncio.to_thread(ledger.close)


async def test_close__a_read_that_its_caller_gave_up__has_ended_and_its_connection_is_back(
    engine: Engine, writer: GroupWriter
) -> None:
    ledger = open_ledger(engine, writer, timeout_s=0.05)
    go_on, ended = threading.Event(), threading.Event()

    def query(_: Connection) -> None:
        go_on.wait()
        ended.set()

    with pytest.raises(LedgerUnavailable):
        await ledger.read(query)
    closing = asyncio.create_task(asyncio.to_thread(ledger.close))
    go_on.set()
    await closing

    assert ended.is_set()
    assert isinstance(engine.pool, QueuePool)
    assert engine.pool.checkedout() == 0
