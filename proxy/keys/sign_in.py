"""Signing in for a root key by EIP-4361: the nonce, and what the message must say. Pure.

A nonce is not stored when it is given out: it carries its own expiry and an HMAC, so that ours can
be told from others. It is stored when it is used, so that it is used once.
"""

import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from contracts.siwe import LIFETIME_S, SiweInvalid, SiweMessage, parse_siwe
from proxy.keys.tokens import INTEGER_MAX

STATEMENT: Final = "Issue a Current API key for my position."

_DOMAIN: Final = b"Current sign-in nonce v1"
_RANDOM_BYTES: Final = 12
_TIME_BYTES: Final = 6
_MAC_BYTES: Final = 16
_NONCE: Final = re.compile(rf"[0-9a-f]{{{2 * (_RANDOM_BYTES + _TIME_BYTES + _MAC_BYTES)}}}")
_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class SignIn:
    """What a sign-in is bound to."""

    secrets: Sequence[bytes]
    """The key secrets; the first one makes nonces."""
    domain: str
    chain_id: int
    position: str
    nonce_lifetime_s: int = LIFETIME_S
    """How long a nonce is good, and a message that names no end itself."""

    def __repr__(self) -> str:
        return f"SignIn(domain={self.domain!r}, chain_id={self.chain_id})"

    @property
    def uri(self) -> str:
        """The URI that a message names."""
        host = self.domain.rsplit(":", 1)[0] if not self.domain.endswith("]") else self.domain
        return f"{'http' if host in _LOOPBACK else 'https'}://{self.domain}"

    def get_resource(self, token_id: int) -> str:
        """Return the resource that names a position: chain, contract and token id."""
        return f"eip155:{self.chain_id}:{self.position.lower()}/{token_id}"

    def build_nonce(self, *, now_s: int) -> str:
        """Return a fresh nonce, good for ``nonce_lifetime_s``."""
        expires_at_s = now_s + self.nonce_lifetime_s
        said = secrets.token_bytes(_RANDOM_BYTES) + expires_at_s.to_bytes(_TIME_BYTES, "big")
        return (said + _sign(self.secrets[0], said)).hex()

    def read_nonce(self, nonce: str, *, now_s: int) -> int | None:
        """Return when a nonce expires (Unix seconds); None if it is invalid or has expired."""
        if _NONCE.fullmatch(nonce) is None:
            return None
        raw = bytes.fromhex(nonce)
        said, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        valid = [hmac.compare_digest(_sign(secret, said), mac) for secret in self.secrets]
        if not any(valid):
            return None
        expires_at_s = int.from_bytes(said[_RANDOM_BYTES:], "big")
        return expires_at_s if now_s < expires_at_s else None

    def describe(self, token_id: int | None, *, now_s: int) -> dict[str, Any]:
        """Return a fresh nonce and all else that the message to sign must say."""
        resource = self.get_resource(0).removesuffix("0")
        resource += "<tokenId>" if token_id is None else str(token_id)
        nonce = self.build_nonce(now_s=now_s)
        template = "\n".join(
            (
                f"{self.domain} wants you to sign in with your Ethereum account:",
                "<address>",
                "",
                STATEMENT,
                "",
                f"URI: {self.uri}",
                "Version: 1",
                f"Chain ID: {self.chain_id}",
                f"Nonce: {nonce}",
                "Issued At: <time>",
                "Resources:",
                f"- {resource}",
            )
        )
        return {
            "nonce": nonce,
            "expires_at_s": now_s + self.nonce_lifetime_s,
            "domain": self.domain,
            "uri": self.uri,
            "version": "1",
            "chain_id": self.chain_id,
            "statement": STATEMENT,
            "resources": [resource],
            "template": template,
        }

    def read_message(self, text: str, *, now_s: float) -> tuple[SiweMessage, int, int]:
        """Return a message that is for us and for now, its token id and its nonce's expiry.

        Raises ``SiweInvalid``.
        """
        message = parse_siwe(text)
        message.check(
            domain=self.domain,
            chain_id=self.chain_id,
            now_s=now_s,
            lifetime_s=self.nonce_lifetime_s,
        )
        expires_at_s = self.read_nonce(message.nonce, now_s=int(now_s))
        if expires_at_s is None:
            raise SiweInvalid("the nonce is not one of ours, or has expired: get a new one")
        return message, self._read_token_id(message.resources), expires_at_s

    def _read_token_id(self, resources: Sequence[str]) -> int:
        prefix = self.get_resource(0).removesuffix("0")
        if len(resources) == 1 and resources[0].lower().startswith(prefix):
            text = resources[0][len(prefix) :]
            if re.fullmatch("0|[1-9][0-9]{0,18}", text) and int(text) <= INTEGER_MAX:
                return int(text)
        raise SiweInvalid(f"the message's one resource must be {prefix}<tokenId>")


def _sign(secret: bytes, said: bytes) -> bytes:
    return hmac.digest(secret, _DOMAIN + said, sha256)[:_MAC_BYTES]
