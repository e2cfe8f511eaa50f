"""Events as rows: what our contracts logged on the mirrored chain, read and written."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, cast

import psycopg
from sqlalchemy import Connection, RowMapping, select

from contracts.events import ChainEvent, ContractName, decode_words, encode_words
from ledger.database.statements import chunks
from ledger.errors import LedgerUnavailable
from ledger.tables import Event, table_of

_event = table_of(Event)

_EVENT_COLUMNS: Final = tuple(column.name for column in _event.columns)
COPY_SIZE: Final = 1_000
"""How many rows are put into one piece of a COPY."""

EventRow = tuple[int, int, bytes, int, bytes, str, str, int | None, str | None, bytes]
"""One row of ``event``, in the order of its columns."""
token_of: Final = itemgetter(_EVENT_COLUMNS.index("token_id"))
"""Returns the position of an ``EventRow``, or None."""


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
            for chunk in chunks(rows, COPY_SIZE):
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


def load_last_events(
    connection: Connection, *, token_id: int, names: Sequence[str], limit: int
) -> list[ChainEvent]:
    """Return a position's newest events of some names, at most ``limit``, in chain order."""
    rows = connection.execute(
        select(_event)
        .where(_event.c.token_id == token_id, _event.c.name.in_(names))
        .order_by(_event.c.block_number.desc(), _event.c.log_index.desc())
        .limit(limit)
    ).mappings()
    return [_event_from_row(row) for row in rows][::-1]


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
