"""Which locks a write transaction takes, and in which order.

SQLite has one: the whole database, from the transaction's first statement. There every function of
this package runs alone. On PostgreSQL transactions are READ COMMITTED, each statement sees what was
committed before it began, and a transaction locks rows in this order, so that no two transactions
wait for each other:

1. ``mirror``: the indexer's cursor, moved by compare-and-set. It keeps two indexers apart.
2. ``position``, ascending by token id, every row that the transaction will touch, in one statement.
   A transaction that changes ``drawn_usdc`` or a ``child_key`` of a position, or takes its usage
   out of ``reserved``, holds the position's row.
3. ``batch``: a transaction that closes, reopens or abandons a batch holds the batch's row.
4. ``usage``: after 2 for ``reserved`` usage, after 3 for ``settling`` and ``settled``; planning a
   batch takes the ``posted`` rows that are not locked, and waits for no other.
5. ``deployment`` (the next batch's number), then ``intent``, then ``demand``: one row each.

If transactions still wait for each other (a caller may combine two functions), the database rolls
one of them back: ``LedgerContended``.

A position that a reorg took away has no row to lock, while its usage stands. An advisory lock on
its id takes the row's place, and an insert of the row takes that lock too: so no usage changes
while the ``drawn_usdc`` of a new row is summed up.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from sqlalchemy import Connection, select

from ledger.database.engine import is_postgres
from ledger.tables import Position, table_of

_position = table_of(Position)

_SCHEMA: Final = "current:schema"


def lock_positions(connection: Connection, token_ids: Iterable[int]) -> None:
    """Lock positions until the transaction ends, also positions without a row. Idempotent."""
    if not is_postgres(connection):
        return
    wanted = sorted(set(token_ids))
    if not wanted:
        return
    found = _lock_rows(connection, wanted)
    missing = [token_id for token_id in wanted if token_id not in found]
    if missing:
        lock_absent_positions(connection, missing)
        # The last holder of a lock may have inserted the row meanwhile.
        _lock_rows(connection, missing)


def lock_absent_positions(connection: Connection, token_ids: Iterable[int]) -> None:
    """Lock the ids of positions that have no row, or are about to get one."""
    if not is_postgres(connection):
        return
    for token_id in sorted(set(token_ids)):
        _lock_name(connection, f"current:position:{token_id}")


def lock_schema(connection: Connection) -> None:
    """Let one process at a time create, migrate or bind the database."""
    if is_postgres(connection):
        # The first one may take long; the others wait for as long as it does.
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        _lock_name(connection, _SCHEMA)


def build_lock_key(name: str) -> int:
    """Return the 64-bit key of an advisory lock. Names that differ share one by chance only."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)


def _lock_rows(connection: Connection, token_ids: list[int]) -> set[int]:
    rows = connection.execute(
        select(_position.c.token_id)
        .where(_position.c.token_id.in_(token_ids))
        .order_by(_position.c.token_id)
        .with_for_update()
    ).scalars()
    return {int(token_id) for token_id in rows}


def _lock_name(connection: Connection, name: str) -> None:
    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (build_lock_key(name),))
