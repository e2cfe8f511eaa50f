"""What the keeper asks of its nodes beyond reading the mirror's blocks.

Most answers may come from any endpoint: a wrong one delays or wastes gas, and is found out on
chain. What decides about something that cannot be taken back is asked of all endpoints, and what
more than half of those that answer say counts.
"""

import queue
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from web3 import Web3

from contracts.chain import Web3Transport
from contracts.errors import Reverted
from contracts.node_errors import NodeRefused, NodeUnavailable
from contracts.reader import ChainReader
from contracts.transport import Transport
from keeper.errors import EndpointsDisagree

PENDING: Final = "pending"
"""The block that is being built: its clock runs also where blocks come only with transactions."""

ANSWERS_WAIT_S: Final = 10.0
"""How long all endpoints together are waited for."""
STRAGGLER_WAIT_S: Final = 0.5
"""How long the others are waited for once more than half have answered."""

_REVERT_CODE: Final = 3
_REVERTED: Final = re.compile(r"revert(?:ed)?(?: with reason string)?:?\s*(.*)")


@dataclass(frozen=True, slots=True)
class Receipt:
    """A transaction's receipt. ``fee_wei`` is what its gas cost."""

    tx_hash: str
    block_number: int
    block_hash: str
    succeeded: bool
    gas_used: int
    fee_wei: int


Answer = Any | NodeUnavailable | NodeRefused


class Node(ChainReader):
    """Simulates, sends and looks up transactions. Failures are of ``contracts.reader``.

    ``node`` is whom a question goes to, for example a pool. ``endpoints`` are those that a
    transaction is given to, and that must agree where it matters; without them: ``node`` alone.
    """

    def __init__(self, node: Web3 | Transport, *, endpoints: Sequence[Transport] = ()) -> None:
        super().__init__(Web3Transport(node) if isinstance(node, Web3) else node)
        self._endpoints = tuple(endpoints) or (self._transport,)

    def call(self, call: Mapping[str, str], *, block: str = PENDING) -> bytes:
        """Return what a call answers at ``block`` (a hash or a tag). Raises ``Reverted``."""
        return bytes.fromhex(self._execute("eth_call", [dict(call), block]).removeprefix("0x"))

    def estimate_gas(self, call: Mapping[str, str]) -> int:
        """Return the gas that a call needs in the next block. Raises ``Reverted``."""
        return int(self._execute("eth_estimateGas", [dict(call), PENDING]), 16)

    def fetch_transaction_count(self, address: str, *, block_number: int | None = None) -> int:
        """Return how many transactions ``address`` has in blocks, as of a block or the newest."""
        block = "latest" if block_number is None else hex(block_number)
        return int(self._request("eth_getTransactionCount", [address, block]), 16)

    def fetch_balance_wei(self, address: str) -> int:
        """Return an account's ether."""
        return int(self._request("eth_getBalance", [address, "latest"]), 16)

    def fetch_base_fee_wei(self) -> int:
        """Return the newest block's base fee per gas."""
        block = self._request("eth_getBlockByNumber", ["latest", False])
        return int((block or {}).get("baseFeePerGas") or "0x0", 16)

    def fetch_receipt(self, tx_hash: str) -> Receipt | None:
        """Return the receipt of a transaction that is in a block, or None: what most endpoints say.

        Where it is a tie, a receipt counts for more than none: one of them lags. Raises
        ``NodeUnavailable`` where nobody answers.
        """
        votes: Counter[Receipt | None] = Counter()
        failure: NodeUnavailable | NodeRefused = NodeUnavailable("no endpoint shows receipts")
        for answer in self._ask_all("eth_getTransactionReceipt", [tx_hash]):
            try:
                if isinstance(answer, (NodeUnavailable, NodeRefused)):
                    raise answer
                votes[_parse_receipt(answer, tx_hash)] += 1
            except (NodeUnavailable, NodeRefused) as error:
                failure = error
        if not votes:
            raise failure
        return max(votes, key=lambda receipt: (votes[receipt], receipt is not None))

    def search_logs(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the logs that match a query. Raises ``NodeUnavailable`` for no list of them."""
        answer = self._request("eth_getLogs", [dict(query)])
        if not isinstance(answer, list):
            raise NodeUnavailable("the node sent no list of logs")
        return answer

    def fetch_transaction_logs(self, tx_hash: str) -> list[dict[str, Any]]:
        """Return the logs of a transaction in a block; none where the node does not know it."""
        answer = self._request("eth_getTransactionReceipt", [tx_hash])
        logs = (answer or {}).get("logs")
        return list(logs) if isinstance(logs, list) else []

    def send_raw(self, raw_tx: str) -> None:
        """Give a signed transaction to all endpoints; return as soon as one has taken it.

        Raises ``NodeRefused`` with a node's reason, or ``NodeUnavailable``, where none did.
        """
        refusal: NodeUnavailable | NodeRefused = NodeUnavailable("no endpoint answered in time")
        for answer in self._ask_all("eth_sendRawTransaction", [raw_tx]):
            if not isinstance(answer, (NodeUnavailable, NodeRefused)):
                return
            if not isinstance(refusal, NodeRefused):
                refusal = answer
        raise refusal

    # ------------------------------------------------------------------------- what a majority says

    def fetch_agreed_transaction_count(
        self, address: str, *, block_number: int | None = None
    ) -> int:
        """Return the highest count that more than half of those that answer have reached.

        Raises ``EndpointsDisagree`` where nobody answers.
        """
        block = "latest" if block_number is None else hex(block_number)
        answers = self._ask_all("eth_getTransactionCount", [address, block])
        counts = sorted((int(one, 16) for one in answers if isinstance(one, str)), reverse=True)
        if not counts:
            raise EndpointsDisagree("no endpoint says which nonce is next")
        return counts[len(counts) // 2]

    def call_agreed(self, call: Mapping[str, str], *, block: str) -> bytes:
        """Return what more than half of those that answer say. Raises ``EndpointsDisagree``."""
        answers = self._ask_all("eth_call", [dict(call), block])
        said = [answer for answer in answers if isinstance(answer, str)]
        for answer in set(said):
            if 2 * said.count(answer) > len(said):
                return bytes.fromhex(answer.removeprefix("0x"))
        raise EndpointsDisagree(f"{len(said)} of {len(self._endpoints)} answer, not the same")

    def is_refused(self, call: Mapping[str, str]) -> bool:
        """Tell whether a call reverts in the next block, as more than half of the answers say."""
        refused = passed = 0
        for answer in self._ask_all("eth_call", [dict(call), PENDING]):
            if isinstance(answer, str):
                passed += 1
            elif isinstance(answer, NodeRefused) and _is_revert(answer):
                refused += 1
        return refused > passed

    def _ask_all(self, method: str, params: list[Any]) -> Iterator[Answer]:
        """Yield the endpoints' answers as they come, without those that take too long."""
        if len(self._endpoints) == 1:
            yield _ask(self._endpoints[0], method, params)
            return
        answers: queue.Queue[Answer] = queue.Queue()
        for endpoint in self._endpoints:
            # Each in a thread of its own, which nobody waits for: a silent one must not delay.
            threading.Thread(
                target=lambda asked: answers.put(_ask(asked, method, params)),
                args=(endpoint,),
                name="endpoint",
                daemon=True,
            ).start()
        deadline_s = time.monotonic() + ANSWERS_WAIT_S
        for count in range(len(self._endpoints)):
            if 2 * count > len(self._endpoints):
                deadline_s = min(deadline_s, time.monotonic() + STRAGGLER_WAIT_S)
            try:
                yield answers.get(timeout=max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                return

    def _execute(self, method: str, params: list[Any]) -> str:
        """Run a request that executes code, telling a contract's refusal from the node's own."""
        try:
            return str(self._request(method, params))
        except NodeRefused as error:
            if not _is_revert(error):
                raise
            match = _REVERTED.search(error.message)
            raise Reverted("" if match is None else match.group(1).strip("' ,")) from error


def _parse_receipt(answer: Any, tx_hash: str) -> Receipt | None:
    """Return a receipt out of JSON; None for none. Raises ``NodeUnavailable``."""
    if answer is None:
        return None
    try:
        if answer["transactionHash"].lower() != tx_hash:
            raise ValueError("of another transaction")
        if answer.get("blockHash") is None:
            return None
        gas_used = int(answer["gasUsed"], 16)
        # Base adds a fee for posting its data to Ethereum, outside the gas price.
        data_fee_wei = int(answer.get("l1Fee") or "0x0", 16)
        return Receipt(
            tx_hash=tx_hash,
            block_number=int(answer["blockNumber"], 16),
            block_hash=answer["blockHash"].lower(),
            succeeded=int(answer["status"], 16) == 1,
            gas_used=gas_used,
            fee_wei=gas_used * int(answer["effectiveGasPrice"], 16) + data_fee_wei,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NodeUnavailable(f"the node sent a malformed receipt: {error!r}") from error


def _ask(endpoint: Transport, method: str, params: list[Any]) -> Answer:
    try:
        return endpoint.request(method, params)
    except (NodeUnavailable, NodeRefused) as error:
        return error


def _is_revert(error: NodeRefused) -> bool:
    return error.code == _REVERT_CODE or _REVERTED.search(error.message) is not None
