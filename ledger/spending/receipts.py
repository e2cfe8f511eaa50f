"""Receipts and their Merkle tree. Pure.

A settled batch commits on chain to the root of its receipts, so that a buyer can prove what a
request was charged, offline. A leaf is hashed twice, so that no inner node can pose as one; pairs
are hashed in sorted order, so that a proof is a plain list of siblings. An odd node moves up as is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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

    def leaf(self) -> bytes:
        """Return the receipt's leaf: keccak(keccak(abi.encode(fields)))."""
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
        return keccak(keccak(encode(_LEAF_TYPES, values)))


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
