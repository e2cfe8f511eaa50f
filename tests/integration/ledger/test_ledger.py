"""The ledger on real databases: schema, group commit, constraints, refusals in their order."""

import threading
from concurrent.futures import Future
from dataclasses import replace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from ledger.audit import find_violations
from ledger.chain.mirror import load_mirror
from ledger.chain.position_rows import load_states
from ledger.database.engine import PostgresLimits, open_engine, read, write
from ledger.database.schema import migrate
from ledger.database.writer import GroupWriter
from ledger.errors import (
    LedgerUnavailable,
    RefusalReason,
    RequestIdConflict,
    ReserveRefused,
    SchemaUnknown,
    UnknownUsage,
    UsageResolved,
)
from ledger.spending.admission import AdmissionRules
from ledger.spending.leases import sweep_leases
from ledger.spending.metering import Post, Posted, Renew, Reserve, Reserved, Void, run_calls
from ledger.tables.usage import Charge, Reservation
from tests.support.ledgers import NOW_S, Databases, make_state, put_cursor, put_positions
from tests.support.waiting import LIMIT_S

RULES = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=300)


LIMITS = PostgresLimits(lock_timeout_ms=50)


@pytest.fixture
def engine(databases: Databases) -> Engine:
    ledger = databases.open_ledger(limits=LIMITS, sqlite_busy_timeout_ms=50)
    with write(ledger) as connection:
        put_positions(connection, make_state())
        put_cursor(connection)
    return ledger


def wish(request_id: str = "r", ceiling_usdc: int = 100_000, token_id: int = 0) -> Reservation:
    return Reservation(
        request_id=request_id,
        token_id=token_id,
        key_epoch=0,
        key_id="key",
        model="model",
        ceiling_usdc=ceiling_usdc,
        input_usdc_per_mtok=1,
        output_usdc_per_mtok=1,
    )


def refusal(engine: Engine, reservation: Reservation, now_s: int = NOW_S) -> RefusalReason:
    with write(engine) as connection, pytest.raises(ReserveRefused) as caught:
        Reserve(reservation, RULES, now_s)(connection)
    return caught.value.reason


# SQLAlchemy reads no index over an expression back from SQLite; the tables and PostgreSQL have it.
@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based")
def test_migrate__from_nothing__is_what_the_tables_say(engine: Engine) -> None:
    with read(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []


def test_migrate__schema_of_a_newer_version__refused(engine: Engine) -> None:
    with write(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        # That version says that older code does not work on it; see test_schema_promises.
        connection.execute(text("UPDATE schema_promise SET oldest_revision = '9999'"))
    with pytest.raises(SchemaUnknown, match="9999"):
        migrate(engine)


def test_migrate__many_processes_at_once__each_finds_the_schema(databases: Databases) -> None:
    url = databases.create()
    revisions: list[str] = []

    def start() -> None:
        ledger = open_engine(url)
        revisions.append(migrate(ledger))
        ledger.dispose()

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(revisions) == 6
    assert len(set(revisions)) == 1


def test_reserve__two_hundred_at_once_where_five_fit__five(engine: Engine) -> None:
    writer = GroupWriter(engine)

    def ask(number: int) -> "Future[Reserved]":
        asked = wish(f"r{number}", 100_000)
        return writer.submit(Reserve(asked, RULES, NOW_S))

    futures = [ask(number) for number in range(200)]
    admitted = [future for future in futures if future.exception() is None]
    assert len(admitted) == 5
    with read(engine) as connection:
        assert find_violations(connection) == []
    writer.close()


@pytest.mark.parametrize(
    ("state", "ceiling_usdc", "expected"),
    [
        (make_state(key_epoch=1), 1, RefusalReason.KEY_REVOKED),
        (make_state(credited_usdc=0, hold_usdc=0), 1, RefusalReason.NEVER_HARVESTED),
        (
            make_state(daily_smoothing_bps=1_000, hold_usdc=0),
            100_001,
            RefusalReason.DAILY_CAP_REACHED,
        ),
        (make_state(), 1_000_001, RefusalReason.ALLOWANCE_SPENT),
        (make_state(), 500_001, RefusalReason.HOLD_PENDING),
        (make_state(hold_lives_s=900), 1, RefusalReason.HOLD_PENDING),
        (
            replace(make_state(), release_requested_at_s=NOW_S),
            1,
            RefusalReason.HOLD_PENDING,
        ),
    ],
)
def test_reserve__does_not_fit__says_why(
    engine: Engine, state: object, ceiling_usdc: int, expected: RefusalReason
) -> None:
    with write(engine) as connection:
        put_positions(connection, state)  # type: ignore[arg-type]
    assert refusal(engine, wish(ceiling_usdc=ceiling_usdc)) is expected
    with read(engine) as connection:
        assert find_violations(connection) == []


def test_reserve__no_such_position__not_found(engine: Engine) -> None:
    assert refusal(engine, wish(token_id=7)) is RefusalReason.POSITION_NOT_FOUND


def test_reserve__mirror_too_old__stale(engine: Engine) -> None:
    with write(engine) as connection:
        Reserve(wish(), RULES, NOW_S + RULES.max_staleness_s)(connection)
    late_s = NOW_S + RULES.max_staleness_s + 1
    assert refusal(engine, wish("late"), late_s) is RefusalReason.CHAIN_STATE_STALE


def test_reserve__repeated__reserves_once_and_another_content_conflicts(engine: Engine) -> None:
    with write(engine) as connection:
        left = [Reserve(wish(), RULES, NOW_S)(connection) for _ in range(3)]
        assert left == [Reserved(100_000, 400_000)] * 3
        with pytest.raises(RequestIdConflict):
            Reserve(wish(ceiling_usdc=1), RULES, NOW_S)(connection)
        Void("r", "test", NOW_S)(connection)
        with pytest.raises(UsageResolved):
            Reserve(wish(), RULES, NOW_S)(connection)


def post_cost(connection: Connection, cost_usdc: int, request_id: str = "r") -> None:
    Post(request_id, Charge(cost_usdc, 1, 1), NOW_S)(connection)


def test_post__after_the_lease_was_swept__refused(engine: Engine) -> None:
    with write(engine) as connection:
        Reserve(wish(), RULES, NOW_S)(connection)
        assert sweep_leases(connection, now_s=NOW_S + RULES.lease_s - 1) == 0
        Renew("r", NOW_S + 1_000)(connection)
        assert sweep_leases(connection, now_s=NOW_S + RULES.lease_s) == 0
        assert sweep_leases(connection, now_s=NOW_S + 1_000) == 1
        with pytest.raises(UsageResolved, match="voided"):
            post_cost(connection, 1)
        with pytest.raises(UsageResolved, match="voided"):
            Renew("r", NOW_S + 9_000)(connection)
        with pytest.raises(UnknownUsage):
            post_cost(connection, 1, "nobody")
    with read(engine) as connection:
        assert find_violations(connection) == []


def test_usage__cost_above_ceiling__the_database_refuses_too(engine: Engine) -> None:
    with write(engine) as connection:
        Reserve(wish(), RULES, NOW_S)(connection)
    with pytest.raises(IntegrityError, match="cost_fits"), write(engine) as connection:
        connection.execute(text("UPDATE usage SET state = 'posted', cost_usdc = 100001"))


def test_audit__a_changed_row__is_named(engine: Engine) -> None:
    with write(engine) as connection:
        Reserve(wish(), RULES, NOW_S)(connection)
        connection.execute(text("UPDATE position SET drawn_usdc = drawn_usdc + 1"))
    with read(engine) as connection:
        found = find_violations(connection)
    assert [(violation.invariant, violation.subject) for violation in found] == [
        ("L1", "position 0")
    ]


def test_group_writer__one_call_fails__only_its_own_writes_go(engine: Engine) -> None:
    writer = GroupWriter(engine)
    gate = threading.Event()
    writer.submit(lambda _: gate.wait(LIMIT_S))  # so that the rest is one group

    def spoil(connection: Connection) -> None:
        Reserve(wish("spoilt"), RULES, NOW_S)(connection)
        raise KeyError("spoilt")

    bad = writer.submit(spoil)
    good = writer.submit(lambda c: Reserve(wish("good"), RULES, NOW_S)(c))
    gate.set()
    assert good.result(LIMIT_S) == Reserved(100_000, 400_000)
    with pytest.raises(KeyError):
        bad.result(LIMIT_S)
    with write(engine) as connection, pytest.raises(UnknownUsage):
        Void("spoilt", "test", NOW_S)(connection)
    writer.close()
    with pytest.raises(LedgerUnavailable):
        writer.submit(lambda _: None)


def test_group_writer__database_locked__everybody_is_told_and_it_goes_on(engine: Engine) -> None:
    writer = GroupWriter(engine)
    with write(engine) as connection:
        connection.execute(text("UPDATE position SET shares = shares"))
        lost = writer.submit(Reserve(wish(), RULES, NOW_S))
        with pytest.raises(LedgerUnavailable):
            lost.result(LIMIT_S)
    kept = writer.submit(Reserve(wish(), RULES, NOW_S))
    assert kept.result(LIMIT_S) == Reserved(100_000, 400_000)
    writer.close()


def test_group_writer__calls_of_one_request_in_one_group__in_their_order(engine: Engine) -> None:
    writer = GroupWriter(engine)
    gate = threading.Event()
    writer.submit(lambda _: gate.wait(LIMIT_S))  # so that the rest is one group
    reserved = [writer.submit(Reserve(wish(), RULES, NOW_S)) for _ in range(2)]
    posted = [writer.submit(Post("r", Charge(30_000, 1, 2), NOW_S)) for _ in range(2)]
    voided = writer.submit(Void("r", "late", NOW_S))
    other = writer.submit(Reserve(wish("other", 470_001), RULES, NOW_S))
    fitting = writer.submit(Reserve(wish("fitting", 470_000), RULES, NOW_S))
    gate.set()

    assert [future.result(LIMIT_S) for future in reserved] == [Reserved(100_000, 400_000)] * 2
    assert [future.result(LIMIT_S) for future in posted] == [Posted(30_000, 470_000)] * 2
    assert isinstance(voided.exception(LIMIT_S), UsageResolved)
    assert isinstance(other.exception(LIMIT_S), ReserveRefused)
    assert fitting.result(LIMIT_S) == Reserved(470_000, 0)
    writer.close()
    with read(engine) as connection:
        assert find_violations(connection) == []


def test_group_writer__the_database_refuses_one_call__only_that_one_fails(engine: Engine) -> None:
    writer = GroupWriter(engine)
    gate = threading.Event()
    writer.submit(lambda _: gate.wait(LIMIT_S))
    for number in range(5):
        writer.submit(Reserve(wish(f"r{number}", 10), RULES, NOW_S))
    too_large = 2**63
    figures = [1, 1, too_large, 1, 1]
    posts = [writer.submit(Post(f"r{n}", Charge(5, t, 1), NOW_S)) for n, t in enumerate(figures)]
    gate.set()

    assert [type(post.exception(LIMIT_S)) is type(None) for post in posts] == [
        True,
        True,
        False,
        True,
        True,
    ]
    writer.close()
    with read(engine) as connection:
        assert find_violations(connection) == []
        drawn_usdc = connection.execute(text("SELECT drawn_usdc FROM position")).scalar_one()
    assert drawn_usdc == 4 * 5 + 10


def test_reserve__fit__the_ceiling_is_what_the_hold_affords_after_the_calls_before(
    engine: Engine,
) -> None:
    calls = [
        Reserve(wish("a"), RULES, NOW_S),
        Reserve(wish("b"), RULES, NOW_S, fit=lambda affordable_usdc: affordable_usdc - 1),
    ]
    with write(engine) as connection:
        assert run_calls(connection, calls) == [
            (Reserved(100_000, 400_000), None),
            (Reserved(399_999, 1), None),
        ]
    with read(engine) as connection:
        assert find_violations(connection) == []


def test_large_numbers__shares_past_64_bits__come_back_exactly(engine: Engine) -> None:
    state = replace(make_state(5), shares=2**192 - 1)
    with write(engine) as connection:
        put_positions(connection, state)
    with read(engine) as connection:
        assert load_states(connection, [5]) == {5: state}
        mirror = load_mirror(connection)
    assert mirror is not None
    assert mirror.age_s(now_s=NOW_S - 5) == 0
