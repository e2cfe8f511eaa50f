"""Mirroring the blocks that no reorg can reach any more: long ranges, several asked for at once.

One step writes some consecutive ranges in one transaction with the cursor, so it may be killed at
any line; the ranges after them are being read meanwhile. Ranges are written strictly in order, and
each must begin at the block where the one before it ended, by hash.

Threads only wait for the node and parse its JSON. Decoding is left to the step: threads that
compute would take the interpreter from SQLite's inserts, which hand it back after every row.

Ranges grow while answers are quick and small, and are halved where a node refuses them, takes too
long, or fails twice in any other way (``indexer.range_size``). What is in memory depends on the
ranges read ahead, not on how many events there are.
"""

import gc
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol

from sqlalchemy import Connection, Engine

from contracts.blocks import BlockRange, BlockRef
from contracts.deployment import Deployment
from contracts.events import CONTRACTS, ChainEvent, ContractName, cut_log
from contracts.node_errors import (
    NodeFailure,
    NodeRefused,
    NodeUnavailable,
    NotYet,
)
from contracts.transport import Call
from indexer.progress import BackfillProgress
from indexer.project import project_range
from indexer.range_size import RangeSize, is_too_long
from ledger.chain import event_rows, holds, mirror, position_rows
from ledger.chain.event_rows import EventRow, build_event_row
from ledger.database.engine import write
from ledger.spending import batches
from ledger.spending.batches import close_batch

REQUESTS_IN_FLIGHT: Final = 4
RANGES_AHEAD: Final = 12
"""Ranges that are read, or being read, while others are written."""
STEP_EVENTS_AIM: Final = 10_000
STEP_TIME_AIM_S: Final = 1.0
"""One transaction takes about so many events, or what came in so much time."""
_NO_HASH: Final = "0x" + "00" * 32


class BatchTransport(Protocol):
    """The one thing that a backfill asks of a node. Several threads call it."""

    def request_batch(self, calls: Sequence[Call]) -> list[Any | NodeUnavailable | NodeRefused]:
        """Return each call's result or error, in order; all of them of one node."""


class LogBlock(NamedTuple):
    """A block that has logs in an answer."""

    number_text: str
    """The block number as its logs write it."""
    number: int
    block_hash: str
    timestamp_s: int


@dataclass(frozen=True, slots=True)
class RangeAnswer:
    """What the node said of one range."""

    blocks: BlockRange
    parent_hash: str
    """The hash of the block before the range, read together with the logs."""
    last: BlockRef
    logs: list[dict[str, Any]]
    log_blocks: dict[str, LogBlock]
    """The blocks of the logs, by their hashes as the logs write them."""
    elapsed_s: float
    was_split: bool
    """A longer range was refused, or timed out, before this one was asked for."""


class Backfill:
    """Reads ahead and writes range after range. Between two steps it keeps what it has read."""

    def __init__(
        self,
        engine: Engine,
        transport: BatchTransport,
        deployment: Deployment,
        *,
        range_blocks_max: int,
        progress: BackfillProgress | None = None,
    ) -> None:
        self._engine = engine
        self._transport = transport
        self._chain_id = deployment.chain_id
        self._contract_by_address: dict[str, ContractName] = {
            getattr(deployment, name): name for name in CONTRACTS
        }
        self._size = RangeSize(range_blocks_max)
        self._progress = BackfillProgress() if progress is None else progress
        self._threads: ThreadPoolExecutor | None = None
        self._ahead: deque[tuple[BlockRange, Future[list[RangeAnswer]]]] = deque()

    def step(self, tip: BlockRef, last_number: int, head: BlockRef) -> BlockRef | None:
        """Mirror the next blocks after ``tip``, at most up to ``last_number``; return the new tip.

        None if the node's chain does not contain ``tip`` any more: nothing is written then. Raises
        what the node raises, ``CursorMoved`` where another indexer is at work, and ``EventMissing``
        where the node left events out.
        """
        try:
            with _no_cycles():
                answers = self._collect(tip.number + 1, last_number)
                if answers[0].parent_hash != tip.block_hash:
                    self._stop(wait=False)
                    return None
                _check_links(answers)
                reached = answers[-1].last
                events, rows = self._decode(answers)
                with write(self._engine) as connection:
                    self._write(connection, tip, reached, events, rows, head)
        except BaseException:
            self._stop(wait=False)  # what was read ahead may be as wrong
            raise
        self._progress.show(
            first=tip.number + 1,
            block=reached.number,
            last=last_number,
            events=len(events),
        )
        if reached.number == last_number:
            self.close()
        return reached

    def close(self) -> None:
        """Forget what was read ahead and wait for the threads' end. Another step starts over."""
        self._stop(wait=True)

    def _stop(self, *, wait: bool) -> None:
        self._progress.end()
        self._ahead.clear()
        if self._threads is not None:
            self._threads.shutdown(wait=wait, cancel_futures=True)
            self._threads = None

    # ------------------------------------------------------------------------------------- reading

    def _collect(self, first: int, last_number: int) -> list[RangeAnswer]:
        """Wait for the answer for block ``first``, and for what follows it in time."""
        if self._ahead and self._ahead[0][0].first != first:
            self._ahead.clear()  # the cursor is not where it was left
        answers: list[RangeAnswer] = []
        count = 0
        ends_s = time.monotonic() + STEP_TIME_AIM_S
        while not answers or (count < STEP_EVENTS_AIM and self._comes_next(ends_s)):
            self._read_ahead(first, last_number)
            blocks, future = self._ahead.popleft()
            try:
                found = future.result()
            except (NodeUnavailable, NodeRefused) as error:
                self._size.fail(blocks.count, error)
                raise
            for answer in found:
                self._size.learn(
                    answer.blocks.count,
                    logs=len(answer.logs),
                    elapsed_s=answer.elapsed_s,
                    was_split=answer.was_split,
                )
                answers.append(answer)
                count += len(answer.logs)
            first = answers[-1].blocks.last + 1
        self._read_ahead(first, last_number)
        return answers

    def _comes_next(self, ends_s: float) -> bool:
        """Wait for the next answer; tell whether it came in time. A failure is the next step's."""
        if not self._ahead:
            return False
        try:
            return self._ahead[0][1].exception(timeout=max(0.0, ends_s - time.monotonic())) is None
        except TimeoutError:
            return False

    def _read_ahead(self, first: int, last_number: int) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(REQUESTS_IN_FLIGHT, thread_name_prefix="backfill")
        if self._ahead:
            first = self._ahead[-1][0].last + 1
        while len(self._ahead) < RANGES_AHEAD and first <= last_number:
            blocks = BlockRange(first, min(last_number, first + self._size.blocks - 1))
            self._ahead.append((blocks, self._threads.submit(self._fetch, blocks)))
            first = blocks.last + 1

    def _fetch(self, blocks: BlockRange, *, was_split: bool = False) -> list[RangeAnswer]:
        """Read a range, in halves where the node does not manage it whole."""
        try:
            addresses = list(self._contract_by_address)
            return [read_range(self._transport, addresses, blocks, was_split=was_split)]
        except (NodeRefused, NodeUnavailable) as error:
            if blocks.count == 1 or not is_too_long(error):
                raise
        halves = blocks.chunks((blocks.count + 1) // 2)
        return [answer for half in halves for answer in self._fetch(half, was_split=True)]

    # ------------------------------------------------------------------------------------- writing

    def _decode(self, answers: Sequence[RangeAnswer]) -> tuple[list[ChainEvent], list[EventRow]]:
        events: list[ChainEvent] = []
        rows: list[EventRow] = []
        for answer in answers:
            decode_range(answer, self._contract_by_address, events, rows)
            answer.logs.clear()  # the next range needs the memory
        return events, rows

    def _write(
        self,
        connection: Connection,
        tip: BlockRef,
        last: BlockRef,
        events: Sequence[ChainEvent],
        rows: Sequence[EventRow],
        head: BlockRef,
    ) -> None:
        """Write rows, projections and cursor; all of it or nothing."""
        mirror.save_cursor(
            connection,
            chain_id=self._chain_id,
            expected_hash=tip.block_hash,
            block=last,
            head_number=head.number,
            # Not at the head yet, so the mirror must not look fresh.
            observed_at_s=0,
        )
        mirror.clear_window(connection)
        mirror.save_blocks(connection, [last], keep=1)
        event_rows.save_event_rows(connection, rows)
        tokens = {token_id for token_id in map(event_rows.token_of, rows) if token_id is not None}
        states = project_range(position_rows.load_states(connection, tokens), events)
        # So deep a hold is confirmed, also a hold that was unconfirmed when the mirror last moved.
        position_rows.save_states(connection, states.values(), confirmed=True)
        holds.confirm_holds(connection, confirmed_block=last.number, changed_tokens=())
        settled = {event.text("batchId"): event for event in events if event.name == "BatchSettled"}
        for batch_id in sorted(batches.find_planned_batches(connection, list(settled))):
            event = settled[batch_id]
            close_batch(
                connection, batch_id, block_number=event.block_number, tx_hash=event.tx_hash
            )


def read_range(
    transport: BatchTransport, addresses: Sequence[str], blocks: BlockRange, *, was_split: bool
) -> RangeAnswer:
    """Read one range's logs, with the headers before it and at its end in the same batch.

    The headers keep a node that lags behind from answering with half a range, and link the ranges.
    Raises ``NodeUnavailable`` or ``NodeRefused``.
    """
    assert blocks.first > 0
    started_s = time.monotonic()
    query = {
        "fromBlock": hex(blocks.first),
        "toBlock": hex(blocks.last),
        "address": list(addresses),
    }
    before, logs, after = transport.request_batch(
        [
            ("eth_getBlockByNumber", [hex(blocks.first - 1), False]),
            ("eth_getLogs", [query]),
            ("eth_getBlockByNumber", [hex(blocks.last), False]),
        ]
    )
    with _malformed(blocks):
        parent = _read_header(before, blocks.first - 1)
        last = _read_header(after, blocks.last)
        if isinstance(logs, Exception):
            raise logs
        log_blocks = _read_log_blocks(transport, blocks, last, logs)
    return RangeAnswer(
        blocks=blocks,
        parent_hash=parent.block_hash,
        last=last,
        logs=logs,
        log_blocks=log_blocks,
        elapsed_s=time.monotonic() - started_s,
        was_split=was_split,
    )


def decode_range(
    answer: RangeAnswer,
    contract_by_address: Mapping[str, ContractName],
    events: list[ChainEvent],
    rows: list[EventRow],
) -> None:
    """Append an answer's events and their rows, in chain order.

    Raises ``NodeUnavailable`` for impossible logs, ``UnknownEvent`` for logs of no known event.
    """
    start = len(rows)
    with _malformed(answer.blocks):
        for log in answer.logs:
            block = answer.log_blocks[log["blockHash"]]
            tx_hash = log["transactionHash"]
            if log["blockNumber"] != block.number_text or tx_hash == _NO_HASH:
                raise ValueError(f"a log of block {block.number} contradicts itself")
            contract = contract_by_address[log["address"].lower()]
            layout, words = cut_log(contract, log["topics"], log["data"])
            event = ChainEvent(
                contract,
                layout.name,
                layout.decode(words),
                block.number,
                block.block_hash,
                block.timestamp_s,
                tx_hash.lower(),
                int(log["logIndex"], 16),
            )
            events.append(event)
            rows.append(build_event_row(event, words))
    places = [row[:2] for row in rows[start:]]
    if len(set(places)) != len(places):
        raise NodeUnavailable(
            f"a log twice in {answer.blocks.first}..{answer.blocks.last}",
            failure=NodeFailure.DUPLICATE_LOG,
        )
    if places != sorted(places):
        rows[start:] = sorted(rows[start:])
        events[start:] = sorted(events[start:], key=lambda e: (e.block_number, e.log_index))


def _read_header(answer: Any, number: int) -> BlockRef:
    if isinstance(answer, Exception):
        raise answer
    if answer is None:
        raise NotYet(f"the node has no block {number}", failure=NodeFailure.CLAMPED_RANGE)
    header = BlockRef(
        number=int(answer["number"], 16),
        block_hash=answer["hash"].lower(),
        parent_hash=answer["parentHash"].lower(),
        timestamp_s=int(answer["timestamp"], 16),
    )
    if header.number != number:
        raise NodeUnavailable(
            f"the node sent block {header.number} for {number}", failure=NodeFailure.MALFORMED
        )
    return header


def _read_log_blocks(
    transport: BatchTransport, blocks: BlockRange, last: BlockRef, logs: Sequence[dict[str, Any]]
) -> dict[str, LogBlock]:
    """Return the blocks that have logs; times that the logs do not tell are the headers'."""
    first_logs = {log["blockHash"]: log for log in reversed(logs)}
    found: dict[str, LogBlock] = {}
    hashes: dict[int, str] = {last.number: last.block_hash}
    timeless: list[int] = []
    for key, log in first_logs.items():
        number, block_hash = int(log["blockNumber"], 16), key.lower()
        if not blocks.first <= number <= blocks.last:
            raise NodeUnavailable(
                "the node sent logs from outside the range asked for",
                failure=NodeFailure.OTHER_BLOCKS_LOGS,
            )
        if hashes.setdefault(number, block_hash) != block_hash:
            raise NotYet("the chain moved under a range of logs", failure=NodeFailure.CHAIN_MOVED)
        time_text = log.get("blockTimestamp")
        if time_text is None:
            timeless.append(number)
        timestamp_s = -1 if time_text is None else int(time_text, 16)
        found[key] = LogBlock(log["blockNumber"], number, block_hash, timestamp_s)
    if timeless:
        answers = transport.request_batch(
            [("eth_getBlockByNumber", [hex(number), False]) for number in timeless]
        )
        headers = [
            _read_header(answer, number) for answer, number in zip(answers, timeless, strict=True)
        ]
        times = {header.block_hash: header.timestamp_s for header in headers}
        for key, block in found.items():
            if block.timestamp_s < 0:
                if block.block_hash not in times:
                    raise NotYet("the chain moved under its logs", failure=NodeFailure.CHAIN_MOVED)
                found[key] = block._replace(timestamp_s=times[block.block_hash])
    return found


@contextmanager
def _malformed(blocks: BlockRange) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NodeUnavailable(
            f"malformed answer for {blocks.first}..{blocks.last}: {error!r}",
            failure=NodeFailure.MALFORMED,
        ) from error


@contextmanager
def _no_cycles() -> Iterator[None]:
    """Keep the cycle collector still: a step makes a million small values and not one cycle.

    Searching them again and again takes a quarter of a backfill's time. Whatever made cycles
    meanwhile is found after the step.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _check_links(answers: Sequence[RangeAnswer]) -> None:
    for earlier, later in pairwise(answers):
        if later.parent_hash != earlier.last.block_hash:
            raise NotYet("the chain moved under a backfill", failure=NodeFailure.CHAIN_MOVED)
