"""What the keeper spends in a day, by kind and account, and when it is forgotten."""

from sqlalchemy import Engine

from ledger.database.engine import read, write
from ledger.intents.days import (
    WHOLE_KIND,
    LeftAlone,
    drop_days,
    load_gas,
    load_left,
    note_gas,
    note_left,
)
from tests.support.ledgers import Databases

DAY_S = 86_400
NOW_S = 20_000 * DAY_S + 5


def test_note_gas__several_accounts__each_has_its_part_rounded_up(databases: Databases) -> None:
    engine = databases.open_ledger()
    with write(engine) as connection:
        note_gas(connection, "x402", ["a", "b", "a"], cost_usdc=100, now_s=NOW_S)
        note_gas(connection, "x402", ["b"], cost_usdc=7, now_s=NOW_S + 60)
        note_gas(connection, "sweep", [], cost_usdc=5, now_s=NOW_S)
        note_gas(connection, "sweep", [], cost_usdc=11, now_s=NOW_S - 6)

    with read(engine) as connection:
        assert load_gas(connection, now_s=NOW_S) == {
            ("x402", WHOLE_KIND): 107,
            ("x402", "a"): 68,
            ("x402", "b"): 41,
            ("sweep", WHOLE_KIND): 5,
        }
        assert load_gas(connection, now_s=NOW_S - 6) == {("sweep", WHOLE_KIND): 11}
        assert load_gas(connection, now_s=NOW_S + DAY_S) == {}


def test_note_gas__funds_and_marks__have_all_and_a_part(databases: Databases) -> None:
    engine = databases.open_ledger()
    with write(engine) as connection:
        note_gas(
            connection,
            "hold",
            ["7", "8"],
            cost_usdc=101,
            now_s=NOW_S,
            funds=["paid"],
            marks=["7/release"],
        )

    with read(engine) as connection:
        assert load_gas(connection, now_s=NOW_S) == {
            ("hold", WHOLE_KIND): 101,
            ("hold", "paid"): 101,
            ("hold", "7"): 51,
            ("hold", "8"): 51,
            ("hold", "7/release"): 51,
        }


def test_note_gas__more_accounts_than_a_statement_names__counts_all(databases: Databases) -> None:
    engine = databases.open_ledger()
    with write(engine) as connection:
        note_gas(connection, "x402", [str(n) for n in range(1_100)], cost_usdc=1_100, now_s=NOW_S)

    with read(engine) as connection:
        found = load_gas(connection, now_s=NOW_S)
    assert len(found) == 1_101
    assert found["x402", "1099"] == 1


def _fill(engine: Engine) -> None:
    with write(engine) as connection:
        for ago in (0, 1, 2, 400):
            now_s = NOW_S - ago * DAY_S
            note_gas(connection, "hold", ["7"], cost_usdc=3, now_s=now_s)
            note_left(connection, {"hold": LeftAlone(2, 9)}, now_s=now_s)


def test_load_left__since_a_day__adds_up_by_kind(databases: Databases) -> None:
    engine = databases.open_ledger()
    _fill(engine)

    with read(engine) as connection:
        assert load_left(connection, since_s=NOW_S - DAY_S) == {"hold": LeftAlone(4, 18)}
        assert load_left(connection, since_s=NOW_S + DAY_S) == {}


def test_drop_days__accounts_go_first__kinds_after_a_year(databases: Databases) -> None:
    engine = databases.open_ledger()
    _fill(engine)
    with write(engine) as connection:
        drop_days(connection, now_s=NOW_S)

    with read(engine) as connection:
        assert load_left(connection, since_s=0) == {"hold": LeftAlone(6, 27)}
        assert load_gas(connection, now_s=NOW_S - 2 * DAY_S) == {("hold", WHOLE_KIND): 3}
        assert load_gas(connection, now_s=NOW_S - DAY_S)["hold", "7"] == 3
