"""``current receipt verify``: a receipt's proof against the root that the chain holds."""

from typing import Any

from eth_utils.address import to_checksum_address
from web3 import Web3

from contracts.bindings import bind
from contracts.chain import translated
from contracts.deployment import Deployment
from contracts.errors import Rejected
from ledger.receipts import Receipt, is_proof_valid


class ReceiptInvalid(Rejected):
    """The receipt is not settled, or its proof does not lead to the root on chain."""


def verify_receipt(view: dict[str, Any], web3: Web3, deployment: Deployment) -> str:
    """Check a receipt (the JSON of ``/receipts/{requestId}``); return the settling tx hash.

    The leaf is computed from the receipt's own figures, so a changed figure is found out. Raises
    ``ReceiptInvalid``.
    """
    settlement = view.get("settlement")
    if view.get("state") != "settled" or settlement is None:
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
        batch_id = bytes.fromhex(settlement["batch_id"][2:])
        proof = [bytes.fromhex(node[2:]) for node in settlement["proof"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ReceiptInvalid(f"the receipt is incomplete: {error!r}") from error
    position = bind(web3, "YieldFundedPosition", to_checksum_address(deployment.position))
    with translated():
        found = position.events.BatchSettled().get_logs(
            from_block=deployment.block_number, argument_filters={"batchId": batch_id}
        )
    if not found:
        raise ReceiptInvalid(f"the chain has settled no batch {settlement['batch_id']}")
    if not is_proof_valid(receipt.leaf(), proof, found[0]["args"]["receiptsRoot"]):
        raise ReceiptInvalid("the proof does not lead to the root on chain")
    return str(found[0]["transactionHash"].to_0x_hex())
