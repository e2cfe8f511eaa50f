"""``current receipt verify --offline``: what a receipt says leads to the root that it names."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from ledger.spending.receipts import Receipt, build_proof, build_root
from scripts.receipt import ReceiptInvalid, check_offline

RECEIPT = Receipt("request", 0, 1, "model", 2, 3, 4, 5, 6, 7, 8, 9)
LEAVES = [RECEIPT.leaf(), replace(RECEIPT, request_id="other").leaf()]
ROOT = "0x" + build_root(LEAVES).hex()


def make_view(**changes: object) -> dict[str, Any]:
    proof = ["0x" + node.hex() for node in build_proof(LEAVES, 0)]
    settlement = {"batch_id": "0x" + "01" * 32, "receipts_root": ROOT, "proof": proof}
    return {**asdict(RECEIPT), "state": "settled", "settlement": settlement, **changes}


def test_check_offline__untouched__returns_the_root() -> None:
    assert check_offline(make_view()) == ROOT


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cost_usdc": 1}, "does not lead to the root"),
        ({"state": "posted", "settlement": None}, "request request is posted"),
        ({"model": "dearer"}, "does not lead to the root"),
        ({"cost_usdc": "much"}, "incomplete"),
        ({"settlement": {"batch_id": "0x01"}}, "incomplete"),
        ({"settlement": {"batch_id": "0x01", "proof": []}}, "incomplete"),
        ({"settlement": "none"}, "request request is settled"),
    ],
)
def test_check_offline__changed__refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ReceiptInvalid, match=reason):
        check_offline(make_view(**changes))
