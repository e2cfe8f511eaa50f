"""A ledger of years: a million positions, ten million requests that are settled, on PostgreSQL."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from sqlalchemy import text

from bench.proxy.ours import prepare_ledger
from ledger.database.engine import PostgresLimits, open_engine, write
from ledger.tables import Usage, table_of
from ledger.tables.usage import Charge, Reservation

BATCH: Final = 1_000
"""Requests that were settled at once."""
PORTION: Final = 1_000_000
"""Rows that one statement makes."""
PAUSE_S: Final = 4
"""Between two requests of them all: ten million are 15 months."""
BEGAN_AT_S: Final = 1_700_000_000
FIRST: Final = "old-first"
COST_USDC: Final = 20
_usage = table_of(Usage)


def prepare_full_ledger(url: str, *, positions: int, usage: int) -> None:
    """Make a ledger of so many positions, and so many requests that they had settled before.

    What belongs together on a chain, batches and events, is left out: a request asks for none of
    it. The indexes are built once the rows are there, as a restore does.
    """
    prepare_ledger(url, positions=positions)
    if usage == 0:
        return
    engine = open_engine(url, limits=PostgresLimits(statement_timeout_ms=0))
    try:
        with write(engine) as connection:
            for index in _usage.indexes:
                index.drop(connection)
            connection.execute(_usage.insert().values(**_build_first()))
        for start in range(1, usage, PORTION):
            end = min(usage, start + PORTION) - 1
            with write(engine) as connection:
                connection.execute(text(_build_copy(start, end, positions=positions)))
        with write(engine) as connection:
            for index in _usage.indexes:
                index.create(connection)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE usage"))
    finally:
        engine.dispose()


def _build_copy(start: int, end: int, *, positions: int) -> str:
    """Return the statement that copies the first request to the numbers ``start`` to ``end``.

    Request ids are random in life, so the copies' ids are in no order.
    """
    changed = {
        "request_id": "md5(n::text)",
        "token_id": f"n % {positions}",
        "reserved_at_s": f"usage.reserved_at_s + n * {PAUSE_S}",
        "batch_id": f"'0x' || lpad(to_hex(n / {BATCH}), 64, '0')",
    }
    names = [column.name for column in _usage.columns]
    copied = ", ".join(changed.get(name, f"usage.{name}") for name in names)
    return (
        f"INSERT INTO usage ({', '.join(names)}) SELECT {copied}"
        f" FROM usage, generate_series({start}, {end}) AS numbers (n)"
        f" WHERE usage.request_id = '{FIRST}'"
    )


def _build_first() -> dict[str, object]:
    reservation = Reservation(FIRST, 0, 0, f"{0:016x}", "gpt-4o-mini", 60, 150_000, 600_000)
    return {
        **asdict(reservation),
        **asdict(Charge(COST_USDC, 20, 10)),
        "state": "settled",
        "reserved_at_s": BEGAN_AT_S,
        "lease_expires_at_s": BEGAN_AT_S + 300,
        "resolved_at_s": BEGAN_AT_S + 1,
        "batch_id": "0x" + "00" * 32,
    }
