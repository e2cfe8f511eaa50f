"""AES-256-GCM: bytes that only the holder of a key can read, and only in the place they were
sealed for.

A sealed text is the nonce (12 bytes), the ciphertext and the tag (16 bytes), in this order.
"""

from typing import Final

from Crypto.Cipher import AES
from Crypto.Random import get_random_bytes

from contracts.errors import Rejected

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16


class SealBroken(Rejected):
    """A sealed text does not open: it was changed, moved, or its key is not known here."""


def encrypt(key: bytes, plain: bytes, context: str) -> bytes:
    """Return ``plain``, sealed under ``key`` (32 bytes). It opens with the same context only."""
    nonce = get_random_bytes(_NONCE_BYTES)
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce, mac_len=_TAG_BYTES)
    cipher.update(context.encode())
    ciphertext, tag = cipher.encrypt_and_digest(plain)
    return b"".join((nonce, ciphertext, tag))


def decrypt(key: bytes, sealed: bytes, context: str) -> bytes:
    """Return what was sealed. Raises ``SealBroken``."""
    if len(sealed) < _NONCE_BYTES + _TAG_BYTES:
        raise SealBroken("a sealed text is too short")
    cipher = AES.new(key, AES.MODE_GCM, nonce=sealed[:_NONCE_BYTES], mac_len=_TAG_BYTES)
    cipher.update(context.encode())
    try:
        return cipher.decrypt_and_verify(sealed[_NONCE_BYTES:-_TAG_BYTES], sealed[-_TAG_BYTES:])
    except ValueError:
        raise SealBroken("a sealed text was changed, or belongs elsewhere") from None
