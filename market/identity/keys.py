"""Sellers' and buyers' API keys, and the nonces that they sign in with. Pure but for randomness.

A key is 32 random bytes behind a prefix; what is stored is its SHA-256, which says nothing of so
much randomness. A nonce carries its own expiry and proof that it was made here, for this address
and purpose: a challenge that is never signed leaves nothing behind.
"""

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

_KEY_BYTES: Final = 32
_KEY: Final = re.compile(r"(?:si_seller|inf)_[A-Za-z0-9_-]{43}")
_NONCE: Final = re.compile(r"([0-9a-f]{16})([0-9a-f]{16})([0-9a-f]{32})")
_DOMAIN: Final = b"Current market nonce v1"
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}")


class Role(StrEnum):
    """Who a key is for."""

    SELLER = "seller"
    BUYER = "buyer"


_PREFIXES: Final = {Role.SELLER: "si_seller_", Role.BUYER: "inf_"}


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key that was just made. ``text`` is shown once and stored nowhere."""

    text: str
    key_hash: str

    def __repr__(self) -> str:
        return "IssuedKey(…)"


def make_key(role: Role) -> IssuedKey:
    """Return a new random key."""
    encoded = urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).rstrip(b"=").decode()
    text = _PREFIXES[role] + encoded
    return IssuedKey(text, hash_key(text))


def hash_key(text: str) -> str:
    """Return what is stored of a key."""
    return sha256(text.encode()).hexdigest()


def find_role(text: str) -> Role | None:
    """Return whose key this looks like, or None where it is no key of ours."""
    if _KEY.fullmatch(text) is None:
        return None
    return Role.SELLER if text.startswith(_PREFIXES[Role.SELLER]) else Role.BUYER


def is_address(text: str) -> bool:
    """Tell whether this is an Ethereum address, in whatever case."""
    return _ADDRESS.fullmatch(text) is not None


def make_nonce(live: Sequence[bytes], *, purpose: str, address: str, expires_at_s: int) -> str:
    """Return a nonce for ``address`` to sign for one purpose: letters and digits only.

    A purpose is a role that a key is for, or what else is signed: a nonce serves no other.

    Of the live secrets the first signs.
    """
    head = f"{expires_at_s:016x}{secrets.token_hex(8)}"
    return head + _sign(live[0], purpose, address, head)


def read_nonce(live: Sequence[bytes], nonce: str, *, purpose: str, address: str) -> int | None:
    """Return when a nonce expires, Unix seconds; None where no live secret signed it for this."""
    match = _NONCE.fullmatch(nonce)
    if match is None:
        return None
    # Every secret is tried, so that the time does not tell which it was.
    head = match[1] + match[2]
    valid = [hmac.compare_digest(_sign(key, purpose, address, head), match[3]) for key in live]
    return int(match[1], 16) if any(valid) else None


def digest_request(live: Sequence[bytes], content: bytes) -> tuple[str, ...]:
    """Return keyed digests of a request that holds a secret, one by each live secret.

    The first is to be stored. A request is the same as an earlier one if any of its digests is the
    earlier one's.
    """
    said = b"Current market request v1" + content
    return tuple(hmac.digest(key, said, sha256).hex() for key in live)


def _sign(secret: bytes, purpose: str, address: str, head: str) -> str:
    message = b"|".join((_DOMAIN, purpose.encode(), address.lower().encode(), head.encode()))
    return hmac.digest(secret, message, sha256)[:16].hex()
