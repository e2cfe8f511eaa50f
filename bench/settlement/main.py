"""Measure the settlement of many suppliers' days, on SQLite and on PostgreSQL.

``python -m bench.settlement.main [--suppliers N] [--sales N] [--database sqlite]``: a day in which
each supplier sold alike, settled by the worker that the market runs, from the first look to the
last payout's row; then the audit's S1 to S4 must find nothing. The sales are sums of the day when
they are posted, so their number must not matter. Prints a table and writes
``bench/results/settlement.json``. Filling a ledger takes longer than settling it: with a million
sales a few minutes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import click
from sqlalchemy import Connection, Engine, func, select

from bench.report import build_result, build_row, write_result
from bench.settlement.world import DAY, fill
from contracts.units import SECONDS_PER_DAY
from ledger.database.engine import read, write
from ledger.suppliers.supply_audit import find_supply_mismatches
from ledger.tables import SupplierPayout, table_of
from market.suppliers.settlement_worker import SettlementWorker
from serving.process.command_line import command
from tests.support.ledgers import POSTGRES, SQLITE, Databases
from tests.support.supply import TERMS

T = TypeVar("T")

SUPPLIERS: Final = 10_000
SALES: Final = 1_000_000
BUDGET_S: Final = 60.0
KINDS: Final = (SQLITE, POSTGRES)


def settle(engine: Engine) -> float:
    """Settle the day; return how long it took, seconds."""

    async def ask(call: Callable[[Connection], T]) -> T:
        with read(engine) as connection:
            return call(connection)

    async def change(call: Callable[[Connection], T]) -> T:
        with write(engine) as connection:
            return call(connection)

    worker = SettlementWorker(ask, change, TERMS, settle_at_s=0)
    began_s = time.perf_counter()
    asyncio.run(worker.settle_through(DAY, (DAY + 1) * SECONDS_PER_DAY))
    return time.perf_counter() - began_s


def measure(kind: str, folder: Path, *, suppliers: int, sales: int) -> dict[str, float]:
    """Measure one kind of database. Raises ``AssertionError`` where the books are wrong then."""
    payout = table_of(SupplierPayout)
    with Databases(kind, folder) as databases:
        engine = databases.open_ledger()
        began_s = time.perf_counter()
        fill(engine, suppliers=suppliers, sales=sales)
        filled_s = time.perf_counter() - began_s
        settled_s, again_s = settle(engine), settle(engine)
        with read(engine) as connection:
            assert find_supply_mismatches(connection) == []
            assert (
                connection.execute(
                    select(func.count()).where(payout.c.status == "pending")
                ).scalar_one()
                == suppliers
            )
    return {"filled_s": filled_s, "settled_s": settled_s, "again_s": again_s}


def run(kinds: Sequence[str], *, suppliers: int, sales: int) -> dict[str, Any]:
    """Measure everything, print it and return what is written down."""
    print(f"{suppliers:,} suppliers, {sales:,} sales of one day\n")
    print("database      filled s   settled s    again s")
    rows = []
    for kind in kinds:
        with TemporaryDirectory() as folder:
            found = measure(kind, Path(folder), suppliers=suppliers, sales=sales)
        filled_s, settled_s, again_s = found.values()
        print(f"{kind:12} {filled_s:9.1f} {settled_s:11.2f} {again_s:10.3f}")
        rows += [build_row(f"{name}_{kind}", value, "s") for name, value in found.items()]
    return build_result(rows, {}, {}, suppliers=suppliers, sales=sales, budget_s=BUDGET_S)


@command("settlement", help=__doc__)
@click.option("--suppliers", type=click.IntRange(1), default=SUPPLIERS, help="How many.")
@click.option("--sales", type=click.IntRange(1), default=SALES, help="Of all of them together.")
@click.option("--database", type=click.Choice(KINDS), multiple=True, help="Both unless named.")
def main(suppliers: int, sales: int, database: Sequence[str]) -> None:
    """Measure and write the result."""
    result = run(database or KINDS, suppliers=suppliers, sales=sales // suppliers * suppliers)
    write_result("settlement", result)
    for row in result["rows"]:
        if row["name"].startswith("settled_s") and row["value"] > BUDGET_S:
            raise click.ClickException(f"{row['name']} is above {BUDGET_S:g} s")


if __name__ == "__main__":
    main()
