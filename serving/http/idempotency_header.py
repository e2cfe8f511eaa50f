"""The header ``Idempotency-Key``: its form, and how the documents state it. Pure."""

from typing import Any, Final

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


def check_idempotency_key(key: str) -> str:
    """Return a header's value if it can be a key. Raises 400."""
    if not (0 < len(key) <= IDEMPOTENCY_KEY_MAX and key.isprintable()):
        message = f"Idempotency-Key is 1 to {IDEMPOTENCY_KEY_MAX} printable characters."
        raise bad_request("invalid_idempotency_key", message)
    return key
