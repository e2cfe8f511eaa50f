"""L8: a child key's counters are the sums of its usage, and none of its limits is ever passed.

Random histories of two child keys on one position: reserve, post, void, dead leases, changed
limits, rotations, and a clock that also goes back a little, against a model that only adds up.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.errors import RefusalReason, ReserveRefused
from ledger.spending.admission import AdmissionRules
from ledger.spending.children import get_month, get_month_start_s
from ledger.spending.keys import (
    ChildTerms,
    change_child,
    create_child,
    load_child,
    load_child_mismatches,
    rotate_child,
)
from ledger.spending.leases import sweep_leases
from ledger.spending.metering import Post, Reserve, Void, run_calls
from ledger.tables.usage import Charge, Reservation
from tests.support.examples import games
from tests.support.folders import temporary_folder
from tests.support.ledgers import (
    POSTGRES,
    SQLITE,
    Databases,
    make_state,
    put_cursor,
    put_positions,
)
from tests.support.postgres import needs_postgres

RULES: Final = AdmissionRules(hold_margin_s=900, max_staleness_s=10**9, lease_s=300)
KEYS: Final = ("aa" * 6, "bb" * 6)
HOLD_USDC: Final = 10**9
MIDNIGHT_S: Final = int(datetime(2027, 1, 31, 23, 59, tzinfo=UTC).timestamp())
"""A minute before a day, and a month, ends."""


@dataclass
class Entry:
    key_id: str
    ceiling_usdc: int
    reserved_at_s: int
    state: str = "reserved"
    counted_usdc: int = 0


@pytest.fixture(scope="module", params=[SQLITE, pytest.param(POSTGRES, marks=needs_postgres)])
def databases(request: pytest.FixtureRequest) -> Iterator[Databases]:
    with (
        temporary_folder() as folder,
        Databases(request.param, Path(folder)) as databases,
    ):
        yield databases


def reservation(request_id: str, key_id: str, ceiling_usdc: int) -> Reservation:
    return Reservation(request_id, 0, 0, key_id, "model", ceiling_usdc, 1, 1)


class History:
    def __init__(self, databases: Databases, luck: random.Random) -> None:
        self.luck = luck
        self.engine = databases.open_ledger()
        self.now_s = MIDNIGHT_S
        self.entries: dict[str, Entry] = {}
        self.terms = {key_id: self.draw_terms() for key_id in KEYS}
        self.generations = dict.fromkeys(KEYS, 0)
        with write(self.engine) as connection:
            state = make_state(
                now_s=self.now_s, credited_usdc=HOLD_USDC, hold_usdc=HOLD_USDC, hold_lives_s=10**8
            )
            put_positions(connection, state)
            put_cursor(connection, now_s=self.now_s)
            for key_id in KEYS:
                create_child(
                    connection,
                    key_id=key_id,
                    token_id=0,
                    key_epoch=0,
                    terms=self.terms[key_id],
                    now_s=self.now_s,
                )

    def draw_terms(self) -> ChildTerms:
        def limit(most: int) -> int | None:
            return None if self.luck.random() < 0.5 else self.luck.randint(0, most)

        return ChildTerms(
            request_usdc_max=limit(600),
            day_usdc_max=limit(1_500),
            month_usdc_max=limit(3_000),
            lifetime_usdc_max=limit(6_000),
            concurrency_max=limit(4),
        )

    def step(self) -> None:
        moves = [self.reserve_some] * 6 + [self.post] * 5 + [self.void] * 2
        moves += [self.wait] * 2 + [self.sweep, self.change, self.rotate]
        self.luck.choice(moves)()
        with read(self.engine) as connection:
            assert find_violations(connection) == []
            for key_id in KEYS:
                self.check(connection, key_id)

    def reserve_some(self) -> None:
        """One group of calls, as the writer makes them."""
        calls = []
        for _ in range(self.luck.randint(1, 3)):
            key_id = self.luck.choice(KEYS)
            wish = reservation(f"r{len(self.entries)}", key_id, self.luck.randint(0, 700))
            self.entries[wish.request_id] = Entry(key_id, wish.ceiling_usdc, 0, state="asked")
            generation = self.generations[key_id]
            calls.append(Reserve(wish, RULES, self.now_s, generation=generation))
        with write(self.engine) as connection:
            outcomes = run_calls(connection, calls)
        for call, (_, failure) in zip(calls, outcomes, strict=True):
            entry = self.entries[call.request_id]
            day = max(e.reserved_at_s // 86_400 for e in [*self.counting(entry.key_id), entry])
            at_s = max(self.now_s, day * 86_400)
            fits = self.fits(entry, at_s=at_s)
            if failure is None:
                assert fits
                entry.state, entry.reserved_at_s = "reserved", at_s
                entry.counted_usdc = entry.ceiling_usdc
            else:
                assert isinstance(failure, ReserveRefused)
                assert failure.reason is RefusalReason.KEY_LIMIT_REACHED
                assert failure.limit is not None
                assert not fits
                del self.entries[call.request_id]
                self.entries[call.request_id] = replace(entry, state="refused")

    def counting(self, key_id: str) -> list[Entry]:
        found = [e for e in self.entries.values() if e.key_id == key_id]
        return [e for e in found if e.state not in ("asked", "refused")]

    def fits(self, entry: Entry, *, at_s: int) -> bool:
        terms, counting = self.terms[entry.key_id], self.counting(entry.key_id)
        at = datetime.fromtimestamp(at_s, UTC)
        moments = [(datetime.fromtimestamp(e.reserved_at_s, UTC), e) for e in counting]
        same_day = sum(e.counted_usdc for t, e in moments if t.date() == at.date())
        same_month = sum(
            e.counted_usdc for t, e in moments if (t.year, t.month) == (at.year, at.month)
        )
        total = sum(e.counted_usdc for e in counting)
        live = sum(e.state == "reserved" for e in counting)
        limits = (
            (terms.request_usdc_max, 0),
            (terms.day_usdc_max, same_day),
            (terms.month_usdc_max, same_month),
            (terms.lifetime_usdc_max, total),
        )
        amounts_fit = all(
            most is None or used + entry.ceiling_usdc <= most for most, used in limits
        )
        return amounts_fit and (terms.concurrency_max is None or live < terms.concurrency_max)

    def pick(self) -> tuple[str, Entry] | None:
        live = [(r, e) for r, e in self.entries.items() if e.state == "reserved"]
        return self.luck.choice(live) if live else None

    def post(self) -> None:
        if (found := self.pick()) is None:
            return
        request_id, entry = found
        entry.counted_usdc = self.luck.randint(0, entry.ceiling_usdc)
        entry.state = "posted"
        with write(self.engine) as connection:
            for _ in range(self.luck.randint(1, 2)):
                Post(request_id, Charge(entry.counted_usdc, 1, 1), self.now_s)(connection)

    def void(self) -> None:
        if (found := self.pick()) is None:
            return
        request_id, entry = found
        entry.state, entry.counted_usdc = "voided", 0
        with write(self.engine) as connection:
            for _ in range(self.luck.randint(1, 2)):
                Void(request_id, "test", self.now_s)(connection)

    def wait(self) -> None:
        # A minute, an hour, days; and another machine's clock may be behind.
        self.now_s += self.luck.choice([-30, 1, 60, 3_600, 86_400, 31 * 86_400])

    def sweep(self) -> None:
        self.now_s += 301
        with write(self.engine) as connection:
            sweep_leases(connection, now_s=self.now_s)
        for entry in self.entries.values():
            if entry.state == "reserved" and self.is_dead(entry):
                entry.state, entry.counted_usdc = "voided", 0

    def is_dead(self, entry: Entry) -> bool:
        request_id = next(r for r, e in self.entries.items() if e is entry)
        with read(self.engine) as connection:
            state = connection.exec_driver_sql(
                f"SELECT state FROM usage WHERE request_id = '{request_id}'"
            ).scalar_one()
        return bool(state == "voided")

    def change(self) -> None:
        key_id = self.luck.choice(KEYS)
        self.terms[key_id] = terms = self.draw_terms()
        changes: dict[str, Any] = {
            name: getattr(terms, name) for name in ("request_usdc_max", "concurrency_max")
        }
        changes |= {f"{name}_usdc_max": getattr(terms, f"{name}_usdc_max") for name in PERIODS}
        with write(self.engine) as connection:
            change_child(connection, key_id, token_id=0, key_epoch=0, changes=changes)

    def rotate(self) -> None:
        key_id = self.luck.choice(KEYS)
        self.generations[key_id] += 1
        with write(self.engine) as connection:
            rotate_child(connection, key_id, token_id=0, key_epoch=0, grace_s=0, now_s=self.now_s)

    def check(self, connection: Connection, key_id: str) -> None:
        row = load_child(connection, key_id, token_id=0)
        assert row is not None
        counting = self.counting(key_id)
        assert row["used_usdc"] == sum(entry.counted_usdc for entry in counting)
        assert row["open_requests"] == sum(entry.state == "reserved" for entry in counting)


PERIODS: Final = ("day", "month", "lifetime")


@settings(max_examples=games(3), deadline=None)
@given(seed=st.integers(0, 2**32))
def test_l8__any_history__counters_are_sums_and_limits_hold(
    databases: Databases, seed: int
) -> None:
    history = History(databases, random.Random(seed))
    for _ in range(40):
        history.step()


def test_l8__a_counter_that_is_off__is_found(databases: Databases) -> None:
    history = History(databases, random.Random(1))
    with write(history.engine) as connection:
        connection.exec_driver_sql("UPDATE child_key SET day_used_usdc = 1, open_requests = 2")
    with read(history.engine) as connection:
        found = {(key_id, name) for key_id, name, _, _ in load_child_mismatches(connection)}
        assert found == {(key_id, n) for key_id in KEYS for n in ("day_used_usdc", "open_requests")}
        assert {violation.invariant for violation in find_violations(connection)} == {"L8"}


@given(st.integers(0, 2_932_896))
def test_month__of_any_day__as_the_calendar_says(day: int) -> None:
    at = datetime.fromtimestamp(day * 86_400, UTC)
    month = get_month(day)
    assert month == at.year * 12 + at.month - 1
    first = datetime(at.year, at.month, 1, tzinfo=UTC)
    assert get_month_start_s(month) == int(first.timestamp())


def test_day__counted_where_it_was_reserved__when_posted_on_the_next(databases: Databases) -> None:
    history = History(databases, random.Random(1))
    key_id = KEYS[0]
    terms = dict.fromkeys(("request_usdc_max", "month_usdc_max", "lifetime_usdc_max"))
    with write(history.engine) as connection:
        changes = {**terms, "day_usdc_max": 1_000, "concurrency_max": None}
        change_child(connection, key_id, token_id=0, key_epoch=0, changes=changes)
        Reserve(reservation("a", key_id, 900), RULES, MIDNIGHT_S, generation=0)(connection)
        with pytest.raises(ReserveRefused) as caught:
            Reserve(reservation("b", key_id, 200), RULES, MIDNIGHT_S, generation=0)(connection)
        limit = caught.value.limit
        assert limit is not None
        assert (limit.limit, limit.used, limit.resets_at_s) == ("day", 900, MIDNIGHT_S + 60)
        tomorrow_s = MIDNIGHT_S + 120
        Reserve(reservation("b", key_id, 1_000), RULES, tomorrow_s, generation=0)(connection)
        Void("a", "test", tomorrow_s)(connection)
        row = load_child(connection, key_id, token_id=0)
        assert row is not None
        # What was reserved yesterday frees nothing of today.
        assert (row["day_used_usdc"], row["used_usdc"]) == (1_000, 1_000)
        # A clock that is behind counts on the newest day.
        with pytest.raises(ReserveRefused):
            Reserve(reservation("c", key_id, 1), RULES, MIDNIGHT_S, generation=0)(connection)
    with read(history.engine) as connection:
        assert find_violations(connection) == []
