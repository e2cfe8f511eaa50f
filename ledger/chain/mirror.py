"""The chain-derived rows: events, blocks, the cursor and the positions' chain columns.

Only the indexer writes through here. Every function works inside the caller's write transaction,
so that events, projections and cursor move together.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, TypeVar, cast

import psycopg
from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from contracts.blocks import BlockRef
from contracts.errors import Retryable
from contracts.events import ChainEvent, ContractName, decode_words, encode_words
from ledger.chain.positions import STATE_FIELDS, PositionState, build_state
from ledger.database.locks import lock_positions
from ledger.errors import LedgerUnavailable
from ledger.tables import Batch, Block, Event, HoldRaise, Mirror, Position, Usage, table_of

T = TypeVar("T")

_batch = table_of(Batch)
_block = table_of(Block)
_event = table_of(Event)
_hold_raise = table_of(HoldRaise)
_mirror = table_of(Mirror)
_position = table_of(Position)
_usage = table_of(Usage)

_EVENT_COLUMNS: Final = tuple(column.name for column in _event.columns)

LOOKUP_SIZE: Final = 500
"""How many keys one query names."""
COPY_SIZE: Final = 1_000
"""How many rows are put into one piece of a COPY."""

EventRow = tuple[int, int, bytes, int, bytes, str, str, int | None, str | None, bytes]
"""One row of ``event``, in the order of its columns."""
token_of: Final = itemgetter(_EVENT_COLUMNS.index("token_id"))
"""Returns the position of an ``EventRow``, or None."""


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


def build_event_row(event: ChainEvent, words: bytes) -> EventRow:
    """Return the event's row; ``words`` are the event's own, as its log gave them."""
    contract, name, _, number, block_hash, timestamp_s, tx_hash, log_index = event
    return (
        number,
        log_index,
        _hash_bytes(block_hash),
        timestamp_s,
        _hash_bytes(tx_hash),
        contract,
        name,
        event.token_id,
        event.text("batchId") if name == "BatchSettled" else None,
        words,
    )


@lru_cache(maxsize=1_024)
def _hash_bytes(text: str) -> bytes:
    # Neighbouring events share their block's and mostly their transaction's.
    return bytes.fromhex(text[2:])


def save_events(connection: Connection, events: Iterable[ChainEvent]) -> None:
    """Insert events. One at whose place there is one already is a broken invariant and raises."""
    save_event_rows(connection, [build_event_row(event, encode_words(event)) for event in events])


def save_event_rows(connection: Connection, rows: Sequence[EventRow]) -> None:
    """Insert rows of events, as ``save_events`` does."""
    if connection.dialect.name == "postgresql":
        _copy_event_rows(connection, rows)
        return
    if rows:
        places = ",".join("?" * len(_EVENT_COLUMNS))
        statement = f"INSERT INTO event ({','.join(_EVENT_COLUMNS)}) VALUES ({places})"
        connection.exec_driver_sql(statement, list(rows))


def _copy_event_rows(connection: Connection, rows: Sequence[EventRow]) -> None:
    driver: Any = connection.connection.driver_connection
    statement = f"COPY event ({','.join(_EVENT_COLUMNS)}) FROM STDIN"
    try:
        with driver.cursor().copy(statement) as copy:
            for chunk in _chunks(rows, COPY_SIZE):
                copy.write("".join([_copy_line(row) for row in chunk]))
    except psycopg.OperationalError as error:
        # SQLAlchemy does not see this statement, and so does not translate what it raises.
        raise LedgerUnavailable(f"copying events failed: {type(error).__name__}") from error


def _copy_line(row: EventRow) -> str:
    number, index, block_hash, time_s, tx_hash, contract, name, token_id, batch_id, words = row
    # Nothing in here needs an escape: numbers, hex, and names from the contracts' own ABI.
    token = "\\N" if token_id is None else token_id
    batch = "\\N" if batch_id is None else batch_id
    return (
        f"{number}\t{index}\t\\\\x{block_hash.hex()}\t{time_s}\t\\\\x{tx_hash.hex()}\t{contract}"
        f"\t{name}\t{token}\t{batch}\t\\\\x{words.hex()}\n"
    )


def load_events(connection: Connection, *, token_id: int) -> list[ChainEvent]:
    """Return a position's events in chain order."""
    rows = connection.execute(
        select(_event)
        .where(_event.c.token_id == token_id)
        .order_by(_event.c.block_number, _event.c.log_index)
    ).mappings()
    return [_event_from_row(row) for row in rows]


def load_range_events(connection: Connection, *, first: int, last: int) -> list[ChainEvent]:
    """Return the events of the blocks from ``first`` to ``last``, both included, in chain order."""
    rows = connection.execute(
        select(_event)
        .where(_event.c.block_number.between(first, last))
        .order_by(_event.c.block_number, _event.c.log_index)
    ).mappings()
    return [_event_from_row(row) for row in rows]


def find_range_end(connection: Connection, *, first: int, last: int, events: int) -> int:
    """Return up to which block, of ``first`` to ``last``, about so many events are mirrored."""
    block_number = connection.execute(
        select(_event.c.block_number)
        .where(_event.c.block_number.between(first, last))
        .order_by(_event.c.block_number, _event.c.log_index)
        .offset(events)
        .limit(1)
    ).scalar_one_or_none()
    return last if block_number is None else max(first, int(block_number) - 1)


def load_oldest_event(connection: Connection) -> ChainEvent | None:
    """Return the first event that is mirrored, or None before there is one."""
    row = (
        connection.execute(
            select(_event).order_by(_event.c.block_number, _event.c.log_index).limit(1)
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else _event_from_row(row)


def load_settled_batches(connection: Connection) -> dict[str, int]:
    """Return the batches that the chain has settled, ours or not, and the block of each."""
    rows = connection.execute(
        select(_event.c.settled_batch_id, _event.c.block_number).where(
            _event.c.settled_batch_id.is_not(None)
        )
    ).all()
    return {str(batch_id): int(block_number) for batch_id, block_number in rows}


def load_batch_events(
    connection: Connection, *, batch_id: str, block_number: int
) -> list[ChainEvent]:
    """Return the events of the block that name the batch, in their order."""
    rows = connection.execute(
        select(_event).where(_event.c.block_number == block_number).order_by(_event.c.log_index)
    ).mappings()
    events = [_event_from_row(row) for row in rows]
    return [event for event in events if event.args.get("batchId") == batch_id]


def find_planned_batches(connection: Connection, batch_ids: Sequence[str]) -> set[str]:
    """Return those of ``batch_ids`` that this ledger planned, whatever became of them."""
    found: set[str] = set()
    for chunk in _chunks(batch_ids, LOOKUP_SIZE):
        found.update(
            connection.execute(
                select(_batch.c.batch_id).where(_batch.c.batch_id.in_(chunk))
            ).scalars()
        )
    return found


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
    states: dict[int, PositionState] = {}
    for chunk in _chunks(sorted(set(token_ids)), LOOKUP_SIZE):
        rows = connection.execute(
            select(_position).where(_position.c.token_id.in_(chunk))
        ).mappings()
        states.update((row["token_id"], load_state_from_row(row)) for row in rows)
    return states


def load_states_after(connection: Connection, *, token_id: int, count: int) -> list[PositionState]:
    """Return the ``count`` positions that come after ``token_id``, by their ids."""
    rows = connection.execute(
        select(_position)
        .where(_position.c.token_id > token_id)
        .order_by(_position.c.token_id)
        .limit(count)
    ).mappings()
    return [load_state_from_row(row) for row in rows]


def load_unfolded_tokens(connection: Connection) -> list[int]:
    """Return the positions that have events and no row."""
    minted = select(_event.c.token_id).where(_event.c.name == "PositionMinted")
    rows = connection.execute(minted.where(_event.c.token_id.not_in(select(_position.c.token_id))))
    return [int(token_id) for token_id in rows.scalars()]


def load_state_from_row(row: RowMapping) -> PositionState:
    """Build the chain's numbers from a ``position`` row."""
    return build_state(row)


def save_states(
    connection: Connection, states: Iterable[PositionState], *, confirmed: bool = False
) -> None:
    """Write the chain's columns of positions; ``drawn_usdc`` is left alone.

    With ``confirmed`` their holds count at once, without ``confirm_holds``. A row that is new gets
    the ``drawn_usdc`` that its usage adds up to (L1): rows are rebuilt while usage stands.
    """
    rows = [{name: getattr(state, name) for name in STATE_FIELDS} for state in states]
    lock_positions(connection, [row["token_id"] for row in rows])
    if confirmed:
        for row in rows:
            row |= {
                "hold_unconfirmed_usdc": 0,
                "hold_confirmed_expires_at_s": row["hold_expires_at_s"],
            }
    known: set[int] = set()
    for chunk in _chunks([row["token_id"] for row in rows], LOOKUP_SIZE):
        known.update(
            connection.execute(
                select(_position.c.token_id).where(_position.c.token_id.in_(chunk))
            ).scalars()
        )
    changed = [{"of_token": row["token_id"], **row} for row in rows if row["token_id"] in known]
    minted = [{"of_token": row["token_id"], **row} for row in rows if row["token_id"] not in known]
    values: dict[str, Any] = {name: bindparam(name) for row in rows[:1] for name in row}
    if changed:
        of_token = _position.c.token_id == bindparam("of_token")
        connection.execute(update(_position).where(of_token).values(values), changed)
    if minted:
        drawn_usdc = select(func.coalesce(func.sum(_promised_usdc()), 0)).where(
            _usage.c.token_id == bindparam("of_token")
        )
        values["drawn_usdc"] = drawn_usdc.scalar_subquery()
        connection.execute(insert(_position).values(values), minted)


def _promised_usdc() -> ColumnElement[int]:
    """What a usage row draws on its position's hold: the terms of the sum in L1."""
    return case(
        (_usage.c.state == "reserved", _usage.c.ceiling_usdc),
        ((_usage.c.state == "posted") | (_usage.c.state == "settling"), _usage.c.cost_usdc),
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


def _event_from_row(row: RowMapping) -> ChainEvent:
    contract = cast(ContractName, row["contract"])
    return ChainEvent(
        contract=contract,
        name=row["name"],
        args=decode_words(contract, row["name"], row["words"]),
        block_number=row["block_number"],
        block_hash="0x" + row["block_hash"].hex(),
        block_timestamp_s=row["block_timestamp_s"],
        tx_hash="0x" + row["tx_hash"].hex(),
        log_index=row["log_index"],
    )


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
