"""A key, its credit and one request, as OpenRouter's clients ask for them."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy import Connection

from contracts.units import utc_day
from ledger.spending.children import get_month
from ledger.spending.keys import load_child
from proxy.archived_receipts import load_receipt
from proxy.errors import format_time, position_not_found, receipt_not_found
from proxy.http.accounts.schemas import (
    Credits,
    CreditsAnswer,
    Generation,
    GenerationAnswer,
    KeyAnswer,
    KeyLimits,
)
from proxy.http.dependencies import BEARER, ClaimsDep, ServicesDep
from proxy.keys.authentication import check_standing
from proxy.keys.tokens import KeyClaims
from proxy.store import load_position
from proxy.usage_sums import load_spent
from serving.http.document.schemas import errors_of

router = APIRouter(tags=["requests"])

_USDC_PER_DOLLAR = 1_000_000
_LIMITS = (
    ("day_usdc_max", "day_used_usdc", "daily"),
    ("month_usdc_max", "month_used_usdc", "monthly"),
    ("lifetime_usdc_max", "used_usdc", None),
)


def _dollars(amount_usdc: int) -> float:
    """Return an amount as these clients read it; for display: nothing is computed with it."""
    return amount_usdc / _USDC_PER_DOLLAR


@router.get("/v1/key", responses=errors_of(401, 404), dependencies=BEARER)
async def show_key(claims: ClaimsDep, services: ServicesDep) -> KeyAnswer:
    """Say what the key that asks may spend and has spent, as OpenRouter does. Dollars."""
    await check_standing(claims, services.meter)
    now_s = services.meter.now_s()
    key_id = claims.key_id if claims.is_child else None

    def load(connection: Connection) -> tuple[Any, tuple[int, int, int]]:
        child = None
        if claims.is_child:
            child = load_child(connection, claims.key_id, token_id=claims.token_id)
        spent = load_spent(connection, token_id=claims.token_id, key_id=key_id, now_s=now_s)
        return child, spent

    child, (day_usdc, month_usdc, all_usdc) = await services.meter.read(load)
    limit, left, reset = _find_limit(child, now_s)
    return KeyAnswer(
        data=KeyLimits(
            label=_name(claims, child),
            limit=None if limit is None else _dollars(limit),
            limit_remaining=None if left is None else _dollars(left),
            limit_reset=reset,
            usage=_dollars(all_usdc),
            usage_daily=_dollars(day_usdc),
            usage_monthly=_dollars(month_usdc),
            is_free_tier=False,
            is_provisioning_key=not claims.is_child,
        )
    )


def _name(claims: KeyClaims, child: Any) -> str:
    label = "" if child is None else str(child["label"])
    return label or f"position {claims.token_id}, key {claims.key_id}"


def _find_limit(child: Any, now_s: int) -> tuple[int | None, int | None, str | None]:
    """Return (limit, what is left of it, when it counts anew) of the limit with the least left."""
    if child is None:
        return None, None, None
    today = utc_day(now_s)
    is_current = {
        "daily": child["day"] >= today,
        "monthly": get_month(child["day"]) >= get_month(today),
        None: True,
    }
    found = [
        (max(0, child[most] - (child[used] if is_current[reset] else 0)), child[most], reset)
        for most, used, reset in _LIMITS
        if child[most] is not None
    ]
    if not found:
        return None, None, None
    left, limit, reset = min(found, key=lambda one: one[0])
    return limit, left, reset


@router.get("/v1/credits", responses=errors_of(401, 404), dependencies=BEARER)
async def show_credits(claims: ClaimsDep, services: ServicesDep) -> CreditsAnswer:
    """Say what the key's position was credited and has spent, as OpenRouter does. Dollars."""
    await check_standing(claims, services.meter)
    now_s = services.meter.now_s()
    reading = await services.meter.read(
        lambda connection: load_position(connection, claims.token_id, now_s=now_s)
    )
    if reading is None:
        raise position_not_found()
    allowance = reading.view["allowance"]
    credited = allowance["credited_usdc"] - allowance["withdrawn_usdc"]
    spent = allowance["spent_usdc"] + allowance["in_flight_usdc"]
    return CreditsAnswer(
        data=Credits(total_credits=_dollars(credited), total_usage=_dollars(spent))
    )


@router.get("/v1/generation", responses=errors_of(400, 401, 404), dependencies=BEARER)
async def show_generation(id: str, claims: ClaimsDep, services: ServicesDep) -> GenerationAnswer:
    """Say what one request cost, as OpenRouter does; `id` is its `x-request-id`. Dollars."""
    await check_standing(claims, services.meter)
    request_id = id.removeprefix("msg_").removeprefix("resp_")
    view = await load_receipt(services, claims, request_id)
    if view is None:
        raise receipt_not_found()
    cost = _dollars(view["cost_usdc"] or 0)
    prompt, completion = view["prompt_tokens"] or 0, view["completion_tokens"] or 0
    return GenerationAnswer(
        data=Generation(
            id=request_id,
            model=view["model"],
            created_at=format_time(view["reserved_at_s"]),
            total_cost=cost,
            usage=cost,
            tokens_prompt=prompt,
            tokens_completion=completion,
            native_tokens_prompt=prompt,
            native_tokens_completion=completion,
            native_tokens_cached=view["cached_tokens"] or 0,
            cancelled=view["state"] == "voided",
        )
    )
