"""Reading our contracts' events from nodes, with everything the mirror needs to trust them.

An answer about a block's logs is believed or not::

    logs
    ├── some                          believed, if every one is of this block; looked at again later
    └── none
        ├── the bloom denies ours, or says nothing    believed; looked at again later
        └── the bloom says that ours are possible     another endpoint, then the receipts
            ├── one of them has some                  those
            ├── the receipts of every transaction have none    believed
            └── no receipts to be had                 asked again, ``EMPTY_LOOKS_MAX`` times
"""

from collections.abc import Iterable, Mapping, Sequence
from time import monotonic
from typing import Final

from contracts.blocks import BlockRange, BlockRef, Header
from contracts.bloom import BloomQuery
from contracts.deployment import Deployment
from contracts.events import EVENTS, ChainEvent, ContractName, UnknownEvent, decode_args
from contracts.node_errors import (
    BodyTooLarge,
    MethodMissing,
    NodeFailure,
    NodeRefused,
    NodeUnavailable,
    NotYet,
    RangeRefused,
)
from contracts.reader import ChainReader, RawLog
from indexer.health import Health

_CONTRACTS: Final[tuple[ContractName, ...]] = ("position", "adapter", "payouts")

EMPTY_LOOKS_MAX: Final = 20
"""How often a doubted empty answer is asked for again where no receipts can be had."""
UNREADABLE_LOOKS_MAX: Final = 20
"""How often a log that fits no event is asked for again before it counts as the contracts' own."""
PROVEN_MAX: Final = 64
RECEIPTS_MISSING_S: Final = 60.0
"""How long receipts are not asked for after no endpoint offered them."""
_LOGS_UNUSABLE: Final = frozenset(
    {
        NodeFailure.BODY_TOO_LARGE,
        NodeFailure.DUPLICATE_LOG,
        NodeFailure.MALFORMED,
        NodeFailure.OTHER_BLOCKS_LOGS,
        NodeFailure.RANGE_REFUSED,
        NodeFailure.REFUSED,
    }
)

Events = list[ChainEvent]


class EventSource:
    """The events of one deployment, read through one reader of the chain."""

    def __init__(
        self, reader: ChainReader, deployment: Deployment, health: Health | None = None
    ) -> None:
        self.reader = reader
        self._health = Health() if health is None else health
        self._contract_by_address: dict[str, ContractName] = {
            getattr(deployment, name): name for name in _CONTRACTS
        }
        self._addresses: Sequence[str] = list(self._contract_by_address)
        self._bloom = BloomQuery(addresses=self._addresses, topics={spec.topic0 for spec in EVENTS})
        self._proven: dict[str, list[RawLog]] = {}
        self._receipts_missing_until_s = 0.0
        self._empty_looks: dict[str, int] = {}
        self._unreadable_looks: dict[tuple[str, int], int] = {}

    # ----------------------------------------------------------------------------- block by block

    def fetch_head(self, hint: BlockRef | None) -> tuple[Header, dict[str, list[RawLog]]]:
        """Return the head and, in the same round trip, what is known of the hinted block's logs."""
        if hint is None:
            return self.reader.fetch_head(), {}
        head, logs = self.reader.fetch_head_and_logs(hint.block_hash, self._addresses)
        return head, {} if logs is None else {hint.block_hash: logs}

    def fetch_header(self, number: int) -> Header:
        """Return the header at ``number``; raises ``NotYet`` where there is none."""
        return self.fetch_headers(BlockRange(number, number))[0]

    def fetch_headers(self, blocks: BlockRange) -> list[Header]:
        """Return the headers of the blocks that the node has, without a gap; at least the first.

        Raises ``NotYet`` where it has not even that.
        """
        found: list[Header] = []
        for header in self.reader.fetch_headers(range(blocks.first, blocks.last + 1)):
            if header is None:
                break
            found.append(header)
        if not found:
            error = NotYet(f"no block {blocks.first}", failure=NodeFailure.UNKNOWN_BLOCK)
            self.reader.suspect(error)
            raise error
        return found

    def fetch_blocks_events(
        self, headers: Sequence[Header], seen: Mapping[str, list[RawLog]]
    ) -> list[Events]:
        """Return each block's events, in log order; shorter where one is not to be had yet.

        Asks by hash: a node whose chain has moved on answers with an error, not with another
        block's logs. ``seen`` are answers by hash that were given already. Raises
        ``NodeUnavailable`` or ``NodeRefused`` where even the first block's cannot be had.
        """
        known = {**seen, **self._proven}
        unknown = [header for header in headers if header.block_hash not in known]
        if unknown:
            known |= self._fetch_logs(unknown)
        found: list[Events] = []
        for header in headers:
            try:
                logs = known.get(header.block_hash)
                if logs is None:
                    break
                found.append(self._read_events(header, logs))
            except (NodeUnavailable, NodeRefused):
                if not found:
                    raise
                break
        return found

    def _read_events(self, header: Header, logs: list[RawLog]) -> Events:
        headers = {header.number: header}
        try:
            return self.decode(self._believe(header, logs), headers)
        except NotYet as error:
            if error.failure is not NodeFailure.MALFORMED:
                raise
            again = self.fetch_from_receipts(header)
            if again is None or again == logs:
                raise
            return self.decode(again, headers)

    def _fetch_logs(self, headers: Sequence[Header]) -> dict[str, list[RawLog]]:
        hashes = [header.block_hash for header in headers]
        try:
            answers = self.reader.fetch_blocks_logs(hashes, self._addresses)
        except (NodeUnavailable, NodeRefused) as error:
            # What a node does not say about logs, it may say about receipts.
            logs = None
            if error.failure in _LOGS_UNUSABLE:
                logs = self.fetch_from_receipts(headers[0])
            if logs is None:
                raise
            return {hashes[0]: logs}
        return dict(zip(hashes, answers, strict=False))

    def _believe(self, header: Header, logs: list[RawLog]) -> list[RawLog]:
        """Return the block's logs, or raise ``NotYet`` where they are in doubt."""
        for log in logs:
            if log.block_number != header.number:
                raise NodeUnavailable(
                    f"a log of block {log.block_number} with the hash of {header.number}",
                    failure=NodeFailure.MALFORMED,
                )
        if logs:
            self._empty_looks.pop(header.block_hash, None)
            if not self._bloom.is_possible(header.logs_bloom):
                self._note(NodeFailure.WRONG_BLOOM, f"block {header.number}")
            return logs
        if not self._bloom.doubts_empty(header.logs_bloom) or header.block_hash in self._proven:
            return []
        return self._settle_doubt(header)

    def _settle_doubt(self, header: Header) -> list[RawLog]:
        doubt = NotYet(
            f"no logs in block {header.number}, whose bloom says that there may be some",
            failure=NodeFailure.EMPTY_LOGS,
        )
        proof = self._fetch_from_second(header)
        if proof is None:
            proof = self.fetch_from_receipts(header)
        if proof is None:
            looks = self._empty_looks.get(header.block_hash, 0) + 1
            if looks < EMPTY_LOOKS_MAX:
                self._empty_looks = {header.block_hash: looks}
                self.reader.suspect(doubt)
                raise doubt
            self._note(NodeFailure.BELIEVED_EMPTY, f"block {header.number}")
            proof = []
        elif proof:
            self.reader.suspect(doubt)
        self._empty_looks.pop(header.block_hash, None)
        return proof

    def fetch_from_receipts(self, header: Header) -> list[RawLog] | None:
        """Return a block's logs out of the receipts of all its transactions, or None."""
        if monotonic() < self._receipts_missing_until_s:
            return None
        try:
            return self.reader.fetch_receipt_logs(header, self._addresses)
        except MethodMissing:
            self._receipts_missing_until_s = monotonic() + RECEIPTS_MISSING_S
            return None
        except (NodeUnavailable, NodeRefused):
            return None  # noted by the reader; not every node has them, or has them yet

    def _fetch_from_second(self, header: Header) -> list[RawLog] | None:
        """Return another endpoint's logs of a block; None for none: that would prove nothing."""
        other = self.reader.second()
        if other is None:
            return None
        try:
            return other.fetch_block_logs(header.block_hash, self._addresses) or None
        except (NodeUnavailable, NodeRefused) as error:
            self._note(error.failure, str(error))
            return None

    # ------------------------------------------------------------------------------- a second look

    def fetch_window_logs(self, window: Sequence[BlockRef]) -> dict[str, list[RawLog]]:
        """Read the logs of consecutive mirrored blocks afresh, from another endpoint if possible.

        Return them by block hash. Raises ``NotYet`` where the chain is not what is mirrored.
        """
        reader = self.reader.second() or self.reader
        try:
            logs = self._fetch_again(reader, window)
        except (NodeUnavailable, NodeRefused) as error:
            if reader is self.reader or isinstance(error, NotYet):
                raise
            self._note(error.failure, str(error))
            logs = self._fetch_again(self.reader, window)
        by_hash: dict[str, list[RawLog]] = {block.block_hash: [] for block in window}
        for log in logs:
            block = window[log.block_number - window[0].number]
            if log.block_hash != block.block_hash:
                raise _moved()
            by_hash[log.block_hash].append(log)
        return by_hash

    def _fetch_again(self, reader: ChainReader, window: Sequence[BlockRef]) -> list[RawLog]:
        """Read a window's logs in as few requests as the node takes; the last ones by hash."""
        if len(window) == 1:
            return reader.fetch_block_logs(window[0].block_hash, self._addresses)
        try:
            header, logs = reader.fetch_range(window[0].number, window[-1].number, self._addresses)
        except (NodeUnavailable, NodeRefused) as error:
            # Whatever its words, fewer blocks may help; a node that is away ends at one block.
            if isinstance(error, NotYet) or getattr(error, "retry_after_s", None) is not None:
                raise
            half = len(window) // 2
            return self._fetch_again(reader, window[:half]) + self._fetch_again(
                reader, window[half:]
            )
        if header.block_hash != window[-1].block_hash:
            raise _moved()
        return logs

    def fetch_range_events(self, first: int, last: int) -> Events:
        """Read a range's events afresh, from another endpoint if possible.

        Raises ``RangeRefused`` or ``BodyTooLarge`` where a shorter one may be answered.
        """
        reader = self.reader.second() or self.reader
        try:
            return self._fetch_range_events(reader, first, last)
        except (RangeRefused, BodyTooLarge):
            raise
        except (NodeUnavailable, NodeRefused) as error:
            if reader is self.reader:
                raise
            self._note(error.failure, str(error))
            return self._fetch_range_events(self.reader, first, last)

    def _fetch_range_events(self, reader: ChainReader, first: int, last: int) -> Events:
        _, logs = reader.fetch_range(first, last, self._addresses)
        timeless = sorted({log.block_number for log in logs if log.block_timestamp_s is None})
        headers: dict[int, BlockRef] = {}
        for number, header in zip(timeless, reader.fetch_headers(timeless), strict=True):
            if header is None:
                raise NotYet(f"no block {number}", failure=NodeFailure.UNKNOWN_BLOCK)
            headers[number] = header
        return self.decode(logs, headers)

    def prove(self, block_hash: str, logs: list[RawLog]) -> None:
        """Keep these logs as the block's own, for when it is mirrored again."""
        while len(self._proven) >= PROVEN_MAX:
            del self._proven[next(iter(self._proven))]
        self._proven[block_hash] = logs

    # ------------------------------------------------------------------------------------- decoding

    def decode(self, logs: Iterable[RawLog], headers: Mapping[int, BlockRef]) -> Events:
        """Return the events of logs, in chain order. Times are the headers' where there is one.

        A log that fits no event is refused and asked for again ``UNREADABLE_LOOKS_MAX`` times, then
        raises ``UnknownEvent``: what the contracts really emitted must not be skipped.
        """
        events = [self._decode_one(log, headers) for log in logs]
        events.sort(key=lambda event: (event.block_number, event.log_index))
        return events

    def _decode_one(self, log: RawLog, headers: Mapping[int, BlockRef]) -> ChainEvent:
        contract = self._contract_by_address[log.address]
        try:
            spec, args = decode_args(contract, log.topics, log.data)
        except UnknownEvent as error:
            place = (log.block_hash, log.log_index)
            looks = self._unreadable_looks.get(place, 0) + 1
            if looks >= UNREADABLE_LOOKS_MAX:
                raise
            self._unreadable_looks = {place: looks}
            unreadable = NotYet(str(error), failure=NodeFailure.MALFORMED)
            self.reader.suspect(unreadable)
            raise unreadable from error
        header = headers.get(log.block_number)
        timestamp_s = log.block_timestamp_s if header is None else header.timestamp_s
        assert timestamp_s is not None
        return ChainEvent(
            contract=contract,
            name=spec.name,
            args=args,
            block_number=log.block_number,
            block_hash=log.block_hash,
            block_timestamp_s=timestamp_s,
            tx_hash=log.tx_hash,
            log_index=log.log_index,
        )

    def _note(self, failure: NodeFailure, detail: str) -> None:
        self._health.note_failure("any", failure, detail)


def _moved() -> NotYet:
    return NotYet("the chain moved under a second look", failure=NodeFailure.CHAIN_MOVED)
