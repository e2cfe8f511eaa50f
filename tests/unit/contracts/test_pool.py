"""``contracts.pool.ChainPool``: several endpoints, of which some fail, lag or lie.

::

    quorum 1
    ├── one fails: another answers and stays; it is named, rests, and is asked again later
    ├── one asks for a pause: it gets it
    ├── one is stuck behind another: left
    ├── one is on another chain: set aside, also if it gets there later; all are: WrongChain
    ├── a range is refused: no reason to ask another
    ├── an error among the answers of a batch: that endpoint's failure, the next one is asked
    ├── a revert: an answer, nobody's failure
    └── every endpoint fails: the last one's answers with their errors, or its error
    quorum 2 of 3
    ├── a forged block, forged or missing logs: outvoted, named, set aside, tried again later
    ├── one lags: the newest block that two have
    ├── one hangs: not waited for
    └── no two agree: NotYet
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from contracts.node_errors import (
    NodeFailure,
    NodeRefused,
    NodeUnavailable,
    NotYet,
    RangeRefused,
    RateLimited,
    WrongChain,
)
from contracts.pool import SCOUT_S, WRONG_CHAIN_REST_S, ChainPool
from contracts.pool_endpoint import SET_ASIDE_S, STRIKES_MAX
from contracts.transport import Call
from tests.support.waiting import LIMIT_S, wait_until

OURS = "0x" + "aa" * 20


def hash_of(number: int, fork: str = "a") -> str:
    return "0x" + fork * 60 + f"{number:04x}"


class FakeNode:
    """A chain of ``height`` blocks, each with one log of ours."""

    def __init__(self, height: int = 10) -> None:
        self.height = height
        self.chain_id = 1
        self.fork = "a"
        self.log_data = "0x01"
        self.has_logs = True
        self.error: Exception | None = None
        self.item_errors: dict[str, Exception] = {}
        """Errors inside an answer of a batch, by method."""
        self.gate: threading.Event | None = None
        self.connections_opened = 1
        self.asked = 0

    def request(self, method: str, params: list[Any]) -> Any:
        self.asked += 1
        if self.gate is not None:
            self.gate.wait(timeout=LIMIT_S)
        if self.error is not None:
            raise self.error
        if method == "eth_chainId":
            return hex(self.chain_id)
        if method == "eth_getBlockByNumber":
            number = self.height if params[0] == "latest" else int(params[0], 16)
            return self._block(number) if number <= self.height else None
        assert method == "eth_getLogs"
        return [self._log(params[0]["blockHash"])] if self.has_logs else []

    def request_batch(self, calls: Sequence[Call]) -> list[Any]:
        return [
            self.item_errors.get(method) or self.request(method, params) for method, params in calls
        ]

    def _block(self, number: int) -> dict[str, Any]:
        return {
            "number": hex(number),
            "hash": hash_of(number, self.fork),
            "parentHash": hash_of(number - 1, self.fork),
            "timestamp": "0x1",
        }

    def _log(self, block_hash: str) -> dict[str, Any]:
        return {
            "address": OURS,
            "topics": [],
            "data": self.log_data,
            "blockNumber": hex(int(block_hash[-4:], 16)),
            "blockHash": block_hash,
            "transactionHash": "0x" + "33" * 32,
            "logIndex": "0x0",
        }


class Scene:
    """A pool over fake nodes, with a clock to turn and an ear for failures."""

    def __init__(self, count: int, *, quorum: int) -> None:
        self.nodes = [FakeNode() for _ in range(count)]
        self.now_s = 1_000.0
        self.heard: list[tuple[str, NodeFailure]] = []
        self.pool = ChainPool(
            {f"node{place}": node for place, node in enumerate(self.nodes)},
            chain_id=1,
            quorum=quorum,
            listener=lambda name, failure, _: self.heard.append((name, failure)),
            clock=lambda: self.now_s,
        )


@contextmanager
def scene(count: int, *, quorum: int = 1) -> Iterator[Scene]:
    made = Scene(count, quorum=quorum)
    try:
        yield made
    finally:
        for node in made.nodes:
            if node.gate is not None:
                node.gate.set()
        made.pool.close()


def eventually(scene: Scene, heard: tuple[str, NodeFailure], *, times: int = 1) -> None:
    wait_until(lambda: scene.heard.count(heard) >= times)


def test_read__first_fails__second_answers_and_stays() -> None:
    with scene(2) as one:
        one.nodes[0].error = NodeUnavailable("down")
        assert one.pool.fetch_head().number == 10
        asked = one.nodes[0].asked
        one.nodes[0].error = None
        one.now_s += 1
        assert one.pool.fetch_head().number == 10
        assert one.nodes[0].asked == asked
        assert one.heard == [("node0", NodeFailure.UNREACHABLE)]


def test_read__all_fail__raises_then_recovers_within_a_second() -> None:
    with scene(2) as one:
        for node in one.nodes:
            node.error = NodeUnavailable("down", failure=NodeFailure.TIMED_OUT)
        for _ in range(30):
            with pytest.raises(NodeUnavailable):
                one.pool.fetch_head()
            one.now_s += 0.1
        for node in one.nodes:
            node.error = None
        one.now_s += 0.8
        assert one.pool.fetch_head().number == 10


def test_read__retry_after__is_not_asked_before() -> None:
    with scene(1) as one:
        one.nodes[0].error = RateLimited("slow", retry_after_s=5)
        with pytest.raises(RateLimited):
            one.pool.fetch_head()
        one.nodes[0].error = None
        one.now_s += 4.9
        with pytest.raises(NodeUnavailable, match="rests"):
            one.pool.fetch_head()
        one.now_s += 0.2
        assert one.pool.fetch_head().number == 10


def test_read__range_refused__nobody_else_is_asked() -> None:
    with scene(2) as one:
        one.nodes[0].error = RangeRefused(-32005, "too many results")
        with pytest.raises(RangeRefused):
            one.pool.fetch_logs(1, 2, [OURS])
        assert one.nodes[1].asked == 0


def test_fetch_head__other_is_far_ahead__stuck_one_is_left() -> None:
    with scene(2) as one:
        assert one.pool.fetch_head().number == 10
        one.nodes[1].height = 20
        deadline_s = time.monotonic() + LIMIT_S
        while one.pool.fetch_head().number == 10:
            one.now_s += SCOUT_S
            assert time.monotonic() < deadline_s
        assert one.heard == [("node0", NodeFailure.LAGGING_HEAD)]


def test_chain_id__one_is_wrong__set_aside_until_it_is_right() -> None:
    with scene(2) as one:
        one.nodes[0].chain_id = 5
        one.nodes[0].height = 99
        assert one.pool.fetch_head().number == 10
        assert one.heard == [("node0", NodeFailure.WRONG_CHAIN)]
        one.nodes[0].chain_id = 1
        one.nodes[1].error = NodeUnavailable("down")
        with pytest.raises(NodeUnavailable):
            one.pool.fetch_head()
        one.now_s += WRONG_CHAIN_REST_S
        assert one.pool.fetch_head().number == 99


def test_chain_id__all_are_wrong__fatal() -> None:
    with scene(2) as one:
        for node in one.nodes:
            node.chain_id = 5
        with pytest.raises(WrongChain):
            one.pool.fetch_head()


@pytest.mark.parametrize("change", ["reconnect", "interval", "doubt"])
def test_chain_id__wrong_later__found_before_an_answer_counts(change: str) -> None:
    with scene(1) as one:
        one.pool.fetch_head()
        one.nodes[0].chain_id = 5
        if change == "reconnect":
            one.nodes[0].connections_opened += 1
        elif change == "interval":
            one.now_s += 61
        else:
            one.pool.doubt_chain()
        with pytest.raises(WrongChain):
            one.pool.fetch_head()


def test_suspect__of_two__the_other_is_asked_next() -> None:
    with scene(2) as one:
        one.pool.fetch_head()
        one.pool.suspect(NotYet("empty", failure=NodeFailure.EMPTY_LOGS))
        one.pool.fetch_head()
        assert one.nodes[1].asked > 0
        assert one.heard == [("node0", NodeFailure.EMPTY_LOGS)]


@pytest.mark.parametrize("read", ["head", "header"])
def test_quorum__forged_block__outvoted_and_named(read: str) -> None:
    with scene(3, quorum=2) as one:
        one.nodes[0].fork = "f"
        for place in range(STRIKES_MAX):
            head = one.pool.fetch_head() if read == "head" else one.pool.fetch_header(10)
            assert head is not None
            assert head.block_hash == hash_of(10)
            eventually(one, ("node0", NodeFailure.OUTVOTED), times=place + 1)
        eventually(one, ("node0", NodeFailure.OUTVOTED), times=STRIKES_MAX + 1)  # set aside
        asked = one.nodes[0].asked
        assert one.pool.fetch_head().block_hash == hash_of(10)
        assert one.nodes[0].asked == asked
        one.nodes[0].fork = "a"
        one.now_s += SET_ASIDE_S
        assert one.pool.fetch_head().block_hash == hash_of(10)
        # Two agreed; the third may be asked a moment later.
        wait_until(lambda: one.nodes[0].asked > asked)


@pytest.mark.parametrize("lie", ["forged", "omitted"])
def test_quorum__lie_about_logs__the_truth_and_a_name(lie: str) -> None:
    with scene(3, quorum=2) as one:
        one.nodes[1].log_data = "0xff" if lie == "forged" else "0x01"
        one.nodes[1].has_logs = lie == "forged"
        [logs] = one.pool.fetch_blocks_logs([hash_of(9)], [OURS])
        assert [log.data for log in logs] == ["0x01"]
        eventually(one, ("node1", NodeFailure.OUTVOTED))
        assert {name for name, _ in one.heard} == {"node1"}


def test_quorum__two_at_another_height__newest_that_two_have() -> None:
    with scene(3, quorum=2) as one:
        one.nodes[0].height, one.nodes[1].height, one.nodes[2].height = 12, 11, 9
        head = one.pool.fetch_head()
        assert (head.number, head.block_hash) == (11, hash_of(11))
        assert one.heard == []


def test_quorum__one_hangs__is_not_waited_for() -> None:
    with scene(3, quorum=2) as one:
        one.nodes[0].gate = threading.Event()
        assert one.pool.fetch_head().number == 10
        assert [header is None for header in one.pool.fetch_headers([10, 11])] == [False, True]
        assert not one.nodes[0].gate.is_set()


def test_quorum__no_two_agree__not_yet() -> None:
    with scene(2, quorum=2) as one:
        one.nodes[0].fork = "f"
        with pytest.raises(NotYet) as caught:
            one.pool.fetch_head()
        assert caught.value.failure is NodeFailure.NO_QUORUM
        assert ("all", NodeFailure.NO_QUORUM) in one.heard


def test_quorum__one_of_two_is_down__not_yet() -> None:
    with scene(2, quorum=2) as one:
        one.nodes[0].error = NodeUnavailable("down")
        with pytest.raises(NotYet):
            one.pool.fetch_head()


def test_transport__raw_answers_under_quorum__agreed() -> None:
    with scene(3, quorum=2) as one:
        one.nodes[2].log_data = "0xff"
        query = {"blockHash": hash_of(3), "address": [OURS]}
        logs: Any
        [logs] = one.pool.transport.request_batch([("eth_getLogs", [query])])
        assert logs[0]["data"] == "0x01"
        eventually(one, ("node2", NodeFailure.OUTVOTED))


ITEM_ERRORS = [
    NodeRefused(-32603, "Internal error"),
    NodeRefused(-32000, "context deadline exceeded"),
    RateLimited("exceeded its compute units"),
    NodeUnavailable("the answer lacks this request", failure=NodeFailure.NOT_JSON),
]
RANGE: Call = ("eth_getLogs", [{"blockHash": hash_of(7)}])
HEADER: Call = ("eth_getBlockByNumber", ["0x7", False])
CALL: Call = ("eth_call", [{}, "latest"])


@pytest.mark.parametrize("error", ITEM_ERRORS, ids=str)
def test_batch__an_error_among_its_answers__the_next_endpoint_is_asked(error: Exception) -> None:
    with scene(2) as s:
        s.nodes[0].item_errors = {"eth_getLogs": error}
        answers = s.pool.transport.request_batch([HEADER, RANGE])
        assert answers == [s.nodes[1]._block(7), [s.nodes[1]._log(hash_of(7))]]
        assert s.heard == [("node0", getattr(error, "failure", None))]

        before = s.nodes[0].asked
        s.pool.transport.request_batch([HEADER, RANGE])
        assert s.nodes[0].asked == before, "the good one stays the first to be asked"


@pytest.mark.parametrize("error", ITEM_ERRORS, ids=str)
def test_batch__every_endpoint_fails__answers_with_their_errors(error: Exception) -> None:
    with scene(2) as s:
        for node in s.nodes:
            node.item_errors = {"eth_getLogs": error}
        assert s.pool.transport.request_batch([HEADER, RANGE])[1] is error
        s.now_s += 60
        with pytest.raises(type(error)):
            s.pool.transport.request(*RANGE)


def test_call__reverts__is_an_answer_and_nobody_s_failure() -> None:
    revert = NodeRefused(-32603, "Internal error", b"")
    with scene(2) as s:
        s.nodes[0].item_errors = {"eth_call": revert}
        with pytest.raises(NodeRefused) as caught:
            s.pool.transport.request(*CALL)
        assert caught.value is revert
        assert s.nodes[1].asked == 0
        assert s.heard == []


def test_call__refused_by_one__the_next_one_s_revert_is_the_answer() -> None:
    revert = NodeRefused(3, "execution reverted: no")
    with scene(2) as s:
        s.nodes[0].item_errors = {"eth_call": NodeRefused(-32603, "Internal error")}
        s.nodes[1].item_errors = {"eth_call": revert}
        with pytest.raises(NodeRefused) as caught:
            s.pool.transport.request(*CALL)
        assert caught.value is revert


def test_batch__a_range_is_refused_in_it__nobody_else_is_asked() -> None:
    refused = RangeRefused(-32005, "block range too large")
    with scene(2) as s:
        s.nodes[0].item_errors = {"eth_getLogs": refused}
        assert s.pool.transport.request_batch([HEADER, RANGE])[1] is refused
        assert s.nodes[1].asked == 0
