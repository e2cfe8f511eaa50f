"""Who signs. One interface, so that a key in a file and a key in a vault of keys look the same."""

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_typing import Hash32
from eth_utils.address import to_checksum_address
from eth_utils.conversions import to_bytes
from eth_utils.crypto import keccak

from keeper.errors import KeyUnreadable
from ledger.intents.record import SignedTransaction

ECDSA_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order of secp256k1."""


class Signer(Protocol):
    """Signs EIP-1559 transactions for one address. A repr of it shows no key."""

    @property
    def address(self) -> str:
        """The checksummed address."""

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Sign a transaction that has all its fields. Raises ``SigningFailed``."""


class LocalSigner:
    """A key in this process's memory."""

    def __init__(self, private_key: str | bytes) -> None:
        self._account: LocalAccount = Account.from_key(private_key)

    def __repr__(self) -> str:
        return f"LocalSigner({self.address})"

    @property
    def address(self) -> str:
        return to_checksum_address(self._account.address)

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        signed = self._account.unsafe_sign_hash(Hash32(build_digest(transaction)))
        return build_signed(
            transaction, sender=self.address, y_parity=signed.v - 27, r=signed.r, s=signed.s
        )


def open_keyfile(text: str, password: str) -> LocalSigner:
    """Return the signer of an encrypted key (Web3 Secret Storage, version 3, as JSON).

    Raises ``KeyUnreadable``, which shows neither. Takes about a second: that is what makes a stolen
    file hard to open.
    """
    try:
        return LocalSigner(bytes(Account.decrypt(json.loads(text), password)))
    except Exception as error:
        # The libraries' own texts may hold what they were given.
        raise KeyUnreadable(f"the keyfile cannot be opened: {type(error).__name__}") from None


def build_signed(
    transaction: Mapping[str, Any], *, sender: str, y_parity: int, r: int, s: int
) -> SignedTransaction:
    """Put a transaction and its signature together, as it is stored and sent."""
    assert y_parity in (0, 1)
    assert 0 < s <= ECDSA_ORDER // 2
    encoded = _type({**transaction, "v": y_parity, "r": r, "s": s}).encode()
    return SignedTransaction(
        sender=sender.lower(),
        nonce=int(transaction["nonce"]),
        tx_hash="0x" + keccak(encoded).hex(),
        raw_tx="0x" + encoded.hex(),
    )


def build_digest(transaction: Mapping[str, Any]) -> bytes:
    """Return the 32 bytes that a signature of the transaction signs."""
    return _type(transaction).hash()


def _type(transaction: Mapping[str, Any]) -> TypedTransaction:
    return TypedTransaction.from_dict({**transaction, "to": to_bytes(hexstr=transaction["to"])})
