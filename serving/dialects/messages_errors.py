"""Errors in the shape that Anthropic's SDKs and Claude Code act on. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from serving.http.errors import ApiError
from serving.models.failures import CONTENT_POLICY_VIOLATION, CONTEXT_LENGTH_EXCEEDED

_TYPES: Final[Mapping[int, str]] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_BY_CODE: Final[Mapping[str, str]] = {
    "upstream_timeout": "timeout_error",
    "stream_timeout": "timeout_error",
    "shutting_down": "overloaded_error",
    "upstream_rate_limited": "overloaded_error",
    "reservation_lost": "overloaded_error",
    "price_changed": "overloaded_error",
    "ceiling_reached": "rate_limit_error",
    "key_revoked": "authentication_error",
    "key_expired": "authentication_error",
    "key_rotated": "authentication_error",
    "invalid_api_key": "authentication_error",
    "model_not_allowed": "permission_error",
    CONTEXT_LENGTH_EXCEEDED: "invalid_request_error",
    CONTENT_POLICY_VIOLATION: "invalid_request_error",
    "upstream_rejected": "invalid_request_error",
}
_TOO_LONG: Final = "prompt is too long: "
"""The words by which Claude Code knows that it must make its conversation shorter."""


def build_messages_error(
    error: Mapping[str, Any], *, request_id: str, status: int | None = None
) -> dict[str, Any]:
    """Return the body for an error in OpenAI's shape; ``status`` None: inside a stream."""
    code = error.get("code")
    kind = _TYPES.get(status) if status is not None else _BY_CODE.get(str(code))
    if kind is None:
        kind = "api_error" if status is None or status >= 500 else "invalid_request_error"
    message = str(error.get("message"))
    if code == CONTEXT_LENGTH_EXCEEDED and not message.lower().startswith(_TOO_LONG):
        message = _TOO_LONG + message
    facts = {
        name: value
        for name, value in error.items()
        if name not in ("message", "type") and value is not None
    }
    told = {"type": kind, "message": message, **facts}
    return {"type": "error", "error": told, "request_id": request_id}


def describe_as_message(error: ApiError, *, request_id: str) -> dict[str, Any]:
    """Return the body of an error answer."""
    body = build_messages_error(error.describe(), request_id=request_id, status=error.status)
    return {**body, **error.beside}
