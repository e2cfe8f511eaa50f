"""What the keeper asks of its node beyond reading the mirror's blocks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from contracts.chain import ChainReader, NodeRefused, NodeUnavailable
from contracts.errors import Reverted

PENDING: Final = "pending"
"""The block that is being built: its clock runs also where blocks come only with transactions."""

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


class Node(ChainReader):
    """One node, to simulate, send and look up transactions. Failures are of ``contracts.chain``."""

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
        """Return the receipt of a transaction that is in a block, or None."""
        receipt = self._request("eth_getTransactionReceipt", [tx_hash])
        if receipt is None or receipt.get("blockHash") is None:
            return None
        try:
            gas_used = int(receipt["gasUsed"], 16)
            # Base adds a fee for posting its data to Ethereum, outside the gas price.
            data_fee_wei = int(receipt.get("l1Fee") or "0x0", 16)
            return Receipt(
                tx_hash=receipt["transactionHash"].lower(),
                block_number=int(receipt["blockNumber"], 16),
                block_hash=receipt["blockHash"].lower(),
                succeeded=int(receipt["status"], 16) == 1,
                gas_used=gas_used,
                fee_wei=gas_used * int(receipt["effectiveGasPrice"], 16) + data_fee_wei,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise NodeUnavailable(f"the node sent a malformed receipt: {error!r}") from error

    def send_raw(self, raw_tx: str) -> None:
        """Give a signed transaction to the node. Raises ``NodeRefused`` with the node's reason."""
        self._request("eth_sendRawTransaction", [raw_tx])

    def _execute(self, method: str, params: list[Any]) -> str:
        """Run a request that executes code, telling a contract's refusal from the node's own."""
        try:
            return str(self._request(method, params))
        except NodeRefused as error:
            match = _REVERTED.search(error.message)
            if error.code != _REVERT_CODE and match is None:
                raise
            raise Reverted("" if match is None else match.group(1).strip("' ,")) from error
