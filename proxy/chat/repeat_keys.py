"""Repeated requests: what their idempotency key stands for, and answers that only they can open.

Every key here is derived from the API key and the idempotency key of the request itself, by HKDF.
Whoever has the database alone can neither tell which request a row belongs to nor read its answer.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson
from Crypto.Cipher import AES
from Crypto.Random import get_random_bytes

from serving.http.errors import NO_RETRY, RequestRejected

_LABEL: Final = b"current: idempotency, version 1"
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_LENGTH_BYTES: Final = 4


class AnswerSealBroken(ValueError):
    """A sealed answer does not open: it was changed, or belongs to another request."""


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """A successful answer, as it is sent again."""

    is_stream: bool
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class RepeatKey:
    """What an idempotency key comes to for one API key and one body."""

    lookup_id: str
    body_digest: str
    _seal_key: bytes

    def __repr__(self) -> str:
        return "RepeatKey(…)"

    def seal(self, answer: WholeAnswer) -> bytes:
        """Return the answer, encrypted by AES-256-GCM under a key that this request alone has."""
        head = orjson.dumps({"is_stream": answer.is_stream, "headers": answer.headers})
        plain = len(head).to_bytes(_LENGTH_BYTES, "big") + head + answer.body
        nonce = get_random_bytes(_NONCE_BYTES)
        sealed, tag = self._cipher(nonce).encrypt_and_digest(plain)
        return b"".join((nonce, tag, sealed))

    def open(self, sealed: bytes) -> WholeAnswer:
        """Return a sealed answer. Raises ``AnswerSealBroken``."""
        nonce, tag = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES : _NONCE_BYTES + _TAG_BYTES]
        try:
            plain = self._cipher(nonce).decrypt_and_verify(sealed[_NONCE_BYTES + _TAG_BYTES :], tag)
        except ValueError as error:
            raise AnswerSealBroken("a kept answer does not open") from error
        end = _LENGTH_BYTES + int.from_bytes(plain[:_LENGTH_BYTES], "big")
        head = orjson.loads(plain[_LENGTH_BYTES:end])
        return WholeAnswer(head["is_stream"], head["headers"], plain[end:])

    def _cipher(self, nonce: bytes) -> Any:
        cipher = AES.new(self._seal_key, AES.MODE_GCM, nonce=nonce, mac_len=_TAG_BYTES)
        # Moved to another request's row, it does not open.
        cipher.update(f"{self.lookup_id} {self.body_digest}".encode())
        return cipher


def derive_repeat_key(*, api_key: str, idempotency_key: str, body: bytes) -> RepeatKey:
    """Return what stands for a request: the same for the same three, and for nothing else.

    ``body`` is everything that makes the request what it is.
    """
    root = hmac.digest(_LABEL, api_key.encode(), "sha256")
    seed = f"\0{idempotency_key}".encode()
    lookup, digest_key, seal_key = (
        hmac.digest(root, name + seed + b"\x01", "sha256") for name in (b"lookup", b"body", b"seal")
    )
    digest = hmac.new(digest_key, body, sha256).hexdigest()
    return RepeatKey(lookup.hex(), digest, seal_key)


def idempotency_key_reused() -> RequestRejected:
    """409: the key stands for a request with another body."""
    message = "This Idempotency-Key stands for another request. Take a new key for a new request."
    return RequestRejected(409, "idempotency_key_reused", message, headers=NO_RETRY)


def request_in_progress(request_id: str) -> RequestRejected:
    """409: the first request with the key still runs."""
    message = "The first request with this Idempotency-Key still runs. Ask again in a while."
    return RequestRejected(
        409,
        "request_in_progress",
        message,
        facts={"request_id": request_id},
        headers={"retry-after": "2"},
    )


def answer_not_kept(request_id: str, *, cost_usdc: int) -> RequestRejected:
    """409: the first request was served and charged, and its answer is not there any more."""
    message = (
        "The request with this Idempotency-Key was served and charged, but its answer was not kept:"
        " it was too long, too much is kept already, or the server stopped before. Its receipt is"
        " there by its request_id. To run it, and pay for it, again, take a new key."
    )
    return RequestRejected(
        409,
        "answer_not_kept",
        message,
        facts={"request_id": request_id, "cost_usdc": cost_usdc},
        headers=NO_RETRY,
    )
