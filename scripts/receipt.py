"""``current receipt verify``: a receipt's proof against the root that the chain holds, or only
against the one that it names."""

from typing import Any

from eth_utils.address import to_checksum_address
from web3 import Web3

from contracts.bindings import bind
from contracts.chain import translated
from contracts.deployment import Deployment
from contracts.errors import Rejected
from ledger.spending.receipts import Receipt, is_proof_valid


class ReceiptInvalid(Rejected):
    """The receipt is not settled, or its proof does not lead to the root on chain."""


def verify_receipt(view: dict[str, Any], web3: Web3, deployment: Deployment) -> str:
    """Check a receipt (the JSON of ``/receipts/{requestId}``); return the settling tx hash.

    The leaf is computed from the receipt's own figures, so a changed figure is found out. Raises
    ``ReceiptInvalid``.
    """
    leaf, proof, settlement = _read_receipt(view)
    found = _fetch_settlement(settlement, web3, deployment)
    if found is None:
        raise ReceiptInvalid(f"the chain has settled no batch {settlement['batch_id']}")
    if not is_proof_valid(leaf, proof, found["args"]["receiptsRoot"]):
        raise ReceiptInvalid("the proof does not lead to the root on chain")
    return str(found["transactionHash"].to_0x_hex())


def check_offline(view: dict[str, Any]) -> str:
    """Check that a receipt's figures lead to the root that it names; return that root (0x hex).

    Whether the chain has that root is left open. Raises ``ReceiptInvalid``.
    """
    leaf, proof, settlement = _read_receipt(view)
    root = str(settlement.get("receipts_root"))
    try:
        is_valid = is_proof_valid(leaf, proof, bytes.fromhex(root.removeprefix("0x")))
    except ValueError as error:
        raise ReceiptInvalid(f"the receipt is incomplete: {error!r}") from error
    if not is_valid:
        raise ReceiptInvalid("the proof does not lead to the root that the receipt names")
    return root


def _read_receipt(view: dict[str, Any]) -> tuple[bytes, list[bytes], dict[str, Any]]:
    """Return a receipt's leaf, its proof and what it says of its settlement."""
    settlement = view.get("settlement")
    if view.get("state") != "settled" or not isinstance(settlement, dict):
        raise ReceiptInvalid(f"request {view.get('request_id')} is {view.get('state')}")
    try:
        receipt = Receipt(
            request_id=str(view["request_id"]),
            token_id=int(view["token_id"]),
            key_epoch=int(view["key_epoch"]),
            model=str(view["model"]),
            prompt_tokens=int(view["prompt_tokens"]),
            cached_tokens=int(view["cached_tokens"]),
            completion_tokens=int(view["completion_tokens"]),
            input_usdc_per_mtok=int(view["input_usdc_per_mtok"]),
            cached_input_usdc_per_mtok=int(view["cached_input_usdc_per_mtok"]),
            output_usdc_per_mtok=int(view["output_usdc_per_mtok"]),
            cost_usdc=int(view["cost_usdc"]),
            posted_at_s=int(view["posted_at_s"]),
        )
        bytes.fromhex(settlement["batch_id"][2:])
        proof = [bytes.fromhex(node[2:]) for node in settlement["proof"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ReceiptInvalid(f"the receipt is incomplete: {error!r}") from error
    return receipt.leaf(), proof, settlement


def _fetch_settlement(settlement: dict[str, Any], web3: Web3, deployment: Deployment) -> Any:
    """Return the event that settled a batch, or None.

    Looked for in the block that the receipt names first: most nodes refuse to search all blocks.
    """
    position = bind(web3, "YieldFundedPosition", to_checksum_address(deployment.position))
    batch_id = bytes.fromhex(settlement["batch_id"][2:])
    named = settlement.get("block_number")
    ranges: list[tuple[int, int | None]] = [(deployment.block_number, None)]
    if isinstance(named, int) and named >= deployment.block_number:
        ranges.insert(0, (named, named))
    for first, last in ranges:
        with translated():
            found = position.events.BatchSettled().get_logs(
                from_block=first, to_block=last, argument_filters={"batchId": batch_id}
            )
        if found:
            return found[0]
    return None
