"""Sellers' provider keys at rest: envelope encryption.

Each key is encrypted by AES-256-GCM under a data key of its own; the data key is wrapped by a key
that a KMS holds. The offer's id is bound into both: a sealed key moved to another offer
does not open. Rotation rewraps the data key and leaves the ciphertext; erasing the row of an
offer leaves nothing that could be opened.
"""

import importlib
import secrets
import stat
from pathlib import Path
from typing import Any, Final, Protocol

from contracts.errors import Fatal, Retryable
from ledger.selling.sealed_keys import SealedKey
from serving.process.aes_gcm import KEY_BYTES, SealBroken, decrypt, encrypt


class KmsInvalid(Fatal):
    """The key file cannot be read or does not hold keys; or the cloud's client is missing."""


class KmsUnavailable(Retryable):
    """The KMS does not answer."""


class Kms(Protocol):
    """Wraps and unwraps data keys. May block: run it in a thread."""

    @property
    def key_id(self) -> str:
        """Which key wraps new data keys."""
        ...

    def wrap(self, data_key: bytes, *, context: str) -> bytes:
        """Return the data key, encrypted. Raises ``KmsUnavailable``."""
        ...

    def unwrap(self, wrapped: bytes, *, key_id: str, context: str) -> bytes:
        """Return the data key. Raises ``SealBroken`` or ``KmsUnavailable``."""
        ...


_FOR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def read_key_file(path: Path) -> dict[str, bytes]:
    """Return the keys of a file by their ids, in its order (``FileKms``). Raises ``KmsInvalid``."""
    keys: dict[str, bytes] = {}
    try:
        if path.stat().st_mode & _FOR_OTHERS:
            raise KmsInvalid(f"{path} is open to other users of this machine: chmod 600 {path}")
        lines = path.read_text(encoding="ascii").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise KmsInvalid(f"cannot read the keys in {path}: {type(error).__name__}") from None
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 2 or len(words[1]) != 2 * KEY_BYTES or words[0] in keys:
            raise KmsInvalid(f"{path}, line {number}: not '<id> <64 hex digits>', once each id")
        try:
            keys[words[0]] = bytes.fromhex(words[1])
        except ValueError:
            raise KmsInvalid(f"{path}, line {number}: not hex digits") from None
    if not keys:
        raise KmsInvalid(f"{path} holds no key")
    return keys


class FileKms:
    """KMS keys in a file of the operator: ``<id> <64 hex digits>`` a line, the first one wraps.

    Nobody but its owner may have any right to the file.

    For a devnet and for machines without a KMS. Rotate by putting a new line in front.
    """

    def __init__(self, path: Path) -> None:
        self._keys = read_key_file(path)

    def __repr__(self) -> str:
        return f"FileKms({len(self._keys)} keys)"

    @property
    def key_id(self) -> str:
        return next(iter(self._keys))

    def wrap(self, data_key: bytes, *, context: str) -> bytes:
        return encrypt(self._keys[self.key_id], data_key, context)

    def unwrap(self, wrapped: bytes, *, key_id: str, context: str) -> bytes:
        if key_id not in self._keys:
            raise SealBroken("the key that wraps this is not known here")
        return decrypt(self._keys[key_id], wrapped, context)


class AwsKms:
    """A symmetric key in AWS KMS. Needs ``boto3``, and the machine's own AWS credentials."""

    def __init__(self, key_id: str) -> None:
        try:
            boto3 = importlib.import_module("boto3")
        except ImportError:
            raise KmsInvalid("AWS KMS needs the package boto3, which is not installed") from None
        self._key_id = key_id
        self._client: Any = boto3.client("kms")

    @property
    def key_id(self) -> str:
        return self._key_id

    def wrap(self, data_key: bytes, *, context: str) -> bytes:
        answer = self._call(
            "encrypt", KeyId=self._key_id, Plaintext=data_key, EncryptionContext={"offer": context}
        )
        return bytes(answer["CiphertextBlob"])

    def unwrap(self, wrapped: bytes, *, key_id: str, context: str) -> bytes:
        answer = self._call(
            "decrypt", KeyId=key_id, CiphertextBlob=wrapped, EncryptionContext={"offer": context}
        )
        return bytes(answer["Plaintext"])

    def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._client, operation)(**arguments)
        except Exception as error:
            # Botocore makes its exceptions at run time. Their texts may quote what was sent.
            code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
            if code in ("InvalidCiphertextException", "IncorrectKeyException", "NotFoundException"):
                raise SealBroken(f"AWS KMS: {code}") from None
            raise KmsUnavailable(f"AWS KMS: {code or type(error).__name__}") from None


class Sealer:
    """Seals and opens provider keys for offers. May block: run it in a thread."""

    def __init__(self, kms: Kms) -> None:
        self._kms = kms

    def seal(self, secret: str, *, offer_id: str) -> SealedKey:
        """Return a key encrypted for one offer. Raises ``KmsUnavailable``."""
        return self.seal_bytes(secret.encode(), context=offer_id)

    def seal_bytes(self, plain: bytes, *, context: str) -> SealedKey:
        """Return bytes encrypted under a data key of their own, for one place. Raises
        ``KmsUnavailable``."""
        data_key = secrets.token_bytes(KEY_BYTES)
        wrapped = self._kms.wrap(data_key, context=context)
        return SealedKey(encrypt(data_key, plain, context), wrapped, self._kms.key_id)

    def open(self, sealed: SealedKey, *, offer_id: str) -> str:
        """Return the key in the clear. Raises ``SealBroken`` or ``KmsUnavailable``."""
        return self.open_bytes(sealed, context=offer_id).decode()

    def open_bytes(self, sealed: SealedKey, *, context: str) -> bytes:
        """Return bytes in the clear. Raises ``SealBroken`` or ``KmsUnavailable``."""
        return decrypt(self._unwrap(sealed, context), sealed.ciphertext, context)

    def rewrap(self, sealed: SealedKey, *, offer_id: str) -> SealedKey:
        """Return the same under the KMS key that wraps now. Raises as ``open`` does."""
        wrapped = self._kms.wrap(self._unwrap(sealed, offer_id), context=offer_id)
        return SealedKey(sealed.ciphertext, wrapped, self._kms.key_id)

    @property
    def key_id(self) -> str:
        """The KMS key that wraps now."""
        return self._kms.key_id

    def _unwrap(self, sealed: SealedKey, offer_id: str) -> bytes:
        return self._kms.unwrap(sealed.wrapped_key, key_id=sealed.kms_key_id, context=offer_id)


def open_kms(location: str) -> Kms:
    """Open ``file:<path>`` or ``aws:<key id or ARN>``. Raises ``KmsInvalid``."""
    kind, _, rest = location.partition(":")
    if kind == "file" and rest:
        return FileKms(Path(rest))
    if kind == "aws" and rest:
        return AwsKms(rest)
    raise KmsInvalid("a KMS is file:<path> or aws:<key id>")
