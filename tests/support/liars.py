"""Endpoints of a real chain that lie, are silent or talk nonsense."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from contracts.node_errors import NodeFailure, NodeRefused, NodeUnavailable, RateLimited
from contracts.transport import Call, Transport

Lie = Callable[[str, Any], Any]


class Liar:
    """An endpoint that changes what its node answers, or does not ask it at all."""

    def __init__(self, honest: Transport) -> None:
        self._honest = honest
        self.lie: str | None = None

    def request(self, method: str, params: list[Any]) -> Any:
        if self.lie == "silent":
            raise NodeUnavailable("no answer in time", failure=NodeFailure.TIMED_OUT)
        if self.lie == "swallows" and method == "eth_sendRawTransaction":
            return "0x" + "00" * 32
        if self.lie == "refuses" and method in ("eth_call", "eth_estimateGas"):
            raise NodeRefused(3, "execution reverted: position: not settler")
        answer = self._honest.request(method, params)
        change = LIES.get(self.lie or "")
        return answer if change is None or answer is None else change(method, answer)

    def request_batch(self, calls: Sequence[Call]) -> list[Any | NodeUnavailable | NodeRefused]:
        answers: list[Any | NodeUnavailable | NodeRefused] = []
        for method, params in calls:
            try:
                answers.append(self.request(method, params))
            except (NodeRefused, RateLimited) as error:
                answers.append(error)
        return answers


class Forgetful:
    """An endpoint without the states of old blocks, as every node that is no archive."""

    def __init__(self, honest: Transport, *, kept_blocks: int) -> None:
        self._honest = honest
        self._kept_blocks = kept_blocks

    def request(self, method: str, params: list[Any]) -> Any:
        if method in ("eth_call", "eth_getTransactionCount", "eth_getBalance"):
            head_number = int(self._honest.request("eth_blockNumber", []), 16)
            block = params[1]
            if block.startswith("0x") and head_number - int(block, 16) >= self._kept_blocks:
                raise NodeRefused(-32000, "missing trie node: state is not available")
        return self._honest.request(method, params)

    def request_batch(self, calls: Sequence[Call]) -> list[Any | NodeUnavailable | NodeRefused]:
        return self._honest.request_batch(calls)


def change_receipt(**changes: object) -> Lie:
    def change(method: str, answer: Any) -> Any:
        is_receipt = method == "eth_getTransactionReceipt"
        return {**answer, **changes} if is_receipt else answer

    return change


def hide_receipts(method: str, answer: Any) -> Any:
    return None if method == "eth_getTransactionReceipt" else answer


def raise_nonces(method: str, answer: Any) -> Any:
    return hex(int(answer, 16) + 3) if method == "eth_getTransactionCount" else answer


def lower_nonces(method: str, _answer: Any) -> Any:
    return "0x0" if method == "eth_getTransactionCount" else _answer


def answer_with(answer: Any, *methods: str) -> Lie:
    """Return what answers some methods, or all, with the same always."""
    return lambda method, honest: answer if not methods or method in methods else honest


def change_head(**changes: Callable[[int], int]) -> Lie:
    """Return what changes the numbers of the newest block."""

    def change(method: str, answer: Any) -> Any:
        if method != "eth_getBlockByNumber":
            return answer
        return {**answer, **{name: hex(by(int(answer[name], 16))) for name, by in changes.items()}}

    return change


def refuse_to_send(words: str) -> Lie:
    """Return what says of every transaction that it is not taken, and has taken it."""

    def change(method: str, answer: Any) -> Any:
        if method == "eth_sendRawTransaction":
            raise NodeRefused(-32000, words)
        return answer

    return change


def fail_with(error: Exception, *methods: str) -> Lie:
    """Return what fails inside an answer of status 200, for some methods or all."""

    def change(method: str, answer: Any) -> Any:
        if not methods or method in methods:
            raise error
        return answer

    return change


CALLS = ("eth_call", "eth_estimateGas", "eth_getLogs")
ESTIMATE, NONCE = "eth_estimateGas", "eth_getTransactionCount"
LIES: Final[dict[str, Lie | None]] = {
    "silent": None,
    "swallows": None,
    "refuses": None,
    "no_receipts": hide_receipts,
    "all_reverted": change_receipt(status="0x0"),
    "wrong_block": change_receipt(blockHash="0x" + "be" * 32),
    "other_receipt": change_receipt(transactionHash="0x" + "be" * 32),
    "half_a_receipt": change_receipt(gasUsed=None),
    "nonces_used": raise_nonces,
    "nonces_unused": lower_nonces,
    "nonces_absurd": answer_with(hex(2**60), NONCE),
    "gas_zero": answer_with("0x0", ESTIMATE),
    "gas_too_little": answer_with(hex(21_500), ESTIMATE),
    "gas_absurd": answer_with(hex(2**64), ESTIMATE),
    "fee_zero": change_head(baseFeePerGas=lambda wei: 0 * wei),
    "fee_absurd": change_head(baseFeePerGas=lambda wei: 1_000 * wei + 10**12),
    "head_back": change_head(number=lambda number: max(0, number - 9)),
    "head_ahead": change_head(number=lambda number: number + 1_000),
    "already_known": refuse_to_send("already known"),
    "nonce_too_low": refuse_to_send("nonce too low: next nonce 9, tx nonce 1"),
    "nonce_too_high": refuse_to_send("nonce too high"),
    "underpriced": refuse_to_send("replacement transaction underpriced"),
    "other_chain": answer_with("0x1", "eth_chainId"),
    "internal_error": fail_with(NodeRefused(-32603, "Internal error"), *CALLS),
    "compute_units": fail_with(RateLimited("exceeded its compute units"), *CALLS),
    "garbled": answer_with("0xzz"),
    "empty": answer_with("0x"),
    "zero": answer_with("0x" + "00" * 32),
    "another_type": answer_with({"": []}),
    "a_list": answer_with([7]),
}

DELAYING: Final = ("fee_zero", "fee_absurd")
"""Lies about which only one endpoint is asked: they cost time, nothing else."""
