"""A second look at history: at what was backfilled, and is too deep to be taken back.

A range of logs may lack some without a word: its node was behind, had lost them, or had pruned
them. Nothing in the answer tells. So all that was backfilled is read once more while the mirror is
at the head, by another endpoint where there is one; and all of history is, as soon as something
cannot be: an event that does not follow from those before it, or a view of the contracts that says
something else than the mirror.

Nodes lose logs, they do not invent them. So the events of a range are the events of both answers
together: what the second look adds is added, and what it lacks is no reason to delete anything.
"""

import time
from collections.abc import Sequence
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from contracts.blocks import BlockRange, BlockRef
from contracts.deployment import Deployment
from contracts.events import ChainEvent
from contracts.node_errors import (
    NodeFailure,
    NodeRefused,
    NodeUnavailable,
    NotYet,
)
from indexer.fetch import EventSource
from indexer.health import Health
from indexer.project import project_all
from indexer.range_size import RangeSize, is_too_long
from ledger.chain import event_rows, holds, mirror, position_rows
from ledger.database.engine import read, write
from ledger.database.notify import notify_positions
from ledger.spending import batches
from ledger.spending.batches import close_batch

log = structlog.get_logger("indexer")

RANGE_EVENTS: Final = 2_000
"""A range holds about so many mirrored events."""
FAILURES_MAX: Final = 20
"""How often a range is asked for that cannot be had, or lacks events that are mirrored: a node that
has pruned it never shows it, and what is mirrored of it stays."""
FOLD_POSITIONS: Final = 200
"""Positions that are folded again in one transaction."""


class HistoryReviewer:
    """Reads ranges of history again, one at a step, and adds the events that were missing."""

    def __init__(
        self,
        engine: Engine,
        source: EventSource,
        deployment: Deployment,
        health: Health,
        *,
        range_blocks_max: int,
    ) -> None:
        self._engine = engine
        self._source = source
        self._first = deployment.block_number
        self._health = health
        self._size = RangeSize(range_blocks_max, first=range_blocks_max)
        self._pending: BlockRange | None = None
        self._touched: set[int] = set()
        self._failures = 0

    @property
    def is_pending(self) -> bool:
        """Tell whether there is something to look at, or to fold again."""
        return self._pending is not None or bool(self._touched)

    def note_backfilled(self, first: int, last: int) -> None:
        """Say that these blocks were backfilled: they are looked at once more."""
        if self._pending is not None:
            first, last = min(first, self._pending.first), max(last, self._pending.last)
        self._pending = BlockRange(first, last)

    def doubt_all(self, window: Sequence[BlockRef], token_ids: set[int]) -> None:
        """Look at everything up to the window's first block, and fold these positions again."""
        self._pending = BlockRange(self._first, max(self._first, window[0].number))
        self._touched |= token_ids

    def step(self, window: Sequence[BlockRef]) -> None:
        """Look at the next range, or fold again what the ranges before it have changed.

        Raises ``NodeUnavailable`` or ``NodeRefused`` where the node fails, at most ``FAILURES_MAX``
        times for a range; ``EventMissing`` or ``UnexpectedEvent`` where events are still missing.
        """
        if self._pending is None:
            self._fold(window)
            return
        first = self._pending.first
        with read(self._engine) as connection:
            last = event_rows.find_range_end(
                connection,
                first=first,
                last=min(self._pending.last, first + self._size.blocks - 1),
                events=RANGE_EVENTS,
            )
            known = event_rows.load_range_events(connection, first=first, last=last)
        end, count = self._pending.last, last - first + 1
        began_s = time.monotonic()
        try:
            fresh = self._source.fetch_range_events(first, last)
            self._check_nothing_lacks(first, last, known, fresh)
            elapsed_s = time.monotonic() - began_s
            self._size.learn(count, logs=len(fresh), elapsed_s=elapsed_s, was_split=False)
        except (NodeUnavailable, NodeRefused) as error:
            self._size.fail(count, error)
            if self._size.blocks < count:
                self._failures = 0
                if is_too_long(error):
                    return
                raise
            self._failures += 1
            if self._failures < FAILURES_MAX:
                raise
            log.warning("history_unread", first=first, last=last, error=str(error))
            fresh = known
        self._failures = 0
        self._add(window, first, last, known, fresh)
        self._pending = BlockRange(last + 1, end) if last < end else None

    def _check_nothing_lacks(
        self, first: int, last: int, known: Sequence[ChainEvent], fresh: Sequence[ChainEvent]
    ) -> None:
        lacking = len(set(map(_place, known)) - set(map(_place, fresh)))
        if lacking:
            partial = NotYet(
                f"{lacking} events of blocks {first}..{last} are not shown any more",
                failure=NodeFailure.PARTIAL_LOGS,
            )
            self._source.reader.suspect(partial)
            raise partial

    def _add(
        self,
        window: Sequence[BlockRef],
        first: int,
        last: int,
        known: Sequence[ChainEvent],
        fresh: Sequence[ChainEvent],
    ) -> None:
        hashes = {event.block_number: event.block_hash for event in known}
        places = set(map(_place, known))
        missing = [event for event in fresh if _place(event) not in places]
        if not missing:
            return
        if any(hashes.get(e.block_number, e.block_hash) != e.block_hash for e in missing):
            # So deep a fork is for the follower to find; nothing of it may be mixed in here.
            self._pending = None
            raise NotYet(
                f"blocks {first}..{last} are of another chain", failure=NodeFailure.CHAIN_MOVED
            )
        self._health.note_failure(
            "any", NodeFailure.PARTIAL_LOGS, f"blocks {first}..{last}: {len(missing)} events more"
        )
        self._health.note_repair()
        log.warning("repairing", first=first, last=last, events=len(missing))
        with write(self._engine) as connection:
            _hold_cursor(connection, window)
            event_rows.save_events(connection, missing)
            _close_batches(connection, missing)
        self._touched |= {event.token_id for event in missing if event.token_id is not None}

    def _fold(self, window: Sequence[BlockRef]) -> None:
        """Fold some positions again from all their events."""
        token_ids = sorted(self._touched)[:FOLD_POSITIONS]
        with write(self._engine) as connection:
            _hold_cursor(connection, window)
            unfolded = position_rows.load_unfolded_tokens(connection)
            token_ids = sorted({*token_ids, *unfolded[:FOLD_POSITIONS]})
            for token_id in token_ids:
                state = project_all(event_rows.load_events(connection, token_id=token_id))
                if state is not None:
                    position_rows.save_states(connection, [state])
            holds.confirm_holds(connection, confirmed_block=-1, changed_tokens=token_ids)
            notify_positions(connection, token_ids)
        self._touched -= set(token_ids)


def _hold_cursor(connection: Connection, window: Sequence[BlockRef]) -> None:
    """Raise ``CursorMoved`` where another indexer is at work; else keep it off until we commit."""
    mirror.hold_cursor(connection, block_hash=window[-1].block_hash)


def _close_batches(connection: Connection, events: Sequence[ChainEvent]) -> None:
    settled = {event.text("batchId"): event for event in events if event.name == "BatchSettled"}
    for batch_id in sorted(batches.find_planned_batches(connection, list(settled))):
        event = settled[batch_id]
        close_batch(connection, batch_id, block_number=event.block_number, tx_hash=event.tx_hash)


def _place(event: ChainEvent) -> tuple[int, int, str]:
    return event.block_number, event.log_index, event.block_hash
