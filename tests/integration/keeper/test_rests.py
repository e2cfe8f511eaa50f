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

from keeper.duties.registry import KINDS, POSITION_KINDS
from keeper.rests import Rests
from ledger.database.engine import read, write
from ledger.intents.rests import drop_rests, forget_all_failures, load_rests
from tests.support.ledgers import Databases


@pytest.fixture
def engine(databases: Databases) -> Engine:
    return databases.open_ledger()


def make_rests(engine: Engine) -> Rests:
    return Rests(engine, kinds=KINDS, position_kinds=POSITION_KINDS, failures_max=2, rest_s=100)


def test_kind__failures_in_a_row__stop_it_alone_for_every_keeper(engine: Engine) -> None:
    assert not make_rests(engine).fail("hold", now_s=0)
    assert make_rests(engine).load_stopped(now_s=0) == []
    assert make_rests(engine).fail("hold", now_s=0)

    assert make_rests(engine).load_stopped(now_s=99) == ["hold"]
    assert make_rests(engine).load_stopped(now_s=100) == []
    assert make_rests(engine).load_resting(now_s=99) == frozenset(), "no item of it"


def test_kind__rested__one_more_failure_stops_it_again(engine: Engine) -> None:
    rests = make_rests(engine)
    rests.fail("hold", now_s=0)
    rests.fail("hold", now_s=0)

    assert rests.fail("hold", now_s=100)
    assert rests.load_stopped(now_s=199) == ["hold"]


def test_kind__success__counts_from_the_start(engine: Engine) -> None:
    rests = make_rests(engine)
    rests.fail("hold", now_s=0)
    rests.fail("settle", now_s=0)
    rests.succeed("hold", [])

    assert not rests.fail("hold", now_s=1)
    assert rests.fail("settle", now_s=1)


def test_item__refused__rests_longer_each_time_up_to_a_bound(engine: Engine) -> None:
    rests = make_rests(engine)
    ends: list[int] = []
    for _ in range(9):
        rests.refuse("hold", [5], now_s=0)
        with read(engine) as connection:
            ends.append(load_rests(connection)["hold", "5"].until_s)

    assert ends == [100, 200, 400, 800, 1_600, 3_200, 6_400, 6_400, 6_400]
    assert rests.load_resting(now_s=6_399) == {("hold", 5)}
    assert rests.load_resting(now_s=6_400) == frozenset()


def test_item__success__is_forgotten_and_no_other(engine: Engine) -> None:
    rests = make_rests(engine)
    rests.refuse("settle", [5, 6], now_s=0)
    rests.refuse("hold", [5], now_s=0)
    rests.refuse("payout", ["pay_7"], now_s=0)
    rests.succeed("settle", [5, 9])

    expected = {("settle", 6), ("hold", 5), ("payout", "pay_7")}
    assert rests.load_resting(now_s=99) == expected


def test_rests__free_for_long__items_are_forgotten_but_not_kinds(engine: Engine) -> None:
    rests = make_rests(engine)
    rests.refuse("settle", [5, 6], now_s=0)
    rests.refuse("settle", [6], now_s=0)
    rests.fail("settle", now_s=0)
    with write(engine) as connection:
        drop_rests(connection, ended_before_s=101)
        assert set(load_rests(connection)) == {("settle", ""), ("settle", "6")}


def test_forget_all_failures__everything_is_tried_at_once(engine: Engine) -> None:
    rests = make_rests(engine)
    rests.refuse("payout", ["a"], now_s=0)
    rests.fail("hold", now_s=0)
    with write(engine) as connection:
        assert forget_all_failures(connection) == 2

    assert not rests.fail("hold", now_s=0)
    assert rests.load_resting(now_s=0) == frozenset()
