"""Who signs. One interface, so that a key in a file and a key in a vault of keys look the same."""

from collections.abc import Mapping
from typing import Any, Protocol

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from ledger.intents import SignedTransaction


class Signer(Protocol):
    """Signs EIP-1559 transactions for one address. A repr of it shows no key."""

    @property
    def address(self) -> str:
        """The checksummed address."""

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        """Sign a transaction that has all its fields."""


class LocalSigner:
    """A key in this process's memory."""

    def __init__(self, private_key: str) -> None:
        self._account: LocalAccount = Account.from_key(private_key)

    def __repr__(self) -> str:
        return f"LocalSigner({self.address})"

    @property
    def address(self) -> str:
        return to_checksum_address(self._account.address)

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        signed = self._account.sign_transaction(dict(transaction))
        return SignedTransaction(
            sender=self.address.lower(),
            nonce=int(transaction["nonce"]),
            tx_hash="0x" + signed.hash.hex().removeprefix("0x"),
            raw_tx="0x" + signed.raw_transaction.hex().removeprefix("0x"),
        )
