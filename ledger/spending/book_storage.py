"""Books read from the database and written to it, for many requests at once."""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from sqlalchemy import Connection

from ledger.database.engine import is_postgres
from ledger.database.locks import lock_positions
from ledger.database.row_statements import POSTGRES_PLAN_BY_KEY
from ledger.database.statements import as_columns, get_postgres_driver, open_sqlite_cursor
from ledger.errors import LedgerContended
from ledger.spending.book_statements import (
    LOAD_MIRROR,
    POSTGRES_COUNT_CHILD,
    POSTGRES_FIND_TOKENS,
    POSTGRES_LOAD_CHILDREN,
    POSTGRES_LOAD_USAGE,
    POSTGRES_LOCK_POSITIONS,
    POSTGRES_PEEK_POSITIONS,
    SQLITE_COUNT_CHILD,
    SQLITE_LOAD_CHILD,
    SQLITE_LOAD_POSITION,
    SQLITE_LOAD_USAGE,
    WRITES,
)
from ledger.spending.books import TOKEN, Account, Books, Row, StoredUsage
from ledger.spending.children import Child, build_child, is_child_id
from ledger.tables.usage import RESERVATION_COLUMNS


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
    """Return the child keys among ``keys``. The caller has locked their positions."""
    wanted = sorted({key_id for key_id in key_ids if is_child_id(key_id)})
    if not wanted:
        return {}
    if is_postgres(connection):
        rows: Iterable[Row] = get_postgres_driver(connection).execute(
            POSTGRES_LOAD_CHILDREN, (wanted,)
        )
        return {row[0]: build_child(row) for row in rows}
    return _read_children(open_sqlite_cursor(connection), wanted)


def save_children(connection: Connection, children: Iterable[Child]) -> None:
    """Write the counters of child keys whose positions the caller has locked."""
    rows = [(child.key_id, *child.counters) for child in children]
    if not rows:
        return
    if is_postgres(connection):
        get_postgres_driver(connection).execute(POSTGRES_COUNT_CHILD, as_columns(rows))
    else:
        open_sqlite_cursor(connection).executemany(SQLITE_COUNT_CHILD, rows)


def save_books(connection: Connection, books: Books) -> None:
    """Write what was decided. Raises ``LedgerContended`` where a request id was just taken."""
    changes = [(t, a.change_usdc) for t, a in sorted(books.accounts.items()) if a.change_usdc != 0]
    # In the order in which they can follow each other for one row.
    renewed = list(books.renewed.items())
    counted = [(key_id, *books.children[key_id].counters) for key_id in sorted(books.counted)]
    written: list[Sequence[Row]] = [
        books.reserved,
        renewed,
        books.repriced,
        books.posted,
        books.voided,
        changes,
        counted,
    ]
    counts = WRITES.run(connection, written)
    if counts[0] != len(books.reserved):
        # Another position's request, or it would have been seen under the lock.
        raise LedgerContended("a request id was taken meanwhile")
    # The rows were locked when they were read.
    assert counts == [len(rows) for rows in written], counts


def _load_sqlite(
    connection: Connection, request_ids: Sequence[str], token_ids: set[int], key_ids: set[str]
) -> Books:
    cursor = open_sqlite_cursor(connection)
    usage = {}
    for request_id in request_ids:
        row = cursor.execute(SQLITE_LOAD_USAGE, (request_id,)).fetchone()
        if row is not None:
            usage[request_id] = found = _usage_of(row)
            token_ids.add(found.token_id)
            if is_child_id(found.key_id):
                key_ids.add(found.key_id)
    accounts = {}
    for token_id in token_ids:
        row = cursor.execute(SQLITE_LOAD_POSITION, (token_id,)).fetchone()
        if row is not None:
            accounts[token_id] = Account(row)
    mirror = cursor.execute(LOAD_MIRROR).fetchone()
    return Books(accounts, usage, mirror, _read_children(cursor, key_ids))


def _read_children(cursor: Any, key_ids: Iterable[str]) -> dict[str, Child]:
    children = {}
    for key_id in key_ids:
        row = cursor.execute(SQLITE_LOAD_CHILD, (key_id,)).fetchone()
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
    driver = get_postgres_driver(connection)
    with driver.pipeline():
        driver.execute(POSTGRES_PLAN_BY_KEY)
        found_keys = driver.execute(POSTGRES_FIND_TOKENS, (request_ids,))
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
        load_positions = POSTGRES_LOCK_POSITIONS if lock else POSTGRES_PEEK_POSITIONS
        positions = driver.execute(load_positions, (sorted(token_ids),))
        usages = driver.execute(POSTGRES_LOAD_USAGE, (request_ids,))
        mirrors = driver.execute(LOAD_MIRROR)
        children = driver.execute(POSTGRES_LOAD_CHILDREN, (sorted(key_ids),)) if key_ids else ()
    return Books(
        accounts={row[TOKEN]: Account(row) for row in positions},
        usage={row[0]: _usage_of(row) for row in usages},
        mirror=mirrors.fetchone(),
        children={row[0]: build_child(row) for row in children},
    )


def _usage_of(row: Row) -> StoredUsage:
    count = len(RESERVATION_COLUMNS)
    reserved_at_s, state, *charge = row[count:]
    return StoredUsage(row[:count], reserved_at_s, state, tuple(charge))
