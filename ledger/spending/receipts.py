"""Receipts and their Merkle tree. Pure.

A settled batch commits on chain to the root of its receipts, so that a buyer can prove what a
request was charged, offline. A leaf is hashed twice, so that no inner node can pose as one; pairs
are hashed in sorted order, so that a proof is a plain list of siblings. An odd node moves up as is.

Two versions of a leaf: the first says what was charged, the second also who served it and what.
Only the second's content begins with a version's byte, so the two differ in length and no content
is one of both. The seller stands in it as a salted hash: a receipt can be shown to anybody without
naming the seller, and whoever has the salt can open it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from eth_abi.abi import encode
from eth_utils.crypto import keccak

_LEAF_TYPES = (
    "bytes32",  # keccak of the request id
    "uint256",  # token id
    "uint256",  # key epoch
    "bytes32",  # keccak of the model's name
    "uint256",  # prompt tokens
    "uint256",  # prompt tokens that were charged as cached
    "uint256",  # completion tokens
    "uint256",  # price of prompt tokens, 1e-6 USDC per 1e6 tokens
    "uint256",  # price of cached prompt tokens
    "uint256",  # price of completion tokens
    "uint256",  # cost, 1e-6 USDC
    "uint256",  # when it was posted, Unix seconds
)

_SERVED_TYPES = (
    "bytes32",  # the seller's commitment
    "bytes32",  # keccak of the offer's id
    "bytes32",  # keccak of the host
    "bytes32",  # keccak of the model's name as the answer has it
    "uint256",  # provenance grade: 1 = A … 4 = D, 0 = none was given
    "uint256",  # what paid: 0 = yield, 1 = credit
)
VERSION_2: Final = b"\x02"
GRADES: Final = ("", "A", "B", "C", "D")
PAID_BY: Final = ("yield", "credit")
SALT_BYTES: Final = 32


def commit_seller(seller: str, salt: bytes) -> bytes:
    """Return a seller's commitment: keccak(salt ‖ seller). ``salt`` is 32 random bytes."""
    assert len(salt) == SALT_BYTES
    return keccak(salt + seller.encode())


@dataclass(frozen=True, slots=True)
class ServedLeaf:
    """Who served a request, and what, as the leaf has it."""

    seller_commitment: bytes
    offer_id: str
    host: str
    model: str
    """The model's name as the answer has it."""
    grade: str
    """One of ``GRADES``."""
    paid_by: str
    """One of ``PAID_BY``."""

    def values(self) -> tuple[Any, ...]:
        """Return what the leaf encodes, in its order. Raises ``ValueError`` for an unknown word."""
        return (
            self.seller_commitment,
            *(keccak(text=text) for text in (self.offer_id, self.host, self.model)),
            GRADES.index(self.grade),
            PAID_BY.index(self.paid_by),
        )


@dataclass(frozen=True, slots=True)
class ServedNote:
    """The same as the ledger keeps it, with what opens the commitment."""

    seller: str
    seller_salt: str
    """32 bytes in hex, without 0x."""
    offer_id: str
    host: str
    model: str
    grade: str
    paid_by: str = PAID_BY[0]

    def write(self) -> str:
        """Return the JSON that ``read_served_note`` reads."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    def close(self) -> ServedLeaf:
        """Return what a leaf has of it."""
        commitment = commit_seller(self.seller, bytes.fromhex(self.seller_salt))
        return ServedLeaf(
            commitment, self.offer_id, self.host, self.model, self.grade, self.paid_by
        )


def read_served_note(text: str | None) -> ServedNote | None:
    """Return what the ledger keeps of who served; None for usage of before leaf version 2."""
    return None if text is None else ServedNote(**json.loads(text))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one request was charged for, and at which prices.

    ``cost_usdc`` is in 1e-6 USDC, prices in 1e-6 USDC per 1e6 tokens.
    """

    request_id: str
    token_id: int
    key_epoch: int
    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    input_usdc_per_mtok: int
    cached_input_usdc_per_mtok: int
    output_usdc_per_mtok: int
    cost_usdc: int
    posted_at_s: int
    served: ServedLeaf | None = None
    """Who served it, and what; None: a leaf of version 1."""

    @property
    def version(self) -> int:
        """The version of the leaf."""
        return 1 if self.served is None else 2

    def leaf(self) -> bytes:
        """Return the receipt's leaf: keccak(keccak(abi.encode(fields))), from version 2 on with the
        version's byte before the fields."""
        values = (
            keccak(text=self.request_id),
            self.token_id,
            self.key_epoch,
            keccak(text=self.model),
            self.prompt_tokens,
            self.cached_tokens,
            self.completion_tokens,
            self.input_usdc_per_mtok,
            self.cached_input_usdc_per_mtok,
            self.output_usdc_per_mtok,
            self.cost_usdc,
            self.posted_at_s,
        )
        if self.served is None:
            return keccak(keccak(encode(_LEAF_TYPES, values)))
        types = (*_LEAF_TYPES, *_SERVED_TYPES)
        return keccak(keccak(VERSION_2 + encode(types, (*values, *self.served.values()))))


def build_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of ``leaves`` in the given order. Raises ``ValueError`` for no leaf."""
    if not leaves:
        raise ValueError("a batch without receipts has no root")
    level = list(leaves)
    while len(level) > 1:
        level = _next_level(level)
    return level[0]


def build_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the siblings on the path from ``leaves[index]`` to the root, bottom first."""
    if not 0 <= index < len(leaves):
        raise IndexError(f"no leaf {index} among {len(leaves)}")
    proof: list[bytes] = []
    level = list(leaves)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        level = _next_level(level)
        index //= 2
    return proof


def is_proof_valid(leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether ``proof`` leads from ``leaf`` to ``root``."""
    node = leaf
    for sibling in proof:
        node = _hash_pair(node, sibling)
    return node == root


def _next_level(level: Sequence[bytes]) -> list[bytes]:
    pairs = [_hash_pair(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    return pairs + ([level[-1]] if len(level) % 2 else [])


def _hash_pair(left: bytes, right: bytes) -> bytes:
    return keccak(min(left, right) + max(left, right))
