"""A contract's end is told from a node's own trouble: by its data first, else by words.

::

    data, in any place and shape, with any code and any words → a revert, with the contract's reason
    no data
    ├── the code of a revert, or words about an execution → a revert
    ├── gas burnt, a rule of the machine broken → a revert, in the node's words
    └── anything else → the node's own trouble
"""

from typing import Any

import pytest
from eth_abi.abi import encode

from contracts.node_errors import NodeRefused, NodeUnavailable, RateLimited, read_error

REASON = "position: not settler"
DATA = "0x08c379a0" + encode(("string",), [REASON]).hex()
PANIC = "0x4e487b71" + (0x11).to_bytes(32).hex()
TX_HASH = "0x" + "77" * 32


def reason_of(error: dict[str, Any]) -> str | None:
    refusal = read_error("eth_call", error)
    assert isinstance(refusal, NodeRefused)
    return refusal.revert_reason


@pytest.mark.parametrize(
    ("code", "message", "data", "reason"),
    [
        (3, "execution reverted: position: not settler", DATA, REASON),
        (-32603, "Internal error", DATA, REASON),
        (-32000, "", DATA, REASON),
        (-32015, "VM execution error.", "Reverted " + DATA, REASON),
        (-32015, "VM execution error.", "Reverted 0x", "VM execution error."),
        (-32603, "Internal JSON-RPC error.", {"code": 3, "data": DATA}, REASON),
        (-32603, "oops", {"originalError": {"code": 3, "data": DATA}}, REASON),
        (-32000, "oops", {TX_HASH: {"error": "revert", "return": DATA}}, REASON),
        (-32000, "oops", {"message": "x", "data": {"result": DATA}}, REASON),
        (3, "execution reverted", "0x", ""),
        (-32603, "Internal error", "0x", ""),
        (-32603, "Internal error", PANIC, "panic 0x11"),
        (-32603, "Internal error", "0xdeadbeef", ""),
        (3, "execution reverted: custom", "0xdeadbeef", "custom"),
        (3, "", "0x08c379a0" + "ff" * 96, ""),
    ],
)
def test_read_error__with_data__is_a_revert_whatever_the_words(
    code: int, message: str, data: Any, reason: str
) -> None:
    found = reason_of({"code": code, "message": message, "data": data})
    assert found is not None
    assert found.strip("\ufffd") == reason


@pytest.mark.parametrize(
    "data",
    [None, "", {}, [], 7, {"rate": {"allowed_rps": 1}, "see": "https://example.com"}, "no hex"],
)
def test_read_error__data_that_is_no_contract_s__is_the_node_s_own_trouble(data: Any) -> None:
    assert reason_of({"code": -32603, "message": "Internal error", "data": data}) is None


@pytest.mark.parametrize("error", ["busy", None, 7, ["busy"], {"code": "429"}, {"message": 5}])
def test_read_error__any_shape__is_an_exception(error: Any) -> None:
    assert isinstance(read_error("eth_call", error), (NodeRefused, NodeUnavailable))


def test_read_error__429_inside_a_200__is_a_rate_limit_for_calls_too() -> None:
    error = {"code": 429, "message": "exceeded its compute units per second capacity"}
    assert isinstance(read_error("eth_call", error), RateLimited)
    assert isinstance(read_error("eth_getLogs", error), RateLimited)


def test_revert_reason__a_stranger_s_text__is_cut_and_printable() -> None:
    text = "a" * 300 + "\n\x1b[31m"
    data = bytes.fromhex("08c379a0") + encode(("string",), [text])
    assert NodeRefused(3, "", data).revert_reason == "a" * 200
    assert NodeRefused(3, "execution reverted: a\nb").revert_reason == "ab"


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
def test_revert_reason__words_of_the_contract_s_end__with_its_reason(
    code: int, message: str, reason: str | None
) -> None:
    assert NodeRefused(code, message).revert_reason == (message if reason is None else reason)


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
        "Internal error",
        "exceeded its compute units per second capacity",
        "upstream reverted to an older snapshot",
        "",
    ],
)
def test_revert_reason__the_node_s_own_trouble__is_none(message: str) -> None:
    assert NodeRefused(-32000, message).revert_reason is None
