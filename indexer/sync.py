"""One converging step from whatever the ledger holds towards the node's head."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from time import time
from typing import Final

import structlog
from sqlalchemy import Connection, Engine

from contracts.blocks import BlockRange, BlockRef
from contracts.chain import ChainReader, NodeUnavailable
from contracts.deployment import Deployment
from contracts.errors import Fatal
from contracts.events import ChainEvent
from indexer.fetch import EventSource
from indexer.project import live_hold_usdc, project, project_all
from indexer.reorg import Duplicate, Extend, Gap, Rewind, Unrecoverable, reconcile
from ledger import mirror
from ledger.batches import close_batch, reopen_batch
from ledger.engine import read, write

log = structlog.get_logger("indexer")

ROLLBACK_PATIENCE: Final = 3
"""How many answers in a row must agree that the chain got shorter before it is believed."""


class ReorgTooDeep(Fatal):
    """More was reorganised than the window holds; ``current indexer rebuild`` starts over."""


class Outcome(StrEnum):
    """What one step did."""

    ADVANCED = "advanced"
    NOTHING_NEW = "nothing_new"
    REWOUND = "rewound"


@dataclass(frozen=True, slots=True)
class SyncRules:
    """How the mirror follows. All counts are blocks."""

    confirmations: int
    """A hold counts once this many blocks are on top of its own; 0 counts it at once."""
    window_blocks: int
    """How deep a reorg can be taken back."""
    range_blocks_max: int
    """The longest range asked for in one call while backfilling."""
    blocks_per_step_max: int
    """The most blocks that one step follows near the head."""


class Follower:
    """Mirrors one deployment into one ledger. ``converge`` is safe to repeat and to kill."""

    def __init__(
        self,
        engine: Engine,
        reader: ChainReader,
        deployment: Deployment,
        rules: SyncRules,
        *,
        clock: Callable[[], float] = time,
    ) -> None:
        self._engine = engine
        self._source = EventSource(reader, deployment)
        self._reader = reader
        self._deployment = deployment
        self._rules = rules
        self._clock = clock
        self._shorter_answers = 0

    def converge(self) -> Outcome:
        """Do a bounded amount of work towards the head and say what it was.

        Raises ``NodeUnavailable`` or ``NodeRefused`` where the node fails, ``CursorMoved`` where
        another indexer is at work, ``ReorgTooDeep`` past the window.
        """
        # The clock is read before the node is: a slow answer must not make the mirror look fresh.
        observed_at_s = int(self._clock())
        head = self._reader.fetch_head()
        with read(self._engine) as connection:
            cursor = mirror.load_mirror(connection)
            window = mirror.load_window(connection)
        if cursor is None:
            return self._start(head, observed_at_s)
        if head.block_hash == cursor.block_hash:
            return self._observe(cursor.block_hash, head, observed_at_s)
        if head.number <= cursor.block_number:
            return self._follow_shorter(window, head)
        self._shorter_answers = 0
        deep = head.number - self._rules.window_blocks
        if cursor.block_number < deep:
            return self._backfill(window, deep, head)
        return self._follow(window, head, observed_at_s)

    def _start(self, head: BlockRef, observed_at_s: int) -> Outcome:
        first = self._deployment.block_number
        block = self._source.fetch_header(first)
        if block.block_hash != self._deployment.block_hash:
            raise Fatal(f"block {first} is not the deployment's: {block.block_hash}")
        events = self._source.fetch_block_events(block)
        at_head = block.block_hash == head.block_hash
        with write(self._engine) as connection:
            seen_s = observed_at_s if at_head else 0
            self._write(connection, None, [block], events, head, observed_at_s=seen_s)
        return Outcome.ADVANCED

    def _observe(self, block_hash: str, head: BlockRef, observed_at_s: int) -> Outcome:
        self._shorter_answers = 0
        with write(self._engine) as connection:
            mirror.save_observation(
                connection,
                block_hash=block_hash,
                head_number=head.number,
                observed_at_s=observed_at_s,
            )
        return Outcome.NOTHING_NEW

    def _follow_shorter(self, window: Sequence[BlockRef], head: BlockRef) -> Outcome:
        """Handle a head that is not above the cursor: a lagging node, or a shorter chain."""
        tip = window[-1]
        at_tip = head if head.number == tip.number else self._reader.fetch_header(tip.number)
        if at_tip is not None and at_tip.block_hash == tip.block_hash:
            return Outcome.NOTHING_NEW  # a backend that lags behind the one asked before
        if at_tip is None:
            self._shorter_answers += 1
            if self._shorter_answers < ROLLBACK_PATIENCE:
                return Outcome.NOTHING_NEW
        self._shorter_answers = 0
        return self._rewind(window, min(head.number, tip.number - 1), head)

    def _backfill(self, window: Sequence[BlockRef], deep: int, head: BlockRef) -> Outcome:
        """Mirror one range of blocks that are below every reorg that can be taken back."""
        tip = window[-1]
        if self._source.fetch_header(tip.number).block_hash != tip.block_hash:
            return self._rewind(window, tip.number - 1, head)
        first = tip.number + 1
        blocks = BlockRange(first, min(deep, first + self._rules.range_blocks_max - 1))
        last = self._source.fetch_header(blocks.last)
        events = self._source.fetch_range_events(blocks)
        if self._source.fetch_header(blocks.last).block_hash != last.block_hash:
            raise NodeUnavailable("the chain moved under a backfill; trying again")
        with write(self._engine) as connection:
            mirror.clear_window(connection)
            # Not at the head yet, so the mirror must not look fresh: observed at zero.
            self._write(connection, tip.block_hash, [last], events, head, observed_at_s=0)
        log.info("backfilled", first=blocks.first, last=blocks.last, events=len(events))
        return Outcome.ADVANCED

    def _follow(self, window: Sequence[BlockRef], head: BlockRef, observed_at_s: int) -> Outcome:
        tip = window[-1]
        last_number = min(head.number, tip.number + self._rules.blocks_per_step_max)
        known = list(window)
        blocks: list[BlockRef] = []
        events: list[ChainEvent] = []
        for number in range(tip.number + 1, last_number + 1):
            block = head if number == head.number else self._source.fetch_header(number)
            match reconcile(known, block):
                case Extend():
                    events.extend(self._source.fetch_block_events(block))
                    known.append(block)
                    blocks.append(block)
                case Rewind(block_number=highest):
                    if blocks:
                        break  # keep what was linked before the chain moved under this step
                    return self._rewind(window, highest, head)
                case Unrecoverable():
                    raise self._too_deep(window)
                case Gap() | Duplicate():
                    raise AssertionError("blocks are read in order")
        at_head = blocks[-1].number == head.number
        with write(self._engine) as connection:
            before_s = 0 if (now := mirror.load_mirror(connection)) is None else now.observed_at_s
            seen_s = observed_at_s if at_head else before_s
            self._write(connection, tip.block_hash, blocks, events, head, observed_at_s=seen_s)
        log.info(
            "advanced",
            block=blocks[-1].number,
            block_hash=blocks[-1].block_hash[:10],
            blocks=len(blocks),
            events=len(events),
        )
        return Outcome.ADVANCED

    def _rewind(self, window: Sequence[BlockRef], highest: int, head: BlockRef) -> Outcome:
        """Find the common ancestor at or below ``highest`` and take everything above it back."""
        first = window[0].number
        for number in range(highest, first - 1, -1):
            header = self._reader.fetch_header(number)
            ancestor = window[number - first]
            if header is not None and header.block_hash == ancestor.block_hash:
                break
        else:
            raise self._too_deep(window)
        with write(self._engine) as connection:
            rewind_to(connection, ancestor.number)
            cursor = mirror.load_mirror(connection)
            mirror.save_cursor(
                connection,
                chain_id=self._deployment.chain_id,
                expected_hash=window[-1].block_hash,
                block=ancestor,
                head_number=head.number,
                observed_at_s=0 if cursor is None else cursor.observed_at_s,
            )
        log.warning(
            "rewound",
            to_block=ancestor.number,
            depth=window[-1].number - ancestor.number,
        )
        return Outcome.REWOUND

    def _too_deep(self, window: Sequence[BlockRef]) -> ReorgTooDeep:
        return ReorgTooDeep(
            f"the chain forks at or below block {window[0].number}, deeper than the window of"
            f" {len(window)} blocks; run `current indexer rebuild`"
        )

    def _write(
        self,
        connection: Connection,
        expected_hash: str | None,
        blocks: Sequence[BlockRef],
        events: Sequence[ChainEvent],
        head: BlockRef,
        *,
        observed_at_s: int,
    ) -> None:
        """Write events, projections, window and cursor; all of it or nothing."""
        mirror.save_cursor(
            connection,
            chain_id=self._deployment.chain_id,
            expected_hash=expected_hash,
            block=blocks[-1],
            head_number=head.number,
            observed_at_s=observed_at_s,
        )
        mirror.save_blocks(connection, blocks, keep=self._rules.window_blocks)
        mirror.save_events(connection, events)
        confirmed_block = head.number - self._rules.confirmations
        changed = apply_events(connection, events, unconfirmed_above=confirmed_block)
        mirror.confirm_holds(connection, confirmed_block=confirmed_block, changed_tokens=changed)


def apply_events(
    connection: Connection, events: Sequence[ChainEvent], *, unconfirmed_above: int
) -> list[int]:
    """Fold new events into the projections, in chain order; return the positions that changed.

    Holds raised above block ``unconfirmed_above`` are noted as not spendable yet.
    """
    touched = {event.token_id for event in events if event.token_id is not None}
    states = mirror.load_states(connection, touched)
    raises: list[mirror.HoldRaised] = []
    for event in events:
        token_id = event.token_id
        if token_id is None:
            continue
        before = states.get(token_id)
        after = project(before, event)
        if after is not None:
            states[token_id] = after
        if event.name == "HoldPlaced" and event.block_number > unconfirmed_above:
            assert before is not None
            live_usdc = live_hold_usdc(before, now_s=event.block_timestamp_s)
            raises.append(
                mirror.HoldRaised(
                    token_id=token_id,
                    block_number=event.block_number,
                    log_index=event.log_index,
                    raised_usdc=max(0, event.integer("granted") - live_usdc),
                    expires_before_s=before.hold_expires_at_s if live_usdc > 0 else 0,
                )
            )
    mirror.save_states(connection, states.values())
    mirror.save_hold_raises(connection, raises)
    for event in events:
        if event.name == "BatchSettled":
            close_batch(
                connection,
                event.text("batchId"),
                block_number=event.block_number,
                tx_hash=event.tx_hash,
            )
    return sorted(states)


def rewind_to(connection: Connection, block_number: int) -> None:
    """Take back every chain-derived row above ``block_number``.

    The positions that had events there are folded again from the events that remain.
    """
    token_ids, batch_ids = mirror.delete_above(connection, block_number=block_number)
    for batch_id in batch_ids:
        reopen_batch(connection, batch_id)
    for token_id in token_ids:
        state = project_all(mirror.load_events(connection, token_id=token_id))
        if state is None:
            mirror.delete_position(connection, token_id)
        else:
            mirror.save_states(connection, [state])
    # A shorter chain confirms nothing new; only the changed positions are counted again.
    mirror.confirm_holds(connection, confirmed_block=-1, changed_tokens=token_ids)


def forget(connection: Connection) -> None:
    """Delete every chain-derived row, so that the mirror starts over from the deployment block.

    Usage, batches and intents stay: what they say of the chain is closed again as it is read.
    """
    rewind_to(connection, -1)
    mirror.delete_cursor(connection)
