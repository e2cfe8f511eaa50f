"""Random tokens of suppliers: API keys, cookies, links in mails; what is stored of each.

A token is 256 random bits; what is stored is its SHA-256, which says nothing of so much randomness.
"""

import re
import secrets
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

KEY_PREFIX: Final = "si_supply_"
_TOKEN_BYTES: Final = 32
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_KEY: Final = re.compile(KEY_PREFIX + _TOKEN.pattern)


class Scope(StrEnum):
    """What a supplier's API key may do. A session may do all of it, and more."""

    OFFERS_READ = "offers:read"
    OFFERS_WRITE = "offers:write"
    USAGE_READ = "usage:read"
    PAYOUTS_READ = "payouts:read"
    KYB_READ = "kyb:read"


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just made. ``text`` is shown once and stored nowhere."""

    text: str
    token_hash: str

    def __repr__(self) -> str:
        return "NewToken(…)"


def make_token(prefix: str = "") -> NewToken:
    """Return a new random token."""
    text = prefix + urlsafe_b64encode(secrets.token_bytes(_TOKEN_BYTES)).rstrip(b"=").decode()
    return NewToken(text, hash_token(text))


def hash_token(text: str) -> str:
    """Return what is stored of a token."""
    return sha256(text.encode()).hexdigest()


def is_token(text: str) -> bool:
    """Tell whether this looks like a token of a cookie or a link."""
    return _TOKEN.fullmatch(text) is not None


def is_supplier_key(text: str) -> bool:
    """Tell whether this looks like a supplier's API key."""
    return _KEY.fullmatch(text) is not None


def derive_csrf_token(session_token: str) -> str:
    """Return what a page must send beside the cookie: only who can read the session's answers
    knows it."""
    return sha256(b"Current supplier csrf v1" + session_token.encode()).hexdigest()
