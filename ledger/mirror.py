"""The chain-derived rows: events, blocks, the cursor and the positions' chain columns.

Only the indexer writes through here. Every function works inside the caller's write transaction,
so that events, projections and cursor move together.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    case,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from contracts.blocks import BlockRef
from contracts.errors import Retryable
from contracts.events import ChainEvent, ContractName, Value
from ledger.positions import PositionState
from ledger.tables import Block, Event, HoldRaise, Mirror, Position, Usage, table_of

_block = table_of(Block)
_event = table_of(Event)
_hold_raise = table_of(HoldRaise)
_mirror = table_of(Mirror)
_position = table_of(Position)
_usage = table_of(Usage)

_STATE_FIELDS = tuple(field.name for field in fields(PositionState))


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


@dataclass(frozen=True, slots=True)
class HoldRaised:
    """An unconfirmed event that raised or prolonged a hold. Amount in 1e-6 USDC."""

    token_id: int
    block_number: int
    log_index: int
    raised_usdc: int
    expires_before_s: int


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


def load_window(connection: Connection) -> list[BlockRef]:
    """Return the unfinalised window, oldest first."""
    rows = connection.execute(select(_block).order_by(_block.c.number)).mappings()
    return [BlockRef(**row) for row in rows]


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


def save_events(connection: Connection, events: Sequence[ChainEvent]) -> None:
    """Insert event rows. A row that exists already is a broken invariant and raises."""
    if events:
        connection.execute(insert(_event), [_event_row(event) for event in events])


def load_events(connection: Connection, *, token_id: int) -> list[ChainEvent]:
    """Return a position's events in chain order."""
    rows = connection.execute(
        select(_event)
        .where(_event.c.token_id == token_id)
        .order_by(_event.c.block_number, _event.c.log_index)
    ).mappings()
    return [_event_from_row(row) for row in rows]


def load_batch_events(connection: Connection, *, batch_id: str) -> list[ChainEvent]:
    """Return the events that name a batch, in chain order."""
    rows = connection.execute(
        select(_event)
        .where(_event.c.batch_id == batch_id)
        .order_by(_event.c.block_number, _event.c.log_index)
    ).mappings()
    return [_event_from_row(row) for row in rows]


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
        select(_event.c.batch_id).where(above, _event.c.name == "BatchSettled").distinct()
    ).scalars()
    batch_ids = [str(batch_id) for batch_id in batches]
    connection.execute(delete(_event).where(above))
    connection.execute(delete(_hold_raise).where(_hold_raise.c.block_number > block_number))
    connection.execute(delete(_block).where(_block.c.number > block_number))
    return token_ids, batch_ids


def load_state(connection: Connection, token_id: int) -> PositionState | None:
    """Return the chain's numbers for a position, or None where it does not exist."""
    row = (
        connection.execute(select(_position).where(_position.c.token_id == token_id))
        .mappings()
        .one_or_none()
    )
    return None if row is None else load_state_from_row(row)


def load_states(connection: Connection, token_ids: Iterable[int]) -> dict[int, PositionState]:
    """Return the chain's numbers for those of ``token_ids`` that exist."""
    wanted = sorted(set(token_ids))
    states: dict[int, PositionState] = {}
    for start in range(0, len(wanted), 500):
        chunk = wanted[start : start + 500]
        rows = connection.execute(
            select(_position).where(_position.c.token_id.in_(chunk))
        ).mappings()
        states.update((row["token_id"], load_state_from_row(row)) for row in rows)
    return states


def load_state_from_row(row: RowMapping) -> PositionState:
    """Build the chain's numbers from a ``position`` row."""
    return PositionState(**{name: row[name] for name in _STATE_FIELDS})


def save_states(connection: Connection, states: Iterable[PositionState]) -> None:
    """Write the chain's columns of positions; ``drawn_usdc`` is left alone.

    A row that is new gets the ``drawn_usdc`` that its usage adds up to (L1): rows are rebuilt while
    usage stands.
    """
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for state in states:
        values = {name: getattr(state, name) for name in _STATE_FIELDS}
        drawn_usdc = select(func.coalesce(func.sum(_promised_usdc()), 0)).where(
            _usage.c.token_id == state.token_id
        )
        connection.execute(
            dialect.insert(_position)
            .values(**values, drawn_usdc=drawn_usdc.scalar_subquery())
            .on_conflict_do_update(index_elements=[_position.c.token_id], set_=values)
        )


def _promised_usdc() -> ColumnElement[int]:
    """What a usage row draws on its position's hold: the terms of the sum in L1."""
    return case(
        (_usage.c.state == "reserved", _usage.c.ceiling_usdc),
        (_usage.c.state.in_(("posted", "settling")), _usage.c.cost_usdc),
        else_=0,
    )


def load_drawn_mismatches(connection: Connection) -> list[tuple[int, int, int]]:
    """Return (token id, ``drawn_usdc``, what its usage adds up to) wherever L1 is broken."""
    promised = (
        select(_usage.c.token_id, func.sum(_promised_usdc()).label("promised_usdc"))
        .group_by(_usage.c.token_id)
        .subquery()
    )
    rows = connection.execute(
        select(
            _position.c.token_id,
            _position.c.drawn_usdc,
            func.coalesce(promised.c.promised_usdc, 0),
        )
        .outerjoin(promised, promised.c.token_id == _position.c.token_id)
        .where(_position.c.drawn_usdc != func.coalesce(promised.c.promised_usdc, 0))
    ).all()
    return [(int(token), int(drawn), int(sum_)) for token, drawn, sum_ in rows]


def delete_position(connection: Connection, token_id: int) -> None:
    """Delete a position whose mint is not, or not yet again, on the chain."""
    connection.execute(delete(_position).where(_position.c.token_id == token_id))


def save_hold_raises(connection: Connection, raises: Sequence[HoldRaised]) -> None:
    """Note holds that rose in blocks that are not confirmed yet."""
    if raises:
        connection.execute(insert(_hold_raise), [asdict(raised) for raised in raises])


def confirm_holds(
    connection: Connection, *, confirmed_block: int, changed_tokens: Iterable[int]
) -> None:
    """Count holds raised up to ``confirmed_block`` as spendable; the younger ones not yet.

    A hold counts for its amount less every unconfirmed raise, until the earliest expiry that an
    unconfirmed event replaced: whatever a reorg takes back, that much was there before.
    """
    matured = _hold_raise.c.block_number <= confirmed_block
    tokens = set(connection.execute(select(_hold_raise.c.token_id).where(matured)).scalars())
    connection.execute(delete(_hold_raise).where(matured))
    for token_id in tokens | set(changed_tokens):
        raised_usdc, expires_s = connection.execute(
            select(
                func.coalesce(func.sum(_hold_raise.c.raised_usdc), 0),
                func.min(_hold_raise.c.expires_before_s),
            ).where(_hold_raise.c.token_id == token_id)
        ).one()
        expiry = _position.c.hold_expires_at_s
        if expires_s is not None:
            hold_expires_s = connection.execute(
                select(expiry).where(_position.c.token_id == token_id)
            ).scalar_one_or_none()
            confirmed_s = min(int(expires_s), hold_expires_s or 0)
        connection.execute(
            update(_position)
            .where(_position.c.token_id == token_id)
            .values(
                hold_unconfirmed_usdc=int(raised_usdc),
                hold_confirmed_expires_at_s=expiry if expires_s is None else confirmed_s,
            )
        )


def _event_row(event: ChainEvent) -> dict[str, Any]:
    # Integers as text: JSON readers elsewhere turn large numbers into floats.
    args = {
        name: {"uint": str(value)} if type(value) is int else value
        for name, value in event.args.items()
    }
    return {
        "block_hash": event.block_hash,
        "log_index": event.log_index,
        "block_number": event.block_number,
        "block_timestamp_s": event.block_timestamp_s,
        "tx_hash": event.tx_hash,
        "contract": event.contract,
        "name": event.name,
        "token_id": event.token_id,
        "batch_id": event.args.get("batchId"),
        "args": json.dumps(args, separators=(",", ":")),
    }


def _event_from_row(row: RowMapping) -> ChainEvent:
    stored: dict[str, Any] = json.loads(row["args"])
    args: dict[str, Value] = {
        name: int(value["uint"]) if isinstance(value, dict) else value
        for name, value in stored.items()
    }
    return ChainEvent(
        contract=cast(ContractName, row["contract"]),
        name=row["name"],
        args=args,
        block_number=row["block_number"],
        block_hash=row["block_hash"],
        block_timestamp_s=row["block_timestamp_s"],
        tx_hash=row["tx_hash"],
        log_index=row["log_index"],
    )
