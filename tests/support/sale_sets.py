"""Calls of sales run one after the other, or as sets, to be compared."""

import random
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Table, select

from contracts.errors import CurrentError
from ledger.database.engine import read, write
from ledger.selling.sale_calls import SaleCall, run_sales


def run_alone(connection: Connection, call: SaleCall) -> Any:
    """Return a call's result, or how it failed."""
    try:
        with connection.begin_nested():
            return call(connection)
    except (CurrentError, ValueError) as error:
        return describe(error)


def run_in_groups(engine: Engine, calls: Sequence[SaleCall], dice: random.Random) -> list[Any]:
    """Return each call's result, or how it failed, of sets of one to nine calls."""
    told: list[Any] = []
    while len(told) < len(calls):
        group = calls[len(told) : len(told) + dice.randint(1, 9)]
        with write(engine) as connection:
            outcomes = run_sales(connection, group)
        told += [result if error is None else describe(error) for result, error in outcomes]
    return told


def describe(error: Exception | None) -> tuple[Any, ...]:
    """Return what tells failures apart."""
    return type(error), str(error), getattr(error, "available_usdc", None)


def dump(engine: Engine, tables: Sequence[Table]) -> list[Sequence[Any]]:
    """Return all rows of tables, by their keys."""
    with read(engine) as connection:
        return [
            connection.execute(select(table).order_by(*table.primary_key)).all() for table in tables
        ]
