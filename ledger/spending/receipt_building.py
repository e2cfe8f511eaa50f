"""A receipt as ``/receipts/{requestId}`` and ``current receipt show`` give it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from ledger.spending.batch_receipts import receipt_of
from ledger.spending.receipts import Receipt, ServedNote, build_proof, read_served_note

_AS_KEPT: Final = (
    "request_id",
    "state",
    "token_id",
    "key_epoch",
    "key_id",
    "model",
    "ceiling_usdc",
    "cost_usdc",
    "input_usdc_per_mtok",
    "output_usdc_per_mtok",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "void_reason",
)


def build_view(usage: Mapping[Any, Any], settlement: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the receipt of a usage row, with the batch that charges it where there is one."""
    view = {name: usage[name] for name in _AS_KEPT}
    cached_price = usage["cached_input_usdc_per_mtok"]
    view["cached_input_usdc_per_mtok"] = (
        usage["input_usdc_per_mtok"] if cached_price is None else cached_price
    )
    view["per_request_usdc"] = usage["per_request_usdc"] or 0
    if usage["cost_usdc"] is not None:
        view["cached_tokens"] = usage["cached_tokens"] or 0
    view["reserved_at_s"] = usage["reserved_at_s"]
    view["posted_at_s"] = None if usage["cost_usdc"] is None else usage["resolved_at_s"]
    receipt = None if usage["cost_usdc"] is None else receipt_of(usage)
    view["leaf"] = None if receipt is None else "0x" + receipt.leaf().hex()
    view["leaf_version"] = None if receipt is None else receipt.version
    view["served"] = _describe_served(read_served_note(usage["served"]))
    view["settlement"] = settlement
    return view


def build_settlement(
    request_id: str, batch: Mapping[Any, Any], receipts: Sequence[Receipt], *, state: str
) -> dict[str, Any]:
    """Return the batch that charges a request, and the proof that the request is in it.

    ``receipts`` are all of the batch's, in the order of its tree.
    """
    index = [receipt.request_id for receipt in receipts].index(request_id)
    proof = build_proof([receipt.leaf() for receipt in receipts], index)
    return {
        "batch_id": batch["batch_id"],
        "state": state,
        "receipts_root": batch["receipts_root"],
        "proof": ["0x" + sibling.hex() for sibling in proof],
        "block_number": batch["settled_block"],
        "tx_hash": batch["settled_tx_hash"],
    }


def _describe_served(note: ServedNote | None) -> dict[str, Any] | None:
    """Return who served a request, with the commitment of the leaf and what opens it."""
    if note is None:
        return None
    return {
        **asdict(note),
        "seller_salt": f"0x{note.seller_salt}",
        "seller_commitment": "0x" + note.close().seller_commitment.hex(),
    }
