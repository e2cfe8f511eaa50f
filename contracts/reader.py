"""Reading a node: JSON-RPC, with its failures translated once and its answers checked.

Every read names the block that it refers to; ``latest`` is for the head, calls, the fee market and
the nonce. ``ChainReader`` reads one node; ``contracts.pool`` reads several as if they were one.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from contracts.blocks import Header
from contracts.errors import Fatal, Reverted
from contracts.node_errors import NodeFailure, NodeRefused, NodeUnavailable, NotYet, WrongChain
from contracts.transport import Call, Transport

CALL_GAS: Final = 5_000_000
ZERO_HASH: Final = "0x" + "00" * 32
_HASH_LENGTH: Final = 66


class NoCode(Fatal):
    """An address that should be a contract has no code."""


@dataclass(frozen=True, slots=True)
class RawLog:
    """One log as the node gives it; nothing decoded. Hashes and addresses in lower case."""

    address: str
    topics: tuple[str, ...]
    data: str
    block_number: int
    block_hash: str
    tx_hash: str
    log_index: int
    block_timestamp_s: int | None
    """None where the node does not say."""


MALFORMED: Final = "(malformed URL)"
"""What ``mask_url`` returns for a text that is no URL of a host."""


def mask_url(url: str) -> str:
    """Return a URL's scheme, host and port only: paths and users carry access tokens.

    Nothing of a malformed URL is shown: any part of it may be a token.
    """
    try:
        parts = urlsplit(url)
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return MALFORMED
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else MALFORMED


def _ignore(_failure: NodeFailure, _detail: str) -> None:
    pass


class ChainReader:
    """What the mirror reads from a node. An answer that cannot be right is refused here.

    ``note`` hears of what is wrong with an answer that can be used all the same.
    """

    def __init__(
        self, transport: Transport, *, note: Callable[[NodeFailure, str], None] = _ignore
    ) -> None:
        self._transport = transport
        self._note = note

    @property
    def transport(self) -> Transport:
        """The transport of the requests; also for the caller's own requests, unchecked."""
        return self._transport

    # -------------------------------------------------------------------------------------- headers

    def fetch_chain_id(self) -> int:
        """Return the chain id that the node serves."""
        served = self._request("eth_chainId", [])
        with _malformed("chain id"):
            return int(served, 16)

    def fetch_head(self) -> Header:
        """Return the newest block's header."""
        return _require_head(self._request("eth_getBlockByNumber", ["latest", False]))

    def fetch_header(self, number: int) -> Header | None:
        """Return the header of the block at ``number``, or None if the node has none there yet."""
        return self.fetch_headers([number])[0]

    def fetch_headers(self, numbers: Sequence[int]) -> list[Header | None]:
        """Return the headers at ``numbers``, None where the node has none; in one round trip."""
        blocks = self._request_all([_header_call(number) for number in numbers])
        headers = [None if block is None else parse_header(block) for block in blocks]
        for number, header in zip(numbers, headers, strict=True):
            if header is not None and header.number != number:
                raise NodeUnavailable(
                    f"the node sent block {header.number} for {number}",
                    failure=NodeFailure.MALFORMED,
                )
        return headers

    # ----------------------------------------------------------------------------------------- logs

    def fetch_head_and_logs(
        self, block_hash: str, addresses: Sequence[str]
    ) -> tuple[Header, list[RawLog] | None]:
        """Return the newest header and, in the same round trip, the logs of one block.

        None for the logs where the node cannot say: the block may be newer than what it has.
        """
        head, logs = self._transport.request_batch(
            [
                ("eth_getBlockByNumber", ["latest", False]),
                _block_logs_call(block_hash, addresses),
            ]
        )
        if isinstance(head, (NodeUnavailable, NodeRefused)):
            raise head
        if isinstance(logs, (NodeUnavailable, NodeRefused)):
            return _require_head(head), None
        return _require_head(head), self._check_block_logs(logs, block_hash, addresses)

    def fetch_logs(self, first: int, last: int, addresses: Sequence[str]) -> list[RawLog]:
        """Return the logs of ``addresses`` from block ``first`` to ``last``, both included.

        Nodes clamp a range that ends beyond their head without a word; see ``fetch_range``.
        """
        logs = self._request("eth_getLogs", [_range_query(first, last, addresses)])
        return self._check_range_logs(logs, first, last, addresses)

    def fetch_range(
        self, first: int, last: int, addresses: Sequence[str]
    ) -> tuple[Header, list[RawLog]]:
        """Return a range's logs and, read with them, the header of its last block.

        Raises ``NotYet`` where the node that answers does not have that block.
        """
        block, logs = self._request_all(
            [_header_call(last), ("eth_getLogs", [_range_query(first, last, addresses)])]
        )
        if block is None:
            raise NotYet(
                f"a range up to block {last} ends beyond the node",
                failure=NodeFailure.CLAMPED_RANGE,
            )
        return parse_header(block), self._check_range_logs(logs, first, last, addresses)

    def fetch_block_logs(self, block_hash: str, addresses: Sequence[str]) -> list[RawLog]:
        """Return the logs of ``addresses`` in exactly the block with this hash."""
        return self.fetch_blocks_logs([block_hash], addresses)[0]

    def fetch_blocks_logs(
        self, block_hashes: Sequence[str], addresses: Sequence[str]
    ) -> list[list[RawLog]]:
        """Return the logs of each block, asked for by its hash, in one round trip.

        Shorter than ``block_hashes`` where one cannot be had; raises where the first cannot.
        """
        answers = self._transport.request_batch(
            [_block_logs_call(block_hash, addresses) for block_hash in block_hashes]
        )
        found: list[list[RawLog]] = []
        for block_hash, answer in zip(block_hashes, answers, strict=True):
            try:
                if isinstance(answer, (NodeUnavailable, NodeRefused)):
                    raise answer
                found.append(self._check_block_logs(answer, block_hash, addresses))
            except (NodeUnavailable, NodeRefused):
                if not found:
                    raise
                break
        return found

    def fetch_receipt_logs(self, header: Header, addresses: Sequence[str]) -> list[RawLog]:
        """Return a block's logs of ``addresses`` out of the receipts of all its transactions.

        Raises ``NotYet`` where receipts are missing, ``NodeRefused`` where there are none to ask.
        """
        receipts = self._request("eth_getBlockReceipts", [header.block_hash])
        wanted = set(addresses)
        logs: list[Any] = []
        with _malformed("receipt"):
            count = 0 if receipts is None else len(receipts)
            expected = header.transaction_count
            if receipts is None or (expected is not None and count != expected):
                raise NotYet(
                    f"{count} receipts for {expected} transactions", failure=NodeFailure.EMPTY_LOGS
                )
            for receipt in receipts:
                if receipt["blockHash"].lower() != header.block_hash:
                    raise NotYet("receipts of another block", failure=NodeFailure.OTHER_BLOCKS_LOGS)
                logs += [log for log in receipt["logs"] if log["address"].lower() in wanted]
        return self._check_block_logs(logs, header.block_hash, addresses)

    def fetch_code_size(self, address: str) -> int:
        """Return the size in bytes of the code at ``address`` in the newest block."""
        code: str = self._request("eth_getCode", [address, "latest"])
        return (len(code) - 2) // 2

    def fetch_call(
        self, to: str, data: bytes, *, gas: int = CALL_GAS, block_number: int | None = None
    ) -> bytes:
        """Return what a call answers in a block, by default the newest.

        Raises ``Reverted`` where it reverts. A node without an archive refuses old blocks.
        """
        call = {"to": to, "data": "0x" + data.hex(), "gas": hex(gas)}
        block = "latest" if block_number is None else hex(block_number)
        try:
            answer = self._request("eth_call", [call, block])
        except NodeRefused as error:
            if error.revert_reason is None:
                raise
            raise Reverted(error.revert_reason) from error
        with _malformed("the answer of a call"):
            return bytes.fromhex(answer.removeprefix("0x"))

    # -------------------------------------------------------------------------------- several nodes

    def second(self) -> "ChainReader | None":
        """Return a reader of another node than the node that answered last, or None."""
        return None

    def suspect(self, error: NodeUnavailable | NodeRefused) -> None:
        """Say that what the node answered last turned out wrong, so that another one is asked."""
        self._note(error.failure, str(error))

    def doubt_chain(self) -> None:
        """Say that the chain looks like another one: its id is asked for again before it counts."""

    # ------------------------------------------------------------------------------------- requests

    def _request(self, method: str, params: list[Any]) -> Any:
        return self._transport.request(method, params)

    def _request_all(self, calls: Sequence[Call]) -> list[Any]:
        """Return the results of requests that are of use only together."""
        results = self._transport.request_batch(calls)
        for result in results:
            if isinstance(result, (NodeUnavailable, NodeRefused)):
                raise result
        return results

    # --------------------------------------------------------------------------------------- checks

    def _check_block_logs(
        self, logs: Any, block_hash: str, addresses: Sequence[str]
    ) -> list[RawLog]:
        checked = self._check_logs(logs, addresses)
        for log in checked:
            if log.block_hash != block_hash:
                raise NotYet(
                    f"logs of {log.block_hash[:10]} instead of {block_hash[:10]}",
                    failure=NodeFailure.OTHER_BLOCKS_LOGS,
                )
        return checked

    def _check_range_logs(
        self, logs: Any, first: int, last: int, addresses: Sequence[str]
    ) -> list[RawLog]:
        checked = self._check_logs(logs, addresses)
        for log in checked:
            if not first <= log.block_number <= last:
                raise NodeUnavailable(
                    "the node sent logs from outside the range asked for",
                    failure=NodeFailure.OTHER_BLOCKS_LOGS,
                )
        return checked

    def _check_logs(self, logs: Any, addresses: Collection[str]) -> list[RawLog]:
        """Return the logs in chain order, each once; refuse an answer that cannot be one."""
        if not isinstance(logs, list):
            raise NodeUnavailable("the node sent no list of logs", failure=NodeFailure.MALFORMED)
        by_place: dict[tuple[str, int], RawLog] = {}
        for log in map(_parse_log, logs):
            if log.address not in addresses:
                raise NodeUnavailable(
                    "the node sent a log of a contract that was not asked for",
                    failure=NodeFailure.OTHER_BLOCKS_LOGS,
                )
            known = by_place.setdefault((log.block_hash, log.log_index), log)
            if known is log:
                continue
            if known != log:
                raise NodeUnavailable(
                    f"two logs at index {log.log_index} of a block",
                    failure=NodeFailure.DUPLICATE_LOG,
                )
            self._note(
                NodeFailure.DUPLICATE_LOG, f"block {log.block_number}, index {log.log_index}"
            )
        return sorted(by_place.values(), key=lambda log: (log.block_number, log.log_index))


def check_chain(reader: ChainReader, *, chain_id: int, addresses: dict[str, str]) -> None:
    """Check that the node serves ``chain_id`` and that every address holds code.

    Raises ``WrongChain`` or ``NoCode``.
    """
    served = reader.fetch_chain_id()
    if served != chain_id:
        raise WrongChain(f"the node serves chain {served}, the deployment is on {chain_id}")
    for name, address in addresses.items():
        if reader.fetch_code_size(address) == 0:
            raise NoCode(f"{name} at {address} has no code on chain {chain_id}")


def _header_call(number: int) -> Call:
    return "eth_getBlockByNumber", [hex(number), False]


def _block_logs_call(block_hash: str, addresses: Sequence[str]) -> Call:
    return "eth_getLogs", [{"blockHash": block_hash, "address": list(addresses)}]


def _range_query(first: int, last: int, addresses: Sequence[str]) -> dict[str, Any]:
    return {"fromBlock": hex(first), "toBlock": hex(last), "address": list(addresses)}


def _require_head(block: Any) -> Header:
    if block is None:
        raise NotYet("the node has no newest block", failure=NodeFailure.UNKNOWN_BLOCK)
    return parse_header(block)


def parse_header(block: Any) -> Header:
    """Return a header out of JSON. Raises ``NodeUnavailable`` where it cannot be one."""
    with _malformed("block"):
        transactions = block.get("transactions")
        header = Header(
            number=int(block["number"], 16),
            block_hash=block["hash"].lower(),
            parent_hash=block["parentHash"].lower(),
            timestamp_s=int(block["timestamp"], 16),
            logs_bloom=int(block.get("logsBloom") or "0x0", 16),
            transaction_count=None if transactions is None else len(transactions),
        )
        if len(header.block_hash) != _HASH_LENGTH or len(header.parent_hash) != _HASH_LENGTH:
            raise ValueError("a hash of the wrong length")
        return header


def _parse_log(log: Any) -> RawLog:
    with _malformed("log"):
        parsed = RawLog(
            address=log["address"].lower(),
            topics=tuple(log["topics"]),
            data=log["data"],
            block_number=int(log["blockNumber"], 16),
            block_hash=log["blockHash"].lower(),
            tx_hash=log["transactionHash"].lower(),
            log_index=int(log["logIndex"], 16),
            block_timestamp_s=_parse_optional(log.get("blockTimestamp")),
        )
        if parsed.tx_hash == ZERO_HASH or len(parsed.tx_hash) != _HASH_LENGTH:
            raise ValueError("a transaction hash of zero, or of the wrong length")
        if log.get("removed"):
            raise ValueError("a log that was taken back")
        return parsed


def _parse_optional(quantity: str | None) -> int | None:
    return None if quantity is None else int(quantity, 16)


@contextmanager
def _malformed(what: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NodeUnavailable(
            f"the node sent a malformed {what}: {error!r}", failure=NodeFailure.MALFORMED
        ) from error
