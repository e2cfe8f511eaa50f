"""A receipt as ``/receipts/{requestId}`` shows it, read back and checked. Pure.

A receipt comes from anybody: whatever its fields hold, the only error is ``ReceiptInvalid``.
"""

import re
from typing import Any, Final

from contracts.errors import Rejected
from contracts.units import UINT256_MAX
from ledger.spending.receipts import (
    GRADES,
    PAID_BY,
    Receipt,
    ServedLeaf,
    commit_seller,
    is_proof_valid,
)

_DIGITS: Final = re.compile(r"[0-9]{1,78}")
_WORD: Final = re.compile(r"0x[0-9a-fA-F]{64}")
_SHOWN_MAX: Final = 100


class ReceiptInvalid(Rejected):
    """The receipt is not settled, or its proof does not lead to the root on chain."""


def check_offline(view: dict[str, Any]) -> str:
    """Check that a receipt's figures lead to the root that it names; return that root (0x hex).

    Whether the chain has that root is left open. Raises ``ReceiptInvalid``.
    """
    leaf, proof, settlement = read_receipt(view)
    try:
        root = read_word(settlement, "receipts_root")
    except (KeyError, ValueError) as error:
        raise ReceiptInvalid(f"the receipt is incomplete: {error!r}") from error
    if not is_proof_valid(leaf, proof, root):
        raise ReceiptInvalid("the proof does not lead to the root that the receipt names")
    return "0x" + root.hex()


def read_receipt(view: Any) -> tuple[bytes, list[bytes], dict[str, Any]]:
    """Return a receipt's leaf, its proof and what it says of its settlement.

    A receipt comes from anybody: whatever its fields hold, the only error is ``ReceiptInvalid``.
    """
    if not isinstance(view, dict):
        raise ReceiptInvalid("this is no receipt: a JSON object was expected")
    settlement = view.get("settlement")
    if view.get("state") != "settled" or not isinstance(settlement, dict):
        request_id, state = _show(view.get("request_id")), _show(view.get("state"))
        raise ReceiptInvalid(f"request {request_id} is {state}")
    try:
        receipt = Receipt(
            request_id=read_text(view, "request_id"),
            token_id=read_figure(view, "token_id"),
            key_epoch=read_figure(view, "key_epoch"),
            model=read_text(view, "model"),
            prompt_tokens=read_figure(view, "prompt_tokens"),
            cached_tokens=read_figure(view, "cached_tokens"),
            completion_tokens=read_figure(view, "completion_tokens"),
            input_usdc_per_mtok=read_figure(view, "input_usdc_per_mtok"),
            cached_input_usdc_per_mtok=read_figure(view, "cached_input_usdc_per_mtok"),
            output_usdc_per_mtok=read_figure(view, "output_usdc_per_mtok"),
            cost_usdc=read_figure(view, "cost_usdc"),
            posted_at_s=read_figure(view, "posted_at_s"),
            served=_read_served(view),
        )
        leaf = receipt.leaf()
        read_word(settlement, "batch_id")
        nodes = settlement["proof"]
        if not isinstance(nodes, list):
            raise ValueError("proof is not a list")
        proof = [read_word({"proof": node}, "proof") for node in nodes]
    except (KeyError, ValueError) as error:
        raise ReceiptInvalid(f"the receipt is incomplete: {error!r}") from error
    return leaf, proof, settlement


def _read_served(view: dict[str, Any]) -> ServedLeaf | None:
    """Return who served, by a receipt of leaf version 2; None for version 1.

    A receipt that states no version is of the first. A seller that is named must be the committed
    one. Raises ``KeyError`` and ``ValueError``.
    """
    version = view.get("leaf_version", 1)
    if version == 1:
        return None
    served = view["served"]
    if version != 2 or not isinstance(served, dict):
        raise ValueError("leaf_version is neither 1 nor 2, or served is no object")
    grade, paid_by = read_text(served, "grade"), read_text(served, "paid_by")
    if grade not in GRADES or paid_by not in PAID_BY:
        raise ValueError("grade or paid_by is no word of ours")
    commitment = read_word(served, "seller_commitment")
    if served.get("seller") is not None:
        opened = commit_seller(read_text(served, "seller"), read_word(served, "seller_salt"))
        if opened != commitment:
            raise ValueError("the seller is not the one that the receipt commits to")
    return ServedLeaf(
        seller_commitment=commitment,
        offer_id=read_text(served, "offer_id"),
        host=read_text(served, "host"),
        model=read_text(served, "model"),
        grade=grade,
        paid_by=paid_by,
    )


def read_figure(view: dict[str, Any], name: str) -> int:
    """Return a figure of the leaf, 0 to 2**256 - 1. Raises ``KeyError`` and ``ValueError``.

    Only whole numbers count: a rounded one would let a receipt show more than its leaf holds.
    """
    value = view[name]
    if isinstance(value, str) and _DIGITS.fullmatch(value) is not None:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= UINT256_MAX:
        raise ValueError(f"{name} is no whole number from 0 to 2**256 - 1")
    return value


def read_text(view: dict[str, Any], name: str) -> str:
    """Return a text of the leaf. Raises ``KeyError`` and ``ValueError``."""
    value = view[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can escape half of a surrogate pair, which no bytes and so no leaf can hold.
        raise ValueError(f"{name} is no Unicode text") from None
    return value


def read_word(fields: dict[str, Any], name: str) -> bytes:
    """Return 32 bytes from 0x hex. Raises ``KeyError`` and ``ValueError``."""
    value = fields[name]
    if not isinstance(value, str) or _WORD.fullmatch(value) is None:
        raise ValueError(f"{name} is not 32 bytes in 0x hex")
    return bytes.fromhex(value[2:])


def _show(value: object) -> str:
    """Return an untrusted value as a terminal can show it, cut where it is long."""
    if isinstance(value, str):
        return repr(value[:_SHOWN_MAX])[1:-1]
    if value is None or isinstance(value, int | float):
        return str(value)[:_SHOWN_MAX]
    return f"a {type(value).__name__}"
