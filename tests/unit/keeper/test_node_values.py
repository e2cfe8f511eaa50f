"""What nodes say: a contract's end is told from the node's own trouble, and nonsense from both."""

from typing import Any

import pytest

from contracts.node_errors import NodeRefused
from keeper.node_values import (
    NONSENSE,
    find_reason,
    is_revert,
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


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        (3, "execution reverted: position: not settler", "position: not settler"),
        (-32000, "execution reverted", ""),
        (-32015, "VM execution error.", "VM execution error."),
        (3, "", ""),
        (-32603, "EVM error OutOfGas", "EVM error OutOfGas"),
        (-32603, "EVM error InvalidFEOpcode", "EVM error InvalidFEOpcode"),
        (-32000, "out of gas", "out of gas"),
        (-32000, "invalid opcode: INVALID", "invalid opcode: INVALID"),
        (-32000, "stack underflow (0 <=> 1)", "stack underflow (0 <=> 1)"),
        (-32000, "invalid jump destination", "invalid jump destination"),
        (-32003, "Out of gas: gas required exceeds allowance: 400000", None),
        (-32000, "gas required exceeds allowance (30000000)", None),
    ],
)
def test_is_revert__the_contract_s_end__with_its_reason(
    code: int, message: str, reason: str | None
) -> None:
    error = NodeRefused(code, message)

    assert is_revert(error)
    assert find_reason(error) == (message if reason is None else reason)


@pytest.mark.parametrize(
    "message",
    [
        "header not found",
        "missing trie node",
        "too many requests",
        "nonce too low",
        "insufficient funds for gas * price + value",
        "intrinsic gas too low",
        "exceeds block gas limit",
        "execution aborted (timeout = 5s)",
    ],
)
def test_is_revert__the_node_s_own_trouble__is_none(message: str) -> None:
    assert not is_revert(NodeRefused(-32000, message))


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
