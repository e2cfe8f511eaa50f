"""Signatures of deliveries, as the Standard Webhooks specification has them. Pure.

``webhook-signature: v1,<base64 of HMAC-SHA256 over id.timestamp.body>``, several with a space
between while a secret is being rotated. Secrets are ``whsec_`` and 32 random bytes in base64.
"""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Final

from serving.process.aes_gcm import SealBroken, decrypt, encrypt

SECRET_BYTES: Final = 32
TIMEOUT_S: Final = 10.0
"""How long an endpoint may take in all, in seconds."""
PREFIX: Final = "whsec_"
_LABEL: Final = b"current: webhook secrets, version 1"


def show_secret(secret: bytes) -> str:
    """Return a secret as its owner gets it."""
    return PREFIX + b64encode(secret).decode()


def read_secret(text: str) -> bytes:
    """Return the bytes of a secret as its owner has it. Raises ``ValueError``."""
    return b64decode(text.removeprefix(PREFIX), validate=True)


def sign(
    secrets: Sequence[bytes], *, message_id: str, timestamp_s: int, body: bytes
) -> dict[str, str]:
    """Return the headers of a delivery, signed by each secret."""
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    signatures = (b64encode(hmac.digest(secret, signed, "sha256")) for secret in secrets)
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(f"v1,{one.decode()}" for one in signatures),
    }


def seal_secret(secret: bytes, *, key_secrets: Sequence[bytes], webhook_id: str) -> bytes:
    """Return a secret as the ledger keeps it: nobody reads it without the server's own secret."""
    return encrypt(_derive(key_secrets[0]), secret, webhook_id)


def open_secret(sealed: bytes, *, key_secrets: Sequence[bytes], webhook_id: str) -> bytes:
    """Return a sealed secret, by any live secret of the server. Raises ``SealBroken``."""
    for key_secret in key_secrets:
        try:
            return decrypt(_derive(key_secret), sealed, webhook_id)
        except SealBroken:
            continue
    raise SealBroken("no live secret of the server opens the webhook's")


def _derive(key_secret: bytes) -> bytes:
    return hmac.digest(key_secret, _LABEL, "sha256")
