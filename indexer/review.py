"""A second look at mirrored blocks: nodes lose logs, and answer before they have all of them.

Each block is looked at again soon after it was mirrored, and once more before it leaves the window,
while it can still be taken back. A second answer with more logs, each of them of this very block,
outweighs the first. One with fewer is only a reason to read the receipts.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Engine

from contracts.blocks import BlockRef
from contracts.events import ChainEvent
from contracts.node_errors import NodeFailure, NotYet
from indexer.fetch import EventSource
from indexer.health import Health
from ledger.chain import event_rows
from ledger.database.engine import read

GROUP_BLOCKS: Final = 16
"""Blocks that one request looks at again; the last look is taken at about so many together."""
SOON_BLOCKS: Final = 8
"""The first second look is not put off for longer than so many blocks."""


class Reviewer:
    """Remembers which blocks were looked at again, and finds those that are mirrored wrongly."""

    def __init__(
        self, engine: Engine, source: EventSource, health: Health, *, window_blocks: int
    ) -> None:
        self._engine = engine
        self._source = source
        self._health = health
        self._window_blocks = window_blocks
        self._soon: int | None = None
        self._last: int | None = None

    def skip_to(self, number: int) -> None:
        """Count everything up to ``number`` as looked at: it can not be taken back any more."""
        self._soon = self._last = number

    def rewound_to(self, number: int) -> None:
        """Count what is above ``number`` as new."""
        self._soon = min(number, self._soon if self._soon is not None else number)
        self._last = min(number, self._last if self._last is not None else number)

    def look_soon(self, window: Sequence[BlockRef], *, quiet: bool) -> BlockRef | None:
        """Look again at the newest blocks, and at the oldest if it is time for their last look.

        ``quiet`` says that the chain gives time for it. Return a block that is mirrored wrongly.
        """
        soon, last = self._marks(window)
        waiting = window[-1].number - soon
        if waiting > 0 and (quiet or waiting >= SOON_BLOCKS):
            wrong = self.find_wrong(window, first=soon + 1, last=window[-1].number)
            if wrong is None:
                self._soon = window[-1].number
            return wrong
        due = window[-1].number - self._window_blocks * 3 // 4
        if due - last >= GROUP_BLOCKS:
            return self._look_last(window, first=last + 1, last=last + GROUP_BLOCKS)
        return None

    def look_before_leaving(self, window: Sequence[BlockRef], *, leaving: int) -> BlockRef | None:
        """Take the last look at the blocks up to ``leaving`` that have not had one."""
        _, last = self._marks(window)
        newest = min(leaving, window[-1].number)
        if newest <= last:
            return None
        return self._look_last(window, first=last + 1, last=newest)

    def find_wrong(self, window: Sequence[BlockRef], *, first: int, last: int) -> BlockRef | None:
        """Return the first block from ``first`` to ``last`` whose mirrored events are wrong.

        The right ones are then kept by the source. The window's first block cannot be taken back
        and is left out. Raises ``NotYet`` where the chain moved meanwhile.
        """
        base = window[0].number
        blocks = window[max(first - base, 1) : last - base + 1]
        if not blocks:
            return None
        fresh = self._source.fetch_window_logs(blocks)
        stored = self._load_events(blocks)
        for block in blocks:
            logs = fresh[block.block_hash]
            again = self._source.decode(logs, {block.number: block})
            known = stored[block.block_hash]
            if again == known:
                continue
            differs = f"{len(known)} events mirrored, {len(again)} at a second look"
            self._health.note_failure(
                "any", NodeFailure.PARTIAL_LOGS, f"block {block.number}: {differs}"
            )
            header = self._source.fetch_header(block.number)
            if header.block_hash != block.block_hash:
                raise NotYet("the chain moved under a second look", failure=NodeFailure.CHAIN_MOVED)
            proof = self._source.fetch_from_receipts(header)
            if proof is None and _is_more(again, known):
                proof = logs
            if proof is not None and self._source.decode(proof, {block.number: block}) != known:
                self._source.prove(block.block_hash, proof)
                return block
        return None

    def _look_last(self, window: Sequence[BlockRef], *, first: int, last: int) -> BlockRef | None:
        wrong = self.find_wrong(window, first=first, last=last)
        if wrong is None:
            self._last = last
        return wrong

    def _marks(self, window: Sequence[BlockRef]) -> tuple[int, int]:
        # What a process before this one has looked at is not known; it is looked at once more.
        base = window[0].number
        soon = base if self._soon is None else max(self._soon, base)
        last = base if self._last is None else max(self._last, base)
        return soon, last

    def _load_events(self, blocks: Sequence[BlockRef]) -> dict[str, list[ChainEvent]]:
        by_hash: dict[str, list[ChainEvent]] = {block.block_hash: [] for block in blocks}
        with read(self._engine) as connection:
            events = event_rows.load_range_events(
                connection, first=blocks[0].number, last=blocks[-1].number
            )
        for event in events:
            if event.block_hash not in by_hash:
                raise NotYet("another indexer moved the cursor", failure=NodeFailure.CHAIN_MOVED)
            by_hash[event.block_hash].append(event)
        return by_hash


def _is_more(again: Sequence[ChainEvent], known: Sequence[ChainEvent]) -> bool:
    """Tell whether a second answer holds all that is mirrored, and more."""
    return len(again) > len(known) and all(event in again for event in known)
