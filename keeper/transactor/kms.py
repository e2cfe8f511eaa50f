"""A key that never leaves AWS KMS: its signatures, converted to a transaction's format.

KMS answers in DER, with an ``s`` that may be in the upper half and without saying which of the two
possible public keys the signature recovers to. All of that is put right here; pure but for the two
calls to the client. ``boto3`` is in the extra ``kms``, and loaded only where a key is configured.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from eth_keys.backends.native.main import NativeECCBackend
from eth_keys.datatypes import PublicKey, Signature
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from keeper.errors import KeyUnreadable, SigningFailed
from keeper.transactor.signer import ECDSA_ORDER, build_digest, build_signed
from ledger.intents.record import SignedTransaction

_SPKI_PREFIX: Final = bytes.fromhex("3056301006072a8648ce3d020106052b8104000a03420004")
"""What comes before the 64 bytes of an uncompressed secp256k1 key in its DER form."""
_POINT_BYTES: Final = 64
_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_TIMEOUT_S: Final = 5
_ATTEMPTS: Final = 3


class KmsClient(Protocol):
    """The methods of a boto3 KMS client that are used here."""

    def get_public_key(self, *, KeyId: str) -> Mapping[str, Any]:
        """Return ``PublicKey``, a DER SubjectPublicKeyInfo, among others."""

    def sign(
        self,
        *,
        KeyId: str,
        Message: bytes,
        MessageType: str,
        SigningAlgorithm: str,
    ) -> Mapping[str, Any]:
        """Return ``Signature``, DER, among others."""


class KmsSigner:
    """Signs with a secp256k1 key in KMS (``ECC_SECG_P256K1``, for signing).

    ``failures`` are what the client raises where it cannot be reached or refuses.
    """

    def __init__(
        self, client: KmsClient, key_id: str, *, failures: tuple[type[Exception], ...] = ()
    ) -> None:
        self._client = client
        self._key_id = key_id
        self._failures = failures
        try:
            answer = client.get_public_key(KeyId=key_id)
        except failures as error:
            raise SigningFailed(f"KMS did not show its key: {type(error).__name__}") from error
        self._public_key = parse_public_key(bytes(answer["PublicKey"]))

    def __repr__(self) -> str:
        return f"KmsSigner({self.address})"

    @property
    def address(self) -> str:
        return self._public_key.to_checksum_address()

    def sign(self, transaction: Mapping[str, Any]) -> SignedTransaction:
        digest = build_digest(transaction)
        try:
            answer = self._client.sign(
                KeyId=self._key_id,
                Message=digest,
                MessageType="DIGEST",
                SigningAlgorithm="ECDSA_SHA_256",
            )
        except self._failures as error:
            raise SigningFailed(f"KMS did not sign: {type(error).__name__}") from error
        r, s = parse_signature(bytes(answer["Signature"]))
        s = lower_s(s)
        y_parity = find_y_parity(digest, r=r, s=s, public_key=self._public_key)
        return build_signed(transaction, sender=self.address, y_parity=y_parity, r=r, s=s)


def open_kms(key_id: str, *, region: str | None) -> KmsSigner:
    """Return the signer of a key in KMS, with the credentials that boto3 finds by itself.

    Raises ``KeyUnreadable`` where boto3 is missing or the key is not one to sign transactions with,
    ``SigningFailed`` where KMS does not answer.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        raise KeyUnreadable("KEEPER_KMS_KEY_ID needs boto3: install current[kms]") from None
    config = Config(
        connect_timeout=_TIMEOUT_S,
        read_timeout=_TIMEOUT_S,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
    )
    try:
        client = boto3.client("kms", region_name=region, config=config)
    except BotoCoreError as error:
        raise KeyUnreadable(f"KMS is not set up: {error}") from None
    return KmsSigner(client, key_id, failures=(BotoCoreError, ClientError))


def parse_public_key(der: bytes) -> PublicKey:
    """Return the key out of its SubjectPublicKeyInfo. Raises ``KeyUnreadable``."""
    point = der.removeprefix(_SPKI_PREFIX)
    if len(der) != len(_SPKI_PREFIX) + _POINT_BYTES or len(point) != _POINT_BYTES:
        raise KeyUnreadable("the key in KMS is no secp256k1 key (ECC_SECG_P256K1)")
    return PublicKey(point)


def parse_signature(der: bytes) -> tuple[int, int]:
    """Return (r, s) of a signature in DER. Raises ``SigningFailed``."""
    body = _read_value(der, _SEQUENCE)
    first = _read_value(body, _INTEGER, may_go_on=True)
    second = _read_value(body[2 + len(first) :], _INTEGER)
    r, s = int.from_bytes(first, signed=True), int.from_bytes(second, signed=True)
    if not (0 < r < ECDSA_ORDER and 0 < s < ECDSA_ORDER):
        raise SigningFailed("KMS sent a signature out of range")
    return r, s


def _read_value(der: bytes, tag: int, *, may_go_on: bool = False) -> bytes:
    """Return the content of the value that ``der`` begins with; its length is below 128."""
    if len(der) < 2 or der[0] != tag or not 0 < der[1] < 0x80:
        raise SigningFailed("KMS sent no signature in DER")
    end = 2 + der[1]
    if len(der) < end or (len(der) > end and not may_go_on):
        raise SigningFailed("KMS sent a signature of the wrong length")
    return der[2:end]


def lower_s(s: int) -> int:
    """Return the one of the two values for ``s`` that Ethereum takes (EIP-2)."""
    return min(s, ECDSA_ORDER - s)


def find_y_parity(digest: bytes, *, r: int, s: int, public_key: PublicKey) -> int:
    """Return which of the two keys that a signature fits is the signer's.

    Raises ``SigningFailed`` where neither is: it is not a signature of ``digest`` by that key.
    """
    backend = NativeECCBackend()
    for y_parity in (0, 1):
        try:
            signature = Signature(vrs=(y_parity, r, s), backend=backend)
            recovered = signature.recover_public_key_from_msg_hash(digest)
        except (BadSignature, ValidationError):
            continue
        if recovered == public_key:
            return y_parity
    raise SigningFailed("KMS signed with another key, or something else")
