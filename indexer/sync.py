"""One converging step from whatever the ledger holds towards the node's head."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NoReturn

import structlog
from sqlalchemy import Connection, Engine

from contracts.blocks import BlockRange, BlockRef, Header
from contracts.deployment import Deployment
from contracts.errors import Fatal
from contracts.events import ChainEvent
from contracts.node_errors import NodeFailure, NodeRefused, NodeUnavailable, NotYet
from contracts.reader import ChainReader, RawLog
from indexer.backfill import Backfill
from indexer.fetch import EventSource
from indexer.fold import apply_events, rewind_to
from indexer.health import Health
from indexer.history import HistoryReviewer
from indexer.patrol import Patrol
from indexer.project import EventMissing, UnexpectedEvent
from indexer.reorg import Duplicate, Extend, Gap, Rewind, Unrecoverable, reconcile
from indexer.review import Reviewer
from ledger.chain import event_rows, holds, mirror
from ledger.database.clock import LedgerClock
from ledger.database.engine import read, write
from ledger.database.notify import notify_positions

log = structlog.get_logger("indexer")

ROLLBACK_PATIENCE: Final = 3
"""How many answers in a row must agree that the chain got shorter before it is believed."""
ROLLBACK_PATIENCE_S: Final = 15.0
"""How long a head that is merely an older block of ours must stay before that is believed: backends
lag for seconds, and a chain that only loses blocks is a node's accident. To follow it would give
revoked keys back; meanwhile the mirror grows stale, and requests are refused."""
REWIND_HEADERS: Final = 16
"""Headers that are asked for together while the common ancestor is looked for."""
UNFIT_ANSWERS: Final = frozenset(
    {
        NodeFailure.CHAIN_MOVED,
        NodeFailure.CLAMPED_RANGE,
        NodeFailure.DUPLICATE_LOG,
        NodeFailure.MALFORMED,
        NodeFailure.OTHER_BLOCKS_LOGS,
    }
)
"""What a backfill finds wrong with an answer that its reader took for a good one."""
IMPOSSIBLE_LOOKS_MAX: Final = 20
"""How often events that the contracts cannot have emitted are read again before that is fatal."""


class ReorgTooDeep(Fatal):
    """More was reorganised than the window holds; ``current indexer rebuild`` starts over."""


class Outcome(StrEnum):
    """What one step did."""

    ADVANCED = "advanced"
    NOTHING_NEW = "nothing_new"
    REWOUND = "rewound"
    LOOKED_BACK = "looked_back"
    """The mirror is at the head; the step reviewed a part of history."""


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
        health: Health | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """``clock`` None: the ledger's own."""
        self._engine = engine
        self._health = Health() if health is None else health
        self._source = EventSource(reader, deployment, self._health)
        self._reader = reader
        self._deployment = deployment
        self._rules = rules
        self._clock = LedgerClock(engine).measured_now if clock is None else clock
        self._health.now = self._clock
        self._reviewer = Reviewer(
            engine, self._source, self._health, window_blocks=rules.window_blocks
        )
        self._backfiller = Backfill(
            engine, reader.transport, deployment, range_blocks_max=rules.range_blocks_max
        )
        self._history = HistoryReviewer(
            engine,
            self._source,
            deployment,
            self._health,
            range_blocks_max=rules.range_blocks_max,
        )
        self._patrol = Patrol(engine, reader, deployment, self._health)
        self._window: Sequence[BlockRef] = ()
        self._is_known_wrong = False
        self._is_unproven = False
        self._shorter_answers = 0
        self._shorter_since_s = 0.0
        self._quiet_looks = 0
        self._impossible_looks = 0
        self._wrong_patrols = 0

    @property
    def is_uneasy(self) -> bool:
        """Tell whether the node's last answer contradicts the mirror and wants to be repeated."""
        return self._shorter_answers > 0 or self._is_known_wrong

    @property
    def _is_doubted(self) -> bool:
        """Tell whether the mirror must not look fresh: backfilled and not proven yet, or wrong."""
        return self._is_known_wrong or self._is_unproven

    def close(self) -> None:
        """End what runs in the background. Another step starts it again."""
        self._backfiller.close()

    def converge(self, hint: BlockRef | None = None) -> Outcome:
        """Do a bounded amount of work towards the head and say what it was.

        ``hint`` is a block that may be the head: its logs are asked for together with the head.
        Raises ``NodeUnavailable`` or ``NodeRefused`` where the node fails, ``CursorMoved`` where
        another indexer is at work, ``ReorgTooDeep`` past the window.
        """
        # The clock is read before the node is: a slow answer must not make the mirror look fresh.
        observed_at_s = int(self._clock())
        head, seen = self._source.fetch_head(hint)
        with read(self._engine) as connection:
            cursor = mirror.load_mirror(connection)
            window = self._load_window(connection, cursor)
        if cursor is None:
            return self._start(head, observed_at_s)
        if self._is_known_wrong and self._history.is_pending:
            # What comes next does not fit what is mirrored: nothing goes on before that is right.
            return self._look_back(window)
        if head.block_hash == cursor.block_hash:
            return self._observe(window, head, observed_at_s)
        self._quiet_looks = 0
        if head.number <= cursor.block_number:
            return self._follow_shorter(window, head)
        self._shorter_answers = 0
        # Below both: nothing that is backfilled can be taken back, and every hold in it counts.
        deep = head.number - max(self._rules.window_blocks, self._rules.confirmations)
        if cursor.block_number < deep:
            return self._backfill(window, deep, head)
        return self._follow(window, head, seen, observed_at_s)

    def _load_window(
        self, connection: Connection, cursor: mirror.MirrorState | None
    ) -> Sequence[BlockRef]:
        """Return the window below the cursor: as remembered, or read where the cursor has moved.

        Blocks are linked by hash, so whatever ends in the same block is the same window. To read
        hundreds of rows would be most of what a block costs, while a revocation waits.
        """
        if cursor is None or not self._window or self._window[-1].block_hash != cursor.block_hash:
            self._window = mirror.load_window(connection)
        return self._window

    # --------------------------------------------------------------------------------- at the start

    def _start(self, head: Header, observed_at_s: int) -> Outcome:
        first = self._deployment.block_number
        block = self._source.fetch_header(first)
        if block.block_hash != self._deployment.block_hash:
            raise Fatal(f"block {first} is not the deployment's: {block.block_hash}")
        [events] = self._source.fetch_blocks_events([block], {})
        at_head = block.block_hash == head.block_hash
        with write(self._engine) as connection:
            seen_s = observed_at_s if at_head else 0
            self._write(connection, None, [block.ref], events, head, observed_at_s=seen_s)
        self._note_advance([block.ref], len(events), head, seen_s)
        return Outcome.ADVANCED

    # ---------------------------------------------------------------------------------- at the head

    def _observe(self, window: Sequence[BlockRef], head: Header, observed_at_s: int) -> Outcome:
        """Note that the mirror is at the head, and use the time for a second look."""
        self._shorter_answers = 0
        if not self._is_doubted:
            with write(self._engine) as connection:
                mirror.save_observation(
                    connection,
                    block_hash=head.block_hash,
                    head_number=head.number,
                    observed_at_s=observed_at_s,
                )
        self._health.note_position(
            head_number=head.number,
            mirrored_number=head.number,
            observed_at_s=0 if self._is_doubted else observed_at_s,
        )
        # At once after a block its logs may still be on their way; a moment later they are not.
        self._quiet_looks += 1
        try:
            wrong = self._reviewer.look_soon(window, quiet=self._quiet_looks > 1)
        except (NodeUnavailable, NodeRefused):
            return Outcome.NOTHING_NEW  # noted by the reader; the mirror is right as far as known
        if wrong is not None:
            return self._repair(window, wrong, head)
        if not self._history.is_pending and not self._patrol.is_due:
            return Outcome.NOTHING_NEW
        try:
            return self._look_back(window)
        except (NodeUnavailable, NodeRefused):
            return Outcome.NOTHING_NEW  # noted by the reader; the next look goes on from here

    def _look_back(self, window: Sequence[BlockRef]) -> Outcome:
        """Review a part of history, then compare it with what the contracts say."""
        if self._history.is_pending:
            try:
                self._history.step(window)
            except (EventMissing, UnexpectedEvent) as error:
                self._doubt_history(window, error)
            return Outcome.LOOKED_BACK
        differing = self._patrol.step()
        if differing is None:
            return Outcome.LOOKED_BACK
        self._is_known_wrong = bool(differing)
        if not differing:
            self._is_unproven = False
            self._impossible_looks = self._wrong_patrols = 0
            return Outcome.LOOKED_BACK
        self._patrol.restart()
        self._wrong_patrols += 1
        if self._wrong_patrols == 1:
            # It may be the newest block's logs that are not there yet.
            self._reviewer.rewound_to(window[0].number)
        else:
            self._history.doubt_all(window, differing)
        return Outcome.NOTHING_NEW

    def _doubt_history(
        self, window: Sequence[BlockRef], error: EventMissing | UnexpectedEvent
    ) -> NoReturn:
        """Look at all of history again; raises ``NotYet``, or ``error`` after too many times."""
        self._is_known_wrong = True
        self._impossible_looks += 1
        if self._impossible_looks >= IMPOSSIBLE_LOOKS_MAX:
            raise error
        self._history.doubt_all(window, set())
        self._patrol.restart()
        raise NotYet(str(error), failure=NodeFailure.PARTIAL_LOGS) from error

    def _follow_shorter(self, window: Sequence[BlockRef], head: Header) -> Outcome:
        """Handle a head that is not above the cursor: a lagging node, or a shorter chain."""
        tip = window[-1]
        at_tip = head if head.number == tip.number else self._reader.fetch_header(tip.number)
        lags = NotYet(f"head {head.number} after {tip.number}", failure=NodeFailure.LAGGING_HEAD)
        if at_tip is not None and at_tip.block_hash == tip.block_hash:
            self._reader.suspect(lags)
            return Outcome.NOTHING_NEW  # a backend that lags behind the one asked before
        if at_tip is None:
            other = self._fetch_second_header(tip.number)
            self._reader.suspect(lags)
            if other is not None and other.block_hash == tip.block_hash:
                return Outcome.NOTHING_NEW
            if self._shorter_answers == 0:
                self._shorter_since_s = self._clock()
            self._shorter_answers += 1
            first = window[0].number
            is_ours = (
                head.number >= first and head.block_hash == window[head.number - first].block_hash
            )
            waited_s = self._clock() - self._shorter_since_s
            if self._shorter_answers < ROLLBACK_PATIENCE or (
                is_ours and waited_s < ROLLBACK_PATIENCE_S
            ):
                return Outcome.NOTHING_NEW
        self._shorter_answers = 0
        return self._rewind(window, min(head.number, tip.number - 1), head)

    # ------------------------------------------------------------------------------------- going on

    def _backfill(self, window: Sequence[BlockRef], deep: int, head: Header) -> Outcome:
        """Mirror some of the blocks that are below every reorg that can be taken back."""
        tip = window[-1]
        try:
            wrong = self._reviewer.look_before_leaving(window, leaving=tip.number)
        except NotYet as error:
            at_tip = None
            if error.failure is NodeFailure.CHAIN_MOVED:
                at_tip = self._reader.fetch_header(tip.number)
            if at_tip is None or at_tip.block_hash == tip.block_hash:
                raise
            return self._rewind(window, tip.number - 1, head)
        if wrong is not None:
            return self._repair(window, wrong, head)
        try:
            reached = self._backfiller.step(tip, deep, head)
        except (EventMissing, UnexpectedEvent) as error:
            self._health.note_failure("any", NodeFailure.PARTIAL_LOGS, str(error))
            self._doubt_history(window, error)
        except NodeUnavailable as error:
            if error.failure in UNFIT_ANSWERS:
                self._reader.suspect(error)
            raise
        if reached is None:
            return self._rewind(window, tip.number - 1, head)
        self._reviewer.skip_to(reached.number)
        self._history.note_backfilled(tip.number + 1, reached.number)
        self._patrol.restart()
        self._is_unproven = True
        self._health.note_position(
            head_number=head.number, mirrored_number=reached.number, observed_at_s=0
        )
        return Outcome.ADVANCED

    def _follow(
        self,
        window: Sequence[BlockRef],
        head: Header,
        seen: Mapping[str, list[RawLog]],
        observed_at_s: int,
    ) -> Outcome:
        tip = window[-1]
        headers = self._fetch_next(tip, head)
        known = list(window)
        linked: list[Header] = []
        for header in headers:
            match reconcile(known, header):
                case Extend():
                    known.append(header)
                    linked.append(header)
                case Rewind(block_number=highest):
                    if linked:
                        break  # keep what was linked before the chain moved under this step
                    return self._rewind(window, highest, head)
                case Unrecoverable():
                    raise self._too_deep(window)
                case Gap() | Duplicate():
                    raise AssertionError("blocks are read in order")
        found = self._source.fetch_blocks_events(linked, seen)
        leaving = tip.number + len(found) + 1 - self._rules.window_blocks
        wrong = self._reviewer.look_before_leaving(window, leaving=leaving)
        if wrong is not None:
            return self._repair(window, wrong, head)
        try:
            self._append(window, linked[: len(found)], found, head, observed_at_s)
        except (EventMissing, UnexpectedEvent) as error:
            return self._find_missing(window, linked[: len(found)], head, error)
        return Outcome.ADVANCED

    def _fetch_next(self, tip: BlockRef, head: Header) -> list[Header]:
        """Return the headers after ``tip``, without a gap: at most one step's worth."""
        # A step must leave blocks in the window that had their second look.
        count_max = min(self._rules.blocks_per_step_max, max(1, self._rules.window_blocks - 1))
        last = min(head.number, tip.number + count_max)
        if last == tip.number + 1 == head.number:
            return [head]
        if last < head.number:
            return self._source.fetch_headers(BlockRange(tip.number + 1, last))
        headers = self._source.fetch_headers(BlockRange(tip.number + 1, last - 1))
        return [*headers, head] if headers[-1].number == last - 1 else headers

    def _append(
        self,
        window: Sequence[BlockRef],
        headers: Sequence[Header],
        found: Sequence[Sequence[ChainEvent]],
        head: Header,
        observed_at_s: int,
    ) -> None:
        blocks = [header.ref for header in headers]
        events = [event for block_events in found for event in block_events]
        at_head = blocks[-1].block_hash == head.block_hash
        with write(self._engine) as connection:
            seen_s = observed_at_s
            if not at_head or self._is_doubted:
                before = mirror.load_mirror(connection)
                seen_s = 0 if before is None else before.observed_at_s
            tip_hash = window[-1].block_hash
            self._write(connection, tip_hash, blocks, events, head, observed_at_s=seen_s)
        self._window = [*window, *blocks][-self._rules.window_blocks :]
        self._note_advance(blocks, len(events), head, seen_s if at_head else 0)

    def _note_advance(
        self, blocks: Sequence[BlockRef], events: int, head: Header, observed_at_s: int
    ) -> None:
        newest = blocks[-1]
        self._health.note_mirrored(blocks=len(blocks), events=events)
        self._health.note_position(
            head_number=head.number, mirrored_number=newest.number, observed_at_s=observed_at_s
        )
        # A block of which nothing is mirrored is no news; a chain makes one every second or two.
        tell = log.info if events else log.debug
        tell(
            "advanced",
            block=newest.number,
            block_hash=newest.block_hash[:10],
            blocks=len(blocks),
            events=events,
        )

    # ----------------------------------------------------------------------------------- going back

    def _find_missing(
        self,
        window: Sequence[BlockRef],
        headers: Sequence[Header],
        head: Header,
        error: EventMissing | UnexpectedEvent,
    ) -> Outcome:
        """Look for the events that must have come before those just read."""
        self._health.note_failure("any", NodeFailure.PARTIAL_LOGS, str(error))
        for header in headers:
            logs = self._source.fetch_from_receipts(header)
            if logs is not None:
                self._source.prove(header.block_hash, logs)
        wrong = self._reviewer.find_wrong(window, first=window[0].number, last=window[-1].number)
        if wrong is not None:
            return self._repair(window, wrong, head)
        self._doubt_history(window, error)

    def _repair(self, window: Sequence[BlockRef], wrong: BlockRef, head: Header) -> Outcome:
        """Take back a block that is mirrored wrongly, and all above it, to mirror it again."""
        self._health.note_repair()
        log.warning("repairing", block=wrong.number, block_hash=wrong.block_hash[:10])
        return self._rewind(window, wrong.number - 1, head, is_reorg=False)

    def _rewind(
        self,
        window: Sequence[BlockRef],
        highest: int,
        head: Header,
        *,
        is_reorg: bool = True,
    ) -> Outcome:
        """Find the common ancestor at or below ``highest`` and take everything above it back."""
        self._reader.doubt_chain()  # another chain's blocks look like a reorg without end
        ancestor = self._find_ancestor(window, highest)
        if ancestor is None:
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
        depth = window[-1].number - ancestor.number
        self._reviewer.rewound_to(ancestor.number)
        if is_reorg:
            self._health.note_rewind(depth=depth)
        self._health.note_position(
            head_number=head.number, mirrored_number=ancestor.number, observed_at_s=0
        )
        log.warning("rewound", to_block=ancestor.number, depth=depth)
        return Outcome.REWOUND

    def _find_ancestor(self, window: Sequence[BlockRef], highest: int) -> BlockRef | None:
        """Return the newest block, not above ``highest``, that the node has as well."""
        first = window[0].number
        for newest in range(highest, first - 1, -REWIND_HEADERS):
            numbers = range(newest, max(first - 1, newest - REWIND_HEADERS), -1)
            for number, header in zip(numbers, self._reader.fetch_headers(numbers), strict=True):
                ours = window[number - first]
                if header is not None and header.block_hash == ours.block_hash:
                    return ours
        return None

    def _too_deep(self, window: Sequence[BlockRef]) -> ReorgTooDeep:
        """Return what to raise; raises ``NotYet`` itself where another endpoint has our chain."""
        first = window[0]
        other = self._fetch_second_header(first.number)
        if other is not None and other.block_hash == first.block_hash:
            alone = NotYet("a fork that nobody else has", failure=NodeFailure.OUTVOTED)
            self._reader.suspect(alone)
            raise alone
        return ReorgTooDeep(
            f"the chain forks at or below block {first.number}, deeper than the window of"
            f" {len(window)} blocks; run `current indexer rebuild`"
        )

    def _fetch_second_header(self, number: int) -> Header | None:
        """Return what another endpoint has at ``number``; None also where there is no other."""
        other = self._reader.second()
        if other is None:
            return None
        try:
            return other.fetch_header(number)
        except (NodeUnavailable, NodeRefused) as error:
            self._health.note_failure("any", error.failure, str(error))
            return None

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
        event_rows.save_events(connection, events)
        confirmed_block = head.number - self._rules.confirmations
        changed = apply_events(connection, events, unconfirmed_above=confirmed_block)
        holds.confirm_holds(connection, confirmed_block=confirmed_block, changed_tokens=changed)
        notify_positions(connection, changed)
