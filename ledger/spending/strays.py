"""Usage that a batch's receipts name but another batch owns now, and what was charged twice."""

from collections import defaultdict

from sqlalchemy import Connection, delete, func, select, update

from ledger.chain.drawn import change_drawn
from ledger.tables import Batch, BatchItem, BatchStray, Usage, table_of

_batch = table_of(Batch)
_batch_item = table_of(BatchItem)
_stray = table_of(BatchStray)
_usage = table_of(Usage)


def claim_strays(connection: Connection, batch_id: str) -> None:
    """Move usage that a batch names, and no other batch has settled, into that batch.

    A batch that loses usage this way names it as a stray from then on.
    """
    named = select(_stray.c.request_id).where(_stray.c.batch_id == batch_id)
    rows = connection.execute(
        select(_usage.c.request_id, _usage.c.token_id, _usage.c.batch_id, _usage.c.state)
        .where(
            _usage.c.request_id.in_(named),
            _usage.c.state.in_(("posted", "settling", "written_off")),
        )
        .with_for_update()
    ).all()
    if not rows:
        return
    written_off: dict[int, int] = defaultdict(int)
    for request_id, token_id, other_id, state in rows:
        mine = (_stray.c.request_id == request_id) & (_stray.c.batch_id == batch_id)
        if other_id is None:
            connection.execute(delete(_stray).where(mine))
        else:
            connection.execute(update(_stray).where(mine).values(batch_id=other_id))
        cost_usdc = connection.execute(
            update(_usage)
            .where(_usage.c.request_id == request_id)
            .values(state="settling", batch_id=batch_id)
            .returning(_usage.c.cost_usdc)
        ).scalar_one()
        if state == "written_off":
            written_off[int(token_id)] += int(cost_usdc)
    # Given up, and paid after all: it is drawn again, until the caller settles it.
    change_drawn(connection, written_off)


def hand_over(connection: Connection, batch_id: str) -> None:
    """Give a batch's usage to the other settled batches that name it."""
    rows = connection.execute(
        select(_stray.c.request_id, _stray.c.batch_id)
        .join(_usage, _usage.c.request_id == _stray.c.request_id)
        .join(_batch, _batch.c.batch_id == _stray.c.batch_id)
        .where(
            _usage.c.batch_id == batch_id, _usage.c.state == "settled", _batch.c.state == "settled"
        )
        .order_by(_stray.c.request_id, _batch.c.settled_block, _stray.c.batch_id)
    ).all()
    firsts: dict[str, str] = {}
    for request_id, other_id in rows:
        firsts.setdefault(str(request_id), str(other_id))
    for request_id, other_id in firsts.items():
        connection.execute(
            update(_usage).where(_usage.c.request_id == request_id).values(batch_id=other_id)
        )
        connection.execute(
            update(_stray)
            .where(_stray.c.request_id == request_id, _stray.c.batch_id == other_id)
            .values(batch_id=batch_id)
        )


def is_spoiled(connection: Connection, batch_id: str) -> bool:
    """Tell whether an unsettled batch would charge for usage that belongs to another batch."""
    abandoned = select(_batch.c.batch_id).where(
        _batch.c.batch_id == batch_id, _batch.c.state == "abandoned"
    )
    short = (
        select(_stray.c.batch_id)
        .join(_usage, _usage.c.request_id == _stray.c.request_id)
        .where(_stray.c.batch_id == batch_id, _usage.c.state == "settled")
    )
    return connection.execute(abandoned.union_all(short).limit(1)).first() is not None


def load_overcharges(connection: Connection) -> dict[int, int]:
    """Return what the chain has charged positions twice for, and no batch has offset yet."""
    if connection.execute(select(_stray.c.batch_id).limit(1)).first() is None:
        # Nearly always; a planner that knows no better would read all batches to find that out.
        return {}
    charged = connection.execute(
        select(_usage.c.token_id, func.sum(_usage.c.cost_usdc))
        .join(_stray, _stray.c.request_id == _usage.c.request_id)
        .join(_batch, _batch.c.batch_id == _stray.c.batch_id)
        .where(_batch.c.state == "settled")
        .group_by(_usage.c.token_id)
    ).all()
    left_usdc = {int(token_id): int(cost_usdc) for token_id, cost_usdc in charged}
    if not left_usdc:
        return {}
    offsets = connection.execute(
        select(_batch_item.c.token_id, func.sum(_batch_item.c.offset_usdc))
        .join(_batch, _batch.c.batch_id == _batch_item.c.batch_id)
        .where(_batch.c.state != "abandoned", _batch_item.c.token_id.in_(sorted(left_usdc)))
        .group_by(_batch_item.c.token_id)
    ).all()
    for token_id, offset_usdc in offsets:
        left_usdc[int(token_id)] -= int(offset_usdc)
    return {token_id: amount for token_id, amount in left_usdc.items() if amount > 0}
