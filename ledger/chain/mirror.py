"""How far the chain is mirrored: the cursor, the window of unfinalised blocks, and going back.

``event_rows``, ``position_rows`` and ``holds`` write what is mirrored. Only the indexer
writes through these modules. Every function works inside the caller's write transaction,
so that events, projections and cursor move together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from contracts.blocks import BlockRef
from contracts.errors import Retryable
from ledger.tables import Block, Event, HoldRaise, Mirror, table_of

_block = table_of(Block)
_event = table_of(Event)
_hold_raise = table_of(HoldRaise)
_mirror = table_of(Mirror)


class CursorMoved(Retryable):
    """Another indexer moved the cursor meanwhile; nothing of this transaction is written."""


@dataclass(frozen=True, slots=True)
class MirrorState:
    """How far the mirror is, and when it last was at the head (wall clock, Unix seconds)."""

    chain_id: int
    block_number: int
    block_hash: str
    block_timestamp_s: int
    head_number: int
    observed_at_s: int

    def age_s(self, *, now_s: int) -> int:
        """Return how long ago the mirror was last known to be at the head."""
        return max(0, now_s - self.observed_at_s)


def load_mirror(connection: Connection) -> MirrorState | None:
    """Return the cursor, or None before the first block was mirrored."""
    row = connection.execute(select(_mirror)).mappings().one_or_none()
    return None if row is None else MirrorState(**row)


def save_cursor(
    connection: Connection,
    *,
    chain_id: int,
    expected_hash: str | None,
    block: BlockRef,
    head_number: int,
    observed_at_s: int,
) -> None:
    """Move the cursor to ``block`` by compare-and-set on the hash it was read at.

    Raises ``CursorMoved`` where it is not there any more; the caller's transaction must roll back.
    """
    values = {
        "block_number": block.number,
        "block_hash": block.block_hash,
        "block_timestamp_s": block.timestamp_s,
        "head_number": head_number,
        "observed_at_s": observed_at_s,
    }
    if expected_hash is None:
        if connection.execute(select(func.count()).select_from(_mirror)).scalar_one():
            raise CursorMoved("another indexer wrote the first block")
        connection.execute(insert(_mirror).values(chain_id=chain_id, **values))
        return
    moved = connection.execute(
        update(_mirror)
        .where(_mirror.c.chain_id == chain_id, _mirror.c.block_hash == expected_hash)
        .values(values)
    ).rowcount
    if moved != 1:
        raise CursorMoved("another indexer moved the cursor")


def save_observation(
    connection: Connection, *, block_hash: str, head_number: int, observed_at_s: int
) -> None:
    """Note that the node's head is still the cursor's block. Raises ``CursorMoved``."""
    noted = connection.execute(
        update(_mirror)
        .where(_mirror.c.block_hash == block_hash)
        .values(head_number=head_number, observed_at_s=observed_at_s)
    ).rowcount
    if noted != 1:
        raise CursorMoved("another indexer moved the cursor")


def hold_cursor(connection: Connection, *, block_hash: str) -> None:
    """Keep the cursor where it is until the transaction ends. Raises ``CursorMoved``."""
    held = connection.execute(
        update(_mirror).where(_mirror.c.block_hash == block_hash).values(block_hash=block_hash)
    ).rowcount
    if held != 1:
        raise CursorMoved("another indexer moved the cursor")


def load_window(connection: Connection) -> list[BlockRef]:
    """Return the unfinalised window, oldest first."""
    rows = connection.execute(select(_block).order_by(_block.c.number)).mappings()
    return [BlockRef(**row) for row in rows]


def find_mirrored(
    connection: Connection, blocks: Iterable[tuple[int, str]], *, mirrored_block: int
) -> frozenset[tuple[int, str]]:
    """Return the pairs (number, hash) of ``blocks`` that the mirrored chain has.

    A block is judged by its hash: after a reorg another one has its number. Below the window no
    reorg is followed, and the number says enough.
    """
    wanted = {block for block in blocks if block[0] <= mirrored_block}
    if not wanted:
        return frozenset()
    rows = connection.execute(select(_block.c.number, _block.c.block_hash)).all()
    window = {int(number): str(block_hash) for number, block_hash in rows}
    oldest = min(window, default=mirrored_block + 1)
    return frozenset(
        (number, block_hash)
        for number, block_hash in wanted
        if number < oldest or window.get(number) == block_hash
    )


def save_blocks(connection: Connection, blocks: Sequence[BlockRef], *, keep: int) -> None:
    """Append ``blocks`` to the window and keep its newest ``keep`` rows."""
    if not blocks:
        return
    connection.execute(insert(_block), [asdict(block) for block in blocks])
    connection.execute(delete(_block).where(_block.c.number <= blocks[-1].number - keep))


def clear_window(connection: Connection) -> None:
    """Drop the window: the next blocks saved start a new one."""
    connection.execute(delete(_block))


def delete_cursor(connection: Connection) -> None:
    """Forget how far the mirror is; it starts over from the deployment block."""
    connection.execute(delete(_mirror))


def delete_above(connection: Connection, *, block_number: int) -> tuple[list[int], list[str]]:
    """Delete every chain-derived row above ``block_number``.

    Return the tokens whose events went, and the batches that had been settled there: their
    projections are the caller's to rebuild in the same transaction.
    """
    above = _event.c.block_number > block_number
    tokens = connection.execute(
        select(_event.c.token_id).where(above, _event.c.token_id.is_not(None)).distinct()
    ).scalars()
    token_ids = [int(token_id) for token_id in tokens]
    batches = connection.execute(
        select(_event.c.settled_batch_id).where(above, _event.c.settled_batch_id.is_not(None))
    ).scalars()
    batch_ids = [str(batch_id) for batch_id in batches]
    connection.execute(delete(_event).where(above))
    connection.execute(delete(_hold_raise).where(_hold_raise.c.block_number > block_number))
    connection.execute(delete(_block).where(_block.c.number > block_number))
    return token_ids, batch_ids
