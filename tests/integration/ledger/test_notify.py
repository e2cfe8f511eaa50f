"""Who hears of a changed position, and who is told that it may have missed one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from ledger.database.engine import open_engine, write
from ledger.database.notify import Changes, Listener, notify_positions
from tests.support.ledgers import (
    Databases,
    make_ledger,
    make_state,
    put_cursor,
    put_positions,
)
from tests.support.postgres import Postgres, needs_postgres
from tests.support.waiting import LIMIT_S

MISSED = Changes(frozenset(), may_have_missed=True)
SILENCE = Changes(frozenset(), may_have_missed=False)
CUT_LISTENERS = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@pytest.fixture
def engine(postgres: Databases) -> Engine:
    return postgres.open_ledger()


@pytest.fixture
def listener(engine: Engine) -> Iterator[Listener]:
    """Return a listener that is connected."""
    with Listener(engine) as listener:
        assert listener.wait(LIMIT_S) == MISSED
        yield listener


def hear(listener: Listener, expected: set[int]) -> None:
    """Wait until exactly ``expected`` was heard, in however many answers."""
    heard: set[int] = set()
    while heard != expected:
        changes = listener.wait(LIMIT_S)
        assert changes.token_ids
        assert not changes.may_have_missed
        heard |= changes.token_ids
        assert heard <= expected


def test_wait__announced_and_committed__heard(engine: Engine, listener: Listener) -> None:
    with write(engine) as connection:
        notify_positions(connection, [3, 1, 3])
        assert listener.wait(0) == SILENCE
    hear(listener, {1, 3})
    assert listener.wait(0) == SILENCE


def test_wait__announced_and_rolled_back__silence(engine: Engine, listener: Listener) -> None:
    with pytest.raises(KeyError), write(engine) as connection:
        notify_positions(connection, [1])
        raise KeyError
    with write(engine) as connection:
        notify_positions(connection, [2])
    hear(listener, {2})


def test_wait__announced_while_nobody_waits__heard_later(
    engine: Engine, listener: Listener
) -> None:
    for token_id in range(3):
        with write(engine) as connection:
            notify_positions(connection, [token_id])
    hear(listener, {0, 1, 2})


def test_notify_positions__of_many__all_heard(engine: Engine, listener: Listener) -> None:
    with write(engine) as connection:
        notify_positions(connection, range(5_000))
    hear(listener, set(range(5_000)))


def test_wait__connection_cut__says_so_and_listens_again(
    engine: Engine, listener: Listener
) -> None:
    with write(engine) as connection:
        connection.execute(CUT_LISTENERS)
    assert listener.wait(LIMIT_S) == MISSED
    assert listener.wait(LIMIT_S) == MISSED
    with write(engine) as connection:
        notify_positions(connection, [7])
    hear(listener, {7})


@needs_postgres
def test_wait__server_restarts__missed_until_it_is_back() -> None:
    with Postgres() as server:
        engine = open_engine(server.create_database())
        with Listener(engine) as listener:
            assert listener.wait(LIMIT_S) == MISSED
            server.stop()
            assert listener.wait(LIMIT_S) == MISSED
            assert listener.wait(0) == MISSED
            server.start()
            assert listener.wait(LIMIT_S) == MISSED
            assert listener.wait(0) == SILENCE
        engine.dispose()


def test_wait__sqlite__another_block_is_mirrored__heard_and_nothing_else(tmp_path: Path) -> None:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    with Listener(engine) as listener:
        assert listener.wait(LIMIT_S) == MISSED
        with write(engine) as connection:
            put_cursor(connection, number=10)
        assert listener.wait(LIMIT_S) == MISSED
        assert listener.wait(0) == SILENCE
        with write(engine) as connection:
            put_positions(connection, make_state())
        assert listener.wait(0) == SILENCE
        with write(engine) as connection:
            put_cursor(connection, number=11)
        assert listener.wait(LIMIT_S) == MISSED
    engine.dispose()
