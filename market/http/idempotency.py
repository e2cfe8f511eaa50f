"""The header by which a repeated request counts once."""

from fastapi import Request

from serving.http.idempotency_header import check_idempotency_key


def read_idempotency_key(request: Request) -> str | None:
    """Return the header, None where there is none. Raises 400."""
    key = request.headers.get("idempotency-key")
    return None if key is None else check_idempotency_key(key)
