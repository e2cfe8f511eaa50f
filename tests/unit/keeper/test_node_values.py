"""What nodes say: nonsense is told from values."""

from typing import Any

import pytest

from keeper.node_values import (
    NONSENSE,
    keep_sound,
    parse_base_fee,
    parse_bytes,
    parse_logs,
    parse_nonce,
    parse_quantity,
    parse_receipt_logs,
)

LOG: dict[str, Any] = {
    "address": "0xa",
    "topics": ["0xb"],
    "data": "0x",
    "blockHash": "0xc",
    "transactionHash": "0xd",
    "blockNumber": "0x1",
    "logIndex": "0x0",
}


NOTHING: list[Any] = [
    None,
    {},
    [],
    7,
    "",
    "0x",
    "0xzz",
    "10 wei",
    {"result": "0x1"},
    [None],
    "0x-1",
]


@pytest.mark.parametrize("answer", NOTHING)
@pytest.mark.parametrize("parse", [parse_quantity, parse_nonce])
def test_parse_quantity__nonsense__is_told(parse: Any, answer: Any) -> None:
    with pytest.raises(NONSENSE):
        parse(answer)


def test_parse_quantity__bounds__are_those_of_the_machine() -> None:
    assert parse_quantity(hex(2**256 - 1)) == 2**256 - 1
    assert keep_sound([hex(2**256), "0x0", "-0x1"], parse_quantity) == [0]
    assert keep_sound([hex(2**32), hex(2**32 + 1)], parse_nonce) == [2**32]


@pytest.mark.parametrize("answer", [None, {}, [], 7, "", "zz", "0xz", "0x0", ["0x"]])
def test_parse_bytes__nonsense__is_told(answer: Any) -> None:
    with pytest.raises(NONSENSE):
        parse_bytes(answer)


def test_parse_base_fee__a_chain_without__is_0_and_no_block_is_nonsense() -> None:
    assert parse_base_fee({"number": "0x1"}) == 0
    assert parse_base_fee({"baseFeePerGas": "0x7"}) == 7
    with pytest.raises(NONSENSE):
        parse_base_fee(None)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {},
        [None],
        [7],
        [{}],
        *([{name: value for name, value in LOG.items() if name != lost}] for lost in LOG),
        *([{**LOG, name: None}] for name in LOG),
        [{**LOG, "topics": [None]}],
        [{**LOG, "logIndex": "x"}],
    ],
)
def test_parse_logs__nonsense__is_told(answer: Any) -> None:
    with pytest.raises(NONSENSE):
        parse_logs(answer)


def test_parse_receipt_logs__the_same_logs__are_the_same_text() -> None:
    assert parse_logs([LOG]) == [LOG]
    other = {**LOG, "blockHash": "0xe", "removed": False}
    assert parse_receipt_logs({"logs": [LOG]}) == parse_receipt_logs({"logs": [other]})
    assert parse_receipt_logs({"logs": [LOG]}) != parse_receipt_logs({"logs": [LOG, LOG]})
    assert parse_receipt_logs(None) == parse_receipt_logs({"logs": []})
