"""An endpoint of a local chain that shows it as a node of Base would."""

from collections.abc import Sequence
from typing import Any, Final

from contracts.node_errors import NodeRefused, NodeUnavailable
from contracts.transport import Call, Transport

L1_FEE_WEI: Final = 50_000_000_000_000
"""What each transaction's receipt says that its data cost: 0.20 USDC, with ether at 4,000."""
_DEPOSITOR: Final = "0xdeaddeaddeaddeaddeaddeaddeaddeaddead0001"
_L1_BLOCK: Final = "0x4200000000000000000000000000000000000015"


class BaseLike:
    """Adds to anvil's answers what a rollup's nodes show, and takes away what they do not have.

    - each block begins with a deposit transaction of type 0x7e, and has its receipt
    - receipts say an L1 fee
    - nothing is safe or finalized yet
    - ``preconfirmations``: so many times a new receipt is of a block that is not sealed yet, with a
      hash that no block will have
    - ``loses_logs``: the logs of a single block are not found, only its receipts are
    """

    def __init__(self, chain: Transport, *, preconfirmations: int = 0) -> None:
        self._chain = chain
        self._preconfirmations = preconfirmations
        self._shown: dict[str, int] = {}
        self.loses_logs = False
        self.deposits_shown = 0

    def request(self, method: str, params: list[Any]) -> Any:
        if method == "eth_getBlockByNumber" and params[0] in ("safe", "finalized"):
            return None
        if method == "eth_getLogs" and self.loses_logs and "blockHash" in params[0]:
            return []
        answer = self._chain.request(method, params)
        if answer is None:
            return None
        if method in ("eth_getBlockByNumber", "eth_getBlockByHash"):
            return self._add_deposit(answer, is_full=params[1])
        if method == "eth_getBlockReceipts":
            others = [_add_fee(receipt) for receipt in answer]
            return [_build_receipt(others[0]), *others] if others else answer
        if method == "eth_getTransactionReceipt":
            return self._preconfirm(_add_fee(answer))
        return answer

    def request_batch(self, calls: Sequence[Call]) -> list[Any | NodeUnavailable | NodeRefused]:
        answers: list[Any | NodeUnavailable | NodeRefused] = []
        for method, params in calls:
            try:
                answers.append(self.request(method, params))
            except NodeRefused as error:
                answers.append(error)
        return answers

    def _add_deposit(self, block: dict[str, Any], *, is_full: bool) -> dict[str, Any]:
        others = block["transactions"]
        if not others:
            return block  # its receipts could not be told from none at all
        self.deposits_shown += 1
        deposit = _build_deposit(block)
        return {**block, "transactions": [deposit if is_full else deposit["hash"], *others]}

    def _preconfirm(self, receipt: dict[str, Any]) -> dict[str, Any]:
        tx_hash = str(receipt["transactionHash"])
        self._shown[tx_hash] = self._shown.get(tx_hash, 0) + 1
        if self._shown[tx_hash] > self._preconfirmations:
            return receipt
        return {**receipt, "blockHash": "0x" + "f1" * 32}


def _build_deposit(block: dict[str, Any]) -> dict[str, Any]:
    """Return the deposit that sets the L1 block's attributes, without a signature or a price."""
    return {
        "type": "0x7e",
        "hash": "0x7e" + str(block["hash"])[4:],
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


def _build_receipt(beside: dict[str, Any]) -> dict[str, Any]:
    """Return the deposit's receipt, in the block of another one."""
    return {
        "type": "0x7e",
        "status": "0x1",
        "transactionHash": "0x7e" + str(beside["blockHash"])[4:],
        "transactionIndex": "0x0",
        "blockHash": beside["blockHash"],
        "blockNumber": beside["blockNumber"],
        "from": _DEPOSITOR,
        "to": _L1_BLOCK,
        "contractAddress": None,
        "cumulativeGasUsed": "0xb44c",
        "gasUsed": "0xb44c",
        "effectiveGasPrice": "0x0",
        "depositNonce": beside["blockNumber"],
        "depositReceiptVersion": "0x1",
        "logs": [],
        "logsBloom": "0x" + "00" * 256,
    }


def _add_fee(receipt: dict[str, Any]) -> dict[str, Any]:
    return {
        **receipt,
        "l1Fee": hex(L1_FEE_WEI),
        "l1GasPrice": "0x3b9aca00",
        "l1GasUsed": "0x640",
        "l1BaseFeeScalar": "0x8dd",
        "l1BlobBaseFee": "0x1",
        "l1BlobBaseFeeScalar": "0x101c12",
    }
