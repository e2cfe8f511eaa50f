"""``current receipt verify``: a receipt's proof against the root that the chain holds."""

from typing import Any

from eth_utils.address import to_checksum_address
from web3 import Web3

from contracts.bindings import bind
from contracts.chain import translated
from contracts.deployment import Deployment
from ledger.spending.receipt_views import ReceiptInvalid, read_receipt, read_word
from ledger.spending.receipts import is_proof_valid


def verify_receipt(view: dict[str, Any], web3: Web3, deployment: Deployment) -> str:
    """Check a receipt (the JSON of ``/receipts/{requestId}``); return the settling tx hash.

    The leaf is computed from the receipt's own figures, so a changed figure is found out. Raises
    ``ReceiptInvalid``.
    """
    leaf, proof, settlement = read_receipt(view)
    found = fetch_settlement(settlement, web3, deployment)
    if found is None:
        raise ReceiptInvalid(f"the chain has settled no batch {settlement['batch_id']}")
    if not is_proof_valid(leaf, proof, found["args"]["receiptsRoot"]):
        raise ReceiptInvalid("the proof does not lead to the root on chain")
    return str(found["transactionHash"].to_0x_hex())


def fetch_settlement(settlement: dict[str, Any], web3: Web3, deployment: Deployment) -> Any:
    """Return the event that settled a batch, or None.

    Looked for in the block that the receipt names first: most nodes refuse to search all blocks.
    """
    position = bind(web3, "YieldFundedPosition", to_checksum_address(deployment.position))
    batch_id = read_word(settlement, "batch_id")
    named = settlement.get("block_number")
    ranges: list[tuple[int, int | None]] = [(deployment.block_number, None)]
    with translated():
        head = web3.eth.block_number
    # A node refuses a block that it does not have, and a forged receipt may name any.
    if isinstance(named, int) and deployment.block_number <= named <= head:
        ranges.insert(0, (named, named))
    for first, last in ranges:
        with translated():
            found = position.events.BatchSettled().get_logs(
                from_block=first, to_block=last, argument_filters={"batchId": batch_id}
            )
        if found:
            return found[0]
    return None
