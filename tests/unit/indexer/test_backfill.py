"""``indexer.backfill``: what of a node's answer is believed.

::

    read_range, decode_range
    ├── the node lacks the range's end   NotYet: it would answer with half a range
    ├── logs in any order                in chain order
    ├── logs without times               read from the headers
    └── a log from elsewhere, twice, contradicting itself, or of a block that is gone    refused
"""

from collections.abc import Sequence
from typing import Any

import pytest

from contracts.blocks import BlockRange
from contracts.events import EVENTS, ChainEvent, ContractName
from contracts.node_errors import NodeFailure, NodeRefused, NodeUnavailable, NotYet
from contracts.transport import Call
from indexer.backfill import RangeAnswer, decode_range, read_range
from ledger.chain.event_rows import EventRow

ADDRESS = "0x" + "a1" * 20
CONTRACTS: dict[str, ContractName] = {ADDRESS: "position"}
LOCKED = next(spec for spec in EVENTS if spec.name == "Locked")
BLOCKS = BlockRange(5, 9)


def block_hash(number: int) -> str:
    return f"0x{number:064x}"


def make_log(number: int, index: int, *, token_id: int = 7, **changes: Any) -> dict[str, Any]:
    return {
        "address": ADDRESS,
        "topics": [LOCKED.topic0],
        "data": f"0x{token_id:064x}",
        "blockNumber": hex(number),
        "blockHash": block_hash(number),
        "blockTimestamp": hex(1_000 + number),
        "transactionHash": "0x" + "77" * 32,
        "logIndex": hex(index),
    } | changes


class Node:
    """A node with these logs and every block up to ``head``; answers like one batch of one node."""

    def __init__(self, logs: Sequence[dict[str, Any]], *, head: int = 100) -> None:
        self._logs = logs
        self._head = head

    def request_batch(self, calls: Sequence[Call]) -> list[Any | NodeUnavailable | NodeRefused]:
        return [
            list(self._logs) if method == "eth_getLogs" else self._header(int(params[0], 16))
            for method, params in calls
        ]

    def _header(self, number: int) -> dict[str, str] | None:
        if number > self._head:
            return None
        return {
            "number": hex(number),
            "hash": block_hash(number),
            "parentHash": block_hash(number - 1),
            "timestamp": hex(1_000 + number),
        }


def read(node: Node) -> tuple[RangeAnswer, list[ChainEvent], list[EventRow]]:
    answer = read_range(node, list(CONTRACTS), BLOCKS, was_split=False)
    events: list[ChainEvent] = []
    rows: list[EventRow] = []
    decode_range(answer, CONTRACTS, events, rows)
    return answer, events, rows


def test_read_range__logs_in_any_order__events_and_rows_in_chain_order() -> None:
    answer, events, rows = read(
        Node([make_log(8, 0), make_log(5, 1, token_id=1), make_log(5, 0, token_id=2)])
    )
    assert [(e.block_number, e.log_index, e.token_id) for e in events] == [
        (5, 0, 2),
        (5, 1, 1),
        (8, 0, 7),
    ]
    assert [row[:2] for row in rows] == [(5, 0), (5, 1), (8, 0)]
    assert (answer.parent_hash, answer.last.block_hash) == (block_hash(4), block_hash(9))


def test_read_range__no_times_in_the_logs__the_headers_say() -> None:
    _, events, _ = read(Node([make_log(6, 0, blockTimestamp=None), make_log(7, 0)]))
    assert [event.block_timestamp_s for event in events] == [1_006, 1_007]


def test_read_range__node_behind_the_range__not_yet() -> None:
    with pytest.raises(NotYet) as caught:
        read(Node([make_log(6, 0)], head=8))
    assert caught.value.failure is NodeFailure.CLAMPED_RANGE


@pytest.mark.parametrize(
    ("logs", "failure"),
    [
        ([make_log(10, 0)], NodeFailure.OTHER_BLOCKS_LOGS),
        ([make_log(6, 0), make_log(6, 0)], NodeFailure.DUPLICATE_LOG),
        ([make_log(6, 0, address="0x" + "ee" * 20)], NodeFailure.MALFORMED),
        ([make_log(6, 0, transactionHash="0x" + "00" * 32)], NodeFailure.MALFORMED),
        ([make_log(6, 0), make_log(6, 1, blockNumber="0x7")], NodeFailure.MALFORMED),
        ([{}], NodeFailure.MALFORMED),
        ([make_log(9, 0, blockHash="0x" + "ee" * 32)], NodeFailure.CHAIN_MOVED),
        (
            [make_log(6, 0), make_log(6, 1, blockHash="0x" + "ee" * 32)],
            NodeFailure.CHAIN_MOVED,
        ),
        (
            [make_log(6, 0, blockHash="0x" + "ee" * 32, blockTimestamp=None)],
            NodeFailure.CHAIN_MOVED,
        ),
    ],
)
def test_read_range__what_no_honest_node_says__refused(
    logs: list[dict[str, Any]], failure: NodeFailure
) -> None:
    with pytest.raises(NodeUnavailable) as caught:
        read(Node(logs))
    assert caught.value.failure is failure
