"""``contracts.reader.ChainReader``: what it makes of a node's answers.

::

    ChainReader
    ├── headers: of another number, without a hash, null
    ├── a block's logs
    │   ├── of another block, of another contract, taken back, with a transaction hash of zero
    │   ├── one of them twice: once; two at one place: refused
    │   └── an error for the first block, for a later one
    ├── a range's logs: its end is not there, logs from outside
    └── receipts: null, too few, of another block, with logs
    a node's own words: what they mean
    a bloom: possible, impossible, saturated
"""

from collections.abc import Sequence
from typing import Any

import pytest

from contracts.blocks import Header
from contracts.bloom import BITS, BloomQuery, build_mask
from contracts.node_errors import (
    MethodMissing,
    NodeFailure,
    NodeRefused,
    NodeUnavailable,
    NotYet,
    RangeRefused,
    RateLimited,
    build_refusal,
)
from contracts.reader import ChainReader
from contracts.transport import Call

OURS = "0x" + "aa" * 20
HASH = "0x" + "11" * 32
OTHER_HASH = "0x" + "22" * 32
TX = "0x" + "33" * 32


class Answers:
    """A node that gives these answers, one for each call, in order."""

    def __init__(self, *answers: Any) -> None:
        self._left = list(answers)

    def request(self, _method: str, _params: list[Any]) -> Any:
        answer = self._left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def request_batch(self, calls: Sequence[Call]) -> list[Any]:
        return [self._left.pop(0) for _ in calls]


def block(number: int = 7, **changes: Any) -> dict[str, Any]:
    return {
        "number": hex(number),
        "hash": HASH,
        "parentHash": OTHER_HASH,
        "timestamp": "0x10",
        "logsBloom": "0x0",
        "transactions": [TX],
        **changes,
    }


def log(index: int = 0, **changes: Any) -> dict[str, Any]:
    return {
        "address": OURS,
        "topics": [HASH],
        "data": "0x",
        "blockNumber": "0x7",
        "blockHash": HASH,
        "transactionHash": TX,
        "logIndex": hex(index),
        **changes,
    }


HEADER = Header(7, HASH, OTHER_HASH, 16, 0, 1)


def test_fetch_headers__null_and_there__none_and_header() -> None:
    assert ChainReader(Answers(block(), None)).fetch_headers([7, 8]) == [HEADER, None]


@pytest.mark.parametrize(
    "answer", [block(6), block(hash="0x"), block(hash=None), block(timestamp="soon"), "0x7", []]
)
def test_fetch_header__not_the_block__refused(answer: Any) -> None:
    with pytest.raises(NodeUnavailable) as caught:
        ChainReader(Answers(answer)).fetch_header(7)
    assert caught.value.failure is NodeFailure.MALFORMED


def test_fetch_head__null__not_yet() -> None:
    with pytest.raises(NotYet):
        ChainReader(Answers(None)).fetch_head()


@pytest.mark.parametrize(
    ("logs", "failure"),
    [
        ([log(blockHash=OTHER_HASH)], NodeFailure.OTHER_BLOCKS_LOGS),
        ([log(address="0x" + "bb" * 20)], NodeFailure.OTHER_BLOCKS_LOGS),
        ([log(removed=True)], NodeFailure.MALFORMED),
        ([log(transactionHash="0x" + "00" * 32)], NodeFailure.MALFORMED),
        ([log(logIndex=None)], NodeFailure.MALFORMED),
        ([log(), log(data="0x01")], NodeFailure.DUPLICATE_LOG),
        (None, NodeFailure.MALFORMED),
        ({}, NodeFailure.MALFORMED),
    ],
)
def test_fetch_block_logs__cannot_be__refused(logs: Any, failure: NodeFailure) -> None:
    with pytest.raises(NodeUnavailable) as caught:
        ChainReader(Answers(logs)).fetch_block_logs(HASH, [OURS])
    assert caught.value.failure is failure


def test_fetch_block_logs__one_twice_and_out_of_order__each_once_in_order() -> None:
    noted: list[NodeFailure] = []
    reader = ChainReader(
        Answers([log(2), log(1), log(2)]), note=lambda failure, _: noted.append(failure)
    )
    assert [one.log_index for one in reader.fetch_block_logs(HASH, [OURS])] == [1, 2]
    assert noted == [NodeFailure.DUPLICATE_LOG]


def test_fetch_blocks_logs__a_later_block_unknown__those_before_it() -> None:
    unknown = NotYet("unknown block", failure=NodeFailure.UNKNOWN_BLOCK)
    reader = ChainReader(Answers([log()], unknown))
    assert len(reader.fetch_blocks_logs([HASH, OTHER_HASH], [OURS])) == 1
    with pytest.raises(NotYet):
        ChainReader(Answers(unknown, [])).fetch_blocks_logs([OTHER_HASH, HASH], [OURS])


def test_fetch_range__end_is_not_there__not_yet() -> None:
    with pytest.raises(NotYet) as caught:
        ChainReader(Answers(None, [])).fetch_range(5, 9, [OURS])
    assert caught.value.failure is NodeFailure.CLAMPED_RANGE


def test_fetch_range__log_from_outside__refused() -> None:
    with pytest.raises(NodeUnavailable) as caught:
        ChainReader(Answers(block(9), [log(blockNumber="0xa")])).fetch_range(5, 9, [OURS])
    assert caught.value.failure is NodeFailure.OTHER_BLOCKS_LOGS


@pytest.mark.parametrize("receipts", [None, [], [{"blockHash": OTHER_HASH, "logs": []}]])
def test_fetch_receipt_logs__not_all_of_this_block__not_yet(receipts: Any) -> None:
    with pytest.raises(NotYet):
        ChainReader(Answers(receipts)).fetch_receipt_logs(HEADER, [OURS])


def test_fetch_receipt_logs__whole__only_ours() -> None:
    receipts = [{"blockHash": HASH, "logs": [log(4), log(5, address="0x" + "bb" * 20)]}]
    logs = ChainReader(Answers(receipts)).fetch_receipt_logs(HEADER, [OURS])
    assert [one.log_index for one in logs] == [4]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-32005, "query returned more than 10000 results"),
        (-32602, "Log response size exceeded. You can make eth_getLogs requests with up to a 2K"),
        (-32614, "eth_getLogs is limited to a 10,000 range"),
        (-32000, "exceed maximum block range: 50000"),
        (-32600, "Block range is too large"),
        (-32002, "query exceeds max results 20000, retry with the range 1-2"),
        (-32000, "query timeout exceeded"),
        (-32000, "too many blocks in the filter"),
        (-32701, "Please specify less number of addresses or a smaller block range"),
    ],
)
def test_build_refusal__range_in_many_words__range_refused(code: int, message: str) -> None:
    assert isinstance(build_refusal("eth_getLogs", code, message), RangeRefused)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (429, "slow down"),
        (-32005, "daily request count exceeded, request rate limited"),
        (-32000, "Too Many Requests"),
        (-32007, "50/second request limit reached"),
        (429, "Your app has exceeded its compute units per second capacity"),
    ],
)
def test_build_refusal__rate__is_no_reason_to_split(code: int, message: str) -> None:
    assert isinstance(build_refusal("eth_getLogs", code, message), RateLimited)


@pytest.mark.parametrize(
    "message",
    ["unknown block", "header not found", "block range extends beyond current head block"],
)
def test_build_refusal__block_unknown__not_yet(message: str) -> None:
    error = build_refusal("eth_getLogs", -32000, message)
    assert isinstance(error, NotYet)
    assert error.failure is NodeFailure.UNKNOWN_BLOCK


def test_build_refusal__others__said_as_they_are() -> None:
    missing = build_refusal("eth_getBlockReceipts", -32601, "the method does not exist")
    assert isinstance(missing, MethodMissing)
    pruned = build_refusal("eth_getLogs", 4444, "pruned history unavailable")
    assert isinstance(pruned, NodeUnavailable)
    assert pruned.failure is NodeFailure.HISTORY_PRUNED
    # A transaction's refusal is the keeper's to read, whatever words it has in common.
    underpriced = build_refusal("eth_sendRawTransaction", -32005, "txpool limit exceeded")
    assert type(underpriced) is NodeRefused


def test_bloom__address_and_topic__possible_only_with_both() -> None:
    query = BloomQuery(addresses=[OURS], topics=[HASH])
    assert query.is_possible(build_mask(OURS) | build_mask(HASH))
    assert not query.is_possible(build_mask(OURS))
    assert not query.is_possible(0)


def test_bloom__saturated__possible_but_no_doubt() -> None:
    query = BloomQuery(addresses=[OURS], topics=[HASH])
    full = (1 << BITS) - 1
    assert query.is_possible(full)
    assert not query.doubts_empty(full)
    assert query.doubts_empty(build_mask(OURS) | build_mask(HASH))
