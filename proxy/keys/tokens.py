"""API keys: ``current_<tokenId>_<epoch>_<sig>``. Pure.

``sig`` is base64url, without padding, of an 8-byte key id followed by an HMAC-SHA256 over chain id,
position contract, token id, epoch and key id. A key needs no database row to be verified; the
epoch in it is compared with the chain's by the ledger. One key has one spelling: whatever is not
canonical is refused.

A child key looks the same and is signed under another domain, so that its kind is known before any
database is asked. Its eight bytes are the child's id, of six, and its generation: rotating a key
changes the generation only.
"""

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from ledger.spending.children import CHILD_ID_DIGITS

KEY_ID_BYTES: Final = 8
INTEGER_MAX: Final = 2**63 - 1
"""Largest token id and epoch that the ledger stores."""

CHILD_ID_BYTES: Final = CHILD_ID_DIGITS // 2
GENERATION_MAX: Final = 2**16 - 1

_ROOT_DOMAIN: Final = b"Current API key v1"
_CHILD_DOMAIN: Final = b"Current child API key v1"
_SIG_CHARACTERS: Final = 54  # 40 bytes, six bits a character, no padding
_KEY: Final = re.compile(
    rf"current_(0|[1-9][0-9]{{0,18}})_(0|[1-9][0-9]{{0,18}})_([A-Za-z0-9_-]{{{_SIG_CHARACTERS}}})"
)


@dataclass(frozen=True, slots=True)
class KeyClaims:
    """What a key says: whose allowance, of which epoch, and which key it is (hex)."""

    token_id: int
    key_epoch: int
    key_id: str
    generation: int | None = None
    """The generation of a child key; None for a root key."""

    @property
    def is_child(self) -> bool:
        """Whether it is a child key, which has limits in the ledger."""
        return self.generation is not None

    @property
    def key_bytes(self) -> bytes:
        """The eight bytes that the key itself holds."""
        if self.generation is None:
            return bytes.fromhex(self.key_id)
        return bytes.fromhex(self.key_id) + self.generation.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The live secrets, bound to one chain and one position contract.

    The first secret signs, every one verifies: rotate by putting a new one in front.
    """

    secrets: Sequence[bytes]
    chain_id: int
    position: str

    def __post_init__(self) -> None:
        assert self.secrets
        assert len(bytes.fromhex(self.position.removeprefix("0x"))) == 20

    def __repr__(self) -> str:
        return f"KeyRing({len(self.secrets)} secrets, chain_id={self.chain_id})"

    def build_key(self, claims: KeyClaims) -> str:
        """Return the API key for ``claims``, signed with the first secret."""
        key_bytes = claims.key_bytes
        assert len(key_bytes) == KEY_ID_BYTES
        signed = key_bytes + self._sign(self.secrets[0], claims)
        sig = urlsafe_b64encode(signed).rstrip(b"=").decode()
        return f"current_{claims.token_id}_{claims.key_epoch}_{sig}"

    def verify_key(self, key: str) -> KeyClaims | None:
        """Return what a key says if one of the secrets signed it, else None. Never raises.

        Says nothing of the epoch being the current one.
        """
        # fullmatch, and a pattern without \d: no trailing newline, no digits of other scripts.
        match = _KEY.fullmatch(key)
        if match is None:
            return None
        token_id, key_epoch = int(match[1]), int(match[2])
        if token_id > INTEGER_MAX or key_epoch > INTEGER_MAX:
            return None
        encoded = match[3].encode()
        decoded = urlsafe_b64decode(encoded + b"==")
        if urlsafe_b64encode(decoded).rstrip(b"=") != encoded:
            return None  # unused trailing bits are set
        key_bytes, given = decoded[:KEY_ID_BYTES], decoded[KEY_ID_BYTES:]
        root = KeyClaims(token_id, key_epoch, key_bytes.hex())
        if self._is_signed(root, given):
            return root
        child_id = key_bytes[:CHILD_ID_BYTES].hex()
        generation = int.from_bytes(key_bytes[CHILD_ID_BYTES:], "big")
        child = KeyClaims(token_id, key_epoch, child_id, generation)
        return child if self._is_signed(child, given) else None

    def _is_signed(self, claims: KeyClaims, given: bytes) -> bool:
        # Every secret is tried, so that the time does not tell which one it was.
        valid = [hmac.compare_digest(self._sign(secret, claims), given) for secret in self.secrets]
        return any(valid)

    def _sign(self, secret: bytes, claims: KeyClaims) -> bytes:
        message = b"".join(
            (
                _CHILD_DOMAIN if claims.is_child else _ROOT_DOMAIN,
                self.chain_id.to_bytes(32, "big"),
                bytes.fromhex(self.position.removeprefix("0x")),
                claims.token_id.to_bytes(32, "big"),
                claims.key_epoch.to_bytes(32, "big"),
                claims.key_bytes,
            )
        )
        return hmac.digest(secret, message, sha256)


class KnownKeys:
    """Keys that a ring has verified before: none is verified twice while it is remembered.

    Only hashes are kept, so that how long a lookup takes tells nothing about a key.
    """

    def __init__(self, ring: KeyRing, *, count_max: int = 16_384) -> None:
        self._ring = ring
        self._count_max = count_max
        self._claims: dict[bytes, KeyClaims] = {}

    def verify_key(self, key: str) -> KeyClaims | None:
        """Return what ``KeyRing.verify_key`` does."""
        digest = sha256(key.encode()).digest()
        claims = self._claims.get(digest)
        if claims is None:
            claims = self._ring.verify_key(key)
            if claims is not None:
                if len(self._claims) >= self._count_max:
                    self._claims.clear()
                self._claims[digest] = claims
        return claims
