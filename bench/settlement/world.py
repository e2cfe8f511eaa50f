"""Many suppliers that sold in one day, as the rows that posting their sales would leave.

One supplier is made by the ledger's own functions, and its rows are copied for the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, Engine, Table, insert, select, text, update

from contracts.units import SECONDS_PER_DAY
from ledger.database.engine import is_postgres, write
from ledger.tables import (
    MarketOffer,
    MarketSale,
    MarketSeller,
    Supplier,
    SupplierStatusChange,
    SupplyAccount,
    SupplyAddress,
    SupplyDay,
    SupplyOffer,
    table_of,
)
from tests.support.supply import (
    put_address,
    put_buyer,
    put_supplier,
    put_supply_offer,
    sell,
)

DAY: Final = 20_000
"""The UTC day of all sales."""
SOLD_AT_S: Final = DAY * SECONDS_PER_DAY + 3_600
TOKENS: Final = 10_000
BID: Final = 10_000_000
CHUNK: Final = 5_000
SALES_CHUNK: Final = 20_000
COPIED: Final[Mapping[type[Any], Mapping[str, str]]] = {
    Supplier: {"supplier_id": "s{}", "email": "s{}@company.example"},
    SupplierStatusChange: {"change_id": "{}-{old}", "supplier_id": "s{}"},
    SupplyAccount: {"supplier_id": "s{}"},
    SupplyAddress: {"address_id": "s{}", "supplier_id": "s{}"},
    SupplyOffer: {"supply_offer_id": "so{}", "supplier_id": "s{}"},
    MarketSeller: {"address": "s{}"},
    MarketOffer: {"offer_id": "so{}-m", "seller": "s{}", "supply_offer_id": "so{}"},
    SupplyDay: {"supply_offer_id": "so{}", "supplier_id": "s{}"},
}
"""The tables that have rows of a supplier, and the columns that name it."""


def fill(engine: Engine, *, suppliers: int, sales: int) -> None:
    """Have ``suppliers`` sell ``sales`` times in all, on ``DAY``, each as often as the others."""
    assert sales % suppliers == 0
    with write(engine) as connection:
        put_buyer(connection)
        put_supplier(connection, "s0")
        put_supply_offer(connection, "so0", supplier_id="s0", bid_usdc_per_mtok=BID)
        put_address(connection, "s0")
        one = {"supply_offer_id": "so0", "supplier_id": "s0", "bid": BID}
        sell(connection, TOKENS, now_s=SOLD_AT_S, **one)
    with write(engine) as connection:
        for kind, names in COPIED.items():
            _copy(connection, table_of(kind), names, count=suppliers)
    # Each has sold once, as the first one: the sums are of all its sales.
    with write(engine) as connection:
        for table, columns in (
            (table_of(SupplyOffer), ("used_tokens",)),
            (table_of(SupplyDay), ("requests", "input_tokens", "output_tokens", "paid_tokens")),
        ):
            values = {name: table.c[name] * (sales // suppliers) for name in columns}
            connection.execute(update(table).values(values))
    # The first supplier's first sale is there already.
    for first in range(1, sales, SALES_CHUNK):
        with write(engine) as connection:
            last = min(first + SALES_CHUNK, sales) - 1
            _copy_sales(connection, first, last, suppliers=suppliers)


def _copy(connection: Connection, table: Table, names: Mapping[str, str], *, count: int) -> None:
    rows = connection.execute(select(table)).mappings().all()
    key = next(iter(names))
    for start in range(1, count, CHUNK):
        connection.execute(
            insert(table),
            [
                {
                    **row,
                    **{name: text.format(n, old=row[key]) for name, text in names.items()},
                }
                for n in range(start, min(start + CHUNK, count))
                for row in rows
            ],
        )


def _copy_sales(connection: Connection, first: int, last: int, *, suppliers: int) -> None:
    """Insert the sales of these numbers, in one statement."""
    table = table_of(MarketSale)
    query = select(table).where(table.c.sale_id.not_like("bench-%"))
    row = connection.execute(query).mappings().one()
    if is_postgres(connection):
        numbers = (
            "SELECT n FROM generate_series(CAST(:first AS BIGINT), CAST(:last AS BIGINT)) AS s(n)"
        )
    else:
        numbers = (
            "WITH RECURSIVE series(n) AS (SELECT :first UNION ALL"
            " SELECT n + 1 FROM series WHERE n < :last) SELECT n FROM series"
        )
    supplier = f"CAST(n % {suppliers} AS TEXT)"
    named = {
        "sale_id": "'bench-' || CAST(n AS TEXT)",
        "request_id": "'bench-' || CAST(n AS TEXT)",
        "offer_id": f"'so' || {supplier} || '-m'",
        "seller": f"'s' || {supplier}",
        "supply_offer_id": f"'so' || {supplier}",
        "payout_id": f"'so' || {supplier} || :day_mark",
    }
    columns = [name for name in row if row[name] is not None]
    values = [named.get(name, f":{name}") for name in columns]
    statement = text(
        f"INSERT INTO market_sale ({', '.join(columns)})"
        f" SELECT {', '.join(values)} FROM ({numbers}) AS numbers"
    )
    bound = {name: row[name] for name in columns if name not in named}
    bound["day_mark"] = f":{DAY}"
    connection.execute(statement, {**bound, "first": first, "last": last})
