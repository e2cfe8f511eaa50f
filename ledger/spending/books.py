"""The rows that the meter works on, read and written for many requests at once.

This is the request path: statements are built once, as text, and the driver gets them with bound
parameters. On SQLite a statement a row costs nothing but itself; on PostgreSQL each is a round
trip, so there one statement carries a whole set as arrays.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from sqlalchemy import Connection

from ledger.database.engine import is_postgres
from ledger.database.locks import lock_positions
from ledger.errors import LedgerContended
from ledger.spending.children import CHILD_COLUMNS, COUNTERS, Child, build_child, is_child_id
from ledger.tables import Position, table_of

POSITION_COLUMNS: Final = tuple(column.name for column in table_of(Position).columns)

_POSITION: Final = ", ".join(POSITION_COLUMNS)
_POSITION_INDEX: Final = {name: index for index, name in enumerate(POSITION_COLUMNS)}
_TOKEN: Final = _POSITION_INDEX["token_id"]
_EPOCH: Final = _POSITION_INDEX["key_epoch"]
_RELEASE: Final = _POSITION_INDEX["release_requested_at_s"]
_HOLD: Final = _POSITION_INDEX["hold_usdc"]
_UNCONFIRMED: Final = _POSITION_INDEX["hold_unconfirmed_usdc"]
_EXPIRY: Final = _POSITION_INDEX["hold_confirmed_expires_at_s"]
_DRAWN: Final = _POSITION_INDEX["drawn_usdc"]

RESERVATION_COLUMNS: Final = (
    "request_id",
    "token_id",
    "key_epoch",
    "key_id",
    "model",
    "ceiling_usdc",
    "input_usdc_per_mtok",
    "output_usdc_per_mtok",
    "cached_input_usdc_per_mtok",
)
_KEY: Final = RESERVATION_COLUMNS.index("key_id")
_CEILING: Final = RESERVATION_COLUMNS.index("ceiling_usdc")
FIGURES: Final = ("cost_usdc", "prompt_tokens", "completion_tokens", "cached_tokens")
Figures = tuple[int | None, int | None, int | None, int | None]
_USAGE: Final = ", ".join((*RESERVATION_COLUMNS, "reserved_at_s", "state", *FIGURES))
_INSERTED: Final = ", ".join((*RESERVATION_COLUMNS, "reserved_at_s", "lease_expires_at_s", "state"))

_LOAD_MIRROR: Final = "SELECT block_timestamp_s, observed_at_s FROM mirror"

_SQLITE_LOAD_USAGE: Final = f"SELECT {_USAGE} FROM usage WHERE request_id = ?"
_SQLITE_LOAD_POSITION: Final = f"SELECT {_POSITION} FROM position WHERE token_id = ?"
_SQLITE_INSERT: Final = (
    f"INSERT INTO usage ({_INSERTED}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'reserved')"
)
_SQLITE_POST: Final = (
    "UPDATE usage SET state = 'posted', cost_usdc = ?2, prompt_tokens = ?3, completion_tokens = ?4,"
    " cached_tokens = ?5, resolved_at_s = ?6 WHERE request_id = ?1 AND state = 'reserved'"
)
_SQLITE_VOID: Final = (
    "UPDATE usage SET state = 'voided', void_reason = ?2, resolved_at_s = ?3"
    " WHERE request_id = ?1 AND state = 'reserved'"
)
_SQLITE_RENEW: Final = (
    "UPDATE usage SET lease_expires_at_s = ?2 WHERE request_id = ?1 AND state = 'reserved'"
)
_SQLITE_DRAW: Final = "UPDATE position SET drawn_usdc = drawn_usdc + ?2 WHERE token_id = ?1"

_CHILD: Final = ", ".join(CHILD_COLUMNS)
_SQLITE_LOAD_CHILD: Final = f"SELECT {_CHILD} FROM child_key WHERE key_id = ?"
_SQLITE_COUNT: Final = (
    f"UPDATE child_key SET {', '.join(f'{name} = ?{n}' for n, name in enumerate(COUNTERS, 2))}"
    " WHERE key_id = ?1"
)

# Every row here is named by its key. Without this, and without IS TRUE below, the planner of a
# young table may read all of it, or all that ever was reserved, for a few of its rows.
_POSTGRES_PLAN_BY_KEY: Final = (
    "SELECT set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true), set_config('enable_seqscan', 'off', true)"
)
_POSTGRES_FIND_TOKENS: Final = (
    "SELECT DISTINCT token_id, key_id FROM usage WHERE request_id = ANY(%s::text[])"
)
_POSTGRES_LOAD_USAGE: Final = f"SELECT {_USAGE} FROM usage WHERE request_id = ANY(%s::text[])"
_POSTGRES_PEEK_POSITIONS: Final = (
    f"SELECT {_POSITION} FROM position WHERE token_id = ANY(%s::bigint[])"
)
_POSTGRES_LOAD_POSITIONS: Final = f"{_POSTGRES_PEEK_POSITIONS} ORDER BY token_id FOR UPDATE"
_POSTGRES_LOAD_CHILDREN: Final = f"SELECT {_CHILD} FROM child_key WHERE key_id = ANY(%s::text[])"
_POSTGRES_INSERT: Final = (
    f"INSERT INTO usage ({_INSERTED}) SELECT *, 'reserved' FROM unnest(%s::text[], %s::bigint[],"
    " %s::bigint[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[],"
    " %s::bigint[], %s::bigint[], %s::bigint[]) ON CONFLICT DO NOTHING"
)
_POSTGRES_POST: Final = (
    "UPDATE usage SET state = 'posted', cost_usdc = new.cost, prompt_tokens = new.prompt,"
    " completion_tokens = new.completion, cached_tokens = new.cached, resolved_at_s = new.at_s"
    " FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],"
    " %s::bigint[]) AS new (id, cost, prompt, completion, cached, at_s)"
    " WHERE usage.request_id = new.id AND (usage.state = 'reserved') IS TRUE"
)
_POSTGRES_VOID: Final = (
    "UPDATE usage SET state = 'voided', void_reason = new.reason, resolved_at_s = new.at_s"
    " FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS new (id, reason, at_s)"
    " WHERE usage.request_id = new.id AND (usage.state = 'reserved') IS TRUE"
)
_POSTGRES_RENEW: Final = (
    "UPDATE usage SET lease_expires_at_s = new.expires_at_s"
    " FROM unnest(%s::text[], %s::bigint[]) AS new (id, expires_at_s)"
    " WHERE usage.request_id = new.id AND (usage.state = 'reserved') IS TRUE"
)
_POSTGRES_DRAW: Final = (
    "UPDATE position SET drawn_usdc = position.drawn_usdc + new.change"
    " FROM unnest(%s::bigint[], %s::bigint[]) AS new (id, change) WHERE position.token_id = new.id"
)

_POSTGRES_COUNT: Final = (
    f"UPDATE child_key SET {', '.join(f'{name} = new.{name}' for name in COUNTERS)}"
    f" FROM unnest(%s::text[]{', %s::bigint[]' * len(COUNTERS)}) AS new (id, {', '.join(COUNTERS)})"
    " WHERE child_key.key_id = new.id"
)

_SQLITE_WRITES: Final = (
    _SQLITE_INSERT,
    _SQLITE_RENEW,
    _SQLITE_POST,
    _SQLITE_VOID,
    _SQLITE_DRAW,
    _SQLITE_COUNT,
)
_POSTGRES_WRITES: Final = (
    _POSTGRES_INSERT,
    _POSTGRES_RENEW,
    _POSTGRES_POST,
    _POSTGRES_VOID,
    _POSTGRES_DRAW,
    _POSTGRES_COUNT,
)

Row = Sequence[Any]


class Account:
    """A position as the meter sees it, locked. Amounts in 1e-6 USDC."""

    __slots__ = (
        "_room_usdc",
        "_row",
        "change_usdc",
        "hold_expires_at_s",
        "is_release_requested",
        "key_epoch",
    )

    def __init__(self, row: Row) -> None:
        self._row = row
        self._room_usdc: int = row[_HOLD] - row[_UNCONFIRMED] - row[_DRAWN]
        self.key_epoch: int = row[_EPOCH]
        self.hold_expires_at_s: int = row[_EXPIRY]
        """When the confirmed hold lapses."""
        self.is_release_requested = row[_RELEASE] is not None
        self.change_usdc = 0
        """What these calls have added to ``drawn_usdc`` so far."""

    @property
    def free_usdc(self) -> int:
        """What is left of the confirmed hold; below zero where the hold has shrunk since."""
        return self._room_usdc - self.change_usdc

    def describe(self) -> Mapping[str, Any]:
        """Return the position's columns, ``drawn_usdc`` as these calls have left it so far."""
        columns = dict(zip(POSITION_COLUMNS, self._row, strict=True))
        drawn_usdc = columns["drawn_usdc"] + self.change_usdc
        # Text on SQLite.
        return {**columns, "shares": int(columns["shares"]), "drawn_usdc": drawn_usdc}


@dataclass(slots=True)
class StoredUsage:
    """A usage row as far as the meter asks for it."""

    reservation: Row
    """In the order of ``RESERVATION_COLUMNS``."""
    reserved_at_s: int
    state: str
    figures: Figures
    """In the order of ``FIGURES``."""

    @property
    def token_id(self) -> int:
        return int(self.reservation[1])

    @property
    def key_id(self) -> str:
        return str(self.reservation[_KEY])

    @property
    def ceiling_usdc(self) -> int:
        return int(self.reservation[_CEILING])


@dataclass(slots=True)
class Books:
    """What some calls read, under lock, and what they have decided to write."""

    accounts: dict[int, Account]
    """Without those that have no row."""
    usage: dict[str, StoredUsage]
    mirror: tuple[int, int] | None
    """The newest mirrored block's time, and when the mirror last was at the head."""
    children: dict[str, Child] = field(default_factory=dict)
    """The child keys that are concerned, without those that have no row."""
    reserved: list[Row] = field(default_factory=list)
    renewed: dict[str, int] = field(default_factory=dict)
    posted: list[Row] = field(default_factory=list)
    voided: list[Row] = field(default_factory=list)
    counted: set[str] = field(default_factory=set)
    """The child keys whose counters have changed."""

    def reserve(self, reservation: Row, *, reserved_at_s: int, lease_expires_at_s: int) -> None:
        """Note a new row; ``reservation`` is in the order of ``RESERVATION_COLUMNS``."""
        self.reserved.append((*reservation, reserved_at_s, lease_expires_at_s))
        self.usage[reservation[0]] = StoredUsage(
            reservation, reserved_at_s, "reserved", (None, None, None, None)
        )

    def take(self, child: Child, ceiling_usdc: int, *, now_s: int) -> int:
        """Count a reservation on its child key; return the time that it counts as reserved at."""
        self.counted.add(child.key_id)
        return child.take(ceiling_usdc, now_s=now_s)

    def resolve(self, usage: StoredUsage, freed_usdc: int) -> None:
        """Give back to a child key, if it is one's, what a resolved reservation did not cost."""
        child = self.children.get(usage.key_id)
        if child is not None:
            self.counted.add(child.key_id)
            child.resolve(freed_usdc, reserved_at_s=usage.reserved_at_s)

    def post(self, request_id: str, figures: tuple[int, int, int, int], *, now_s: int) -> None:
        """Note that a reserved row is posted; ``figures`` as in ``StoredUsage``."""
        self.posted.append((request_id, *figures, now_s))
        usage = self.usage[request_id]
        usage.state, usage.figures = "posted", figures

    def void(self, request_id: str, reason: str, *, now_s: int) -> None:
        """Note that a reserved row is voided."""
        self.voided.append((request_id, reason, now_s))
        self.usage[request_id].state = "voided"


def load_books(
    connection: Connection,
    *,
    request_ids: Sequence[str],
    token_ids: Iterable[int],
    key_ids: Iterable[str] = (),
    lock: bool = True,
) -> Books:
    """Read the usage of ``request_ids``, and lock and read its positions and ``token_ids``.

    With them the child keys among ``key_ids`` and the usage's. Without ``lock`` nothing is locked:
    for looking only.
    """
    children = {key_id for key_id in key_ids if is_child_id(key_id)}
    if is_postgres(connection):
        return _load_postgres(connection, list(request_ids), set(token_ids), children, lock=lock)
    return _load_sqlite(connection, request_ids, set(token_ids), children)


def load_children(connection: Connection, key_ids: Iterable[str]) -> dict[str, Child]:
    """Return those of the keys that are child keys. The caller has locked their positions."""
    wanted = sorted({key_id for key_id in key_ids if is_child_id(key_id)})
    if not wanted:
        return {}
    if is_postgres(connection):
        rows: Iterable[Row] = _postgres_driver(connection).execute(
            _POSTGRES_LOAD_CHILDREN, (wanted,)
        )
        return {row[0]: build_child(row) for row in rows}
    return _read_children(_sqlite_cursor(connection), wanted)


def save_children(connection: Connection, children: Iterable[Child]) -> None:
    """Write the counters of child keys whose positions the caller has locked."""
    rows = [(child.key_id, *child.counters) for child in children]
    if not rows:
        return
    if is_postgres(connection):
        _postgres_driver(connection).execute(_POSTGRES_COUNT, _as_columns(rows))
    else:
        _sqlite_cursor(connection).executemany(_SQLITE_COUNT, rows)


def save_books(connection: Connection, books: Books) -> None:
    """Write what was decided. Raises ``LedgerContended`` where a request id was just taken."""
    changes = [(t, a.change_usdc) for t, a in sorted(books.accounts.items()) if a.change_usdc != 0]
    # In the order in which they can follow each other for one row.
    renewed = list(books.renewed.items())
    counted = [(key_id, *books.children[key_id].counters) for key_id in sorted(books.counted)]
    written: list[Sequence[Row]] = [
        books.reserved,
        renewed,
        books.posted,
        books.voided,
        changes,
        counted,
    ]
    if is_postgres(connection):
        counts = _save_postgres(connection, written)
    else:
        cursor = _sqlite_cursor(connection)
        counts = [
            cursor.executemany(text, rows).rowcount if rows else 0
            for text, rows in zip(_SQLITE_WRITES, written, strict=True)
        ]
    if counts[0] != len(books.reserved):
        # Another position's request, or it would have been seen under the lock.
        raise LedgerContended("a request id was taken meanwhile")
    # The rows were locked when they were read.
    assert counts == [len(rows) for rows in written], counts


def _load_sqlite(
    connection: Connection, request_ids: Sequence[str], token_ids: set[int], key_ids: set[str]
) -> Books:
    cursor = _sqlite_cursor(connection)
    usage = {}
    for request_id in request_ids:
        row = cursor.execute(_SQLITE_LOAD_USAGE, (request_id,)).fetchone()
        if row is not None:
            usage[request_id] = found = _usage_of(row)
            token_ids.add(found.token_id)
            if is_child_id(found.key_id):
                key_ids.add(found.key_id)
    accounts = {}
    for token_id in token_ids:
        row = cursor.execute(_SQLITE_LOAD_POSITION, (token_id,)).fetchone()
        if row is not None:
            accounts[token_id] = Account(row)
    mirror = cursor.execute(_LOAD_MIRROR).fetchone()
    return Books(accounts, usage, mirror, _read_children(cursor, key_ids))


def _read_children(cursor: Any, key_ids: Iterable[str]) -> dict[str, Child]:
    children = {}
    for key_id in key_ids:
        row = cursor.execute(_SQLITE_LOAD_CHILD, (key_id,)).fetchone()
        if row is not None:
            children[key_id] = build_child(row)
    return children


def _load_postgres(
    connection: Connection,
    request_ids: list[str],
    token_ids: set[int],
    key_ids: set[str],
    *,
    lock: bool,
) -> Books:
    # A usage row never changes its position or its key, so that these may be read before the
    # lock; all else is read under it, by statements that see whatever was committed until then.
    driver = _postgres_driver(connection)
    with driver.pipeline():
        driver.execute(_POSTGRES_PLAN_BY_KEY)
        found_keys = driver.execute(_POSTGRES_FIND_TOKENS, (request_ids,))
    for token_id, key_id in found_keys:
        token_ids.add(token_id)
        if is_child_id(key_id):
            key_ids.add(key_id)
    books = _read_locked(driver, request_ids, token_ids, key_ids, lock=lock)
    missing = token_ids - books.accounts.keys()
    if missing and lock:
        lock_positions(connection, missing)
        accounts = books.accounts
        books = _read_locked(driver, request_ids, missing, key_ids, lock=True)
        books.accounts.update(accounts)
    return books


def _read_locked(
    driver: psycopg.Connection[Any],
    request_ids: list[str],
    token_ids: set[int],
    key_ids: set[str],
    *,
    lock: bool,
) -> Books:
    # In one round trip; each statement begins when the one before it is done.
    with driver.pipeline():
        load_positions = _POSTGRES_LOAD_POSITIONS if lock else _POSTGRES_PEEK_POSITIONS
        positions = driver.execute(load_positions, (sorted(token_ids),))
        usages = driver.execute(_POSTGRES_LOAD_USAGE, (request_ids,))
        mirrors = driver.execute(_LOAD_MIRROR)
        children = driver.execute(_POSTGRES_LOAD_CHILDREN, (sorted(key_ids),)) if key_ids else ()
    return Books(
        accounts={row[_TOKEN]: Account(row) for row in positions},
        usage={row[0]: _usage_of(row) for row in usages},
        mirror=mirrors.fetchone(),
        children={row[0]: build_child(row) for row in children},
    )


def _save_postgres(connection: Connection, written: Sequence[Sequence[Row]]) -> list[int]:
    driver = _postgres_driver(connection)
    cursors: list[psycopg.Cursor[Any] | None] = []
    with driver.pipeline():
        for text, rows in zip(_POSTGRES_WRITES, written, strict=True):
            cursors.append(driver.execute(text, _as_columns(rows)) if rows else None)
    return [0 if cursor is None else cursor.rowcount for cursor in cursors]


def _as_columns(rows: Sequence[Row]) -> tuple[list[Any], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))


def _usage_of(row: Row) -> StoredUsage:
    count = len(RESERVATION_COLUMNS)
    reserved_at_s, state, cost_usdc, prompt_tokens, completion_tokens, cached_tokens = row[count:]
    figures = (cost_usdc, prompt_tokens, completion_tokens, cached_tokens)
    return StoredUsage(row[:count], reserved_at_s, state, figures)


def _postgres_driver(connection: Connection) -> psycopg.Connection[Any]:
    # The driver's own, for its pipelines.
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    return driver


def _sqlite_cursor(connection: Connection) -> Any:
    # The driver's own: SQLAlchemy's costs more than the statement does.
    driver_connection = connection.connection.driver_connection
    assert driver_connection is not None
    # The transaction begins with SQLAlchemy's first statement on it.
    if not connection.in_transaction():
        connection.begin()
    return driver_connection.cursor()
