"""Who may serve the requests of a position's keys: set with its root key."""

from typing import Any

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from ledger.spending.key_policies import ALL_KEYS
from ledger.spending.keys import UnknownChild
from proxy.errors import child_key_forbidden, child_not_found
from proxy.http.dependencies import BEARER, ClaimsDep, ServicesDep
from proxy.keys.authentication import check_standing
from proxy.keys.tokens import KeyClaims
from proxy.services import Services
from serving.dialects.policy import parse_policy
from serving.dialects.shapes import ProviderPolicy
from serving.http.document.schemas import errors_of
from serving.http.document.writing import body_of
from serving.http.errors import wrong_type
from serving.http.strict_json import check_fields, parse_json_object

log = structlog.get_logger("proxy")

router = APIRouter(prefix="/keys", tags=["keys"])
_ERRORS = errors_of(400, 401, 403, 404, 408, 413, 415)


class PolicyBody(BaseModel):
    """A policy to set; null lifts it."""

    model_config = ConfigDict(extra="forbid")

    provider: ProviderPolicy | None


class PolicyView(BaseModel):
    """The policies that a key's requests are under: they hold together, with a request's own."""

    position: ProviderPolicy | None = Field(description="of every key of the position")
    key: ProviderPolicy | None = Field(description="of this child key")


@router.get("/policy", responses=_ERRORS, dependencies=BEARER, response_model_exclude_unset=True)
async def show_policy(claims: ClaimsDep, services: ServicesDep) -> PolicyView:
    """Show who may serve the requests of the key that asks."""
    await check_standing(claims, services.meter)
    return _describe(services, claims.token_id, claims.key_id if claims.is_child else None)


@router.put(
    "/policy",
    responses=_ERRORS,
    dependencies=BEARER,
    openapi_extra=body_of(PolicyBody),
    response_model_exclude_unset=True,
)
async def set_policy(request: Request, claims: ClaimsDep, services: ServicesDep) -> PolicyView:
    """Say who may serve the requests of all keys of the position. Root key only.

    It counts at once here, and within a second at every other server.
    """
    await _set(request, services, claims, ALL_KEYS)
    return _describe(services, claims.token_id, None)


@router.put(
    "/children/{keyId}/policy",
    responses=_ERRORS,
    dependencies=BEARER,
    openapi_extra=body_of(PolicyBody),
    response_model_exclude_unset=True,
)
async def set_child_policy(
    keyId: str, request: Request, claims: ClaimsDep, services: ServicesDep
) -> PolicyView:
    """Say who may serve the requests of a child key, beside what its position demands."""
    await _set(request, services, claims, keyId)
    return _describe(services, claims.token_id, keyId)


async def _set(request: Request, services: Services, claims: KeyClaims, key_id: str) -> None:
    await check_standing(claims, services.meter)
    if claims.is_child:
        raise child_key_forbidden()
    body = parse_json_object(await services.read_body(request, claims))
    check_fields(body, PolicyBody.model_fields)
    policy: Any = body.get("provider")
    if "provider" not in body or not (policy is None or isinstance(policy, dict)):
        raise wrong_type("provider", "an object, or null")
    parse_policy(policy)
    try:
        await services.policies.save(claims.token_id, key_id, policy, services.meter.write)
    except UnknownChild:
        raise child_not_found() from None
    log.info("key_policy_set", token_id=claims.token_id, key_id=key_id)


def _describe(services: Services, token_id: int, key_id: str | None) -> PolicyView:
    told = {
        "position": services.policies.get(token_id, ALL_KEYS),
        "key": None if key_id is None else services.policies.get(token_id, key_id),
    }
    return PolicyView.model_validate(told)
