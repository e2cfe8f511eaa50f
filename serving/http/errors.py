"""Every answer that is not a success, OpenAI-shaped, so that any SDK raises its right class. Pure.

::

    CurrentError
    ├── Rejected ── RequestRejected   4xx: the request is wrong as things stand
    └── Retryable ─ TryLater          5xx: the same request may succeed later

An error carries its status, code, message and the facts behind it. The functions below build the
refusals that every server has; a server's own refusals stand in its room's ``errors``. No message
names an upstream's URL or a secret.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from contracts.errors import CurrentError, Rejected, Retryable

RETRY_SOON_S: Final = 5
NO_RETRY: Final[Mapping[str, str]] = {"x-should-retry": "false"}
"""Tells the SDKs not to repeat by themselves a request that waiting does not help."""

INSUFFICIENT_QUOTA: Final = "insufficient_quota"
"""OpenAI's ``type`` for money that does not suffice."""

_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: INSUFFICIENT_QUOTA,
    429: "rate_limit_error",
}


@dataclass(eq=False)
class ApiError(CurrentError):
    """An answer other than a success. ``str()`` of it is the message that the client sees."""

    status: int
    code: str
    message: str
    param: str | None = None
    """The field that is to blame, None where the request as a whole is."""
    type: str | None = None
    """OpenAI's class of the error; None = by the status."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the body says more, inside ``error``."""
    headers: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What the body says more, beside ``error``."""

    @property
    def has_own_body(self) -> bool:
        """Whether the body has a shape of its own, whatever the dialect of the path."""
        return False

    def __str__(self) -> str:
        return self.message

    def body(self) -> bytes:
        """Return the JSON body."""
        return orjson.dumps({"error": self.describe(), **self.beside})

    def describe(self) -> dict[str, Any]:
        """Return the error as a body holds it."""
        default = "invalid_request_error" if self.status < 500 else "api_error"
        return {
            "message": self.message,
            "type": self.type or _TYPES.get(self.status, default),
            "code": self.code,
            "param": self.param,
            **self.facts,
        }


class RequestRejected(ApiError, Rejected):
    """4xx: repeating the request unchanged is pointless, at least for now."""


class TryLater(ApiError, Retryable):
    """5xx: not the client's doing; the same request may succeed later."""


# --------------------------------------------------------------------------------- 4xx: the request


def bad_request(code: str, message: str, *, param: str | None = None) -> RequestRejected:
    """400: a field is missing, of a wrong type or out of range."""
    return RequestRejected(400, code, message, param)


def wrong_type(param: str, expected: str) -> RequestRejected:
    """400: a field is not what it must be."""
    return bad_request("invalid_type", f"'{param}' must be {expected}.", param=param)


def unauthorized(code: str, message: str) -> RequestRejected:
    """401: the request has no key, or a key that may not do this."""
    headers = {"www-authenticate": "Bearer", **NO_RETRY}
    return RequestRejected(401, code, message, headers=headers)


def monitor_only() -> RequestRejected:
    """403: metrics are the operator's."""
    message = "Metrics are for the operator: by the bearer token of its setting METRICS_TOKEN."
    return RequestRejected(403, "monitor_only", message)


def path_not_found(path: str) -> RequestRejected:
    """404: there is nothing at this path."""
    message = f"There is nothing at {path[:200]!r}. GET /openapi.json lists all paths."
    return RequestRejected(404, "not_found", message)


def method_not_allowed(method: str, allowed: str | None) -> RequestRejected:
    """405: the path takes other methods; ``allowed`` names them as the Allow header does."""
    message = f"{method[:20]} is not possible here."
    headers = {} if allowed is None else {"allow": allowed}
    if allowed is not None:
        message += f" Use {allowed}."
    return RequestRejected(405, "method_not_allowed", message, headers=headers)


def body_timeout() -> RequestRejected:
    """408: the client did not send its body in time."""
    return RequestRejected(408, "body_timeout", "The request body did not arrive in time.")


def headers_timeout() -> RequestRejected:
    """408: the client did not send its request line and headers in time."""
    return RequestRejected(408, "headers_timeout", "The request's headers did not arrive in time.")


def body_too_large(bytes_max: int) -> RequestRejected:
    """413: the body has more than ``bytes_max`` bytes."""
    return RequestRejected(413, "body_too_large", f"The body is longer than {bytes_max} bytes.")


def unsupported_encoding() -> RequestRejected:
    """415: the body is compressed."""
    return RequestRejected(415, "unsupported_encoding", "Send the body without content-encoding.")


def rate_limited(retry_after_s: int, what: str) -> RequestRejected:
    """429: too many requests in a short time; the same request is welcome a little later."""
    message = f"Too many requests {what}. Try again in {retry_after_s} s."
    headers = {"retry-after": str(retry_after_s)}
    return RequestRejected(429, "rate_limited", message, headers=headers)


def headers_too_large(bytes_max: int) -> RequestRejected:
    """431: request line and headers together have more than ``bytes_max`` bytes."""
    message = f"The request's headers are longer than {bytes_max} bytes."
    return RequestRejected(431, "headers_too_large", message)


# -------------------------------------------------------------------------------- 5xx: on our side


def internal_error() -> TryLater:
    """500: a mistake of ours; the log has the details, the client gets none."""
    message = "Something went wrong on our side. The request id helps to find it."
    return TryLater(500, "internal_error", message)


def settlement_failed() -> TryLater:
    """502: there is an answer, but its charge could not be written; the answer is withheld."""
    message = (
        "The answer was generated, but settling its reservation failed, so the answer is"
        " withheld. The reservation is given back when its lease runs out."
    )
    return TryLater(502, "settlement_failed", message, headers=NO_RETRY)


def charge_follows() -> TryLater:
    """502: a stream was delivered, and its charge could not be written yet."""
    message = (
        "The answer was delivered, but its cost is not settled yet: the charge follows, and its"
        " receipt will say it. If it cannot be settled, the reservation is given back."
    )
    return TryLater(502, "settlement_failed", message, headers=NO_RETRY)


def unavailable(code: str, message: str, *, retry_after_s: int = RETRY_SOON_S) -> TryLater:
    """503: something that we depend on does not work; nothing is let through meanwhile."""
    return TryLater(503, code, message, headers={"retry-after": str(retry_after_s)})


def ledger_unavailable() -> TryLater:
    """503: the ledger did not take the write, so the request was not let through."""
    return unavailable("ledger_unavailable", "The ledger cannot be written now. Try again soon.")


def loop_detected() -> TryLater:
    """508: the request has passed so many servers that it goes in a circle."""
    message = "This request was passed on too often: a provider on its way is this server itself."
    return TryLater(508, "loop_detected", message, headers=NO_RETRY)


def overloaded() -> TryLater:
    """503: as many requests are open as the operator allows."""
    return unavailable("overloaded", "Too many requests are open. Try again.", retry_after_s=1)
