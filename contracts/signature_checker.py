"""Whether a wallet signed a text: EIP-191, by ecrecover, ERC-1271 or ERC-6492.

Contract wallets are asked by one ``eth_call`` against the newest block: a signer that was removed
counts as removed at once. Nothing is ever executed.
"""

from typing import Final

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_account.messages import defunct_hash_message, encode_defunct
from eth_utils.address import to_checksum_address

from contracts.errors import Reverted
from contracts.reader import ChainReader
from contracts.signatures import (
    ERC1271_MAGIC,
    ERC6492_SUFFIX,
    Counterfactual,
    recover_signer,
    unwrap_counterfactual,
)

_AGGREGATE3: Final = bytes.fromhex("82ad56cb")  # aggregate3((address,bool,bytes)[])


class SignatureChecker:
    """Checks signatures for one chain. Synchronous: run it in a thread."""

    def __init__(self, reader: ChainReader, *, multicall3: str) -> None:
        self._reader = reader
        self._multicall3 = multicall3

    def is_signed_by(self, owner: str, text: str, signature: bytes) -> bool:
        """Tell whether ``owner`` signed ``text``: ERC-6492 suffix, ecrecover, then ERC-1271.

        Of an ERC-6492 signature a wallet that is deployed judges the inner one by itself; the
        factory is called only for a wallet without code. Raises ``Retryable`` where the node
        cannot be asked.
        """
        message = encode_defunct(text=text)
        digest = bytes(defunct_hash_message(text=text))
        if signature.endswith(ERC6492_SUFFIX):
            unwrapped = unwrap_counterfactual(signature)
            if unwrapped is None:
                return False
            if self._reader.fetch_code_size(to_checksum_address(owner)) == 0:
                return self._ask_undeployed(owner, digest, unwrapped)
            signature = unwrapped.signature
        elif recover_signer(message, signature) == owner.lower():
            return True
        answer = self._call(owner, _encode_question(digest, signature))
        return _is_magic(answer)

    def _ask_undeployed(self, owner: str, digest: bytes, wrapped: Counterfactual) -> bool:
        """Ask a wallet without code after its deployment, within one call that changes nothing.

        Multicall3 is the caller of the factory and of the wallet; what the factory does lasts only
        until the call ends. A deployment that fails, because the wallet was deployed meanwhile,
        does not matter.
        """
        question = (to_checksum_address(owner), True, _encode_question(digest, wrapped.signature))
        deployment = (to_checksum_address(wrapped.factory), True, wrapped.factory_data)
        calls = encode(["(address,bool,bytes)[]"], [[deployment, question]])
        answer = self._call(self._multicall3, _AGGREGATE3 + calls)
        try:
            (results,) = decode(["(bool,bytes)[]"], answer)
        except (DecodingError, ValueError, OverflowError):
            return False
        if len(results) != 2:
            return False
        success, data = results[1]
        return bool(success) and _is_magic(data)

    def _call(self, to: str, data: bytes) -> bytes:
        # A wallet that answers with a URL of its choice (EIP-3668) has reverted, and no more.
        try:
            return self._reader.fetch_call(to_checksum_address(to), data)
        except Reverted:
            return b""


def _encode_question(digest: bytes, signature: bytes) -> bytes:
    # isValidSignature(bytes32,bytes); its selector is also its magic answer.
    return ERC1271_MAGIC + encode(["bytes32", "bytes"], [digest, signature])


def _is_magic(answer: bytes) -> bool:
    # A short or padded answer is invalid: an address without code answers with nothing.
    return len(answer) >= 32 and answer[:32] == ERC1271_MAGIC + bytes(28)
