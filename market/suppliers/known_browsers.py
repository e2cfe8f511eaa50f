"""Browsers that an account's owner has signed in with before: a flood of wrong tries elsewhere does
not shut them out.

A browser keeps a random name with a keyed digest of it and of the address: nothing is stored here,
and it signs nobody in. Tries of a known browser are counted by its name alone. Who has neither
signed in before nor can while strangers try gets in by a reset: its mail makes the browser known.
"""

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from market.suppliers.supplier_tokens import is_token

LIVES_S: Final = 365 * 86_400
"""How long a browser keeps its name, seconds."""
_NAME_BYTES: Final = 16
_PURPOSE: Final = b"Current known browser v1"


class KnownBrowsers:
    """Names browsers and recognises them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Names are made by the first of ``keys``, and recognised by each."""
        self._keys = tuple(keys)

    def name(self, email: str) -> str:
        """Return what a browser of an account keeps."""
        name = secrets.token_bytes(_NAME_BYTES)
        return _encode(name + _digest(self._keys[0], email, name))

    def recognise(self, kept: str | None, email: str) -> str | None:
        """Return the name of a browser of this account, None for what is none."""
        if kept is None or not is_token(kept):
            return None
        raw = urlsafe_b64decode(kept + "=")
        name, digest = raw[:_NAME_BYTES], raw[_NAME_BYTES:]
        known = [hmac.compare_digest(digest, _digest(key, email, name)) for key in self._keys]
        return name.hex() if any(known) else None


def _digest(key: bytes, email: str, name: bytes) -> bytes:
    message = b"\0".join((_PURPOSE, email.encode(), name))
    return hmac.digest(key, message, sha256)[:_NAME_BYTES]


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
