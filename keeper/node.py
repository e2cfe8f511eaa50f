"""What the keeper asks of its nodes beyond reading the mirror's blocks.

Most answers may come from any endpoint: a wrong one delays or wastes gas, and is found out on
chain. What decides about something that cannot be taken back is asked of all endpoints, and what
more than half of those that answer say counts. An answer that cannot be one is as good as none.
"""

import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

from web3 import Web3

from contracts.blocks import Header
from contracts.chain import Web3Transport
from contracts.errors import Reverted
from contracts.node_errors import NodeFailure, NodeRefused, NodeUnavailable
from contracts.reader import ChainReader
from contracts.transport import Transport
from keeper.errors import EndpointsDisagree, EtherShort
from keeper.gas import TRANSACTION_GAS_MAX, get_least_gas
from keeper.node_values import (
    NONSENSE,
    Answer,
    TransactionReceipt,
    as_failure,
    keep_sound,
    parse_base_fee,
    parse_bytes,
    parse_logs,
    parse_nonce,
    parse_quantity,
    parse_receipt,
    parse_receipt_logs,
    parse_word,
    says_ether_short,
)

T = TypeVar("T")

PENDING: Final = "pending"
"""The block that is being built: its clock runs also where blocks come only with transactions."""

ANSWERS_WAIT_S: Final = 10.0
"""How long all endpoints together are waited for."""
STRAGGLER_WAIT_S: Final = 0.5
"""How long the others are waited for once more than half have answered."""

_NOTHING: Final = {"to": "0x" + "00" * 20, "data": "0x"}
"""A call that succeeds wherever calls are executed at all."""


Suspect = Callable[[NodeUnavailable], None]


def _trust(_error: NodeUnavailable) -> None:
    """Suspect no endpoint."""


class Node(ChainReader):
    """Simulates, sends and looks up transactions. Failures are of ``contracts.reader``.

    ``node`` is whom a question goes to, for example a pool. ``endpoints`` are those that a
    transaction is given to, and that must agree where it matters; without them: ``node`` alone.
    ``on_nonsense`` hears of an answer that cannot be one, so that another endpoint is asked next.
    """

    def __init__(
        self,
        node: Web3 | Transport,
        *,
        endpoints: Sequence[Transport] = (),
        on_nonsense: Suspect = _trust,
    ) -> None:
        super().__init__(Web3Transport(node) if isinstance(node, Web3) else node)
        self._endpoints = tuple(endpoints) or (self._transport,)
        self._on_nonsense = on_nonsense

    @property
    def endpoints_count(self) -> int:
        """How many endpoints there are to be asked in turn."""
        return len(self._endpoints)

    def doubt(self, reason: str) -> None:
        """Say that the endpoint in use seems to be wrong, so that another one is asked next."""
        self._on_nonsense(NodeUnavailable(reason, failure=NodeFailure.OUTVOTED))

    def fetch_head(self) -> Header:
        return self._insist(super().fetch_head)

    def fetch_headers(self, numbers: Sequence[int]) -> list[Header | None]:
        return self._insist(partial(super().fetch_headers, numbers))

    def has_block(self, number: int, block_hash: str) -> bool:
        """Tell whether an endpoint knows a block; that endpoint is asked from then on."""
        for _ in self._endpoints:
            header = self.fetch_header(number)
            if header is not None and header.block_hash == block_hash:
                return True
            self.doubt(f"does not know block {number} as {block_hash}")
        return False

    def call(self, call: Mapping[str, str], *, block: str = PENDING) -> bytes:
        """Return what a call answers at ``block`` (a hash or a tag). Raises ``Reverted``."""
        try:
            return self._get("eth_call", [dict(call), block], parse_bytes)
        except NodeRefused as error:
            if error.revert_reason is None:
                raise
            raise Reverted(error.revert_reason) from error

    def try_call(self, call: Mapping[str, str], *, block: str) -> bytes:
        """Like ``call``; a refusal in a node's own words is a revert too, if only of this call.

        For calls into contracts of others, whom a refusal must not let stop anybody else. Raises
        ``EtherShort`` where a call has a price and its sender cannot pay it.
        """
        try:
            return self.call(call, block=block)
        except NodeRefused as error:
            if "maxFeePerGas" in call and says_ether_short(error.message):
                raise EtherShort(error.message) from error
            self.call(_NOTHING, block=block)
            raise Reverted(error.message) from error

    def fetch_word(self, to: str, data: str, *, block: str) -> int:
        """Return the one word that a view of ours answers, which never reverts."""
        return self._insist(partial(self._read_word, {"to": to, "data": data}, block))

    def _read_word(self, call: Mapping[str, str], block: str) -> int:
        try:
            return self._read("eth_call", [dict(call), block], parse_word)
        except NodeRefused as error:
            if error.revert_reason is None:
                raise
            raise as_failure("eth_call", error) from error

    def estimate_gas(self, call: Mapping[str, str]) -> int:
        """Return the gas that a call needs in the next block, as the middle of the endpoints says.

        What no transaction can use, or this one not do without, does not count: its nonce would be
        stuck for ever. Raises ``Reverted``, and ``NodeUnavailable`` where no endpoint answers.
        """
        least = get_least_gas(bytes.fromhex(call["data"].removeprefix("0x")))
        found: list[int] = []
        failure: Exception = NodeUnavailable("no endpoint estimates gas")
        for answer in self._ask_all("eth_estimateGas", [dict(call), PENDING]):
            if isinstance(answer, NodeRefused) and answer.revert_reason is not None:
                failure = Reverted(answer.revert_reason)
            elif isinstance(answer, (NodeUnavailable, NodeRefused)):
                failure = failure if isinstance(failure, Reverted) else answer
            else:
                # An absurd value is left out like a malformed one.
                gas = keep_sound([answer], parse_quantity)
                found += [one for one in gas if least <= one <= TRANSACTION_GAS_MAX]
        if not found:
            raise failure
        return sorted(found)[len(found) // 2]

    def has_code(self, address: str, *, block: str) -> bool:
        """Tell whether there is a contract at an address, at a block's hash."""
        return bool(self._get("eth_getCode", [address, block], parse_bytes))

    def find_contracts(self, addresses: Sequence[str], *, block: str) -> frozenset[str]:
        """Return which of the addresses have code at a block's hash; one exchange for all."""
        calls = [("eth_getCode", [address, block]) for address in addresses]

        def ask() -> frozenset[str]:
            try:
                codes = [parse_bytes(answer) for answer in self._request_all(calls)]
            except NONSENSE as error:
                raise as_failure("eth_getCode", error) from error
            return frozenset(
                address for address, code in zip(addresses, codes, strict=True) if code
            )

        return self._insist(ask) if calls else frozenset()

    def fetch_balance_wei(self, address: str) -> int:
        """Return an account's ether."""
        return self._get("eth_getBalance", [address, "latest"], parse_quantity)

    def fetch_base_fee_wei(self) -> int:
        """Return the newest block's base fee per gas."""
        return self._get("eth_getBlockByNumber", ["latest", False], parse_base_fee)

    def fetch_receipt(self, tx_hash: str) -> TransactionReceipt | None:
        """Return the receipt of a transaction that is in a block, or None: what most endpoints say.

        Where it is a tie, a receipt counts for more than none: one of them lags. Raises
        ``NodeUnavailable`` where no endpoint answers.
        """
        votes: Counter[TransactionReceipt | None] = Counter()
        failure: NodeUnavailable | NodeRefused = NodeUnavailable("no endpoint shows receipts")
        for answer in self._ask_all("eth_getTransactionReceipt", [tx_hash]):
            try:
                if isinstance(answer, (NodeUnavailable, NodeRefused)):
                    raise answer
                votes[parse_receipt(answer, tx_hash)] += 1
            except (NodeUnavailable, NodeRefused) as error:
                failure = error
        if not votes:
            raise failure
        return max(votes, key=lambda receipt: (votes[receipt], receipt is not None))

    def search_logs(self, query: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the logs that match a query."""
        return self._get("eth_getLogs", [dict(query)], parse_logs)

    def fetch_transaction_logs(self, tx_hash: str) -> list[dict[str, Any]]:
        """Return the logs of a transaction in a block; none where most do not know it.

        Raises ``EndpointsDisagree`` where no more than half of those that answer say the same.
        """
        said: list[str] = []
        for answer in self._ask_all("eth_getTransactionReceipt", [tx_hash]):
            try:
                if not isinstance(answer, (NodeUnavailable, NodeRefused)):
                    said.append(parse_receipt_logs(answer))
            except NONSENSE:
                continue
        for one in set(said):
            if 2 * said.count(one) > len(said):
                logs: list[dict[str, Any]] = json.loads(one)
                return logs
        raise EndpointsDisagree(f"{len(said)} of {len(self._endpoints)} show logs, not the same")

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

        Raises ``EndpointsDisagree`` where no endpoint answers.
        """
        block = "latest" if block_number is None else hex(block_number)
        answers = self._ask_all("eth_getTransactionCount", [address, block])
        counts = sorted(keep_sound(answers, parse_nonce), reverse=True)
        if not counts:
            raise EndpointsDisagree("no endpoint says which nonce is next")
        return counts[len(counts) // 2]

    def call_agreed(self, call: Mapping[str, str], *, block: str) -> bytes:
        """Return what more than half of those that answer say. Raises ``EndpointsDisagree``."""
        answers = self._ask_all("eth_call", [dict(call), block])
        said = keep_sound(answers, parse_bytes)
        for answer in set(said):
            if 2 * said.count(answer) > len(said):
                return answer
        raise EndpointsDisagree(f"{len(said)} of {len(self._endpoints)} answer, not the same")

    def is_refused(self, call: Mapping[str, str]) -> bool:
        """Tell whether a call reverts in the next block, as more than half of the answers say."""
        refused = passed = 0
        for answer in self._ask_all("eth_call", [dict(call), PENDING]):
            if isinstance(answer, str):
                passed += 1
            elif isinstance(answer, NodeRefused) and answer.revert_reason is not None:
                refused += 1
        return refused > passed

    def _ask_all(self, method: str, params: list[Any]) -> Iterator[Answer]:
        """Yield the endpoints' answers as they come, without those that take too long."""
        if len(self._endpoints) == 1:
            yield _ask(self._endpoints[0], method, params)
            return
        answers: queue.Queue[Answer] = queue.Queue()
        for endpoint in self._endpoints:
            # Each in a thread that is not waited for: a silent endpoint must not delay the others.
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

    def _get(self, method: str, params: list[Any], parse: Callable[[Any], T]) -> T:
        """Return the first endpoint's answer that is one."""
        return self._insist(partial(self._read, method, params, parse))

    def _read(self, method: str, params: list[Any], parse: Callable[[Any], T]) -> T:
        answer = self._request(method, params)
        try:
            return parse(answer)
        except NONSENSE as error:
            raise as_failure(method, error) from error

    def _insist(self, ask: Callable[[], T]) -> T:
        """Ask; where the answer cannot be one, ask the next endpoint, as many as there are."""
        for left in reversed(range(len(self._endpoints))):
            try:
                return ask()
            except NodeUnavailable as error:
                if error.failure is not NodeFailure.MALFORMED:
                    raise
                self._on_nonsense(error)
                if left == 0:
                    raise
        raise AssertionError("there is an endpoint")


def _ask(endpoint: Transport, method: str, params: list[Any]) -> Answer:
    try:
        return endpoint.request(method, params)
    except (NodeUnavailable, NodeRefused) as error:
        return error
