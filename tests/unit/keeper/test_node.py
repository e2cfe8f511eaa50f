"""Several endpoints asked: what counts where they differ, and whose trouble a refusal is."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from contracts.errors import Reverted
from contracts.node_errors import NodeRefused, NodeUnavailable
from contracts.transport import Call
from keeper.errors import EndpointsDisagree, EtherShort
from keeper.gas import TRANSACTION_GAS_MAX, get_least_gas
from keeper.node import Node

CALL = {"to": "0x" + "aa" * 20, "data": "0x01020000"}
LEAST = get_least_gas(bytes.fromhex(CALL["data"][2:]))
REVERTED = NodeRefused(3, "execution reverted: no")
AWAY = NodeUnavailable("away")


class Fake:
    """An endpoint that answers what ``answer`` says of the parameters."""

    def __init__(self, answer: Any | Callable[[list[Any]], Any]) -> None:
        self._answer = answer

    def request(self, _method: str, params: list[Any]) -> Any:
        answer = self._answer(params) if callable(self._answer) else self._answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    def request_batch(self, calls: Sequence[Call]) -> list[Any]:
        return [self.request(method, params) for method, params in calls]


class Turning:
    """A pool that asks the next endpoint once it hears of nonsense."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self._answers = list(answers)
        self.nonsense: list[str] = []

    def request(self, _method: str, _params: list[Any]) -> Any:
        return self._answers[0]

    def request_batch(self, calls: Sequence[Call]) -> list[Any]:
        return [self.request(*call) for call in calls]

    def hear(self, error: NodeUnavailable) -> None:
        self.nonsense.append(str(error))
        self._answers.append(self._answers.pop(0))


def make_node(*answers: Any) -> Node:
    endpoints = [Fake(answer) for answer in answers]
    return Node(endpoints[0], endpoints=endpoints)


def test_least_gas__zeros_and_others__are_priced_apart() -> None:
    assert get_least_gas(b"") == 21_000
    assert LEAST == 21_000 + 2 * 40 + 2 * 10


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([50_000], 50_000),
        ([50_000, 60_000, 70_000], 60_000),
        ([0, 50_000, 60_000], 60_000),
        ([2**64, 50_000, 60_000], 60_000),
        ([LEAST - 1, TRANSACTION_GAS_MAX + 1, LEAST], LEAST),
        ([TRANSACTION_GAS_MAX], TRANSACTION_GAS_MAX),
        (["0xzz", None, {}, 50_000], 50_000),
        ([REVERTED, 50_000, 60_000], 60_000),
        ([AWAY, 50_000], 50_000),
    ],
)
def test_estimate_gas__several_say__the_middle_of_what_can_be(
    answers: list[Any], expected: int
) -> None:
    said = [hex(answer) if isinstance(answer, int) else answer for answer in answers]

    assert make_node(*said).estimate_gas(CALL) == expected


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        (["0x0"], NodeUnavailable),
        ([hex(2**64), hex(LEAST - 1)], NodeUnavailable),
        ([AWAY, "0x0"], NodeUnavailable),
        ([REVERTED, AWAY], Reverted),
        ([AWAY, REVERTED], Reverted),
    ],
)
def test_estimate_gas__nobody_says_what_can_be__fails(
    answers: list[Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        make_node(*answers).estimate_gas(CALL)


@pytest.mark.parametrize(
    "words",
    [
        "insufficient funds for gas * price + value: address 0xaa have 1 want 2",
        "insufficient sender balance",
        "insufficient MaxFeePerGas for sender balance",
        "lack of funds (0) for max fee (8)",
        "Upfront cost exceeds account balance",
        "OutOfFunds",
    ],
)
def test_try_call__our_own_ether_does_not_do__is_no_revert(words: str) -> None:
    def answer(params: list[Any]) -> Any:
        return NodeRefused(-32000, words) if "maxFeePerGas" in params[0] else "0x"

    with pytest.raises(EtherShort):
        make_node(answer).try_call({**CALL, "maxFeePerGas": "0x9"}, block="0x01")


def test_try_call__a_contract_says_that_funds_are_short__is_its_revert() -> None:
    words = NodeRefused(3, "execution reverted: insufficient funds")

    with pytest.raises(Reverted):
        make_node(words).try_call({**CALL, "maxFeePerGas": "0x9"}, block="0x01")


def test_try_call__refused_in_unknown_words__is_a_revert_if_other_calls_pass() -> None:
    strange = NodeRefused(-1, "cannot do that, Dave")
    only_this = make_node(lambda params: strange if params[0] == CALL else "0x")
    with pytest.raises(Reverted, match="Dave"):
        only_this.try_call(CALL, block="0x01")

    with pytest.raises(NodeRefused, match="Dave"):
        make_node(strange).try_call(CALL, block="0x01")


@pytest.mark.parametrize("nonsense", range(4))
def test_fetch_word__nonsense__is_asked_of_the_next_endpoint(nonsense: int) -> None:
    word = "0x" + f"{7:064x}"
    pool = Turning([*["0x", "0xzz", {}][:nonsense], word])
    node = Node(pool, endpoints=[pool] * 4, on_nonsense=pool.hear)

    assert node.fetch_word(CALL["to"], CALL["data"], block="0x01") == 7
    assert len(pool.nonsense) == nonsense


def test_fetch_word__nonsense_from_all__is_for_the_next_round() -> None:
    pool = Turning(["0x", "0xzz"])
    node = Node(pool, endpoints=[pool] * 2, on_nonsense=pool.hear)

    with pytest.raises(NodeUnavailable):
        node.fetch_word(CALL["to"], CALL["data"], block="0x01")
    assert len(pool.nonsense) == 2


def make_receipt(data: str) -> dict[str, Any]:
    log = {
        "address": "0xa",
        "topics": [],
        "data": data,
        "blockHash": "0xc",
        "transactionHash": "0xd",
        "blockNumber": "0x1",
        "logIndex": "0x0",
    }
    return {"logs": [log]}


def test_fetch_transaction_logs__one_forges__the_others_count() -> None:
    true, forged = make_receipt("0x01"), make_receipt("0x02")

    [log] = make_node(forged, true, true).fetch_transaction_logs("0xd")
    assert log["data"] == "0x01"
    assert make_node(forged, None, None).fetch_transaction_logs("0xd") == []
    with pytest.raises(EndpointsDisagree):
        make_node(forged, true).fetch_transaction_logs("0xd")
    with pytest.raises(EndpointsDisagree):
        make_node(AWAY, "0xzz").fetch_transaction_logs("0xd")
