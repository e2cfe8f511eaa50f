"""Reading our contracts' events from a node, with everything the mirror needs to trust them."""

from collections.abc import Iterable, Sequence
from typing import Final

from contracts.blocks import BlockRange, BlockRef
from contracts.chain import ChainReader, NodeUnavailable, RawLog
from contracts.deployment import Deployment
from contracts.events import ChainEvent, ContractName, decode_args

_CONTRACTS: Final[tuple[ContractName, ...]] = ("position", "adapter", "payouts")


class EventSource:
    """The events of one deployment, read through one node."""

    def __init__(self, reader: ChainReader, deployment: Deployment) -> None:
        self.reader = reader
        self._contract_by_address: dict[str, ContractName] = {
            getattr(deployment, name): name for name in _CONTRACTS
        }
        self._addresses: Sequence[str] = list(self._contract_by_address)

    def fetch_block_events(self, block: BlockRef) -> list[ChainEvent]:
        """Return the events of exactly this block, in log order.

        Asks by hash: a node whose chain has moved on answers with an error, not with another
        block's logs.
        """
        logs = self.reader.fetch_block_logs(block.block_hash, self._addresses)
        for log in logs:
            if log.block_hash != block.block_hash:
                raise NodeUnavailable("the node sent logs of another block than the one asked for")
        return self._decode(logs, {block.number: block})

    def fetch_range_events(self, blocks: BlockRange) -> list[ChainEvent]:
        """Return the events of a range of blocks in chain order.

        Only for blocks deep enough not to be reorganised meanwhile.
        """
        logs = self.reader.fetch_logs(blocks.first, blocks.last, self._addresses)
        headers: dict[int, BlockRef] = {}
        for log in logs:
            if not blocks.first <= log.block_number <= blocks.last:
                raise NodeUnavailable("the node sent logs from outside the range asked for")
            if log.block_timestamp_s is None and log.block_number not in headers:
                headers[log.block_number] = self.fetch_header(log.block_number)
        return self._decode(logs, headers)

    def fetch_header(self, number: int) -> BlockRef:
        """Return the header at ``number``; raises ``NodeUnavailable`` where there is none."""
        header = self.reader.fetch_header(number)
        if header is None:
            raise NodeUnavailable(f"the node has no block {number}")
        return header

    def _decode(self, logs: Iterable[RawLog], headers: dict[int, BlockRef]) -> list[ChainEvent]:
        events = [self._decode_one(log, headers) for log in logs]
        events.sort(key=lambda event: (event.block_number, event.log_index))
        return events

    def _decode_one(self, log: RawLog, headers: dict[int, BlockRef]) -> ChainEvent:
        contract = self._contract_by_address.get(log.address)
        if contract is None:
            raise NodeUnavailable("the node sent a log of a contract that was not asked for")
        spec, args = decode_args(contract, log.topics, log.data)
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
