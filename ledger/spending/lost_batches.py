"""Batches that the chain settled after the backup that this ledger was restored from.

The ledger does not know them, yet they charged usage that it has as posted: to plan that usage
again would charge it twice. A batch takes a position's usage oldest first, so what a lost batch
charged is known: the oldest posted usage, up to the cost that its ``Settled`` event states.

* Where that usage makes the Merkle root that the chain has, the batch is as it was: it is written
  down again, and its receipts can be proven.
* Else the batch also charged usage that was lost with the backup's age. The posted usage that it
  charged is given up (``written_off``), and what else it charged is named.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from ledger.chain.drawn import change_drawn
from ledger.chain.event_rows import load_batch_events
from ledger.database.locks import lock_positions
from ledger.database.statements import LOOKUP_SIZE, chunks
from ledger.spending.batch_receipts import receipt_of
from ledger.spending.batches import abandon_batch, close_batch
from ledger.spending.receipts import build_root
from ledger.tables import Batch, BatchItem, Event, Intent, Usage, table_of

_batch = table_of(Batch)
_batch_item = table_of(BatchItem)
_event = table_of(Event)
_intent = table_of(Intent)
_usage = table_of(Usage)


@dataclass(frozen=True, slots=True)
class LostBatch:
    """A settlement that the chain has and the ledger has not. Costs in 1e-6 USDC by position."""

    batch_id: str
    receipts_root: str
    block_number: int
    tx_hash: str
    settled_at_s: int
    costs_usdc: dict[int, int]


@dataclass(frozen=True, slots=True)
class Recovered:
    """What became of a lost batch's cost to one position, in 1e-6 USDC."""

    batch_id: str
    token_id: int
    cost_usdc: int
    """What the chain charged."""
    known_usdc: int
    """Of that, usage that this ledger had as posted, and will not charge again."""
    is_proven: bool
    """Whether the batch is written down again, with receipts that the chain's root proves."""

    @property
    def lost_usdc(self) -> int:
        """What was charged for requests of which there is no record any more."""
        return max(0, self.cost_usdc - self.known_usdc)


def find_lost_batches(connection: Connection, *, above_block: int) -> list[LostBatch]:
    """Return the batches settled above a block that this ledger never planned, oldest first."""
    rows = connection.execute(
        select(_event.c.settled_batch_id, _event.c.block_number)
        .where(
            _event.c.settled_batch_id.is_not(None),
            _event.c.block_number > above_block,
            _event.c.settled_batch_id.not_in(select(_batch.c.batch_id)),
        )
        .order_by(_event.c.block_number, _event.c.log_index)
    ).all()
    found = []
    for batch_id, block_number in rows:
        events = load_batch_events(connection, batch_id=batch_id, block_number=block_number)
        (settled,) = (event for event in events if event.name == "BatchSettled")
        costs: dict[int, int] = defaultdict(int)
        for event in events:
            if event.name == "Settled":
                costs[event.integer("tokenId")] += event.integer("cost")
        root = settled.text("receiptsRoot")
        place = (int(block_number), settled.tx_hash, settled.block_timestamp_s)
        found.append(LostBatch(str(batch_id), root, *place, dict(costs)))
    return found


def load_unsettled_batches(connection: Connection) -> dict[str, tuple[str | None, int | None]]:
    """Return the planned batches that the chain has not settled: (sender, nonce) of the intent of
    each, None where nothing was signed."""
    rows = connection.execute(
        select(_batch.c.batch_id, _intent.c.sender, _intent.c.nonce)
        .outerjoin(
            _intent,
            _intent.c.intent_id.in_(
                ("settle:" + _batch.c.batch_id, "evidence:" + _batch.c.batch_id)
            ),
        )
        .where(_batch.c.state == "planned")
    ).all()
    return {str(batch_id): (sender, nonce) for batch_id, sender, nonce in rows}


def abandon_unsettled(connection: Connection, batch_ids: Iterable[str]) -> None:
    """Free the usage of batches that can never land: a later backup's batch may have charged it."""
    for batch_id in sorted(batch_ids):
        abandon_batch(connection, batch_id)


def take_over(connection: Connection, lost: LostBatch, *, now_s: int) -> list[Recovered]:
    """See to it that what a lost batch charged is not charged again; say what became of it.

    Belongs in one transaction with the other lost batches, taken over in their order on chain.
    """
    if not lost.costs_usdc:
        # The root of a day's evidence: it stands on chain, and the day is not sent again.
        _write_down(connection, lost, [], now_s=now_s)
        return []
    lock_positions(connection, lost.costs_usdc)
    charged = {
        token_id: _find_charged(connection, token_id, cost_usdc)
        for token_id, cost_usdc in lost.costs_usdc.items()
    }
    rows = [row for found in charged.values() for row in found]
    is_exact = all(
        sum(row["cost_usdc"] for row in charged[token_id]) == cost_usdc
        for token_id, cost_usdc in lost.costs_usdc.items()
    )
    is_proven = is_exact and bool(rows) and _build_root(rows) == lost.receipts_root
    if is_exact and not is_proven:
        # What cost nothing may have come along.
        free = [row for token_id in charged for row in _find_free(connection, charged, token_id)]
        is_proven = bool(free) and _build_root(rows + free) == lost.receipts_root
        rows += free if is_proven else []
    request_ids = [str(row["request_id"]) for row in rows]
    if is_proven:
        _write_down(connection, lost, request_ids, now_s=now_s)
    else:
        _change(connection, request_ids, state="written_off")
        given_up = {
            token_id: -sum(int(row["cost_usdc"]) for row in found)
            for token_id, found in charged.items()
        }
        change_drawn(connection, given_up)
    return [
        Recovered(
            lost.batch_id,
            token_id,
            cost_usdc,
            sum(int(row["cost_usdc"]) for row in charged[token_id]),
            is_proven,
        )
        for token_id, cost_usdc in sorted(lost.costs_usdc.items())
    ]


def _find_charged(connection: Connection, token_id: int, cost_usdc: int) -> list[RowMapping]:
    """Return a position's oldest posted usage, up to a cost; in doubt, one request more."""
    rows = connection.execute(
        select(_usage)
        .where(_usage.c.state == "posted", _usage.c.token_id == token_id)
        .order_by(_usage.c.resolved_at_s, _usage.c.request_id)
        .with_for_update()
    ).mappings()
    found, left_usdc = [], cost_usdc
    for row in rows:
        if left_usdc <= 0:
            break
        found.append(row)
        left_usdc -= int(row["cost_usdc"])
    return found


def _find_free(
    connection: Connection, charged: dict[int, list[RowMapping]], token_id: int
) -> list[RowMapping]:
    """Return a position's posted usage that cost nothing, of right after what was charged."""
    rows = connection.execute(
        select(_usage)
        .where(_usage.c.state == "posted", _usage.c.token_id == token_id)
        .order_by(_usage.c.resolved_at_s, _usage.c.request_id)
    ).mappings()
    return list(takewhile(lambda row: not row["cost_usdc"], list(rows)[len(charged[token_id]) :]))


def _build_root(rows: list[RowMapping]) -> str:
    receipts = sorted((receipt_of(row) for row in rows), key=lambda r: r.request_id)
    return "0x" + build_root([receipt.leaf() for receipt in receipts]).hex()


def _write_down(
    connection: Connection, lost: LostBatch, request_ids: list[str], *, now_s: int
) -> None:
    """Plan a lost batch as it was, and settle it as the indexer does."""
    connection.execute(
        insert(_batch).values(
            batch_id=lost.batch_id,
            state="planned",
            receipts_root=lost.receipts_root,
            total_usdc=sum(lost.costs_usdc.values()),
            planned_at_s=now_s,
        )
    )
    items = [
        {
            "batch_id": lost.batch_id,
            "token_id": token_id,
            "cost_usdc": cost_usdc,
            "offset_usdc": 0,
        }
        for token_id, cost_usdc in sorted(lost.costs_usdc.items())
    ]
    if items:
        connection.execute(insert(_batch_item), items)
    _change(connection, request_ids, state="settling", batch_id=lost.batch_id)
    close_batch(connection, lost.batch_id, block_number=lost.block_number, tx_hash=lost.tx_hash)


def _change(connection: Connection, request_ids: list[str], **values: Any) -> None:
    for chunk in chunks(request_ids, LOOKUP_SIZE):
        connection.execute(
            update(_usage)
            .where(_usage.c.request_id.in_(chunk), _usage.c.state == "posted")
            .values(values)
        )
