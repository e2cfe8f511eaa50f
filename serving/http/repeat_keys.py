"""Repeated requests: how an idempotency key names a request and seals its answer.

Every key here is derived from the API key and the idempotency key of the request itself, by HKDF.
The database alone tells neither which request a row belongs to nor what the answer says.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import orjson

from serving.http.bodies import parse_bearer
from serving.http.errors import NO_RETRY, RequestRejected
from serving.http.idempotency_header import check_idempotency_key
from serving.process.aes_gcm import decrypt, encrypt

_LABEL: Final = b"current: idempotency, version 1"
_LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class WholeAnswer:
    """An answer that was charged, as it is sent again."""

    is_stream: bool
    headers: dict[str, str]
    body: bytes
    status: int = 200


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
        head = orjson.dumps(
            {"is_stream": answer.is_stream, "headers": answer.headers, "status": answer.status}
        )
        plain = len(head).to_bytes(_LENGTH_BYTES, "big") + head + answer.body
        return encrypt(self._seal_key, plain, self._context)

    def open(self, sealed: bytes) -> WholeAnswer:
        """Return a sealed answer. Raises ``SealBroken``."""
        plain = decrypt(self._seal_key, sealed, self._context)
        end = _LENGTH_BYTES + int.from_bytes(plain[:_LENGTH_BYTES], "big")
        head = orjson.loads(plain[_LENGTH_BYTES:end])
        return WholeAnswer(head["is_stream"], head["headers"], plain[end:], head.get("status", 200))

    @property
    def _context(self) -> str:
        """Moved to another request's row, a sealed answer does not open."""
        return f"{self.lookup_id} {self.body_digest}"


def derive_repeat_key(authorization: str | None, *, idempotency_key: str, body: bytes) -> RepeatKey:
    """Return what stands for an authentic request: the same for the same three, and for nothing
    else. Raises 400 where the header cannot be a key.

    ``authorization`` is the header that the request was found authentic by; ``body`` is everything
    that makes the request what it is.
    """
    api_key = None if authorization is None else parse_bearer(authorization)
    assert api_key is not None
    check_idempotency_key(idempotency_key)
    root = hmac.digest(_LABEL, api_key.encode(), "sha256")
    seed = f"\0{idempotency_key}".encode()
    lookup, digest_key, seal_key = (
        hmac.digest(root, name + seed + b"\x01", "sha256") for name in (b"lookup", b"body", b"seal")
    )
    digest = hmac.new(digest_key, body, sha256).hexdigest()
    return RepeatKey(lookup.hex(), digest, seal_key)


def idempotency_key_reused() -> RequestRejected:
    """409: the key was used for a request with another body."""
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
        " it was too long, too much is kept already, or the server stopped before. What it"
        " was charged is found by its request_id. To run it, and pay for it, again, take a new key."
    )
    return RequestRejected(
        409,
        "answer_not_kept",
        message,
        facts={"request_id": request_id, "cost_usdc": cost_usdc},
        headers=NO_RETRY,
    )
