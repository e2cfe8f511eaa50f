"""Settlement batches: which posted usage is charged by which on-chain ``settle``.

States of a batch::

    planned ──the chain settled it──► settled ──a reorg took it back──► planned, or abandoned
       └──its transaction can never land──► abandoned ──it did land──► settled

``abandoned``: its usage is free for another batch. A reorg deeper than all patience can settle it
even so, perhaps beside the batch that took its usage. The chain decides then: a usage belongs to
the batch that was settled first, and to one only. What the chain charged a second time for it the
position's next batches do not charge (``offset_usdc``).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from contracts.errors import Fatal
from ledger.chain.drawn import change_drawn
from ledger.database.locks import lock_positions
from ledger.database.statements import LOOKUP_SIZE, chunks
from ledger.spending.batch_receipts import receipt_of
from ledger.spending.receipts import build_root
from ledger.spending.strays import claim_strays, hand_over, load_overcharges
from ledger.tables import Batch, BatchItem, BatchStray, Deployment, Usage, table_of

_batch = table_of(Batch)
_batch_item = table_of(BatchItem)
_deployment = table_of(Deployment)
_stray = table_of(BatchStray)
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
    costs_usdc = {
        token_id: sum(row["cost_usdc"] for row in chosen[token_id]) for token_id in chosen
    }
    overcharged_usdc = load_overcharges(connection)
    offsets_usdc = {
        token_id: min(overcharged_usdc.get(token_id, 0), cost_usdc)
        for token_id, cost_usdc in costs_usdc.items()
    }
    items = tuple(
        (token_id, costs_usdc[token_id] - offsets_usdc[token_id]) for token_id in sorted(costs_usdc)
    )
    receipts = sorted((receipt_of(row) for row in rows_in_order), key=lambda r: r.request_id)
    root = "0x" + build_root([receipt.leaf() for receipt in receipts]).hex()
    planned = PlannedBatch(next_batch_id(connection), root, items)
    request_ids = [receipt.request_id for receipt in receipts]
    _save_plan(connection, planned, offsets_usdc, request_ids, now_s=now_s)
    return planned


def _save_plan(
    connection: Connection,
    planned: PlannedBatch,
    offsets_usdc: Mapping[int, int],
    request_ids: list[str],
    *,
    now_s: int,
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
            {
                "batch_id": planned.batch_id,
                "token_id": token_id,
                "cost_usdc": cost_usdc,
                "offset_usdc": offsets_usdc[token_id],
            }
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
        .values(state="abandoned", given_up=True)
    ).rowcount
    if abandoned:
        _free(connection, batch_id, "settling")


def _free(connection: Connection, batch_id: str, state: str) -> None:
    """Make a batch's usage in ``state`` posted, and remember that the batch names it."""
    of_batch = (_usage.c.batch_id == batch_id) & (_usage.c.state == state)
    connection.execute(
        insert(_stray).from_select(
            ["request_id", "batch_id"],
            select(_usage.c.request_id, _usage.c.batch_id).where(of_batch),
        )
    )
    connection.execute(update(_usage).where(of_batch).values(state="posted", batch_id=None))


def close_batch(connection: Connection, batch_id: str, *, block_number: int, tx_hash: str) -> bool:
    """Settle a batch's usage because the chain says so; tell whether the batch is ours.

    The hold falls with the ``Settled`` events that came before; here ``drawn_usdc`` falls with it.
    Usage that the batch names but had to give away is settled by it too, unless another batch has
    settled it already. Idempotent.
    """
    _lock_items(connection, batch_id)
    state = connection.execute(
        select(_batch.c.state).where(_batch.c.batch_id == batch_id).with_for_update()
    ).scalar_one_or_none()
    if state is None:
        return False
    if state == "settled":
        return True
    connection.execute(
        update(_batch)
        .where(_batch.c.batch_id == batch_id)
        .values(state="settled", settled_block=block_number, settled_tx_hash=tx_hash)
    )
    claim_strays(connection, batch_id)
    settled_usdc = _sum_usage(connection, batch_id, "settling")
    connection.execute(
        update(_usage)
        .where(_usage.c.batch_id == batch_id, _usage.c.state == "settling")
        .values(state="settled")
    )
    change_drawn(connection, {token_id: -cost for token_id, cost in settled_usdc.items()})
    return True


def reopen_batch(connection: Connection, batch_id: str) -> None:
    """Take back ``close_batch`` after a reorg: the batch is planned again, its usage settling.

    The same signed transaction may land again, so the usage stays in this batch; only a batch that
    was abandoned before is abandoned again. Usage that another settled batch also names was charged
    there too, and belongs to that batch now. Idempotent.
    """
    _lock_items(connection, batch_id)
    row = connection.execute(
        select(_batch.c.state, _batch.c.given_up)
        .where(_batch.c.batch_id == batch_id)
        .with_for_update()
    ).one_or_none()
    if row is None or row.state != "settled":
        return
    connection.execute(
        update(_batch)
        .where(_batch.c.batch_id == batch_id)
        .values(
            state="abandoned" if row.given_up else "planned",
            settled_block=None,
            settled_tx_hash=None,
        )
    )
    hand_over(connection, batch_id)
    drawn_usdc = _sum_usage(connection, batch_id, "settled")
    if row.given_up:
        _free(connection, batch_id, "settled")
    else:
        connection.execute(
            update(_usage)
            .where(_usage.c.batch_id == batch_id, _usage.c.state == "settled")
            .values(state="settling")
        )
    change_drawn(connection, drawn_usdc)


def _sum_usage(connection: Connection, batch_id: str, state: str) -> dict[int, int]:
    rows = connection.execute(
        select(_usage.c.token_id, func.sum(_usage.c.cost_usdc))
        .where(_usage.c.batch_id == batch_id, _usage.c.state == state)
        .group_by(_usage.c.token_id)
    ).all()
    return {int(token_id): int(cost_usdc) for token_id, cost_usdc in rows}


def _lock_items(connection: Connection, batch_id: str) -> None:
    """Lock the positions that a batch charges."""
    tokens = connection.execute(
        select(_batch_item.c.token_id).where(_batch_item.c.batch_id == batch_id)
    ).scalars()
    lock_positions(connection, list(tokens))


def find_planned_batches(connection: Connection, batch_ids: Sequence[str]) -> set[str]:
    """Return those of ``batch_ids`` that this ledger planned, whatever became of them."""
    found: set[str] = set()
    for chunk in chunks(batch_ids, LOOKUP_SIZE):
        found.update(
            connection.execute(
                select(_batch.c.batch_id).where(_batch.c.batch_id.in_(chunk))
            ).scalars()
        )
    return found
