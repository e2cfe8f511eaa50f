"""``current receipt verify``: what a receipt says leads to the root that it names, and whatever a
forged one holds, the answer is a sentence and exit 1."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from web3 import Web3
from web3.providers.base import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from ledger.spending.receipt_views import ReceiptInvalid, check_offline
from ledger.spending.receipts import Receipt, ServedNote, build_proof, build_root
from scripts.cli import commands
from scripts.receipt import verify_receipt
from serving.process.exit_codes import ExitCode
from tests.support.ledgers import DEPLOYMENT

RECEIPT = Receipt("request", 0, 1, "model", 2, 3, 4, 5, 6, 7, 8, 9)
LEAVES = [RECEIPT.leaf(), replace(RECEIPT, request_id="other").leaf()]
ROOT = "0x" + build_root(LEAVES).hex()


def make_view(**changes: object) -> dict[str, Any]:
    proof = ["0x" + node.hex() for node in build_proof(LEAVES, 0)]
    settlement = {"batch_id": "0x" + "01" * 32, "receipts_root": ROOT, "proof": proof}
    return {**asdict(RECEIPT), "state": "settled", "settlement": settlement, **changes}


def test_check_offline__untouched__returns_the_root() -> None:
    assert check_offline(make_view()) == ROOT


NOTE = ServedNote("0xab", "ab" * 32, "of_1", "api.openai.com", "gpt-4o", "A")
SERVED_RECEIPT = replace(RECEIPT, served=NOTE.close())
SERVED_LEAVES = [SERVED_RECEIPT.leaf(), LEAVES[1]]


def make_served_view(**changes: object) -> dict[str, Any]:
    """Return a receipt of leaf version 2 in a batch whose other leaf is of version 1."""
    root = "0x" + build_root(SERVED_LEAVES).hex()
    proof = ["0x" + node.hex() for node in build_proof(SERVED_LEAVES, 0)]
    served = {
        **asdict(NOTE),
        "seller_salt": "0x" + NOTE.seller_salt,
        "seller_commitment": "0x" + NOTE.close().seller_commitment.hex(),
        **changes,
    }
    settlement = {"batch_id": "0x" + "01" * 32, "receipts_root": root, "proof": proof}
    return make_view(leaf_version=2, served=served, settlement=settlement)


def test_check_offline__version_2__leads_to_the_root_with_and_without_the_seller_s_name() -> None:
    root = "0x" + build_root(SERVED_LEAVES).hex()

    assert check_offline(make_served_view()) == root
    # Shown to somebody who need not know the seller.
    assert check_offline(make_served_view(seller=None, seller_salt=None)) == root


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"seller": "0xcd"}, "not the one that the receipt commits to"),
        ({"seller_commitment": "0x" + "00" * 32}, "not the one that the receipt commits to"),
        ({"host": "evil.example"}, "does not lead to the root"),
        ({"model": "gpt-4o-mini"}, "does not lead to the root"),
        ({"grade": "D"}, "does not lead to the root"),
        ({"paid_by": "credit"}, "does not lead to the root"),
        ({"grade": "E"}, "no word of ours"),
        ({"grade": ["A"]}, "grade is no text"),
        ({"seller_salt": "0x12"}, "seller_salt is not 32 bytes"),
    ],
)
def test_check_offline__version_2_changed__refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ReceiptInvalid, match=reason):
        check_offline(make_served_view(**changes))


@pytest.mark.parametrize(
    "changes",
    [{"leaf_version": 1}, {"leaf_version": 3}, {"leaf_version": True}, {"served": None}],
)
def test_check_offline__another_version_than_the_leaf_s__refused(
    changes: dict[str, object],
) -> None:
    with pytest.raises(ReceiptInvalid):
        check_offline({**make_served_view(), **changes})


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
        ({"cost_usdc": -1}, "cost_usdc is no whole number"),
        ({"cost_usdc": 10**80}, "cost_usdc is no whole number"),
        ({"cost_usdc": float("inf")}, "cost_usdc is no whole number"),
        ({"cost_usdc": 8.5}, "cost_usdc is no whole number"),
        ({"cost_usdc": True}, "cost_usdc is no whole number"),
        ({"cost_usdc": [[]]}, "cost_usdc is no whole number"),
        ({"model": "\udc80"}, "model is no Unicode text"),
        ({"model": ["model"]}, "model is no text"),
        ({"request_id": "\udc80", "state": "\x1b[2J"}, r"request \\udc80 is \\x1b\[2J"),
        ({"request_id": ["r"], "state": {}}, "request a list is a dict"),
    ],
)
def test_check_offline__changed__refused(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ReceiptInvalid, match=reason):
        check_offline(make_view(**changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch_id": "0x01"}, "batch_id is not 32 bytes"),
        ({"batch_id": 1}, "batch_id is not 32 bytes"),
        ({"proof": "0x01"}, "proof is not a list"),
        ({"proof": [ROOT + "00"]}, "proof is not 32 bytes"),
        ({"receipts_root": None}, "receipts_root is not 32 bytes"),
        ({"receipts_root": ROOT[:-2]}, "receipts_root is not 32 bytes"),
    ],
)
def test_check_offline__settlement_of_no_words__refused(
    changes: dict[str, object], reason: str
) -> None:
    view = make_view()
    with pytest.raises(ReceiptInvalid, match=reason):
        check_offline({**view, "settlement": {**view["settlement"], **changes}})


class EmptyChain(BaseProvider):
    """A node at block 10 that has no events, and refuses blocks that it does not have."""

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        if method == "eth_blockNumber":
            return {"jsonrpc": "2.0", "id": 1, "result": "0xa"}
        assert method == "eth_getLogs"
        assert int(params[0]["fromBlock"], 16) <= 10
        return {"jsonrpc": "2.0", "id": 1, "result": []}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"batch_id": "0x01"}, "batch_id is not 32 bytes"),
        ({"block_number": 10**80}, "the chain has settled no batch 0x01"),
        ({"block_number": 5}, "the chain has settled no batch 0x01"),
    ],
)
def test_verify_receipt__forged_settlement__refused(
    changes: dict[str, object], reason: str
) -> None:
    view = make_view()
    forged = {**view, "settlement": {**view["settlement"], **changes}}
    with pytest.raises(ReceiptInvalid, match=reason):
        verify_receipt(forged, Web3(EmptyChain()), DEPLOYMENT)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5_000, "holds no JSON"),
        ("[]", "a JSON object was expected"),
        (json.dumps(make_view(request_id="\udc80", state="posted")), "udc80 is posted"),
        (json.dumps(make_view(cost_usdc=float("-inf"))), "cost_usdc is no whole number"),
    ],
)
def test_receipt_verify__forged_file__a_sentence_and_exit_1(
    text: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "receipt.json"
    path.write_text(text)
    words = ["receipt", "verify", "--offline", "--file", str(path)]
    result = CliRunner(mix_stderr=False).invoke(commands, words, prog_name="current")

    assert result.exit_code == ExitCode.FAILED
    assert result.stderr.startswith("invalid: ")
    assert reason in result.stderr
