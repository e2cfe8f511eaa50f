"""The child keys under a root key."""

import secrets
from collections.abc import Callable
from typing import Any, Final, TypeVar

import structlog
from fastapi import APIRouter, Request, Response
from sqlalchemy import Connection

from ledger.spending.keys import (
    TooManyChildren,
    UnknownChild,
    change_child,
    create_child,
    load_child,
    load_children_of,
    revoke_child,
    rotate_child,
)
from proxy.errors import catalogue_unavailable, child_key_forbidden, child_not_found, unknown_models
from proxy.http.dependencies import BEARER, ClaimsDep, ServicesDep
from proxy.http.keys.bodies import read
from proxy.http.keys.child_schemas import (
    ChildIssued,
    ChildList,
    ChildTermsBody,
    ChildView,
    RotationBody,
    describe_child,
)
from proxy.keys.authentication import check_standing
from proxy.keys.tokens import CHILD_ID_BYTES, GENERATION_MAX, KeyClaims
from proxy.services import Services
from serving.http.document.schemas import errors_of
from serving.http.document.writing import body_of
from serving.http.errors import RequestRejected

log = structlog.get_logger("proxy")

T = TypeVar("T")

router = APIRouter(prefix="/keys/children", tags=["keys"])

_CHILD_ERRORS: Final = errors_of(400, 401, 403, 404, 408, 413, 415)


async def _check_root(claims: KeyClaims, services: Services) -> None:
    await check_standing(claims, services.meter)
    if claims.is_child:
        raise child_key_forbidden()


async def _check_models(
    services: Services, child: KeyClaims, models: list[str] | None, response: Response
) -> None:
    """Raise 400 for a model that upstream does not offer to whom the child's policies admit.

    While upstream does not answer, its last list counts, and a header of the answer says so.
    """
    if not models:
        return
    minimum = services.lists.find_minimum(services.policies.find(child))
    unknown, snapshot = await (await services.lists.load(minimum)).find_unknown(models)
    if snapshot.fallback and not snapshot.models:
        raise catalogue_unavailable()
    if unknown:
        raise unknown_models(unknown, fallback=snapshot.fallback)
    if snapshot.fallback:
        response.headers["x-current-models-fallback"] = "true"


async def _write(services: Services, call: Callable[[Connection], T]) -> T:
    try:
        return await services.meter.write(call)
    except UnknownChild:
        raise child_not_found() from None
    except TooManyChildren as error:
        message = f"Refused: {error}. Revoke some first."
        raise RequestRejected(403, "too_many_keys", message) from None


def _build_issued(services: Services, row: Any, *, now_s: int) -> ChildIssued:
    claims = KeyClaims(row["token_id"], row["key_epoch"], row["key_id"], row["generation"])
    shown = describe_child(row, now_s=now_s)
    return ChildIssued(**dict(shown), apiKey=services.ring.build_key(claims))


@router.post(
    "",
    status_code=201,
    responses=_CHILD_ERRORS,
    dependencies=BEARER,
    openapi_extra=body_of(ChildTermsBody, required=False),
)
async def create_child_key(
    request: Request, response: Response, claims: ClaimsDep, services: ServicesDep
) -> ChildIssued:
    """Make a child key under the root key that asks. It can do no more than its limits say."""
    await _check_root(claims, services)
    body = await read(request, services, claims, ChildTermsBody)
    await _check_models(services, claims, body.models, response)
    terms = body.build_terms()
    now_s = services.meter.now_s()
    key_id = secrets.token_hex(CHILD_ID_BYTES)

    def create(connection: Connection) -> Any:
        create_child(
            connection,
            key_id=key_id,
            token_id=claims.token_id,
            key_epoch=claims.key_epoch,
            terms=terms,
            now_s=now_s,
        )
        return load_child(connection, key_id, token_id=claims.token_id)

    row = await _write(services, create)
    log.info("child_key_created", token_id=claims.token_id, key_id=key_id)
    return _build_issued(services, row, now_s=now_s)


@router.get("", responses=_CHILD_ERRORS, dependencies=BEARER)
async def list_child_keys(claims: ClaimsDep, services: ServicesDep) -> ChildList:
    """List the child keys of the current key epoch, with what is used of their limits."""
    await _check_root(claims, services)
    rows = await services.meter.read(
        lambda c: load_children_of(c, token_id=claims.token_id, key_epoch=claims.key_epoch)
    )
    return ChildList(data=[describe_child(row, now_s=services.meter.now_s()) for row in rows])


@router.patch(
    "/{keyId}",
    responses=_CHILD_ERRORS,
    dependencies=BEARER,
    openapi_extra=body_of(ChildTermsBody),
)
async def change_child_key(
    keyId: str, request: Request, response: Response, claims: ClaimsDep, services: ServicesDep
) -> ChildView:
    """Change the named limits of a child key; the key itself stays. Null lifts a limit."""
    await _check_root(claims, services)
    body = await read(request, services, claims, ChildTermsBody)
    child = KeyClaims(claims.token_id, claims.key_epoch, keyId, 0)
    await _check_models(services, child, body.models, response)
    changes = body.build_changes()
    row = await _write(
        services,
        lambda c: change_child(
            c, keyId, token_id=claims.token_id, key_epoch=claims.key_epoch, changes=changes
        ),
    )
    log.info("child_key_changed", token_id=claims.token_id, key_id=keyId, fields=sorted(changes))
    return describe_child(row, now_s=services.meter.now_s())


@router.post(
    "/{keyId}/rotate",
    responses={**_CHILD_ERRORS, **errors_of(409)},
    dependencies=BEARER,
    openapi_extra=body_of(RotationBody, required=False),
)
async def rotate_child_key(
    keyId: str, request: Request, claims: ClaimsDep, services: ServicesDep
) -> ChildIssued:
    """Replace a child key by a new one with the same limits and the same use of them.

    The one before stays good for `grace_s` seconds, an older one not at all.
    """
    await _check_root(claims, services)
    grace_s = (await read(request, services, claims, RotationBody)).grace_s
    now_s = services.meter.now_s()

    def rotate(connection: Connection) -> Any:
        row = rotate_child(
            connection,
            keyId,
            token_id=claims.token_id,
            key_epoch=claims.key_epoch,
            grace_s=grace_s,
            now_s=now_s,
        )
        if row["generation"] > GENERATION_MAX:
            message = "This key was rotated too often. Make a new one."
            raise RequestRejected(409, "rotated_too_often", message)
        return row

    row = await _write(services, rotate)
    log.info("child_key_rotated", token_id=claims.token_id, key_id=keyId, grace_s=grace_s)
    return _build_issued(services, row, now_s=now_s)


@router.delete(
    "/{keyId}",
    status_code=204,
    response_class=Response,
    responses=_CHILD_ERRORS,
    dependencies=BEARER,
)
async def revoke_child_key(keyId: str, claims: ClaimsDep, services: ServicesDep) -> Response:
    """Revoke a child key for good; its live streams end."""
    await _check_root(claims, services)
    now_s = services.meter.now_s()
    await _write(
        services,
        lambda c: revoke_child(
            c, keyId, token_id=claims.token_id, key_epoch=claims.key_epoch, now_s=now_s
        ),
    )
    log.info("child_key_revoked", token_id=claims.token_id, key_id=keyId)
    return Response(status_code=204)
