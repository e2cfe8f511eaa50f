"""Settlement batches: which posted usage is charged by which on-chain ``settle``.

States of a batch: ``planned`` (written before its transaction), ``settled`` (the chain says so),
``abandoned`` (its transaction can never land any more; its usage is free for another batch).
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, insert, select, update

from contracts.errors import Fatal
from ledger.locks import lock_positions
from ledger.metering import change_drawn
from ledger.receipts import Receipt, build_root
from ledger.tables import Batch, BatchItem, Deployment, Usage, table_of

_batch = table_of(Batch)
_batch_item = table_of(BatchItem)
_deployment = table_of(Deployment)
_usage = table_of(Usage)


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """A batch as it goes on chain. Costs in 1e-6 USDC, ids and root as 0x hex."""

    batch_id: str
    receipts_root: str
    items: tuple[tuple[int, int], ...]
    """(token id, cost) pairs, ascending by token id."""

    @property
    def total_usdc(self) -> int:
        return sum(cost_usdc for _, cost_usdc in self.items)


def plan_batch(
    connection: Connection,
    *,
    limits_usdc: Mapping[int, int],
    now_s: int,
    max_receipts: int = 5_000,
) -> PlannedBatch | None:
    """Put posted usage of the given positions into a new batch; None if there is none to put.

    ``limits_usdc`` gives, for each position to settle, the most that its live hold can pay: usage
    is taken oldest first while it fits. The contract takes at most 200 positions; so must the map.
    Usage that another plan is taking is left out.
    """
    chosen: dict[int, list[RowMapping]] = defaultdict(list)
    count = 0
    for token_id in sorted(limits_usdc):
        left_usdc = limits_usdc[token_id]
        rows = connection.execute(
            select(_usage)
            .where(_usage.c.state == "posted", _usage.c.token_id == token_id)
            .order_by(_usage.c.resolved_at_s, _usage.c.request_id)
            .limit(max_receipts - count)
            # Waiting for one, it could hold what the holder of that one wants next.
            .with_for_update(skip_locked=True)
        ).mappings()
        for row in rows:
            if row["cost_usdc"] > left_usdc:
                break
            left_usdc -= row["cost_usdc"]
            chosen[token_id].append(row)
            count += 1
    rows_in_order = [row for token_id in sorted(chosen) for row in chosen[token_id]]
    if not rows_in_order:
        return None
    items = tuple(
        (token_id, sum(row["cost_usdc"] for row in chosen[token_id])) for token_id in sorted(chosen)
    )
    receipts = sorted((receipt_of(row) for row in rows_in_order), key=lambda r: r.request_id)
    root = "0x" + build_root([receipt.leaf() for receipt in receipts]).hex()
    planned = PlannedBatch(next_batch_id(connection), root, items)
    _save_plan(connection, planned, [receipt.request_id for receipt in receipts], now_s=now_s)
    return planned


def _save_plan(
    connection: Connection, planned: PlannedBatch, request_ids: list[str], *, now_s: int
) -> None:
    connection.execute(
        insert(_batch).values(
            batch_id=planned.batch_id,
            state="planned",
            receipts_root=planned.receipts_root,
            total_usdc=planned.total_usdc,
            planned_at_s=now_s,
        )
    )
    connection.execute(
        insert(_batch_item),
        [
            {"batch_id": planned.batch_id, "token_id": token_id, "cost_usdc": cost_usdc}
            for token_id, cost_usdc in planned.items
        ],
    )
    for start in range(0, len(request_ids), 500):
        chunk = request_ids[start : start + 500]
        taken = connection.execute(
            update(_usage)
            .where(_usage.c.request_id.in_(chunk), _usage.c.state == "posted")
            .values(state="settling", batch_id=planned.batch_id)
        ).rowcount
        # They were locked when they were read; the root covers each of them.
        assert taken == len(chunk)


def next_batch_id(connection: Connection) -> str:
    """Return a batch id that was never used, 0x hex. Raises ``Fatal`` for an unbound ledger."""
    row = connection.execute(
        update(_deployment)
        .values(next_batch_number=_deployment.c.next_batch_number + 1)
        .returning(_deployment.c.batch_prefix, _deployment.c.next_batch_number)
    ).one_or_none()
    if row is None:
        raise Fatal("the ledger is bound to no deployment yet")
    prefix, number = row
    return f"0x{prefix}{number:016x}"


def abandon_batch(connection: Connection, batch_id: str) -> None:
    """Free a planned batch's usage for another batch; again is harmless.

    Only for a batch whose transaction can never land: it reverted for good, or its nonce is spent.
    """
    abandoned = connection.execute(
        update(_batch)
        .where(_batch.c.batch_id == batch_id, _batch.c.state == "planned")
        .values(state="abandoned")
    ).rowcount
    if abandoned:
        connection.execute(
            update(_usage)
            .where(_usage.c.batch_id == batch_id, _usage.c.state == "settling")
            .values(state="posted", batch_id=None)
        )


def close_batch(connection: Connection, batch_id: str, *, block_number: int, tx_hash: str) -> bool:
    """Settle a batch's usage because the chain says so; tell whether the batch is ours.

    The hold falls with the ``Settled`` events that came before; here ``drawn_usdc`` falls with it.
    Again is harmless.
    """
    costs_usdc = _lock_items(connection, batch_id)
    state = connection.execute(
        select(_batch.c.state).where(_batch.c.batch_id == batch_id).with_for_update()
    ).scalar_one_or_none()
    if state is None:
        return False
    if state == "settled":
        return True
    if state == "abandoned":
        raise Fatal(f"batch {batch_id} was given up, yet the chain settled it")
    connection.execute(
        update(_batch)
        .where(_batch.c.batch_id == batch_id)
        .values(state="settled", settled_block=block_number, settled_tx_hash=tx_hash)
    )
    connection.execute(
        update(_usage)
        .where(_usage.c.batch_id == batch_id, _usage.c.state == "settling")
        .values(state="settled")
    )
    change_drawn(connection, {token_id: -cost for token_id, cost in costs_usdc.items()})
    return True


def reopen_batch(connection: Connection, batch_id: str) -> None:
    """Take back ``close_batch`` after a reorg: the batch is planned again, its usage settling.

    The same signed transaction may land again, so the usage stays in this batch. Again is harmless.
    """
    costs_usdc = _lock_items(connection, batch_id)
    reopened = connection.execute(
        update(_batch)
        .where(_batch.c.batch_id == batch_id, _batch.c.state == "settled")
        .values(state="planned", settled_block=None, settled_tx_hash=None)
    ).rowcount
    if reopened:
        connection.execute(
            update(_usage)
            .where(_usage.c.batch_id == batch_id, _usage.c.state == "settled")
            .values(state="settling")
        )
        change_drawn(connection, costs_usdc)


def _lock_items(connection: Connection, batch_id: str) -> dict[int, int]:
    """Lock a batch's positions and return what it charges each (1e-6 USDC)."""
    items = connection.execute(
        select(_batch_item.c.token_id, _batch_item.c.cost_usdc).where(
            _batch_item.c.batch_id == batch_id
        )
    ).all()
    lock_positions(connection, [token_id for token_id, _ in items])
    return {int(token_id): int(cost_usdc) for token_id, cost_usdc in items}


def load_batch_receipts(connection: Connection, batch_id: str) -> list[Receipt]:
    """Return a batch's receipts in the order of its Merkle tree."""
    rows = connection.execute(
        select(_usage).where(_usage.c.batch_id == batch_id).order_by(_usage.c.request_id)
    ).mappings()
    # Sorted again in Python: a database's collation need not be code point order.
    return sorted((receipt_of(row) for row in rows), key=lambda r: r.request_id)


def receipt_of(row: RowMapping) -> Receipt:
    """Build the receipt of a posted usage row."""
    return Receipt(
        request_id=row["request_id"],
        token_id=row["token_id"],
        key_epoch=row["key_epoch"],
        model=row["model"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        cost_usdc=row["cost_usdc"],
        posted_at_s=row["resolved_at_s"],
    )
