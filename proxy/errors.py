"""The refusals that only the proxy has; every server's are in ``serving.http.errors``, and those of
money in ``proxy.money_refusals``.

Facts in a body are named with their unit (``*_usdc`` in 1e-6 USDC), times are ISO 8601.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from contracts.units import format_usdc
from serving.http.errors import (
    INSUFFICIENT_QUOTA,
    NO_RETRY,
    ApiError,
    RequestRejected,
    TryLater,
    unauthorized,
    unavailable,
)

NOT_CHARGED: Final = "You are not charged."
CHARGED_SO_FAR: Final = "You are charged for what you received."

PRICE_CHANGED: Final = "price_changed"


def missing_key() -> RequestRejected:
    """401: no bearer token came with the request."""
    message = "No API key: send 'Authorization: Bearer current_<tokenId>_<epoch>_<sig>'."
    return unauthorized("missing_api_key", message)


def nothing_stored() -> RequestRejected:
    """404: no response is kept."""
    message = (
        "No response is stored here (as with store=false), so none can be fetched. The receipt of a"
        " request is at GET /api/current/receipts/{requestId}."
    )
    return RequestRejected(404, "response_not_stored", message, "response_id")


def invalid_key() -> RequestRejected:
    """401: the token is not a key that we signed."""
    return unauthorized("invalid_api_key", "The API key is not valid. Check that it is complete.")


def key_revoked() -> RequestRejected:
    """401: the key's epoch is not the position's any more, or it is a child key that was ended."""
    message = (
        "This API key was revoked: alone, or with all keys of its position by a new key epoch on"
        " chain. The owner can sign for a new key at POST /api/current/keys."
    )
    return unauthorized("key_revoked", message)


def key_expired() -> RequestRejected:
    """401: the child key's time is over."""
    return unauthorized("key_expired", "This API key has expired. Its owner can prolong it.")


def key_rotated() -> RequestRejected:
    """401: the child key was rotated, and the grace of this generation is over."""
    return unauthorized("key_rotated", "This API key was replaced by a newer one. Use that one.")


def child_key_forbidden() -> RequestRejected:
    """403: only a root key manages keys."""
    message = "A child key cannot manage keys, nor have children. Use the position's root key."
    return RequestRejected(403, "child_key_forbidden", message, headers=NO_RETRY)


def model_not_allowed() -> RequestRejected:
    """403: the child key is for other models."""
    message = "This API key may not use this model. GET /api/current/keys/self lists which it may."
    return RequestRejected(403, "model_not_allowed", message, "model", headers=NO_RETRY)


def child_not_found() -> RequestRejected:
    """404: the position has no live child key of this id."""
    message = "This position has no live child key with that id."
    return RequestRejected(404, "key_not_found", message, "keyId")


def position_not_found() -> RequestRejected:
    """404: the ledger's mirror knows no such position."""
    message = "The position does not exist. If it was minted just now, try again in a few seconds."
    return RequestRejected(404, "position_not_found", message, "tokenId")


def receipt_not_found() -> RequestRejected:
    """404: no such request, or it is another position's."""
    message = "This position has no request with that id."
    return RequestRejected(404, "receipt_not_found", message, "requestId")


def model_not_found(model: str) -> RequestRejected:
    """404: upstream offers no such model."""
    message = f"There is no model {model[:200]!r}. GET /api/current/models lists all models."
    return RequestRejected(404, "model_not_found", message, "model")


def unknown_models(names: Sequence[str], *, fallback: bool) -> RequestRejected:
    """400: a child key names unknown models.

    ``fallback``: upstream does not say now which ones it has, and its last list has not these.
    """
    shown = ", ".join(repr(name[:200]) for name in names[:5])
    message = f"There is no model {shown}. GET /api/current/models lists all models."
    if fallback:
        message += " The model's provider does not answer now: this is by its last list."
    return RequestRejected(400, "unknown_models", message, "models")


def catalogue_unavailable() -> TryLater:
    """503: upstream has never said which models it has, or not this one, and is silent now."""
    message = "The model's provider does not say which models it has. Try again soon."
    return unavailable("catalogue_unavailable", message)


def model_not_priced(model: str) -> RequestRejected:
    """400: the model's price is unknown, so its use cannot be metered."""
    message = f"The model {model[:200]!r} has no known price, so it cannot be used."
    return RequestRejected(400, "model_not_priced", message, "model")


def discount_not_met(*, model: str, minimum_pct: int, best_pct: float | None) -> TryLater:
    """503: no offer is provably that much cheaper than the reference price."""
    best = (
        "There is no reference price to prove a discount against."
        if best_pct is None
        else f"The best available discount is {best_pct}%."
    )
    return TryLater(
        503,
        "minimum_discount_not_met",
        f"No offer for {model[:200]!r} meets the minimum discount of {minimum_pct}%. {best}",
        "min_discount_pct",
        type="no_discounted_offer",
        facts={"minimum_discount_pct": minimum_pct, "best_available_discount_pct": best_pct},
        headers=NO_RETRY,
    )


def max_cost_exceeded(*, required_usdc: int, most_usdc: int) -> RequestRejected:
    """400: the request may cost more than it allows itself."""
    message = (
        f"The request may cost up to {format_usdc(required_usdc)} USDC, more than its own limit of"
        f" {format_usdc(most_usdc)} USDC. Ask for fewer tokens, or send 'fit': true."
    )
    facts = {"required_usdc": required_usdc}
    return RequestRejected(400, "max_cost_exceeded", message, "max_cost_usdc", facts=facts)


def ceiling_reached() -> RequestRejected:
    """Ends a stream: what follows could cost more than was reserved."""
    message = "The stream was ended where it reached what was reserved for it."
    return RequestRejected(429, "ceiling_reached", message, type=INSUFFICIENT_QUOTA)


def stream_timeout() -> TryLater:
    """Ends a stream that goes on for too long."""
    message = f"The stream took too long and was ended. {NOT_CHARGED}"
    return TryLater(504, "stream_timeout", message)


def shutting_down() -> TryLater:
    """Ends a stream that the process cannot wait for."""
    message = f"The server is stopping. {NOT_CHARGED}"
    return TryLater(503, "shutting_down", message)


def reservation_lost() -> TryLater:
    """Ends a stream whose reservation is gone: no more of the stream would be paid for."""
    message = f"The reservation for this stream is gone. {NOT_CHARGED}"
    return TryLater(503, "reservation_lost", message)


def chain_state_stale() -> TryLater:
    """503: the mirror of the chain is too old to be trusted with money."""
    message = "Our view of the chain is out of date, so nothing can be spent. Try again soon."
    return unavailable("chain_state_stale", message)


def upstream_failed(code: str, message: str, *, status: int = 502) -> TryLater:
    """502 or 504: the model's provider failed; the reservation is given back."""
    return TryLater(status, code, f"{message} {NOT_CHARGED}")


def price_changed() -> TryLater:
    """503: no seller sells at the reserved price; the new price is being fetched."""
    message = "The model's price has just changed, or is not to be had now. Ask again."
    return TryLater(503, PRICE_CHANGED, f"{message} {NOT_CHARGED}", headers={"retry-after": "2"})


def charged_so_far(error: ApiError, *, cost_usdc: int) -> ApiError:
    """Return ``error`` as it ends a stream of which a part was delivered and charged."""
    message = f"{error.message.removesuffix(NOT_CHARGED).strip()} {CHARGED_SO_FAR}"
    return replace(error, message=message, facts={**error.facts, "cost_usdc": cost_usdc})


def format_time(timestamp_s: int) -> str:
    """Return Unix seconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(timestamp_s, UTC).isoformat().replace("+00:00", "Z")
