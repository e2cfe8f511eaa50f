"""A local chain as a node of Base shows it: what a rollup's nodes add to answers, and do not have.

One place for the devnet (``base_node`` serves it over HTTP) and for tests.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from contracts.node_errors import NodeRefused, NodeUnavailable, NotYet
from contracts.transport import Call

L1_FEE_WEI: Final = 50_000_000_000_000
"""What each transaction's data costs unless said otherwise: 0.20 USDC, with ether at 4,000."""
SAFE_BLOCKS: Final = 60
"""How far behind the newest block the safe one is: two minutes of Base, until it is posted."""
FINALIZED_BLOCKS: Final = 450
"""The same for the finalized one: a quarter of an hour, until Ethereum has finalized the post."""
_SHOWN_MAX: Final = 10_000
"""How many transactions' receipts are remembered as shown."""

_DEPOSITOR: Final = "0xdeaddeaddeaddeaddeaddeaddeaddeaddead0001"
_L1_BLOCK: Final = "0x4200000000000000000000000000000000000015"
_BEHIND: Final = {"safe": SAFE_BLOCKS, "finalized": FINALIZED_BLOCKS}
_BLOCK_METHODS: Final = ("eth_getBlockByNumber", "eth_getBlockByHash")


class BaseLike:
    """Adds to anvil's answers what a rollup's nodes show, and takes away what they do not have.

    - each block but the first begins with a deposit transaction of type 0x7e, and has its receipt
    - what follows it in the block has a place one higher
    - receipts say an L1 fee of ``l1_fee_wei``
    - nothing is safe for two minutes of blocks, or finalized for a quarter of an hour
    - ``preconfirmations``: so many times a new receipt is of a block that is not sealed yet, with a
      hash that no block will have
    - ``loses_logs``: the logs of a single block are not found, only its receipts are

    ``ask`` puts a method and its parameters to the chain; what it raises is passed on.
    """

    def __init__(
        self,
        ask: Callable[[str, list[Any]], Any],
        *,
        preconfirmations: int = 0,
        l1_fee_wei: int = L1_FEE_WEI,
    ) -> None:
        self._ask = ask
        self._preconfirmations = preconfirmations
        self._l1_fee_wei = l1_fee_wei
        self._shown: dict[str, int] = {}
        self.loses_logs = False
        self.deposits_shown = 0

    def request(self, method: str, params: list[Any]) -> Any:
        """Return the chain's answer as a node of Base would give it."""
        if method == "eth_getLogs":
            if self.loses_logs and "blockHash" in params[0]:
                return []
            return [_move(log) for log in self._ask(method, params)]
        if method == "eth_getBlockReceipts":
            return self._show_receipts(params)
        if method in _BLOCK_METHODS and params and params[0] in _BEHIND:
            number = self._find_behind(_BEHIND[params[0]])
            if number is None:
                return None
            params = [hex(number), *params[1:]]
        answer = self._ask(method, params)
        if answer is None:
            return None
        if method in _BLOCK_METHODS:
            return self._add_deposit(answer, is_full=bool(params[1]))
        if method == "eth_getTransactionReceipt":
            return self._preconfirm(self._add_fee(answer))
        return _move(answer) if method == "eth_getTransactionByHash" else answer

    def request_batch(self, calls: Sequence[Call]) -> list[Any | NodeUnavailable | NodeRefused]:
        """Return each call's answer or error, in order."""
        answers: list[Any | NodeUnavailable | NodeRefused] = []
        for method, params in calls:
            try:
                answers.append(self.request(method, params))
            except (NotYet, NodeRefused) as error:
                answers.append(error)
        return answers

    def _find_behind(self, blocks: int) -> int | None:
        number = int(self._ask("eth_blockNumber", []), 16) - blocks
        return number if number >= 0 else None

    def _show_receipts(self, params: list[Any]) -> list[dict[str, Any]] | None:
        """Return a block's receipts, the deposit's before the others; of a block without any, too.

        None where there is no such block.
        """
        answer = self._ask("eth_getBlockReceipts", params)
        if answer:
            place = {key: answer[0][key] for key in ("blockHash", "blockNumber")}
        else:
            is_hash = len(str(params[0])) > len("0x") + 16
            method = "eth_getBlockByHash" if is_hash else "eth_getBlockByNumber"
            block = self._ask(method, [params[0], False])
            if block is None:
                return None
            place = {"blockHash": block["hash"], "blockNumber": block["number"]}
        if int(place["blockNumber"], 16) == 0:
            return []
        return [_build_receipt(place), *(self._add_fee(receipt) for receipt in answer or [])]

    def _add_deposit(self, block: dict[str, Any], *, is_full: bool) -> dict[str, Any]:
        # A pending block has no hash that a deposit could be told by.
        if block["hash"] is None or int(block["number"], 16) == 0:
            return block
        self.deposits_shown += 1
        deposit = _build_deposit(block)
        others = block["transactions"]
        if is_full:
            return {**block, "transactions": [deposit, *(_move(one) for one in others)]}
        return {**block, "transactions": [deposit["hash"], *others]}

    def _add_fee(self, receipt: dict[str, Any]) -> dict[str, Any]:
        return {
            **_move(receipt),
            "logs": [_move(log) for log in receipt["logs"]],
            "l1Fee": hex(self._l1_fee_wei),
            "l1GasPrice": "0x3b9aca00",
            "l1GasUsed": "0x640",
            "l1BaseFeeScalar": "0x8dd",
            "l1BlobBaseFee": "0x1",
            "l1BlobBaseFeeScalar": "0x101c12",
        }

    def _preconfirm(self, receipt: dict[str, Any]) -> dict[str, Any]:
        tx_hash = str(receipt["transactionHash"])
        shown = self._shown.pop(tx_hash, 0) + 1
        self._shown[tx_hash] = shown
        if len(self._shown) > _SHOWN_MAX:
            self._shown.pop(next(iter(self._shown)), None)
        if shown > self._preconfirmations:
            return receipt
        unsealed = "0x" + "f1" * 32
        logs = [{**log, "blockHash": unsealed} for log in receipt["logs"]]
        return {**receipt, "blockHash": unsealed, "logs": logs}


def _move(item: dict[str, Any]) -> dict[str, Any]:
    """Return a transaction, receipt or log one place later in its block: after the deposit."""
    index = item.get("transactionIndex")
    return item if index is None else {**item, "transactionIndex": hex(int(index, 16) + 1)}


def _get_deposit_hash(block_hash: str) -> str:
    return "0x7e" + block_hash[4:]


def _build_deposit(block: dict[str, Any]) -> dict[str, Any]:
    """Return the deposit that sets the L1 block's attributes, without a signature or a price."""
    return {
        "type": "0x7e",
        "hash": _get_deposit_hash(str(block["hash"])),
        "sourceHash": block["hash"],
        "mint": "0x0",
        "isSystemTx": False,
        "from": _DEPOSITOR,
        "to": _L1_BLOCK,
        "value": "0x0",
        "gas": "0xf4240",
        "gasPrice": "0x0",
        "input": "0x440a5e20",
        "nonce": block["number"],
        "blockHash": block["hash"],
        "blockNumber": block["number"],
        "transactionIndex": "0x0",
        "depositReceiptVersion": "0x1",
        "v": "0x0",
        "r": "0x0",
        "s": "0x0",
    }


def _build_receipt(place: dict[str, str]) -> dict[str, Any]:
    """Return the receipt of the deposit in the block of ``place``: its hash and its number."""
    return {
        "type": "0x7e",
        "status": "0x1",
        "transactionHash": _get_deposit_hash(place["blockHash"]),
        "transactionIndex": "0x0",
        **place,
        "from": _DEPOSITOR,
        "to": _L1_BLOCK,
        "contractAddress": None,
        "cumulativeGasUsed": "0xb44c",
        "gasUsed": "0xb44c",
        "effectiveGasPrice": "0x0",
        "depositNonce": place["blockNumber"],
        "depositReceiptVersion": "0x1",
        "logs": [],
        "logsBloom": "0x" + "00" * 256,
    }
