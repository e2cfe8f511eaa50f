"""Books of API calls read from the database and written to it, for many steps at once.

Rows are locked in the order that ``call_booking`` says: calls, accounts, periods, each ascending by
its key.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import psycopg
from sqlalchemy import Connection

from ledger.database.engine import is_postgres
from ledger.database.row_statements import POSTGRES_PLAN_BY_KEY, RowInsert, RowUpdate
from ledger.database.statements import as_columns, get_postgres_driver, open_sqlite_cursor
from ledger.database.write_sets import WriteSets
from ledger.errors import LedgerContended
from ledger.resale.call_books import CallBooks, PeriodKey, Row, StoredCall
from ledger.resale.call_records import CallFigures, NewCall, PeriodUse
from ledger.resale.periods import open_period
from ledger.selling.sale_books import Credit
from ledger.selling.sale_storage import (
    CHANGE_CREDIT,
    LOAD_CREDIT,
    LOAD_KEY,
    LOAD_KEYS,
    LOCK_CREDITS,
)
from ledger.tables import ApiCall, ApiPeriod, table_of

_call = table_of(ApiCall)
_period = table_of(ApiPeriod)

CALL_TERMS: Final = tuple(
    field.name for field in fields(NewCall) if field.name not in ("period", "version")
)
"""What a reserved call takes from its ``NewCall``: attributes there, columns here."""
CALL_FIGURES: Final = tuple(field.name for field in fields(CallFigures))
_SEEN: Final = ("status", "api_ms", "whole_ms", "resolved_at_s")
_RESERVED: Final = {"state": "reserved"}
INSERT_CALL: Final = RowInsert(
    _call,
    (
        *("call_id", *CALL_TERMS, "period_starts_at_s", "is_api_failure"),
        *("reserved_at_s", "lease_expires_at_s", "holder_id"),
    ),
    _RESERVED,
)
POST_CALL: Final = RowUpdate(
    _call, "call_id", (*CALL_FIGURES, *_SEEN), constants={"state": "posted"}, only=_RESERVED
)
VOID_CALL: Final = RowUpdate(
    _call,
    "call_id",
    ("void_reason", "is_api_failure", *_SEEN),
    constants={"state": "voided"},
    only=_RESERVED,
)
_UNITS: Final = (
    *("for_sale_units", "sold_units", "reserved_units", "own_units", "lost_units"),
    *("carried_units", "read_at_s"),
)
_USE_PERIOD: Final = RowUpdate(_period, "connection_id, starts_at_s", _UNITS)
CALL_WRITES: Final = WriteSets(INSERT_CALL, POST_CALL, VOID_CALL, CHANGE_CREDIT, _USE_PERIOD)

_LOAD_CALL: Final = (
    "SELECT call_id, account_id, connection_id, period_starts_at_s, ceiling_usdc, units_max, state,"
    f" {', '.join(CALL_FIGURES)} FROM api_call WHERE call_id"
)
_PERIOD_READ: Final = f"its.connection_id, its.starts_at_s, {', '.join(_UNITS)}"
_LOAD_PERIOD: Final = (
    f"SELECT {_PERIOD_READ} FROM api_period AS its WHERE its.connection_id = ?"
    " AND its.starts_at_s = ?"
)
_LOAD_VERSION: Final = (
    "SELECT connection_id, version FROM api_connection WHERE status = 'enabled'"
    " AND suspended_for IS NULL AND connection_id"
)
SQLITE_CALL_LOADS: Final = (
    f"{_LOAD_CALL} = ?",
    f"{LOAD_CREDIT} = ?",
    f"{LOAD_KEY} = ?",
    f"{_LOAD_VERSION} = ?",
    _LOAD_PERIOD,
)
_LOCK_CALLS: Final = f"{_LOAD_CALL} = ANY(%s::text[]) ORDER BY call_id FOR NO KEY UPDATE"
_LOCK_PERIODS: Final = (
    f"SELECT {_PERIOD_READ} FROM unnest(%s::text[], %s::bigint[]) AS wanted (connection_id, start)"
    " JOIN api_period AS its ON its.connection_id = wanted.connection_id"
    " AND its.starts_at_s = wanted.start"
    " ORDER BY its.connection_id, its.starts_at_s FOR NO KEY UPDATE OF its"
)
_LOAD_VERSIONS: Final = f"{_LOAD_VERSION} = ANY(%s::text[])"


def load_call_books(
    connection: Connection,
    *,
    call_ids: Sequence[str],
    begun: Sequence[NewCall],
) -> CallBooks:
    """Lock and read calls, with their accounts and periods, and those that new calls name.

    The period of a new call is opened where it is not yet. Keys and connections are read after the
    accounts are locked.
    """
    load = _load_postgres if is_postgres(connection) else _load_sqlite
    books = load(connection, call_ids, begun)
    missing = {
        (call.connection_id, call.period.starts_at_s): call.period
        for call in begun
        if (call.connection_id, call.period.starts_at_s) not in books.periods
        and call.connection_id in books.versions
    }
    for connection_id, starts_at_s in sorted(missing):
        open_period(connection, connection_id, missing[connection_id, starts_at_s])
    if missing:
        books.periods |= _read_periods(connection, sorted(missing))
    return books


def save_call_books(connection: Connection, books: CallBooks) -> None:
    """Write what was decided. Raises ``LedgerContended`` where a call's id was just taken."""
    credits = [
        (account_id, credit.reserved_change_usdc, credit.spent_change_usdc)
        for account_id, credit in sorted(books.credits.items())
        if credit.reserved_change_usdc or credit.spent_change_usdc
    ]
    periods = [
        (*key, *(getattr(books.periods[key], name) for name in _UNITS))
        for key in sorted(books.changed)
    ]
    written: list[Sequence[Row]] = [books.reserved, books.posted, books.voided, credits, periods]
    counts = CALL_WRITES.run(connection, written)
    if counts[0] != len(books.reserved):
        raise LedgerContended("a call's id was taken meanwhile")
    # The rows were locked when they were read.
    assert counts == [len(rows) for rows in written], counts


def _load_sqlite(
    connection: Connection,
    call_ids: Sequence[str],
    begun: Sequence[NewCall],
) -> CallBooks:
    cursor = open_sqlite_cursor(connection)
    load_call, load_credit, load_key, load_version, load_period = SQLITE_CALL_LOADS

    def load(text: str, keys: Iterable[Sequence[Any]]) -> list[Row]:
        found = (cursor.execute(text, key).fetchone() for key in keys)
        return [row for row in found if row is not None]

    calls = _read_calls(load(load_call, ((one,) for one in call_ids)))
    accounts, periods = _name_rows(calls, begun)
    credits = load(load_credit, ((one,) for one in accounts))
    keys = load(load_key, ((one,) for one in {call.key_id for call in begun}))
    versions = load(load_version, ((one,) for one in {call.connection_id for call in begun}))
    return _build_books(calls, credits, keys, versions, load(load_period, periods))


def _load_postgres(
    connection: Connection,
    call_ids: Sequence[str],
    begun: Sequence[NewCall],
) -> CallBooks:
    driver = get_postgres_driver(connection)
    with driver.pipeline():
        driver.execute(POSTGRES_PLAN_BY_KEY)
        found = driver.execute(_LOCK_CALLS, (list(call_ids),))
    calls = _read_calls(found.fetchall())
    accounts, named = _name_rows(calls, begun)
    key_ids = sorted({call.key_id for call in begun})
    connection_ids = sorted({call.connection_id for call in begun})
    # In one round trip; each statement begins when the one before it is done.
    with driver.pipeline():
        credits = driver.execute(LOCK_CREDITS, (accounts,))
        periods = driver.execute(_LOCK_PERIODS, as_columns(named)) if named else None
        keys = driver.execute(LOAD_KEYS, (key_ids,)) if key_ids else None
        versions = driver.execute(_LOAD_VERSIONS, (connection_ids,)) if begun else None
    return _build_books(calls, credits.fetchall(), _fetch(keys), _fetch(versions), _fetch(periods))


def _fetch(cursor: psycopg.Cursor[Any] | None) -> list[Row]:
    return [] if cursor is None else cursor.fetchall()


def _read_periods(connection: Connection, named: Sequence[PeriodKey]) -> dict[PeriodKey, PeriodUse]:
    if is_postgres(connection):
        driver = get_postgres_driver(connection)
        rows = driver.execute(_LOCK_PERIODS, as_columns(named)).fetchall()
    else:
        cursor = open_sqlite_cursor(connection)
        rows = [cursor.execute(_LOAD_PERIOD, key).fetchone() for key in named]
    return {(row[0], row[1]): PeriodUse(*row) for row in rows}


def _read_calls(rows: Iterable[Row]) -> dict[str, StoredCall]:
    calls = {}
    for call_id, account_id, connection_id, starts_at_s, ceiling_usdc, units_max, *rest in rows:
        period = (connection_id, starts_at_s)
        calls[call_id] = StoredCall(
            account_id, period, ceiling_usdc, units_max, rest[0], tuple(rest[1:])
        )
    return calls


def _name_rows(
    calls: Mapping[str, StoredCall], begun: Sequence[NewCall]
) -> tuple[list[str], list[PeriodKey]]:
    """Return the accounts and the periods that calls name, ascending."""
    accounts = {call.account_id for call in begun} | {call.account_id for call in calls.values()}
    periods = {(call.connection_id, call.period.starts_at_s) for call in begun}
    periods |= {call.period for call in calls.values()}
    return sorted(accounts), sorted(periods)


def _build_books(
    calls: dict[str, StoredCall],
    credits: Iterable[Row],
    keys: Iterable[Row],
    versions: Iterable[Row],
    periods: Iterable[Row],
) -> CallBooks:
    return CallBooks(
        calls,
        {account_id: Credit(free_usdc) for account_id, free_usdc in credits},
        {(row[0], row[1]): PeriodUse(*row) for row in periods},
        {key_id: (owner, expires_at_s) for key_id, owner, expires_at_s in keys},
        {row[0]: row[1] for row in versions},
    )
