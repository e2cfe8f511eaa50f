"""EIP-712 signatures for the mock USDC, by keys that never change, in about 2 ms each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from eth_abi.abi import encode
from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak

from tests.property.contracts.model import ADAPTER, Authorization, Permit
from tests.support.anvil import CHAIN_ID

SIGNERS: Final = ("owner", "second_owner")
KEYS: Final = {name: PrivateKey(keccak(text=f"current play {name}")) for name in SIGNERS}

_DOMAIN_TYPE: Final = keccak(
    text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_PERMIT_TYPE: Final = keccak(
    text="Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
)
_AUTHORIZATION_TYPE: Final = keccak(
    text="ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,"
    "uint256 validBefore,bytes32 nonce)"
)
# What every authorization is bound to: chain, adapter, owner.
_PLACE: Final = ("uint256", "address", "address")
# What an authorization of a deposit, and of an opening, is bound to beside.
_PURPOSES: Final = {
    4: ("uint256", "address", "uint256", "uint256"),
    6: ("uint8", "uint16", "address", "uint16", "uint256", "uint256"),
}

Signature = tuple[int, bytes, bytes]
"""v, r, s."""


def sign_permit(permit: Permit, address: Mapping[str, str]) -> Signature:
    """Sign what a permit says, whether or not its owner is the signer."""
    message = encode(
        ("bytes32", "address", "address", "uint256", "uint256", "uint256"),
        (
            _PERMIT_TYPE,
            address[permit.owner],
            address[ADAPTER],
            permit.value,
            permit.nonce,
            permit.deadline,
        ),
    )
    return _sign(permit.signer, message, address["usdc"])


def sign_authorization(given: Authorization, address: Mapping[str, str]) -> Signature:
    """Sign what an authorization says, whether or not its owner is the signer."""
    named = [address[word] if isinstance(word, str) else word for word in given.purpose]
    place = [CHAIN_ID, address[ADAPTER], address[given.owner]]
    message = encode(
        ("bytes32", "address", "address", "uint256", "uint256", "uint256", "bytes32"),
        (
            _AUTHORIZATION_TYPE,
            address[given.owner],
            address[ADAPTER],
            given.value,
            given.valid_after,
            given.valid_before,
            keccak(encode((*_PLACE, *_PURPOSES[len(named)]), (*place, *named))),
        ),
    )
    return _sign(given.signer, message, address["usdc"])


@lru_cache(maxsize=4_096)
def _sign(signer: str, message: bytes, usdc: str) -> Signature:
    digest = keccak(b"\x19\x01" + _domain(usdc) + keccak(message))
    signature = KEYS[signer].sign_msg_hash(digest)
    return signature.v + 27, signature.r.to_bytes(32), signature.s.to_bytes(32)


@lru_cache(maxsize=8)
def _domain(usdc: str) -> bytes:
    words = (_DOMAIN_TYPE, keccak(text="USD Coin"), keccak(text="2"), CHAIN_ID, usdc)
    return keccak(encode(("bytes32", "bytes32", "bytes32", "uint256", "address"), words))
