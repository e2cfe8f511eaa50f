"""What a client is told where the ledger refuses a reservation: what lacks, and what helps.

What is promised will happen: a harvest is named only where one is expected, and a time of reset is
by the clock that resets.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from contracts.units import format_usdc
from ledger.chain.harvest_outlook import HARVEST_MIN_USDC, HarvestOutlook, NoHarvest
from ledger.errors import AllowanceFacts, LimitFacts, RefusalReason, ReserveRefused
from proxy.errors import (
    chain_state_stale,
    format_time,
    key_expired,
    key_revoked,
    key_rotated,
    model_not_allowed,
    position_not_found,
)
from serving.http.errors import (
    INSUFFICIENT_QUOTA,
    NO_RETRY,
    ApiError,
    RequestRejected,
    unavailable,
)

RATE_LIMIT_EXCEEDED: Final = "rate_limit_exceeded"
"""The code for a child key's limits that count requests, as OpenAI has it."""

_NO_HARVEST: Final[Mapping[NoHarvest, str]] = {
    NoHarvest.NO_PRINCIPAL: "No harvest is expected: the position has no principal that earns.",
    NoHarvest.YIELD_BELOW_MINIMUM: (
        "No harvest is expected yet: the position has earned less than"
        f" {format_usdc(HARVEST_MIN_USDC)} USDC, the least that is harvested."
    ),
    NoHarvest.UNKNOWN: "When the next harvest comes is not known: the chain does not answer now.",
}


def refused(
    refusal: ReserveRefused, *, outlook: HarvestOutlook | None, now_s: int, fit: bool = False
) -> ApiError:
    """Translate the ledger's refusal of a reservation.

    ``outlook``: when the next harvest is expected; there where the refusal has facts. ``now_s``:
    this host's clock. ``fit``: the output limit was lowered to what there is already, and still it
    was too much.
    """
    build = _WITHOUT_FACTS.get(refusal.reason)
    if build is not None:
        return build()
    assert refusal.facts is not None
    assert outlook is not None
    facts = describe_facts(refusal.facts, outlook)
    if refusal.limit is not None:
        return _key_limit_reached(facts, refusal.limit, now_s=now_s)
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
        headers["retry-after"] = str(max(1, refusal.facts.resets_at_s - refusal.facts.as_of_s))
    return RequestRejected(
        429,
        str(refusal.reason),
        _money_message(refusal.reason, refusal.facts, outlook, fit=fit),
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


def needs_outlook(refusal: ReserveRefused) -> bool:
    """Tell whether what a client is told of a refusal says when the next harvest is expected."""
    return refusal.reason not in _WITHOUT_FACTS


def _key_limit_reached(facts: Mapping[str, Any], limit: LimitFacts, *, now_s: int) -> ApiError:
    """429: a child key's own limit, whatever the position has."""
    in_requests = limit.limit in ("requests_per_minute", "concurrency")
    resets_at = None if limit.resets_at_s is None else format_time(limit.resets_at_s)
    if in_requests:
        message = f"This API key's {limit.limit} limit is {limit.value}, and {limit.used} are used."
    else:
        message = (
            f"This API key's {limit.limit} limit is {format_usdc(limit.value)} USDC, of which"
            f" {format_usdc(limit.used)} USDC are used; this request may cost up to"
            f" {format_usdc(facts['required_usdc'])} USDC."
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
        RATE_LIMIT_EXCEEDED if in_requests else str(RefusalReason.KEY_LIMIT_REACHED),
        message,
        type=None if in_requests else INSUFFICIENT_QUOTA,
        facts={
            **facts,
            "limit": limit.limit,
            "limit_value": limit.value,
            "limit_used": limit.used,
            "resets_at": resets_at,
        },
        headers=headers,
    )


def _money_message(
    reason: RefusalReason, facts: AllowanceFacts, outlook: HarvestOutlook, *, fit: bool
) -> str:
    need = (
        f"This request may cost up to {format_usdc(facts.required_usdc)} USDC, and"
        f" {format_usdc(facts.available_usdc)} USDC is available."
    )
    if fit and facts.available_usdc > 0:
        need += " That is with the least output."
    match reason:
        case RefusalReason.NEVER_HARVESTED:
            nothing = (
                "No yield has been harvested for this position yet, so there is nothing to spend."
            )
            return f"{nothing} {_advise([], _describe_wait(outlook), outlook)}"
        case RefusalReason.DAILY_CAP_REACHED:
            wait = f"wait until it resets at {format_time(facts.resets_at_s)}"
            advice = _advise(_list_remedies(facts, fit=fit), wait)
            return f"Today's share of the allowance does not cover this request. {need} {advice}"
        case _:
            advice = _advise(_list_remedies(facts, fit=fit), _describe_wait(outlook), outlook)
            return f"The harvested allowance does not cover this request. {need} {advice}"


def _list_remedies(facts: AllowanceFacts, *, fit: bool) -> list[str]:
    """Return what the caller can do instead of waiting."""
    if facts.available_usdc == 0:
        return []
    if fit:
        return ["shorten the messages"]
    return ["lower max_tokens", 'send "fit": true']


def _describe_wait(outlook: HarvestOutlook) -> str | None:
    """Return what to wait for, or None where waiting alone brings no harvest."""
    if outlook.at_s is None:
        return None
    how = "expected, at the yield so far, at" if outlook.is_estimate else "due at"
    return f"wait for the next harvest, {how} {format_time(outlook.at_s)}"


def _advise(remedies: list[str], wait: str | None, outlook: HarvestOutlook | None = None) -> str:
    """Return what helps, as sentences."""
    remedies = remedies if wait is None else [*remedies, wait]
    said = ""
    if remedies:
        said = ", or ".join(filter(None, (", ".join(remedies[:-1]), remedies[-1])))
        said = f"{said[0].upper()}{said[1:]}."
    if wait is None and outlook is not None and outlook.reason is not None:
        said = f"{said} {_NO_HARVEST[outlook.reason]}".strip()
    return said


def describe_facts(facts: AllowanceFacts, outlook: HarvestOutlook) -> dict[str, Any]:
    """Return the facts as they appear in a body."""
    return {
        "required_usdc": facts.required_usdc,
        "available_usdc": facts.available_usdc,
        "held_usdc": facts.held_usdc,
        "resets_at": format_time(facts.resets_at_s),
        **describe_outlook(outlook, name="next_harvest_at"),
    }


def describe_outlook(outlook: HarvestOutlook, *, name: str) -> dict[str, Any]:
    """Return when the next harvest is expected as ``name``, and why none is.

    ``is_estimate`` says that the yield is still to reach a cent.
    """
    return {
        name: None if outlook.at_s is None else format_time(outlook.at_s),
        "is_estimate": outlook.is_estimate,
        "no_harvest_because": None if outlook.reason is None else str(outlook.reason),
    }
