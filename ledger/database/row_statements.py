"""Statements that write rows, built once as text for the driver: one row, or a set of them.

On SQLite a statement a row costs nothing but itself; on PostgreSQL each is a round trip, so there
one statement carries a whole set as arrays.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Boolean, Column, Integer, String, Table
from sqlmodel import AutoString

# Every row of a set is named by its key. Without this, the planner of a young table may read all of
# it for a few of its rows. Until the transaction's end.
POSTGRES_PLAN_BY_KEY: Final = (
    "SELECT set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true), set_config('enable_seqscan', 'off', true)"
)


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

    ``key``: a column, or several, separated by a comma and a space. A row that is not as ``only``
    says stays as it is. ``adds`` adds the values to what is there.
    """

    table: Table
    key: str
    columns: tuple[str, ...]
    constants: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, str] = field(default_factory=dict)
    adds: bool = False

    def for_sqlite(self) -> str:
        """Return the statement for one row: its key, then its values."""
        places = {name: f"?{place}" for place, name in enumerate((*self._keys, *self.columns), 1)}
        values = {name: places[name] for name in self.columns}
        conditions = [f"{name} = {places[name]}" for name in self._keys]
        conditions += _build_equations(self.only)
        return (
            f"UPDATE {self.table.name} SET {self._build_assignments(values)}"
            f" WHERE {' AND '.join(conditions)}"
        )

    def for_postgres(self) -> str:
        """Return the statement for a set of rows: their keys, then an array a column."""
        table = self.table.name
        values = {name: f"new.{name}" for name in self.columns}
        arrays = _build_arrays(self.table, (*self._keys, *self.columns))
        # With IS TRUE, no planner takes the condition for a way to find the rows.
        conditions = [f"{table}.{name} = new.{name}" for name in self._keys]
        conditions += [f"({table}.{equation}) IS TRUE" for equation in _build_equations(self.only)]
        return (
            f"UPDATE {table} SET {self._build_assignments(values)}"
            f" FROM unnest({arrays}) AS new ({', '.join((*self._keys, *self.columns))})"
            f" WHERE {' AND '.join(conditions)}"
        )

    @property
    def _keys(self) -> tuple[str, ...]:
        return tuple(self.key.split(", "))

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
    if isinstance(column.type, Boolean):
        return "boolean"
    if isinstance(column.type, Integer):
        return "bigint"
    assert isinstance(column.type, (String, AutoString)), column
    return "text"
