"""Every answer that is not a success, in the reference's shape.

``{"error": {"message", "type", "code"}, …facts}``: the facts stand beside ``error``, not in it; a
``param`` is there only where one field is to blame.

::

    CurrentError
    ├── Rejected ── RequestRejected   4xx: the request is wrong as things stand
    └── Retryable ─ TryLater          5xx: the same request may succeed later
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from contracts.errors import CurrentError, Rejected, Retryable
from contracts.units import format_usdc

RETRY_SOON_S: Final = 5
_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "insufficient_quota",
    429: "rate_limit_error",
}
_NO_RETRY: Final[Mapping[str, str]] = {"x-should-retry": "false"}


@dataclass(eq=False)
class ApiError(CurrentError):
    """An answer other than a success. ``str()`` of it is the message that the client sees."""

    status: int
    code: str
    message: str
    param: str | None = None
    type: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.message

    def body(self) -> bytes:
        """Return the JSON body."""
        default = "invalid_request_error" if self.status < 500 else "api_error"
        error = {
            "message": self.message,
            "type": self.type or _TYPES.get(self.status, default),
            "code": self.code,
        }
        if self.param is not None:
            error["param"] = self.param
        return orjson.dumps({"error": error, **self.facts})


class RequestRejected(ApiError, Rejected):
    """4xx: repeating the request unchanged is pointless, at least for now."""


class TryLater(ApiError, Retryable):
    """5xx: not the client's doing; the same request may succeed later."""


def bad_request(code: str, message: str, *, param: str | None = None) -> RequestRejected:
    """400: a field is missing, of a wrong type or out of range."""
    return RequestRejected(400, code, message, param)


def wrong_type(param: str, expected: str) -> RequestRejected:
    """400: a field is not what it must be."""
    return bad_request("invalid_type", f"'{param}' must be {expected}.", param=param)


def invalid_minimum_discount(segment: str) -> RequestRejected:
    """400: the path's min segment is not by the grammar."""
    message = (
        f"'{segment[:40]}' is not a minimum discount: use min0 to min100, without leading zeros,"
        " signs or decimals."
    )
    return bad_request("invalid_minimum_discount", message)


def unauthorized(code: str, message: str) -> RequestRejected:
    """401: no key, or not one that may do this."""
    headers = {"www-authenticate": "Bearer", **_NO_RETRY}
    return RequestRejected(401, code, message, headers=headers)


def missing_key(prefix: str) -> RequestRejected:
    """401: no bearer token came with the request."""
    return unauthorized("missing_api_key", f"No API key: send 'Authorization: Bearer {prefix}…'.")


def invalid_key() -> RequestRejected:
    """401: the token is not a live key of ours."""
    message = "The API key is not valid: unknown, revoked, expired or of the other kind."
    return unauthorized("invalid_api_key", message)


def not_found(what: str) -> RequestRejected:
    """404: there is no such thing, or it is another's."""
    return RequestRejected(404, "not_found", f"There is no such {what}.")


def model_not_found(model: str) -> RequestRejected:
    """404: nobody lists the model."""
    message = f"There is no model {model[:200]!r}. GET /v1/models lists what there is."
    return RequestRejected(404, "model_not_found", message, "model")


def credit_spent(*, required_usdc: int, available_usdc: int) -> RequestRejected:
    """402: the buyer's credit does not cover what the request may cost."""
    message = (
        f"This request may cost up to {format_usdc(required_usdc)} USDC and"
        f" {format_usdc(available_usdc)} is left. Add credit or lower max_tokens."
    )
    facts = {"required_usdc": required_usdc, "available_usdc": available_usdc}
    return RequestRejected(402, "credit_spent", message, facts=facts, headers=_NO_RETRY)


def discount_not_met(*, model: str, minimum_pct: int, best_pct: float | None) -> TryLater:
    """503: sellers are there, but none is provably cheap enough."""
    message = (
        f"No marketplace sellers currently meet the minimum {minimum_pct}% estimated discount for"
        f" '{model[:200]}'."
    )
    if best_pct is not None:
        shown = f"{best_pct:.1f}".removesuffix(".0")
        message += f" Best otherwise-eligible estimated discount is {shown}%."
    facts = {"minimum_discount_pct": minimum_pct, "best_available_discount_pct": best_pct}
    return TryLater(
        503, "minimum_discount_not_met", message, type="no_discounted_offer", facts=facts
    )


def unavailable(code: str, message: str, *, retry_after_s: int = RETRY_SOON_S) -> TryLater:
    """503: what is needed is not there just now."""
    return TryLater(503, code, message, headers={"retry-after": str(retry_after_s)})


def ledger_unavailable() -> TryLater:
    """503: nothing can be written down, so nothing is let through."""
    message = "The ledger is unavailable, so nothing can be charged or served."
    return unavailable("ledger_unavailable", message)


def settlement_failed() -> TryLater:
    """502: a seller answered, but the charge could not be written."""
    message = "The answer is withheld because its charge could not be recorded. Not charged yet."
    return TryLater(502, "settlement_failed", message)


class PaymentNeeded(RequestRejected):
    """402: pay, and send the request again. The body is the payment protocol's own."""

    def __init__(self, message: str, *, header: str, content: bytes) -> None:
        headers = {"payment-required": header, **_NO_RETRY}
        super().__init__(402, "payment_required", message, headers=headers)
        self._content = content

    def body(self) -> bytes:
        """Return the JSON body."""
        return self._content


def sellers_failed(attempts: int) -> TryLater:
    """502: every seller that was tried failed."""
    message = f"{attempts} of the sellers of this model failed. You are not charged."
    return TryLater(502, "sellers_failed", message)


def broken_off(code: str, message: str) -> TryLater:
    """An error inside a stream that has begun; what was delivered is charged."""
    return TryLater(502, code, f"{message} You are charged for what you received.")


def internal_error() -> TryLater:
    """500: a mistake in here."""
    message = "Something went wrong on our side. The request id helps to find it."
    return TryLater(500, "internal_error", message)
