"""The keys that identity numbers are digested by: from the KMS, never from the database.

The newest key makes digests; every live key is compared by. Who has the database and not the keys
cannot try numbers.
"""

import hmac
import importlib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from market.endpoints.sealing import KmsInvalid, KmsUnavailable, read_key_file

_PURPOSE = b"Current identity numbers v1"


class IdentityKeys(Protocol):
    """Digests what an identity number is compared by. May block: run it in a thread."""

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Every live key, the newest first."""
        ...

    def digest(self, message: bytes, key_id: str) -> str:
        """Return the digest by one key, hex. Raises ``KmsUnavailable``."""
        ...


class FileIdentityKeys:
    """Keys in a file of the operator, as ``FileKms`` has them: one of its own derived from each."""

    def __init__(self, path: Path) -> None:
        self._keys: Mapping[str, bytes] = {
            key_id: hmac.digest(key, _PURPOSE, sha256)
            for key_id, key in read_key_file(path).items()
        }

    def __repr__(self) -> str:
        return f"FileIdentityKeys({len(self._keys)} keys)"

    @property
    def key_ids(self) -> tuple[str, ...]:
        return tuple(self._keys)

    def digest(self, message: bytes, key_id: str) -> str:
        return hmac.digest(self._keys[key_id], message, sha256).hex()


class AwsIdentityKeys:
    """HMAC keys (HMAC_256) in AWS KMS, the newest first. Needs ``boto3``."""

    def __init__(self, key_ids: tuple[str, ...]) -> None:
        try:
            boto3 = importlib.import_module("boto3")
        except ImportError:
            raise KmsInvalid("AWS KMS needs the package boto3, which is not installed") from None
        self._key_ids = key_ids
        self._client: Any = boto3.client("kms")

    @property
    def key_ids(self) -> tuple[str, ...]:
        return self._key_ids

    def digest(self, message: bytes, key_id: str) -> str:
        # What is sent is a digest already: the number itself does not leave this process.
        hashed = sha256(message).digest()
        try:
            answer = self._client.generate_mac(
                KeyId=key_id, MacAlgorithm="HMAC_SHA_256", Message=hashed
            )
        except Exception as error:
            # Botocore's texts may quote what was sent.
            code = getattr(error, "response", {}).get("Error", {}).get("Code", "")
            raise KmsUnavailable(f"AWS KMS: {code or type(error).__name__}") from None
        return bytes(answer["Mac"]).hex()


def open_identity_keys(location: str, *, kms: str) -> IdentityKeys | None:
    """Open ``file:<path>`` or ``aws:<HMAC key id>[,<older key id>…]``.

    Without a ``location`` the file of ``kms`` is used; None where that is none. Raises
    ``KmsInvalid``.
    """
    kind, _, rest = location.partition(":")
    if kind == "file" and rest:
        return FileIdentityKeys(Path(rest))
    if kind == "aws" and rest:
        return AwsIdentityKeys(tuple(one.strip() for one in rest.split(",")))
    if location:
        raise KmsInvalid("identity keys are file:<path> or aws:<HMAC key id>[,<older>…]")
    kind, _, rest = kms.partition(":")
    return FileIdentityKeys(Path(rest)) if kind == "file" else None
