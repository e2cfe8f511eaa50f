"""How a database finds rows: a ledger full of what is over, and the plan of every statement on it.

On PostgreSQL the server itself tells the plan of what it runs (``auto_explain``), also of what goes
past SQLAlchemy. On SQLite each statement is explained, with its values bound, before it runs.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from sqlalchemy import Boolean, Connection, Engine, Integer, LargeBinary, Table, event, text

from ledger.database.engine import is_postgres, write
from ledger.resale.call_storage import CALL_WRITES, SQLITE_CALL_LOADS
from ledger.selling import sale_storage
from ledger.selling.supply_storage import SQLITE_LOAD_APPROVED, SQLITE_LOAD_OFFER
from ledger.spending.book_statements import (
    SQLITE_LOAD_CHILD,
    SQLITE_LOAD_POSITION,
    SQLITE_LOAD_USAGE,
    WRITES,
)
from ledger.tables import (
    ApiKey,
    Batch,
    BatchItem,
    ChildKey,
    Event,
    Intent,
    MarketAccount,
    MarketArtifact,
    MarketCredit,
    MarketJob,
    MarketKey,
    MarketOffer,
    MarketPayout,
    MarketSale,
    MarketSeller,
    PayoutBatch,
    PayoutItem,
    Position,
    Usage,
    UsedNonce,
    X402Payment,
    table_of,
)
from ledger.tables.types import Uint256
from tests.support.ledgers import NOW_S

PAYEE: Final = "0x" + "aa" * 20
SMALL_INDEXES: Final = (
    *("batch_open", "payout_batch_open", "intent_open", "position_release"),
    *("x402_payment_open", "x402_payment_young", "market_sale_open", "market_sale_unpaid"),
    *("market_job_due", "market_payout_waits", "position_harvest_look"),
)
"""Indexes of what is open only: to read one from end to end costs what is open."""

# What is over, by table: the columns that are not as ``_default`` says. ``i`` counts rows, {id} is
# an id of 32 bytes.
_OVER: Final[dict[type[Any], dict[str, str]]] = {
    Batch: {"batch_id": "{id}", "state": "'settled'"},
    BatchItem: {"batch_id": "{id}", "token_id": "0"},
    Usage: {
        "request_id": "'old-' || i",
        "token_id": "7 + i % 100",
        "key_id": "CASE WHEN i % 2 = 0 THEN 'old' || (i % 1000) ELSE 'root' END",
        "state": "'settled'",
        "cost_usdc": "1",
        "prompt_tokens": "1",
        "completion_tokens": "1",
        "reserved_at_s": "i",
        "resolved_at_s": "i",
        "batch_id": "{id}",
        "holder_id": "'dead'",
    },
    Intent: {
        "intent_id": "'settle:' || {id}",
        "kind": "'settle'",
        "state": "'confirmed'",
        "payload": "'{{}}'",
        "sender": "'0x0'",
        "nonce": "i",
        "created_at_s": "i",
    },
    PayoutBatch: {"batch_id": "{id}", "state": "'paid'", "paid_block": "0"},
    PayoutItem: {
        "batch_id": "{id}",
        "payout_id": "'old-' || i",
        "payee": f"'{PAYEE}'",
        "state": "'paid'",
    },
    MarketPayout: {
        "payout_id": "'old-' || i",
        "payee": f"'{PAYEE}'",
        "planned_at_s": "i",
        "batch_id": "{id}",
    },
    Event: {
        "block_number": "0",
        "log_index": "i",
        "name": "CASE i % 3 WHEN 0 THEN 'Settled' WHEN 1 THEN 'BatchSettled' ELSE 'BatchPaid' END",
        "token_id": "CASE WHEN i % 3 = 0 THEN i END",
    },
    ApiKey: {"key_id": "'old-' || i", "token_id": "i"},
    ChildKey: {"key_id": "'old-' || i", "token_id": "7 + i % 100", "revoked_at_s": "1"},
    UsedNonce: {"nonce": "'old-' || i", "expires_at_s": f"{NOW_S} + i"},
    MarketAccount: {
        "account_id": "'old-' || i",
        "kind": "'prepaid'",
        "wallet": "'old-' || i",
        "credited_usdc": "9",
    },
    MarketSeller: {"address": "'old-' || i", "payout_policy": "'at_once'"},
    MarketOffer: {
        "offer_id": "'old-' || i",
        "seller": "'old-' || i",
        "status": "'deleted'",
        "price_input_usdc_per_mtok": "1",
        "price_output_usdc_per_mtok": "1",
    },
    MarketKey: {"key_id": "'old-' || i", "key_hash": "'old-' || i", "kind": "'buyer'"}
    | {"owner": "'old-' || i"},
    MarketCredit: {"credit_id": "'x402\\:old-' || i || '\\:0'", "account_id": "'old-' || i"},
    X402Payment: {
        "payment_id": "'old-' || i",
        "account_id": "'old-' || i",
        "payer": "'old-' || (i % 1000)",
        "nonce": "{id}",
        "purpose": "'request'",
        "state": "'settled'",
        "settled_block": "0",
        "is_final": "true",
        "request_id": "'old-' || i",
        "holder_id": "'dead'",
        "claimed_until_s": "i",
    },
    MarketSale: {
        "sale_id": "'old-' || i",
        "request_id": "'old-' || i",
        "account_id": "'old-' || i",
        "offer_id": "'old-' || i",
        "seller": "'old-' || (i % 100)",
        "state": "'posted'",
        "cost_usdc": "1",
        "earning_usdc": "1",
        "fee_usdc": "0",
        "margin_usdc": "0",
        "resolved_at_s": "i",
        "payout_id": "'old-' || i",
        "holder_id": "'dead'",
    },
    MarketJob: {
        "job_id": "'old-' || i",
        "account_id": "'old-' || i",
        "idempotency_key": "'old-' || i",
        "state": "'completed'",
    },
    MarketArtifact: {"artifact_id": "'old-' || i", "expires_at_s": f"{NOW_S} + i"},
}
LARGE: Final = frozenset({*(table_of(model).name for model in _OVER), "position"})


def fill(engine: Engine, rows: int) -> None:
    """Insert ``rows`` of what is over into every large table, and gather statistics.

    Positions are copies of position 0, which must be there, without shares.
    """
    with write(engine) as connection:
        if is_postgres(engine):
            # A statement of a million rows takes minutes; what refers to what is right as made.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in _build_fillers(rows, on_postgres=is_postgres(engine)):
            connection.execute(text(statement))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if is_postgres(engine):
            connection.detach()  # closed at the end: no other statement is to run without a limit
            connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("ANALYZE"))


def _build_fillers(rows: int, *, on_postgres: bool) -> list[str]:
    if on_postgres:
        numbers, some_id = f"generate_series(1, {rows}) AS g(i)", "'0x' || lpad(to_hex(i), 64, '0')"
    else:
        counter = (
            f"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {rows})"
        )
        numbers, some_id = f"({counter} SELECT i FROM c)", "'0x' || printf('%064x', i)"

    def build(table: Table, values: dict[str, str], source: str) -> str:
        names, read = ", ".join(values), ", ".join(values.values()).format(id=some_id)
        # SQLite wants a WHERE between a sub-select and what may follow it.
        return f"INSERT INTO {table.name} ({names}) SELECT {read} FROM {source}"

    fillers = []
    for model, given in _OVER.items():
        table = table_of(model)
        fixed = {
            column.name: _default(column.type, on_postgres=on_postgres)
            for column in table.columns
            if not column.nullable
        }
        fillers.append(build(table, fixed | given, f"{numbers} WHERE true"))
    position = table_of(Position)
    copied = {column.name: column.name for column in position.columns}
    copied |= {"token_id": "1000 + i", "shares": _default(Uint256(), on_postgres=on_postgres)}
    return [build(position, copied, f"position, {numbers} WHERE token_id = 0"), *fillers]


def _default(kind: Any, *, on_postgres: bool) -> str:
    if isinstance(kind, Uint256):
        return "0" if on_postgres else "printf('%078d', 0)"
    if isinstance(kind, Boolean):
        return "false"
    if isinstance(kind, Integer):
        return "1"
    if isinstance(kind, LargeBinary):
        return "'\\x00'::bytea" if on_postgres else "zeroblob(32)"
    return "''"


class Plans:
    """The plans of what ran on an engine while this watched it, by statement."""

    def __init__(self) -> None:
        self.by_statement: dict[str, str] = {}

    def note(self, statement: str, plan: str) -> None:
        self.by_statement[" ".join(statement.split())] = plan

    def find_scans(self) -> list[str]:
        """Return the statements that read a large table from end to end."""
        found: list[str] = []
        for statement, plan in self.by_statement.items():
            scanned = [
                (match[1] or match[2], match[3])
                for match in re.finditer(
                    r'Seq Scan on (\w+)|^SCAN "?(\w+)"?(?:.* INDEX (\w+))?', plan, re.MULTILINE
                )
            ]
            found += [
                f"{table}: {statement[:300]}"
                for table, index in scanned
                if table in LARGE and index not in SMALL_INDEXES
            ]
        return found


@contextmanager
def watched(engine: Engine) -> Iterator[Plans]:
    """Note the plan of every statement that runs on an engine."""
    plans = Plans()
    if is_postgres(engine):
        with _told_by_the_server(engine, plans):
            yield plans
        return

    def explain(connection: Connection, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if not statement.startswith(("SELECT", "UPDATE", "DELETE")) or isinstance(values, list):
            return
        _explain(connection.connection.cursor(), plans, statement, values)

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield plans
        with engine.connect() as connection:
            # What goes to the driver itself.
            loads = (SQLITE_LOAD_CHILD, SQLITE_LOAD_POSITION, SQLITE_LOAD_USAGE)
            sold = (
                *(*sale_storage.WRITES.for_sqlite, *sale_storage.SQLITE_LOADS),
                *(SQLITE_LOAD_OFFER, SQLITE_LOAD_APPROVED, *SQLITE_CALL_LOADS),
                *CALL_WRITES.for_sqlite,
            )
            for statement in (*WRITES.for_sqlite, *loads, *sold):
                places = statement.count("?")
                cursor = connection.connection.cursor()
                _explain(cursor, plans, statement, ("1",) * places)
    finally:
        event.remove(engine, "before_cursor_execute", explain)


def _explain(cursor: Any, plans: Plans, statement: str, values: Any) -> None:
    cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)
    plans.note(statement, "\n".join(str(row[-1]) for row in cursor.fetchall()))
    cursor.close()


@contextmanager
def _told_by_the_server(engine: Engine, plans: Plans) -> Iterator[None]:
    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        told = diagnostic.message_primary or ""
        match = re.search(r"plan:\s*Query Text: (.*?)\n([^\n]*\(cost=.*)", told, re.DOTALL)
        if match is not None:
            plans.note(match[1], match[2])

    def prepare(driver: psycopg.Connection[Any], record: Any, _proxy: Any) -> None:
        if record.info.get("told_plans"):
            return
        record.info["told_plans"] = True
        driver.execute("LOAD 'auto_explain'")
        for setting, value in (("log_min_duration", "0"), ("log_level", "notice")):
            driver.execute(f"SET auto_explain.{setting} = {value}".encode())
        driver.commit()
        driver.add_notice_handler(note)

    engine.dispose()
    event.listen(engine, "checkout", prepare)
    try:
        yield
    finally:
        event.remove(engine, "checkout", prepare)
        engine.dispose()
