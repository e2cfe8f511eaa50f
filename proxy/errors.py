"""The refusals that only the proxy has; every server's are in ``serving.http.errors``.

Facts in a body are named with their unit (``*_usdc`` in 1e-6 USDC), times are ISO 8601.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from ledger.errors import AllowanceFacts, LimitFacts, RefusalReason, ReserveRefused
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
    message = f"There is no model {model[:200]!r}. GET /api/current/models lists what there is."
    return RequestRejected(404, "model_not_found", message, "model")


def model_not_priced(model: str) -> RequestRejected:
    """400: nobody has said what the model costs, so it cannot be metered."""
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
    """Ends a stream whose reservation is gone: nobody would pay for more of it."""
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
    """503: nobody sells at the price that was reserved for; the new one is being fetched."""
    message = "The model's price has just changed, or is not to be had now. Ask again."
    return TryLater(503, PRICE_CHANGED, f"{message} {NOT_CHARGED}", headers={"retry-after": "2"})


def charged_so_far(error: ApiError, *, cost_usdc: int) -> ApiError:
    """Return ``error`` as it ends a stream of which a part was delivered and charged."""
    message = f"{error.message.removesuffix(NOT_CHARGED).strip()} {CHARGED_SO_FAR}"
    return replace(error, message=message, facts={**error.facts, "cost_usdc": cost_usdc})


def refused(refusal: ReserveRefused, *, now_s: int, fit: bool = False) -> ApiError:
    """Translate the ledger's refusal of a reservation. ``now_s`` is the wall clock.

    ``fit``: the output limit was lowered to what there is already, and still it was too much.
    """
    build = _WITHOUT_FACTS.get(refusal.reason)
    if build is not None:
        return build()
    assert refusal.facts is not None
    if refusal.limit is not None:
        return _key_limit_reached(refusal.facts, refusal.limit, now_s=now_s)
    facts = describe_facts(refusal.facts, now_s=now_s)
    if refusal.reason is RefusalReason.HOLD_PENDING:
        error: ApiError = unavailable(
            "hold_pending",
            "There is allowance for this request, and it is being set aside on chain now."
            " Try again in a few seconds.",
        )
        error.facts = facts
        return error
    headers = dict(NO_RETRY)
    if refusal.reason is RefusalReason.DAILY_CAP_REACHED:
        headers["retry-after"] = str(max(1, refusal.facts.resets_at_s - now_s))
    message = _money_message(refusal.reason, facts, fit=fit)
    return RequestRejected(
        429,
        str(refusal.reason),
        message,
        type=INSUFFICIENT_QUOTA,
        facts=facts,
        headers=headers,
    )


_WITHOUT_FACTS: Final[Mapping[RefusalReason, Callable[[], ApiError]]] = {
    RefusalReason.POSITION_NOT_FOUND: position_not_found,
    RefusalReason.KEY_REVOKED: key_revoked,
    RefusalReason.KEY_EXPIRED: key_expired,
    RefusalReason.KEY_ROTATED: key_rotated,
    RefusalReason.MODEL_NOT_ALLOWED: model_not_allowed,
    RefusalReason.CHAIN_STATE_STALE: chain_state_stale,
}


def _key_limit_reached(facts: AllowanceFacts, limit: LimitFacts, *, now_s: int) -> ApiError:
    """429: a child key's own limit, whatever the position has."""
    in_requests = limit.limit in ("requests_per_minute", "concurrency")
    unit = "requests" if in_requests else "1e-6 USDC"
    resets_at = None if limit.resets_at_s is None else format_time(limit.resets_at_s)
    message = (
        f"This API key's {limit.limit} limit is {limit.value} {unit} and {limit.used} are used;"
        f" this request would take {1 if in_requests else facts.required_usdc} more."
    )
    if resets_at is not None:
        message += f" It resets at {resets_at}."
    # Waiting helps against the two that count requests: the SDKs may try again by themselves.
    headers = {} if in_requests else dict(NO_RETRY)
    if limit.limit == "concurrency":
        headers["retry-after"] = "1"
    elif limit.resets_at_s is not None:
        headers["retry-after"] = str(max(1, limit.resets_at_s - now_s))
    return RequestRejected(
        429,
        str(RefusalReason.KEY_LIMIT_REACHED),
        message,
        type=INSUFFICIENT_QUOTA,
        facts={
            **describe_facts(facts, now_s=now_s),
            "limit": limit.limit,
            "limit_value": limit.value,
            "limit_used": limit.used,
            "resets_at": resets_at,
        },
        headers=headers,
    )


def _money_message(reason: RefusalReason, facts: Mapping[str, Any], *, fit: bool) -> str:
    need = (
        f"This request may cost up to {facts['required_usdc']} and {facts['available_usdc']} is"
        f" available (1e-6 USDC). {_advise(facts, fit=fit)}"
    )
    harvest = f"the next harvest, due at {facts['next_harvest_at']}."
    match reason:
        case RefusalReason.NEVER_HARVESTED:
            return (
                "No yield has been harvested for this position yet, so there is nothing to spend."
                f" Wait for {harvest}"
            )
        case RefusalReason.DAILY_CAP_REACHED:
            return (
                "Today's share of the allowance does not cover this request."
                f" {need} until it resets at {facts['resets_at']}."
            )
        case _:
            return f"The harvested allowance does not cover this request. {need} for {harvest}"


def _advise(facts: Mapping[str, Any], *, fit: bool) -> str:
    """Return what helps, to be continued with what to wait for."""
    if facts["available_usdc"] == 0:
        return "Wait"
    if fit:
        return "That is with the least output: shorten the messages, or wait"
    return 'Lower max_tokens, send "fit": true, or wait'


def describe_facts(facts: AllowanceFacts, *, now_s: int) -> dict[str, Any]:
    """Return the facts as they appear in a body. A harvest that is overdue is due now."""
    return {
        "required_usdc": facts.required_usdc,
        "available_usdc": facts.available_usdc,
        "held_usdc": facts.held_usdc,
        "resets_at": format_time(facts.resets_at_s),
        "next_harvest_at": format_time(max(facts.next_harvest_at_s, now_s)),
    }


def format_time(timestamp_s: int) -> str:
    """Return Unix seconds as ISO 8601 in UTC."""
    return datetime.fromtimestamp(timestamp_s, UTC).isoformat().replace("+00:00", "Z")
