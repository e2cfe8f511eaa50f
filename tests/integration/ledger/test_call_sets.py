"""API calls decided and written as sets: the same rows as one after the other, no quota passed.

run_calls
├── any order of steps, in groups of any size: what each is told, and every row, as run alone
├── the period's first call: it is opened by the set
├── a step with more to do: never part of a set
├── (PostgreSQL) two writers at once: the quota's last unit and the credit hold
└── (PostgreSQL) sets over several connections, each opening periods: none waits for ever
"""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import pytest
from sqlalchemy import Connection, Engine, select

from contracts.errors import CurrentError
from contracts.units import SECONDS_PER_DAY
from ledger.audit import find_violations
from ledger.database.engine import PostgresLimits, read, write
from ledger.database.writer import GroupWriter
from ledger.market_audit import find_market_mismatches
from ledger.resale.call_records import (
    TRIAL_S,
    CallDenial,
    CallFigures,
    CallRefused,
    CallResolved,
    CallTrace,
    NewCall,
    PeriodTerms,
)
from ledger.resale.call_sets import CallStep, PostCall, ReserveCall, VoidCall, run_calls
from ledger.resale.connections import NewConnection, change_connection, save_connection
from ledger.resale.periods import open_period
from ledger.selling.accounts import (
    NewKey,
    add_credit,
    revoke_key,
    save_account,
    save_key,
    save_seller,
)
from ledger.selling.sale_statements import PAID_KEY_ID
from ledger.selling.sealed_keys import SealedKey
from ledger.tables import ApiCall, ApiPeriod, MarketAccount, table_of
from tests.support.ledgers import NOW_S, Databases
from tests.support.sale_sets import describe, dump

TABLES: Final = tuple(table_of(one) for one in (MarketAccount, ApiPeriod, ApiCall))
KEYS: Final = {"good": "a", "ends": "a", "revoked": "a", "other": "b", PAID_KEY_ID: "a"}
PERIOD: Final = PeriodTerms(NOW_S, NOW_S + 30 * SECONDS_PER_DAY, 100, 150, 40)
"""A quota of 150 units, of which the owner keeps 40 and a buffer of 10."""
CONNECTIONS: Final = ("c1", "c2", "c3")


def put_market(connection: Connection, *, credit_usdc: int = 4_000) -> None:
    for account_id in ("a", "b"):
        save_account(connection, account_id=account_id, kind="prepaid", wallet=None, now_s=NOW_S)
        add_credit(
            connection,
            credit_id=account_id,
            account_id=account_id,
            amount_usdc=credit_usdc,
            source="test",
            now_s=NOW_S,
        )
    for key_id, owner in KEYS.items():
        expires_at_s = NOW_S + SECONDS_PER_DAY if key_id == "ends" else None
        key = NewKey(key_id, f"hash-{key_id}", "buyer", owner, "", expires_at_s)
        save_key(connection, key, now_s=NOW_S)
    revoke_key(connection, kind="buyer", owner="a", key_id="revoked", now_s=NOW_S)
    save_seller(connection, address="s", now_s=NOW_S)
    for name in CONNECTIONS:
        new = NewConnection(name, "s", name, "https://api.example", "{}", "payee")
        save_connection(connection, new, SealedKey(b"c", b"w", "k1"), now_s=NOW_S)


def make_call(number: int, **changes: Any) -> NewCall:
    call = NewCall(
        *(f"r{number:04d}", 0, "a", "good", "c1", 0, "s", "payee", "GET /x", PERIOD),
        *(1, 10, False, 0, 10),
    )
    return replace(call, **changes)


def make_figures(units: int) -> CallFigures:
    return CallFigures(units, 10 * units, 9 * units, units)


def draw_steps(dice: random.Random, count: int) -> list[CallStep]:
    """Return steps of every kind, right and wrong, most of them of calls begun before."""
    begun: list[NewCall] = []
    steps: list[CallStep] = []
    for number in range(count):
        now_s = NOW_S + number * (TRIAL_S // 20)
        if not begun or dice.random() < 0.5:
            key_id = dice.choice(("good", "good", "good", *KEYS))
            units = dice.choice((0, 1, 5, 12))
            call = make_call(
                number,
                account_id="b" if key_id == "other" and dice.random() < 0.5 else "a",
                key_id=key_id,
                connection_id=dice.choice(("c1", "c2")),
                version=dice.choice((0, 0, 0, 0, 1)),
                units_max=units,
                ceiling_usdc=10 * units,
            )
            begun.append(call)
            steps.append(ReserveCall(call, now_s, now_s + 60, dice.choice((None, "holder"))))
            continue
        call = dice.choice((*begun[-8:], make_call(9_999)))
        # The API says what remains of its quota, wrongly at times.
        remaining = dice.choice((None, None, 0, 60, 110, 150, 999))
        trace = CallTrace(dice.choice((200, None)), 3, 4, remaining)
        if dice.random() < 0.6:
            figures = make_figures(dice.choice((0, call.units_max)))
            wrong = replace(figures, fee_usdc=figures.fee_usdc + 1)
            figures = wrong if number % 17 == 0 else figures
            own = dice.choice((0, 0, 0, 2))
            steps.append(PostCall(call.call_id, figures, PERIOD, trace, now_s, own))
        else:
            lost, own = dice.choice(((0, 0), (0, 0), (1, 0), (0, 1)))
            names = (call.call_id, "server", dice.random() < 0.5, PERIOD, now_s)
            steps.append(VoidCall(*names, lost, own, trace))
    return steps


def run_alone(connection: Connection, step: CallStep) -> Any:
    try:
        with connection.begin_nested():
            return step(connection)
    except (CurrentError, ValueError) as error:
        return describe(error)


def test_run_calls__any_steps_in_any_groups__are_as_each_run_alone(databases: Databases) -> None:
    dice = random.Random(18)
    steps = draw_steps(dice, 300)
    alone, together = databases.open_ledger(), databases.open_ledger()
    for engine in (alone, together):
        with write(engine) as connection:
            put_market(connection, credit_usdc=1_500)
            for name in CONNECTIONS:
                open_period(connection, name, PERIOD)

    with write(alone) as connection:
        expected = [run_alone(connection, step) for step in steps]
    told: list[Any] = []
    while len(told) < len(steps):
        group = steps[len(told) : len(told) + dice.randint(1, 9)]
        with write(together) as connection:
            outcomes = run_calls(connection, group)
        told += [result if error is None else describe(error) for result, error in outcomes]

    assert told == expected
    assert dump(together, TABLES) == dump(alone, TABLES)
    with read(together) as connection:
        assert find_market_mismatches(connection) == []
    # Whatever can happen has happened.
    refused = {told[1] for told in expected if isinstance(told, tuple) and told[0] is CallRefused}
    assert refused == set(CallDenial)
    wrong = [told[:2] for told in expected if isinstance(told, tuple)]
    for kind, words in (
        *((CallResolved, "is unknown"), (CallResolved, "is posted"), (CallResolved, "is voided")),
        (ValueError, "parts"),
    ):
        assert any(found is kind and words in said for found, said in wrong), words
    assert {row.state for row in dump(alone, TABLES)[2]} == {"reserved", "posted", "voided"}


def test_run_calls__the_first_of_its_period__opens_it(databases: Databases) -> None:
    engine = databases.open_ledger()
    with write(engine) as connection:
        put_market(connection)
        steps = [ReserveCall(make_call(n, units_max=60), NOW_S, NOW_S + 60) for n in (1, 2)]
        (use, _), (_, refused) = run_calls(connection, steps)
        changed = ReserveCall(make_call(3, connection_id="c2", version=7), NOW_S, NOW_S + 60)
        ((_, outdated),) = run_calls(connection, [changed])

    assert (use.for_sale_units, use.reserved_units, use.left_units) == (100, 60, 40)
    assert describe(refused)[:2] == (CallRefused, CallDenial.QUOTA_SOLD)
    assert describe(outdated)[:2] == (CallRefused, CallDenial.CONNECTION_CHANGED)
    with read(engine) as connection:
        assert find_market_mismatches(connection) == []


def test_run_calls__a_connection_taken_off_sale_or_the_same_call_again__is_refused(
    databases: Databases,
) -> None:
    engine = databases.open_ledger()
    first = ReserveCall(make_call(1), NOW_S, NOW_S + 60)
    with write(engine) as connection:
        put_market(connection)
        (_, none), (_, again) = run_calls(connection, [first, first])
        change_connection(
            connection,
            connection_id="c1",
            owner="s",
            changes={"status": "disabled"},
            now_s=NOW_S,
        )
        late = ReserveCall(make_call(2, version=1), NOW_S, NOW_S + 60)
        ((_, off_sale),) = run_calls(connection, [late])

    assert none is None
    assert isinstance(again, CallResolved)
    assert describe(off_sale)[:2] == (CallRefused, CallDenial.CONNECTION_CHANGED)


def test_run_group__a_step_with_more_to_do__runs_alone() -> None:
    call, trace = make_call(1), CallTrace(200)
    assert ReserveCall(call, NOW_S, NOW_S).run_group is run_calls
    assert ReserveCall(call, NOW_S, NOW_S, also=lambda *_: None).run_group is None
    post = PostCall("r.0", make_figures(1), PERIOD, trace, NOW_S)
    assert post.run_group is run_calls
    assert replace(post, also=lambda _: None).run_group is None


def run_two_writers(engine: Engine, steps: list[CallStep]) -> list[CallStep]:
    """Submit steps to two processes' writers in turns; return those that went through."""
    writers = [GroupWriter(engine, group_size_max=16) for _ in range(2)]
    try:
        asked = [writers[number % 2].submit(step) for number, step in enumerate(steps)]
        failed = [future.exception() for future in asked]
    finally:
        for writer in writers:
            writer.close()
    assert all(isinstance(error, CallRefused | None) for error in failed)
    return [step for step, error in zip(steps, failed, strict=True) if error is None]


@pytest.mark.parametrize(("credit_usdc", "most"), [(4_000, 100), (500, 50)])
def test_writers__two_at_once_ask_for_more_than_there_is__pass_neither_quota_nor_credit(
    postgres: Databases, credit_usdc: int, most: int
) -> None:
    engine = postgres.open_ledger(limits=PostgresLimits(connections_max=4))
    with write(engine) as connection:
        put_market(connection, credit_usdc=credit_usdc)
    reserves: list[CallStep] = [
        ReserveCall(make_call(n), NOW_S, NOW_S + 60) for n in range(most + 40)
    ]

    reserved = run_two_writers(engine, reserves)

    assert len(reserved) == most
    posts: list[CallStep] = [
        PostCall(step.call_id, make_figures(1), PERIOD, CallTrace(200), NOW_S) for step in reserved
    ]
    assert len(run_two_writers(engine, posts)) == most
    with read(engine) as connection:
        assert find_violations(connection) == []
        row = connection.execute(select(TABLES[1])).mappings().one()
    assert (row["sold_units"], row["reserved_units"]) == (most, 0)


def test_sets_over_several_connections__each_opening_periods__all_go_through(
    postgres: Databases,
) -> None:
    engine = postgres.open_ledger(limits=PostgresLimits(connections_max=6))
    with write(engine) as connection:
        put_market(connection)
    dice = random.Random(3)

    def reserve(first: int) -> list[CallStep]:
        calls = [
            make_call(n, connection_id=dice.choice(CONNECTIONS)) for n in range(first, first + 60)
        ]
        return run_two_writers(engine, [ReserveCall(one, NOW_S, NOW_S + 60) for one in calls])

    with ThreadPoolExecutor(2) as pool:
        assert [len(steps) for steps in pool.map(reserve, (0, 100))] == [60, 60]
    with read(engine) as connection:
        assert find_violations(connection) == []
