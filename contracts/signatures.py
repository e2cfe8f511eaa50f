"""Signatures as wallets give them: parsed, unwrapped (ERC-6492), and recovered to a signer. Pure.

``contracts.signature_checker`` also asks contract wallets, on chain.
"""

import re
from dataclasses import dataclass
from typing import Final

from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_account import Account
from eth_account.messages import SignableMessage
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

SIGNATURE_BYTES_MAX: Final = 8_192

ERC1271_MAGIC: Final = bytes.fromhex("1626ba7e")
ERC6492_SUFFIX: Final = bytes.fromhex("6492" * 16)
_HEX: Final = re.compile(r"0[xX](?:[0-9a-fA-F]{2})*|(?:[0-9a-fA-F]{2})+")


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """An ERC-6492 signature, unwrapped: how its wallet would be deployed, and the inner one."""

    factory: str
    factory_data: bytes
    signature: bytes


def parse_signature(text: str) -> bytes | None:
    """Return the bytes of a signature in hex, or None if the text is no signature.

    Some wallets and libraries leave the prefix 0x out. An empty signature may be valid: a Safe that
    approved the message on chain wants none.
    """
    if len(text) > 2 + 2 * SIGNATURE_BYTES_MAX or _HEX.fullmatch(text) is None:
        return None
    return bytes.fromhex(text[2:] if text[:2] in ("0x", "0X") else text)


def recover_signer(message: SignableMessage, signature: bytes) -> str | None:
    """Return the address that signed, lower case, or None. ``v`` may be 0, 1, 27 or 28."""
    if len(signature) != 65 or signature[64] not in (0, 1, 27, 28):
        return None
    normalised = signature[:64] + bytes([signature[64] % 27 + 27])
    try:
        signer: str = Account.recover_message(message, signature=normalised)
    except (BadSignature, ValidationError, ValueError):
        return None
    return signer.lower()


def unwrap_counterfactual(signature: bytes) -> Counterfactual | None:
    """Return the parts of an ERC-6492 signature; None if they are malformed."""
    try:
        factory, data, inner = decode(
            ["address", "bytes", "bytes"], signature[: -len(ERC6492_SUFFIX)]
        )
    except (DecodingError, ValueError, OverflowError):
        return None
    return Counterfactual(factory, data, inner)
