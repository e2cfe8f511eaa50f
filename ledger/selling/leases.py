"""Reservations whose lease ran out, or whose process is dead: found and locked, a few a time."""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, select


def lock_lapsed(
    connection: Connection,
    table: Table,
    key: ColumnElement[Any],
    which: ColumnElement[bool],
    limit: int,
) -> list[str]:
    """Lock at most ``limit`` rows of a table with leases; return their keys, oldest lease first.

    Rows that another process holds are left to it.
    """
    found = connection.execute(
        select(key)
        .where(which)
        # As its index has them: by any other order a planner may read the whole table.
        .order_by(table.c.lease_expires_at_s)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return list(found.scalars())
