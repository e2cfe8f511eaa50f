"""What archived usage adds up to: the sums that stayed in the ledger. Amounts in 1e-6 USDC."""

from sqlalchemy import Connection, func, select

from ledger.tables import BatchItem, UsageDay, table_of

_batch_item = table_of(BatchItem)
_day = table_of(UsageDay)


def load_archived_days(
    connection: Connection, *, token_id: int, key_id: str | None
) -> dict[int, int]:
    """Return what a position's archived usage cost by its UTC day (days since 1970).

    ``key_id``: of this key alone; None: of all keys of the position.
    """
    query = select(_day.c.day, func.sum(_day.c.cost_usdc)).where(_day.c.token_id == token_id)
    if key_id is not None:
        query = query.where(_day.c.key_id == key_id)
    rows = connection.execute(query.group_by(_day.c.day))
    return {int(day): int(cost_usdc) for day, cost_usdc in rows}


def load_archive_mismatches(connection: Connection) -> list[tuple[int, int, int]]:
    """Return (token id, what its batches say was archived, what its days say) where they differ."""
    by_batch = select(_batch_item.c.token_id, func.sum(_batch_item.c.archived_usdc))
    by_day = select(_day.c.token_id, func.sum(_day.c.cost_usdc))
    sides = [
        {int(token): int(cost) for token, cost in connection.execute(query) if cost}
        for query in (
            by_batch.group_by(_batch_item.c.token_id),
            by_day.group_by(_day.c.token_id),
        )
    ]
    batches, days = sides
    return [
        (token, batches.get(token, 0), days.get(token, 0))
        for token in sorted(batches.keys() | days.keys())
        if batches.get(token, 0) != days.get(token, 0)
    ]
