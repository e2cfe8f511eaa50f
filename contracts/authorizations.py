"""EIP-3009: a payer signs, anyone may submit, USDC moves once. Digests, calldata, evidence. Pure.

An authorization names payer, payee, amount, times and a nonce of the payer's choice. USDC marks the
nonce used when it moves the money, and also when the payer cancels it or uses it for another
authorization: that a nonce is used does not say that this money came. What says so is the transfer
that USDC logs right after ``AuthorizationUsed``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_account.messages import SignableMessage
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from contracts.signatures import recover_signer

_DOMAIN_TYPEHASH: Final = keccak(
    text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_TRANSFER_TYPEHASH: Final = keccak(
    text="TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,"
    "uint256 validBefore,bytes32 nonce)"
)
_TRANSFER_TYPES: Final = (
    "address", "address", "uint256", "uint256", "uint256", "bytes32", "bytes",
)  # fmt: skip
_TRANSFER: Final = function_signature_to_4byte_selector(
    f"transferWithAuthorization({','.join(_TRANSFER_TYPES)})"
)
_STATE: Final = function_signature_to_4byte_selector("authorizationState(address,bytes32)")
_BALANCE: Final = function_signature_to_4byte_selector("balanceOf(address)")
_CALLS: Final = ("(address,bool,bytes)[]",)
_AGGREGATE3: Final = function_signature_to_4byte_selector("aggregate3((address,bool,bytes)[])")
AGGREGATE_SELECTOR: Final = "0x" + _AGGREGATE3.hex()
"""How the calldata of ``encode_aggregate`` begins, as 0x hex."""
_ERROR: Final = bytes.fromhex("08c379a0")  # Error(string)

USED_TOPIC: Final = "0x" + keccak(text="AuthorizationUsed(address,bytes32)").hex()
CANCELED_TOPIC: Final = "0x" + keccak(text="AuthorizationCanceled(address,bytes32)").hex()
TRANSFER_TOPIC: Final = "0x" + keccak(text="Transfer(address,address,uint256)").hex()

VALUE_USDC_MAX: Final = 10**15
"""A billion USDC: more is surely a slip, and sums of what is there stay far within 64 bits."""

AGGREGATE_CALLS_MAX: Final = 64
"""As many as the devnet's stand-in for Multicall3 takes."""


@dataclass(frozen=True, slots=True)
class TokenDomain:
    """What signatures over a token's authorizations are bound to."""

    name: str
    version: str
    chain_id: int
    token: str

    @property
    def separator(self) -> bytes:
        """The EIP-712 domain separator."""
        words = [
            _DOMAIN_TYPEHASH,
            keccak(text=self.name),
            keccak(text=self.version),
            self.chain_id,
            to_checksum_address(self.token),
        ]
        return keccak(encode(["bytes32", "bytes32", "bytes32", "uint256", "address"], words))


@dataclass(frozen=True, slots=True)
class Authorization:
    """What a payer signed. Addresses and nonce are 0x hex in lower case, the amount 1e-6 USDC."""

    payer: str
    payee: str
    value_usdc: int
    valid_after_s: int
    """Valid from the second after."""
    valid_before_s: int
    """The authorization is no longer valid in this second."""
    nonce: str
    signature: bytes

    def is_signed_by_key(self, domain: TokenDomain) -> bool:
        """Tell whether the payer's own key made the signature. A contract's is not looked at."""
        words = [
            _TRANSFER_TYPEHASH,
            to_checksum_address(self.payer),
            to_checksum_address(self.payee),
            self.value_usdc,
            self.valid_after_s,
            self.valid_before_s,
            bytes.fromhex(self.nonce[2:]),
        ]
        types = ["bytes32", "address", "address", "uint256", "uint256", "uint256", "bytes32"]
        message = SignableMessage(b"\x01", domain.separator, keccak(encode(types, words)))
        return recover_signer(message, self.signature) == self.payer

    def encode_transfer(self) -> bytes:
        """Return the calldata that moves the money; USDC 2.2's, for keys and for contracts."""
        signature = self.signature
        if len(signature) == 65 and signature[64] in (0, 1):
            signature = signature[:64] + bytes([signature[64] + 27])
        words = [
            to_checksum_address(self.payer),
            to_checksum_address(self.payee),
            self.value_usdc,
            self.valid_after_s,
            self.valid_before_s,
            bytes.fromhex(self.nonce[2:]),
            signature,
        ]
        return _TRANSFER + encode(_TRANSFER_TYPES, words)


def encode_state(payer: str, nonce: str) -> bytes:
    """Return the calldata that asks whether a nonce was used, or cancelled."""
    words = [to_checksum_address(payer), bytes.fromhex(nonce[2:])]
    return _STATE + encode(["address", "bytes32"], words)


def encode_balance(account: str) -> bytes:
    """Return the calldata that asks for a balance."""
    return _BALANCE + encode(["address"], [to_checksum_address(account)])


def encode_aggregate(calls: Iterable[tuple[str, bytes]]) -> bytes:
    """Return calldata of Multicall3 for (target, calldata) pairs, each allowed to fail."""
    listed = [(to_checksum_address(target), True, data) for target, data in calls]
    assert len(listed) <= AGGREGATE_CALLS_MAX
    return _AGGREGATE3 + encode(_CALLS, [listed])


def decode_aggregate(answer: bytes) -> list[tuple[bool, bytes]]:
    """Return whether each call succeeded, and its answer. Raises ``ValueError``."""
    try:
        (results,) = decode(("(bool,bytes)[]",), answer)
    except (DecodingError, OverflowError) as error:
        raise ValueError("not an answer of Multicall3") from error
    return [(bool(succeeded), bytes(data)) for succeeded, data in results]


def read_word(result: tuple[bool, bytes]) -> int | None:
    """Return the one word that a call answered, None where it did not."""
    succeeded, data = result
    return int.from_bytes(data) if succeeded and len(data) == 32 else None


def read_reason(data: bytes) -> str:
    """Return why a call reverted, in the contract's words; cut, as they are a stranger's."""
    if data[:4] != _ERROR:
        return "reverted without a reason"
    try:
        (reason,) = decode(("string",), data[4:])
    except (DecodingError, OverflowError, UnicodeDecodeError):
        return "reverted without a reason"
    return "".join(character for character in str(reason)[:100] if character.isprintable())


def find_marks(
    logs: Sequence[dict[str, Any]], *, token: str
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the logs by which a token marks nonces, used or cancelled, by (payer, nonce)."""
    return {
        ("0x" + log["topics"][1][-40:].lower(), log["topics"][2].lower()): log
        for log in logs
        if log["address"].lower() == token.lower()
        and len(log["topics"]) == 3
        and log["topics"][0].lower() in (USED_TOPIC, CANCELED_TOPIC)
    }


def is_transfer(
    log: dict[str, Any] | None, *, token: str, payer: str, payee: str, value_usdc: int
) -> bool:
    """Tell whether a log is the token's transfer of exactly this."""
    if log is None or log["address"].lower() != token.lower():
        return False
    topics = [topic.lower() for topic in log["topics"]]
    parties = ["0x" + 24 * "0" + party[2:] for party in (payer, payee)]
    return topics == [TRANSFER_TOPIC, *parties] and int(log["data"], 16) == value_usdc
