"""What the keeper remembers of failures, on both databases.

::

    a kind
    ├── failed less often in a row than allowed → not stopped
    ├── as often → stopped, alone, until it has rested; by any keeper on this ledger
    │   └── fails once more then → stopped again
    └── succeeded → counted from the start
    an item
    ├── refused → rests, longer each time in a row, up to a bound
    ├── succeeded → forgotten, and no other
    └── free for long → forgotten
"""

import pytest
from sqlalchemy import Engine

from keeper.facts import Kind
from keeper.rests import Memory
from ledger.database.engine import read, write
from ledger.intents.rests import drop_rests, forget_all_failures, load_rests
from tests.support.ledgers import Databases


@pytest.fixture
def engine(databases: Databases) -> Engine:
    return databases.open_ledger()


def make_memory(engine: Engine) -> Memory:
    return Memory(engine, failures_max=2, rest_s=100)


def test_kind__failures_in_a_row__stop_it_alone_for_every_keeper(engine: Engine) -> None:
    assert not make_memory(engine).fail(Kind.HOLD, now_s=0)
    assert make_memory(engine).load_stopped(now_s=0) == []
    assert make_memory(engine).fail(Kind.HOLD, now_s=0)

    assert make_memory(engine).load_stopped(now_s=99) == [Kind.HOLD]
    assert make_memory(engine).load_stopped(now_s=100) == []
    assert make_memory(engine).load_resting(now_s=99) == frozenset(), "no item of it"


def test_kind__rested__one_more_failure_stops_it_again(engine: Engine) -> None:
    memory = make_memory(engine)
    memory.fail(Kind.HOLD, now_s=0)
    memory.fail(Kind.HOLD, now_s=0)

    assert memory.fail(Kind.HOLD, now_s=100)
    assert memory.load_stopped(now_s=199) == [Kind.HOLD]


def test_kind__success__counts_from_the_start(engine: Engine) -> None:
    memory = make_memory(engine)
    memory.fail(Kind.HOLD, now_s=0)
    memory.fail(Kind.SETTLE, now_s=0)
    memory.succeed(Kind.HOLD, [])

    assert not memory.fail(Kind.HOLD, now_s=1)
    assert memory.fail(Kind.SETTLE, now_s=1)


def test_item__refused__rests_longer_each_time_up_to_a_bound(engine: Engine) -> None:
    memory = make_memory(engine)
    ends: list[int] = []
    for _ in range(9):
        memory.refuse(Kind.HOLD, [5], now_s=0)
        with read(engine) as connection:
            ends.append(load_rests(connection)["hold", "5"].until_s)

    assert ends == [100, 200, 400, 800, 1_600, 3_200, 6_400, 6_400, 6_400]
    assert memory.load_resting(now_s=6_399) == {(Kind.HOLD, 5)}
    assert memory.load_resting(now_s=6_400) == frozenset()


def test_item__success__is_forgotten_and_no_other(engine: Engine) -> None:
    memory = make_memory(engine)
    memory.refuse(Kind.SETTLE, [5, 6], now_s=0)
    memory.refuse(Kind.HOLD, [5], now_s=0)
    memory.refuse(Kind.PAYOUT, ["pay_7"], now_s=0)
    memory.succeed(Kind.SETTLE, [5, 9])

    expected = {(Kind.SETTLE, 6), (Kind.HOLD, 5), (Kind.PAYOUT, "pay_7")}
    assert memory.load_resting(now_s=99) == expected


def test_rests__free_for_long__items_are_forgotten_but_not_kinds(engine: Engine) -> None:
    memory = make_memory(engine)
    memory.refuse(Kind.SETTLE, [5, 6], now_s=0)
    memory.refuse(Kind.SETTLE, [6], now_s=0)
    memory.fail(Kind.SETTLE, now_s=0)
    with write(engine) as connection:
        drop_rests(connection, ended_before_s=101)
        assert set(load_rests(connection)) == {("settle", ""), ("settle", "6")}


def test_forget_all_failures__everything_is_tried_at_once(engine: Engine) -> None:
    memory = make_memory(engine)
    memory.refuse(Kind.PAYOUT, ["a"], now_s=0)
    memory.fail(Kind.HOLD, now_s=0)
    with write(engine) as connection:
        assert forget_all_failures(connection) == 2

    assert not memory.fail(Kind.HOLD, now_s=0)
    assert memory.load_resting(now_s=0) == frozenset()
