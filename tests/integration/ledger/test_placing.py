"""What of a hold counts while a smaller one is being placed, on both databases.

::

    a placement on its way
    ├── asks for less than is held → no more than that counts, from its planning on
    │   ├── and lands again after a reorganisation → as long as its intent is open
    │   └── has ended, however → the mirrored hold counts alone
    ├── asks for more → changes nothing; nor does it once the hold is larger than it
    ├── asks for less than another on its way → counts, though it is more than is held
    ├── several → the least counts
    └── the mirror is rebuilt meanwhile → counts all the same
"""

import pytest
from sqlalchemy import Connection, Engine, text

from ledger.audit import find_violations
from ledger.chain.placing import note_placements
from ledger.chain.position_rows import delete_position
from ledger.database.engine import write
from ledger.errors import RefusalReason, ReserveRefused
from ledger.intents import lifecycle
from ledger.spending.admission import AdmissionRules
from ledger.spending.metering import Reserve
from ledger.tables.usage import Reservation
from tests.support.ledgers import NOW_S, Databases, make_state, put_cursor, put_positions

HELD_USDC = 500_000
RULES = AdmissionRules(hold_margin_s=900, max_staleness_s=60, lease_s=300)


@pytest.fixture
def engine(databases: Databases) -> Engine:
    engine = databases.open_ledger()
    with write(engine) as connection:
        put_cursor(connection)
        put_positions(connection, make_state(0), make_state(1))
    return engine


def plan(connection: Connection, intent_id: str, **amounts_usdc: int) -> None:
    lifecycle.plan_intent(
        connection,
        intent_id=intent_id,
        kind="hold",
        reason="release",
        payload={"data": "0x"},
        now_s=NOW_S,
    )
    note_placements(
        connection,
        intent_id,
        {int(name[1:]): usdc for name, usdc in amounts_usdc.items()},
        now_s=NOW_S,
    )


class TakenBack(Exception):
    """Ends a transaction whose outcome is known by now."""


def is_admitted(engine: Engine, ceiling_usdc: int, *, token_id: int = 0) -> bool:
    """Try a reservation and take it back."""
    reservation = Reservation("r", token_id, 0, "key", "model", ceiling_usdc, 1, 1)
    with pytest.raises((TakenBack, ReserveRefused)) as ended, write(engine) as connection:
        Reserve(reservation, RULES, NOW_S)(connection)
        raise TakenBack
    if isinstance(ended.value, ReserveRefused):
        assert ended.value.reason is RefusalReason.HOLD_PENDING
        return False
    return True


def test_placing__less_than_is_held__counts_from_its_planning_on(engine: Engine) -> None:
    assert is_admitted(engine, HELD_USDC)
    with write(engine) as connection:
        plan(connection, "hold:1", t0=100)

    assert not is_admitted(engine, 101)
    assert is_admitted(engine, 100)
    assert is_admitted(engine, HELD_USDC, token_id=1)


def test_placing__ended__the_mirrored_hold_counts_alone(engine: Engine) -> None:
    with write(engine) as connection:
        plan(connection, "hold:1", t0=0)
    assert not is_admitted(engine, 1)

    with write(engine) as connection:
        lifecycle.mark_abandoned(connection, "hold:1", error="out of date", now_s=NOW_S)

    assert is_admitted(engine, HELD_USDC)


def test_placing__several__the_least_counts_until_it_has_ended(engine: Engine) -> None:
    with write(engine) as connection:
        plan(connection, "hold:1", t0=HELD_USDC + 1, t1=7)
    assert is_admitted(engine, HELD_USDC)
    with write(engine) as connection:
        plan(connection, "hold:2", t0=10)
    assert not is_admitted(engine, 11)
    assert not is_admitted(engine, 8, token_id=1)

    with write(engine) as connection:
        lifecycle.mark_replaced(connection, "hold:2", error="", now_s=NOW_S)

    assert is_admitted(engine, HELD_USDC)
    assert not is_admitted(engine, 8, token_id=1)


def test_placing__asked_for_more__does_not_bound_what_is_larger_by_then(engine: Engine) -> None:
    with write(engine) as connection:
        plan(connection, "hold:1", t0=HELD_USDC)
        delete_position(connection, 0)
        put_positions(
            connection, make_state(0, credited_usdc=3 * HELD_USDC, hold_usdc=3 * HELD_USDC)
        )

    assert is_admitted(engine, 3 * HELD_USDC)


def test_placing__less_than_another_on_its_way__counts(engine: Engine) -> None:
    with write(engine) as connection:
        plan(connection, "hold:1", t0=3 * HELD_USDC)
        plan(connection, "hold:2", t0=2 * HELD_USDC)
        delete_position(connection, 0)
        put_positions(
            connection, make_state(0, credited_usdc=3 * HELD_USDC, hold_usdc=3 * HELD_USDC)
        )

    assert not is_admitted(engine, 2 * HELD_USDC + 1)
    assert is_admitted(engine, 2 * HELD_USDC)


def test_placing__hold_lapsed__a_smaller_one_takes_nothing_back(engine: Engine) -> None:
    with write(engine) as connection:
        delete_position(connection, 1)
        put_positions(connection, make_state(1, hold_lives_s=0))
        plan(connection, "hold:1", t1=10)
        delete_position(connection, 1)
        put_positions(connection, make_state(1))

    assert is_admitted(engine, HELD_USDC, token_id=1)


def test_audit__placing_is_not_what_is_on_its_way__says_so(engine: Engine) -> None:
    with write(engine) as connection:
        plan(connection, "hold:1", t0=100)
        assert find_violations(connection) == []
        connection.execute(text("UPDATE position SET hold_placing_usdc = 7"))
        found = find_violations(connection)

    assert [(one.invariant, one.subject) for one in found] == [
        ("L2", "position 0"),
        ("L2", "position 1"),
    ]


def test_placing__mirror_rebuilt_meanwhile__counts_all_the_same(engine: Engine) -> None:
    with write(engine) as connection:
        plan(connection, "hold:1", t0=100)
        delete_position(connection, 0)
        put_positions(connection, make_state(0))

    assert not is_admitted(engine, 101)
    assert is_admitted(engine, 100)
