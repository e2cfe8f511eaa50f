"""Which locks a write transaction takes, and in which order.

SQLite has one: the whole database, from the transaction's first statement. There every function of
this package runs alone. On PostgreSQL transactions are READ COMMITTED, each statement sees what was
committed before it began, and a transaction locks rows in this order, so that none waits in a
circle:

1. ``mirror``: the indexer's cursor, moved by compare-and-set. It keeps two indexers apart.
2. ``position``, ascending by token id, all that the transaction will touch, in one go. Whoever
   changes ``drawn_usdc``, or takes usage out of ``reserved``, holds the row of its position; so
   does whoever changes a ``child_key`` of it.
3. ``batch``: whoever closes, reopens or abandons one holds its row.
4. ``usage``: after 2 for ``reserved`` usage, after 3 for ``settling`` and ``settled``; planning a
   batch takes those ``posted`` rows that nobody has locked, and waits for none.
5. ``deployment`` (the next batch's number), then ``intent``, then ``demand``: one row each.

What still meets in a circle (two functions in one transaction of a caller's own) the database takes
back as ``LedgerContended``.

A position that a reorg took away has no row to lock, while its usage stands. In its place there is
an advisory lock on its id, which whoever inserts the row takes too: the ``drawn_usdc`` of a new row
is the sum of usage that nobody is changing.
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
    """Lock positions until the transaction ends, those without a row too. Again is harmless."""
    if not is_postgres(connection):
        return
    wanted = sorted(set(token_ids))
    if not wanted:
        return
    found = _lock_rows(connection, wanted)
    missing = [token_id for token_id in wanted if token_id not in found]
    if missing:
        lock_absent_positions(connection, missing)
        # One may have been inserted meanwhile, by whoever held its lock.
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
