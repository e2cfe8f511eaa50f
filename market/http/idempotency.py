"""The header by which a repeated request counts once."""

from typing import Any, Final

from fastapi import Request

from serving.http.errors import bad_request

IDEMPOTENCY_KEY_MAX: Final = 200
IDEMPOTENCY: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": "idempotency-key",
            "in": "header",
            "required": False,
            "description": "the same request with the same key is done once",
            "schema": {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_MAX},
        }
    ]
}
"""How the document states the header."""


def read_idempotency_key(request: Request) -> str | None:
    """Return the header, None where there is none. Raises 400."""
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= IDEMPOTENCY_KEY_MAX and key.isprintable()):
        message = f"Idempotency-Key is 1 to {IDEMPOTENCY_KEY_MAX} printable characters."
        raise bad_request("invalid_idempotency_key", message)
    return key
