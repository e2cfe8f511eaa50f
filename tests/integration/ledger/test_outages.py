"""PostgreSQL goes away, or refuses: every call is told so, and the next one works again.

::

    server stopped, then started │ crashed in a transaction │ connection cut in a transaction
    disk full │ too many connections │ a lock not to be had │ a statement that takes too long
"""

import signal
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, make_url, text

from ledger.database.engine import PostgresLimits, open_engine, read, write
from ledger.database.writer import GroupWriter
from ledger.errors import LedgerUnavailable
from ledger.spending.admission import AdmissionRules
from ledger.spending.metering import Reserve
from ledger.tables.usage import Reservation
from tests.support.ledgers import (
    NOW_S,
    Databases,
    make_state,
    prepare_ledger,
    put_cursor,
    put_positions,
)
from tests.support.postgres import Postgres, needs_postgres
from tests.support.waiting import LIMIT_S, wait_until

RULES = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=300)
IMPATIENT = PostgresLimits(statement_timeout_ms=200)
CUT_OTHERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def fill(engine: Engine) -> Engine:
    with write(engine) as connection:
        put_positions(connection, make_state())
        put_cursor(connection)
    return engine


@pytest.fixture
def engine(postgres: Databases) -> Engine:
    return fill(postgres.open_ledger())


@pytest.fixture
def server() -> Iterator[Postgres]:
    with Postgres() as server:
        yield server


def reserve_one(request_id: str = "r") -> Reserve:
    return Reserve(Reservation(request_id, 0, 0, "key", "model", 1, 1, 1), RULES, NOW_S)


def assert_works(engine: Engine) -> None:
    with read(engine) as connection:
        connection.execute(text("SELECT 1"))
    with write(engine) as connection:
        reserve_one()(connection)


def works(engine: Engine) -> bool:
    try:
        assert_works(engine)
    except LedgerUnavailable:
        return False
    return True


@needs_postgres
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_writer__the_server_goes_and_comes_back__told_then_served(
    server: Postgres, how: signal.Signals
) -> None:
    engine = fill(open_engine(server.create_copy(prepare_ledger)))
    writer = GroupWriter(engine)
    assert writer.submit(reserve_one()).result(LIMIT_S).hold_left_usdc > 0
    server.stop(how)
    for _ in range(2):
        assert isinstance(writer.submit(reserve_one()).exception(LIMIT_S), LedgerUnavailable)
    with pytest.raises(LedgerUnavailable), read(engine) as connection:
        connection.execute(text("SELECT 1"))
    server.start()
    assert writer.submit(reserve_one()).result(LIMIT_S).hold_left_usdc > 0
    writer.close()
    assert_works(engine)
    engine.dispose()


@needs_postgres
def test_write__the_server_crashes_in_the_middle__nothing_is_left(server: Postgres) -> None:
    engine = fill(open_engine(server.create_copy(prepare_ledger)))
    with pytest.raises(LedgerUnavailable), write(engine) as connection:
        reserve_one()(connection)
        server.stop(signal.SIGQUIT)
    server.start()
    # The pool's other connections are as dead as that one was.
    with read(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM usage")).scalar_one() == 0
    engine.dispose()


def test_write__connection_cut__told_then_served(engine: Engine, postgres: Databases) -> None:
    other = postgres.open(engine.url.render_as_string(hide_password=False))
    with pytest.raises(LedgerUnavailable), write(engine) as connection:
        reserve_one()(connection)
        with write(other) as cutting:
            cutting.execute(CUT_OTHERS)
        connection.execute(text("SELECT 1"))
    assert_works(engine)


def test_write__disk_full__told_then_served(engine: Engine) -> None:
    with write(engine) as connection:
        connection.execute(
            text(
                "CREATE FUNCTION fill_disk() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE 'could not extend file' USING ERRCODE = '53100'; END $$"
            )
        )
        connection.execute(
            text(
                "CREATE TRIGGER full_disk BEFORE INSERT ON usage"
                " FOR EACH ROW EXECUTE FUNCTION fill_disk()"
            )
        )
    writer = GroupWriter(engine)
    assert isinstance(writer.submit(reserve_one()).exception(LIMIT_S), LedgerUnavailable)
    with write(engine) as connection:
        connection.execute(text("DROP TRIGGER full_disk ON usage"))
    assert writer.submit(reserve_one()).result(LIMIT_S).hold_left_usdc > 0
    writer.close()


def test_write__too_many_connections__told_then_served(engine: Engine, postgres: Databases) -> None:
    name = "crowded_" + str(engine.url.database)
    with write(engine) as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 1"))
        connection.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}"))
    url = make_url(engine.url).set(username=name).render_as_string(hide_password=False)
    first, second = postgres.open(url), postgres.open(url)
    assert_works(first)
    with pytest.raises(LedgerUnavailable, match="too many connections"):
        assert_works(second)
    first.dispose()
    wait_until(lambda: works(second), "the server sees that the connection is gone")


def test_write__our_own_connections_used_up__told_then_served(postgres: Databases) -> None:
    limits = PostgresLimits(connections_max=1, checkout_timeout_s=0.05)
    engine = fill(postgres.open_ledger(limits=limits))
    with write(engine) as connection:
        connection.execute(text("SELECT 1"))
        with pytest.raises(LedgerUnavailable):
            assert_works(engine)
    assert_works(engine)


def test_write__statement_takes_too_long__told_then_served(
    engine: Engine, postgres: Databases
) -> None:
    url = engine.url.render_as_string(hide_password=False)
    impatient = postgres.open(url, limits=IMPATIENT)
    with (
        pytest.raises(LedgerUnavailable, match="statement timeout"),
        write(impatient) as connection,
    ):
        connection.execute(text("SELECT pg_sleep(600)"))
    # On a busy machine even a short statement may take too long.
    wait_until(lambda: works(impatient), "it is served again")
    assert_works(engine)


def test_write__a_mistake_in_the_statement__is_no_outage(engine: Engine) -> None:
    with pytest.raises(Exception, match="nowhere") as caught, write(engine) as connection:
        connection.execute(text("SELECT * FROM nowhere"))
    assert not isinstance(caught.value, LedgerUnavailable)


def test_read__a_write_in_a_snapshot__refused(engine: Engine) -> None:
    with pytest.raises(LedgerUnavailable, match="read-only"), read(engine) as connection:
        reserve_one()(connection)


def test_read__commits_in_between__not_seen(engine: Engine) -> None:
    count = text("SELECT count(*) FROM usage")
    with read(engine) as connection:
        assert connection.execute(count).scalar_one() == 0
        with write(engine) as writing:
            reserve_one()(writing)
        assert connection.execute(count).scalar_one() == 0


def test_open_engine__the_server_commits_lazily__ours_are_durable(engine: Engine) -> None:
    name = engine.url.database
    with write(engine) as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = 'off'"))
    engine.dispose()
    with read(engine) as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar_one() == "on"
