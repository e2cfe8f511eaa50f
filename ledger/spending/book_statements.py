"""The meter's statements, built once as text from what they read and write.

This is the request path: the driver gets them with bound parameters. On SQLite a statement a row
costs nothing but itself; on PostgreSQL each is a round trip, so there one statement carries a whole
set as arrays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Column, Integer, String, Table
from sqlmodel import AutoString

from ledger.spending.books import POSITION_COLUMNS
from ledger.spending.children import CHILD_COLUMNS, COUNTERS
from ledger.tables import ChildKey, Position, Usage, table_of
from ledger.tables.usage import CHARGE_COLUMNS, PRICE_COLUMNS, RESERVATION_COLUMNS

_child_key = table_of(ChildKey)
_position = table_of(Position)
_usage = table_of(Usage)

RESERVED: Final = {"state": "reserved"}


@dataclass(frozen=True, slots=True)
class RowInsert:
    """An INSERT of rows with values for ``columns``, in that order, and ``constants``."""

    table: Table
    columns: tuple[str, ...]
    constants: Mapping[str, str]

    def for_sqlite(self) -> str:
        """Return the statement for one row."""
        places = ["?"] * len(self.columns) + _quote(self.constants)
        return f"INSERT INTO {self._target} VALUES ({', '.join(places)})"

    def for_postgres(self) -> str:
        """Return the statement for a set of rows, an array a column; it leaves out taken keys."""
        read = ", ".join(["*", *_quote(self.constants)])
        arrays = _build_arrays(self.table, self.columns)
        return (
            f"INSERT INTO {self._target} SELECT {read} FROM unnest({arrays}) ON CONFLICT DO NOTHING"
        )

    @property
    def _target(self) -> str:
        return f"{self.table.name} ({', '.join((*self.columns, *self.constants))})"


@dataclass(frozen=True, slots=True)
class RowUpdate:
    """An UPDATE of rows that are named by ``key``, each with values of its own for ``columns``.

    A row that is not as ``only`` says stays as it is. ``adds`` adds the values to what is there.
    """

    table: Table
    key: str
    columns: tuple[str, ...]
    constants: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, str] = field(default_factory=dict)
    adds: bool = False

    def for_sqlite(self) -> str:
        """Return the statement for one row: its key, then its values."""
        values = {name: f"?{place}" for place, name in enumerate(self.columns, 2)}
        conditions = [f"{self.key} = ?1", *_build_equations(self.only)]
        return (
            f"UPDATE {self.table.name} SET {self._build_assignments(values)}"
            f" WHERE {' AND '.join(conditions)}"
        )

    def for_postgres(self) -> str:
        """Return the statement for a set of rows: their keys, then an array a column."""
        table = self.table.name
        values = {name: f"new.{name}" for name in self.columns}
        arrays = _build_arrays(self.table, (self.key, *self.columns))
        # With IS TRUE, no planner takes the condition for a way to find the rows.
        conditions = [f"{table}.{self.key} = new.{self.key}"]
        conditions += [f"({table}.{equation}) IS TRUE" for equation in _build_equations(self.only)]
        return (
            f"UPDATE {table} SET {self._build_assignments(values)}"
            f" FROM unnest({arrays}) AS new ({', '.join((self.key, *self.columns))})"
            f" WHERE {' AND '.join(conditions)}"
        )

    def _build_assignments(self, values: Mapping[str, str]) -> str:
        before = f"{self.table.name}.{{}} + " if self.adds else ""
        changed = [f"{name} = {before.format(name)}{value}" for name, value in values.items()]
        return ", ".join([*_build_equations(self.constants), *changed])


def _quote(constants: Mapping[str, str]) -> list[str]:
    return [f"'{value}'" for value in constants.values()]


def _build_equations(constants: Mapping[str, str]) -> list[str]:
    return [f"{name} = '{value}'" for name, value in constants.items()]


def _build_arrays(table: Table, columns: tuple[str, ...]) -> str:
    return ", ".join(f"%s::{_get_kind(table.c[name])}[]" for name in columns)


def _get_kind(column: Column[Any]) -> str:
    if isinstance(column.type, Integer):
        return "bigint"
    assert isinstance(column.type, (String, AutoString)), column
    return "text"


INSERT_USAGE: Final = RowInsert(
    _usage, (*RESERVATION_COLUMNS, "reserved_at_s", "lease_expires_at_s", "holder_id"), RESERVED
)
RENEW_USAGE: Final = RowUpdate(_usage, "request_id", ("lease_expires_at_s",), only=RESERVED)
REPRICE_USAGE: Final = RowUpdate(_usage, "request_id", PRICE_COLUMNS, only=RESERVED)
POST_USAGE: Final = RowUpdate(
    _usage,
    "request_id",
    (*CHARGE_COLUMNS, "resolved_at_s"),
    constants={"state": "posted"},
    only=RESERVED,
)
VOID_USAGE: Final = RowUpdate(
    _usage,
    "request_id",
    ("void_reason", "resolved_at_s"),
    constants={"state": "voided"},
    only=RESERVED,
)
DRAW: Final = RowUpdate(_position, "token_id", ("drawn_usdc",), adds=True)
COUNT_CHILD: Final = RowUpdate(_child_key, "key_id", COUNTERS)

_WRITES: Final = (
    INSERT_USAGE,
    RENEW_USAGE,
    REPRICE_USAGE,
    POST_USAGE,
    VOID_USAGE,
    DRAW,
    COUNT_CHILD,
)
"""In the order in which they can follow each other for one row."""
SQLITE_WRITES: Final = tuple(write.for_sqlite() for write in _WRITES)
POSTGRES_WRITES: Final = tuple(write.for_postgres() for write in _WRITES)

USAGE_READ: Final = (*RESERVATION_COLUMNS, "reserved_at_s", "state", *CHARGE_COLUMNS)
_LOAD_USAGE: Final = f"SELECT {', '.join(USAGE_READ)} FROM usage WHERE request_id"
_LOAD_POSITION: Final = f"SELECT {', '.join(POSITION_COLUMNS)} FROM position WHERE token_id"
_LOAD_CHILD: Final = f"SELECT {', '.join(CHILD_COLUMNS)} FROM child_key WHERE key_id"

LOAD_MIRROR: Final = "SELECT block_timestamp_s, observed_at_s FROM mirror"

SQLITE_LOAD_USAGE: Final = f"{_LOAD_USAGE} = ?"
SQLITE_LOAD_POSITION: Final = f"{_LOAD_POSITION} = ?"
SQLITE_LOAD_CHILD: Final = f"{_LOAD_CHILD} = ?"
SQLITE_COUNT_CHILD: Final = COUNT_CHILD.for_sqlite()

# Every row here is named by its key. Without this, the planner of a young table may read all of it,
# or all that ever was reserved, for a few of its rows.
POSTGRES_PLAN_BY_KEY: Final = (
    "SELECT set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true), set_config('enable_seqscan', 'off', true)"
)
POSTGRES_FIND_TOKENS: Final = (
    "SELECT DISTINCT token_id, key_id FROM usage WHERE request_id = ANY(%s::text[])"
)
POSTGRES_LOAD_USAGE: Final = f"{_LOAD_USAGE} = ANY(%s::text[])"
POSTGRES_PEEK_POSITIONS: Final = f"{_LOAD_POSITION} = ANY(%s::bigint[])"
POSTGRES_LOCK_POSITIONS: Final = f"{POSTGRES_PEEK_POSITIONS} ORDER BY token_id FOR UPDATE"
POSTGRES_LOAD_CHILDREN: Final = f"{_LOAD_CHILD} = ANY(%s::text[])"
POSTGRES_COUNT_CHILD: Final = COUNT_CHILD.for_postgres()
