"""A node's answers as values: what cannot be one is told from what is. Pure."""

import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from contracts.node_errors import NodeFailure, NodeRefused, NodeUnavailable
from contracts.units import UINT256_MAX

T = TypeVar("T")

WORD_BYTES: Final = 32
NONCE_MAX: Final = 2**32
"""No key of ours has sent so many transactions."""

_ETHER_SHORT: Final = re.compile(
    r"insufficient (?:\w+ )*?(?:funds|balance)|insufficient max ?fee|lack of funds|out ?of ?funds"
    r"|exceeds (?:\w+ )*?(?:account )?balance",
    re.IGNORECASE,
)
"""How nodes say that a sender has too little ether for a call at its price."""


@dataclass(frozen=True, slots=True)
class TransactionReceipt:
    """A transaction's receipt. ``fee_wei`` is all that it cost, what a rollup takes included."""

    tx_hash: str
    block_number: int
    block_hash: str
    succeeded: bool
    gas_used: int
    fee_wei: int
    l1_fee_wei: int = 0
    """What of it was taken for posting its data to Ethereum; 0 where no such fee is taken."""


Answer = Any | NodeUnavailable | NodeRefused

NONSENSE: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Errors raised while parsing a malformed answer."""


def as_failure(method: str, error: Exception) -> NodeUnavailable:
    """Return what to raise for an answer that could not be read."""
    if isinstance(error, NodeUnavailable):
        return error
    return NodeUnavailable(f"{method}: no answer to this: {error!r}", failure=NodeFailure.MALFORMED)


def keep_sound(answers: Iterable[Answer], parse: Callable[[Any], T]) -> list[T]:
    """Return those answers that can be read."""
    found: list[T] = []
    for answer in answers:
        with suppress(*NONSENSE):
            if not isinstance(answer, (NodeUnavailable, NodeRefused)):
                found.append(parse(answer))
    return found


def parse_quantity(answer: Any) -> int:
    """Return a number of at most 256 bits. Raises ``NONSENSE``, as all that follow."""
    quantity = int(answer, 16)
    if not 0 <= quantity <= UINT256_MAX:
        raise ValueError("out of range")
    return quantity


def parse_nonce(answer: Any) -> int:
    """Return a count of transactions that an account can have."""
    nonce = parse_quantity(answer)
    if nonce > NONCE_MAX:
        raise ValueError(f"a nonce of {nonce}")
    return nonce


def parse_bytes(answer: Any) -> bytes:
    """Return what a call answered."""
    if not answer.startswith("0x"):
        raise ValueError("not in hex")
    return bytes.fromhex(answer[2:])


def parse_word(answer: Any) -> int:
    """Return the one word that a view answered."""
    word = parse_bytes(answer)
    if len(word) != WORD_BYTES:
        raise ValueError("not one word")
    return int.from_bytes(word)


def parse_base_fee(block: Any) -> int:
    """Return a block's base fee, 0 on a chain without (wei)."""
    return parse_quantity(block.get("baseFeePerGas") or "0x0")


def parse_logs(answer: Any) -> list[dict[str, Any]]:
    """Return logs that have what is read of them."""
    if not isinstance(answer, list):
        raise TypeError("not a list of logs")
    for log in answer:
        names = ("address", "data", "blockHash", "transactionHash")
        if not all(isinstance(one, str) for one in (*map(log.__getitem__, names), *log["topics"])):
            raise TypeError("not a log")
        parse_quantity(log["blockNumber"])
        parse_quantity(log["logIndex"])
    return answer


def parse_receipt_logs(receipt: Any) -> str:
    """Return a receipt's logs as JSON, so that they can be counted."""
    logs = [] if receipt is None else parse_logs(receipt["logs"])
    names = ("address", "topics", "data", "logIndex")
    return json.dumps([{name: log[name] for name in names} for log in logs])


def parse_receipt(answer: Any, tx_hash: str) -> TransactionReceipt | None:
    """Return a receipt out of JSON; None for none. Raises ``NodeUnavailable``."""
    if answer is None:
        return None
    try:
        if answer["transactionHash"].lower() != tx_hash:
            raise ValueError("of another transaction")
        if answer.get("blockHash") is None:
            return None
        gas_used = int(answer["gasUsed"], 16)
        # Base adds a fee for posting its data to Ethereum, outside the gas price.
        l1_fee_wei = parse_quantity(answer.get("l1Fee") or "0x0")
        return TransactionReceipt(
            tx_hash=tx_hash,
            block_number=int(answer["blockNumber"], 16),
            block_hash=answer["blockHash"].lower(),
            succeeded=int(answer["status"], 16) == 1,
            gas_used=gas_used,
            fee_wei=gas_used * int(answer["effectiveGasPrice"], 16)
            + l1_fee_wei
            + _parse_operator_fee(answer, gas_used=gas_used),
            l1_fee_wei=l1_fee_wei,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise NodeUnavailable(f"the node sent a malformed receipt: {error!r}") from error


def _parse_operator_fee(receipt: Any, *, gas_used: int) -> int:
    """Return what a rollup's operator took (wei): nothing before Isthmus, and on Base so far."""
    scalar = parse_quantity(receipt.get("operatorFeeScalar") or "0x0")
    constant_wei = parse_quantity(receipt.get("operatorFeeConstant") or "0x0")
    # Jovian made the scalar count 10^8 times as much; only its receipts name this other one.
    is_jovian = receipt.get("daFootprintGasScalar") is not None
    share_wei = gas_used * scalar * 100 if is_jovian else gas_used * scalar // 1_000_000
    return share_wei + constant_wei


def says_ether_short(message: str) -> bool:
    """Tell whether a node's own words say that the sender's ether does not cover a call."""
    return _ETHER_SHORT.search(message) is not None
