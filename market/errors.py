"""The refusals that only the market has; every server's are in ``serving.http.errors``.

The reference's facts stand beside ``error``, not in it.
"""

from typing import Any

from contracts.units import format_usdc
from serving.http.errors import (
    NO_RETRY,
    RequestRejected,
    TryLater,
    bad_request,
    unauthorized,
    unavailable,
)


def invalid_minimum_discount(segment: str) -> RequestRejected:
    """400: the path's min segment is not by the grammar."""
    message = (
        f"'{segment[:40]}' is not a minimum discount: use min0 to min100, without leading zeros,"
        " signs or decimals."
    )
    return bad_request("invalid_minimum_discount", message)


def missing_key(prefix: str) -> RequestRejected:
    """401: no bearer token came with the request."""
    return unauthorized("missing_api_key", f"No API key: send 'Authorization: Bearer {prefix}…'.")


def invalid_key() -> RequestRejected:
    """401: the token is not a live key of ours."""
    message = "The API key is not valid: unknown, revoked, expired or of the other kind."
    return unauthorized("invalid_api_key", message)


def kms_unavailable() -> TryLater:
    """503: nothing can be sealed or opened now."""
    message = "Keys and documents cannot be sealed or opened just now. Try again soon."
    return unavailable("kms_unavailable", message)


def not_found(what: str) -> RequestRejected:
    """404: there is no such thing, or it is another's."""
    return RequestRejected(404, "not_found", f"There is no such {what}.")


def name_looks_like(known: str) -> RequestRejected:
    """400: a new offer's model has a name that a reader takes for a known model's."""
    message = f"'model' looks like the known model {known!r} and is not it: list that name."
    return bad_request("model_looks_alike", message, param="model")


def market_full(offers_max: int) -> RequestRejected:
    """409: the market holds as many offers as its operator allows."""
    message = f"{offers_max} offers are listed here, and no more are taken."
    return RequestRejected(409, "market_full", message)


def model_full(offers_max: int, whose: str) -> RequestRejected:
    """409: sellers who are not approved offer the model often enough."""
    message = (
        f"{offers_max} offers {whose} are listed for this model, and no more are taken before the"
        " operator approves the seller."
    )
    return RequestRejected(409, "too_many_offers", message, "model")


def too_many_new_models(count_max: int) -> RequestRejected:
    """409: no reference names the model, and the market takes no more of such names."""
    message = (
        f"This model has no reference price here, and {count_max} such models are listed: the"
        " operator has to name it first."
    )
    return RequestRejected(409, "too_many_new_models", message, "model")


def model_not_found(model: str) -> RequestRejected:
    """404: no seller lists the model."""
    message = f"There is no model {model[:200]!r}. GET /v1/models lists all models."
    return RequestRejected(404, "model_not_found", message, "model")


def credit_spent(*, required_usdc: int, available_usdc: int) -> RequestRejected:
    """402: the buyer's credit does not cover what the request may cost."""
    message = (
        f"This request may cost up to {format_usdc(required_usdc)} USDC and"
        f" {format_usdc(available_usdc)} USDC is left. Add credit or lower max_tokens."
    )
    facts = {"required_usdc": required_usdc, "available_usdc": available_usdc}
    return RequestRejected(402, "credit_spent", message, beside=facts, headers=NO_RETRY)


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
    return DiscountNotMet(
        503, "minimum_discount_not_met", message, type="no_discounted_offer", beside=facts
    )


class DiscountNotMet(TryLater):
    """503: no seller is cheap enough. The body is the reference's to the letter."""

    def describe(self) -> dict[str, Any]:
        """Return the error without a ``param``: the reference has none here."""
        described = super().describe()
        del described["param"]
        return described


class PaymentNeeded(RequestRejected):
    """402: pay, and send the request again. The body is the payment protocol's own."""

    def __init__(self, message: str, *, header: str, content: bytes) -> None:
        headers = {"payment-required": header, **NO_RETRY}
        super().__init__(402, "payment_required", message, headers=headers)
        self._content = content

    @property
    def has_own_body(self) -> bool:
        return True

    def body(self) -> bytes:
        """Return the JSON body."""
        return self._content


def sellers_failed(attempts: int) -> TryLater:
    """502: every seller that was tried failed."""
    message = f"{attempts} of the sellers of this model failed. You are not charged."
    return TryLater(502, "sellers_failed", message)
