"""A transaction's receipt out of a node's JSON."""

from typing import Any

import pytest

from contracts.node_errors import NodeUnavailable
from keeper.node_values import TransactionReceipt, parse_receipt

TX_HASH = "0x" + "0b" * 32
BLOCK_HASH = "0x" + "0a" * 32


def make_answer(**changes: Any) -> dict[str, Any]:
    return {
        "transactionHash": TX_HASH.upper().replace("0X", "0x"),
        "blockHash": BLOCK_HASH.upper().replace("0X", "0x"),
        "blockNumber": "0x10",
        "status": "0x1",
        "gasUsed": "0x5208",
        "effectiveGasPrice": "0x3b9aca00",
        **changes,
    }


def test_parse_receipt__mined__its_block_and_fee() -> None:
    fee_wei = 21_000 * 10**9

    assert parse_receipt(make_answer(), TX_HASH) == TransactionReceipt(
        TX_HASH, 16, BLOCK_HASH, succeeded=True, gas_used=21_000, fee_wei=fee_wei
    )
    failed = parse_receipt(make_answer(status="0x0", l1Fee="0x7"), TX_HASH)
    assert failed is not None
    assert (failed.succeeded, failed.fee_wei) == (False, fee_wei + 7)


@pytest.mark.parametrize(
    ("fields", "operator_wei"),
    [
        ({"operatorFeeScalar": "0x0", "operatorFeeConstant": "0x0"}, 0),
        ({"operatorFeeScalar": "0x16e360", "operatorFeeConstant": "0x7"}, 31_507),
        (
            {
                "operatorFeeScalar": "0x3",
                "operatorFeeConstant": "0x7",
                "daFootprintGasScalar": "0x190",
            },
            6_300_007,
        ),
        ({"daFootprintGasScalar": "0x190"}, 0),
    ],
    ids=["none", "isthmus", "jovian", "base"],
)
def test_parse_receipt__of_a_rollup__what_its_operator_took_is_in_the_fee(
    fields: dict[str, str], operator_wei: int
) -> None:
    receipt = parse_receipt(make_answer(l1Fee="0x7", **fields), TX_HASH)

    assert receipt is not None
    assert receipt.fee_wei - 21_000 * 10**9 == 7 + operator_wei
    assert receipt.l1_fee_wei == 7


@pytest.mark.parametrize("answer", [None, make_answer(blockHash=None)])
def test_parse_receipt__in_no_block__none(answer: Any) -> None:
    assert parse_receipt(answer, TX_HASH) is None


@pytest.mark.parametrize(
    "answer",
    [
        make_answer(transactionHash="0x" + "0c" * 32),
        make_answer(gasUsed=None),
        make_answer(status="maybe"),
        {"blockHash": BLOCK_HASH},
        "nonsense",
        7,
    ],
)
def test_parse_receipt__malformed_or_of_another__unavailable(answer: Any) -> None:
    with pytest.raises(NodeUnavailable, match="malformed receipt"):
        parse_receipt(answer, TX_HASH)
