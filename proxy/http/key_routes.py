"""The routes of keys: signing in for a root key, and the child keys under it."""

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection

from contracts.errors import Retryable
from contracts.siwe import SiweInvalid
from ledger.spending.keys import (
    NonceUsed,
    TooManyChildren,
    UnknownChild,
    change_child,
    create_child,
    load_child,
    load_children_of,
    revoke_child,
    rotate_child,
    save_issued_key,
    use_nonce,
)
from proxy.errors import (
    RequestRejected,
    bad_request,
    chain_state_stale,
    child_key_forbidden,
    child_not_found,
    position_not_found,
    unavailable,
)
from proxy.http.dependencies import BEARER, ClaimsDep, ServicesDep, errors_of
from proxy.http.front import read_body
from proxy.http.limits import get_address
from proxy.http.schemas import (
    KeyIssued,
    KeyRequest,
    KeySelf,
    NonceView,
    SignInRequest,
    parse_token_id,
)
from proxy.http.strict_json import parse_json_object
from proxy.keys.authentication import check_standing
from proxy.keys.child_keys import (
    ChildIssued,
    ChildList,
    ChildTermsBody,
    ChildView,
    RotationBody,
    describe_child,
)
from proxy.keys.signatures import build_key_message, is_timestamp_current, parse_signature
from proxy.keys.tokens import CHILD_ID_BYTES, GENERATION_MAX, KEY_ID_BYTES, KeyClaims
from proxy.services import Services
from proxy.store import Standing, load_standing

log = structlog.get_logger("proxy")

T = TypeVar("T")
Body = TypeVar("Body", bound=BaseModel)

router = APIRouter(prefix="/api/current/keys")


def _body_of(*models: type[BaseModel], required: bool = True) -> dict[str, Any]:
    schemas = [model.model_json_schema() for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": required, "content": content}}


async def _read(request: Request, services: Services, model: type[Body]) -> Body:
    # Read by hand: a body counts as JSON also where its content type does not say so.
    raw = await read_body(request.scope, request.receive, services)
    return _parse(raw if raw else b"{}", model)


def _parse(raw: bytes, model: type[Body]) -> Body:
    parse_json_object(raw)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        param = ".".join(str(part) for part in problem["loc"]) or None
        where = "" if param is None else f"'{param}': "
        message = where + problem["msg"].removeprefix("Value error, ")
        raise bad_request("invalid_request", message, param=param) from None


# ------------------------------------------------------------------------------------- root keys


@router.get("/nonce", response_model=NonceView, responses=errors_of(400))
async def create_nonce(services: ServicesDep, tokenId: str | None = None) -> dict[str, Any]:
    """Return a nonce for one sign-in by EIP-4361, and the message's other fields.

    With `tokenId` the template lacks only your address and the time.
    """
    token_id = None
    if tokenId is not None:
        try:
            token_id = parse_token_id(tokenId)
        except ValueError as error:
            raise bad_request("invalid_token_id", f"'tokenId' {error}.", param="tokenId") from None
    return services.sign_in.describe(token_id, now_s=int(time.time()))


@router.post(
    "",
    response_model=KeyIssued,
    responses=errors_of(400, 401, 403, 404, 408, 413, 415, 429, 503),
    openapi_extra=_body_of(SignInRequest, KeyRequest),
)
async def issue_key(request: Request, services: ServicesDep) -> KeyIssued:
    """Issue an API key to the owner of a position, who proves it with a wallet signature.

    Either `{message, signature}` by EIP-4361 with a nonce from `/keys/nonce`, or
    `{tokenId, signature, timestamp}` over the plain text.
    """
    services.key_wishes.take(get_address(request.scope, services.trusted))
    raw = await read_body(request.scope, request.receive, services)
    now_s = time.time()
    if "message" in parse_json_object(raw):
        return await _issue_for_sign_in(services, _parse(raw, SignInRequest), now_s=now_s)
    wish = _parse(raw, KeyRequest)
    if not services.legacy_key_message:
        message = "Sign in by EIP-4361: GET /api/current/keys/nonce says what to sign."
        raise RequestRejected(403, "sign_in_required", message)
    if not is_timestamp_current(wish.timestamp, now_ms=int(now_s * 1_000)):
        message = "The timestamp (milliseconds) must be within five minutes of now: sign again."
        raise RequestRejected(401, "signature_expired", message, "timestamp")
    signature = _parse_signature(wish.signature)
    standing = await _load_standing(services, wish.tokenId, now_s=int(now_s))
    text = build_key_message(token_id=wish.tokenId, timestamp_ms=wish.timestamp)
    await _check_signed(services, standing.owner, text, signature)
    return await _issue(services, wish.tokenId, standing, now_s=int(now_s))


async def _issue_for_sign_in(services: Services, wish: SignInRequest, *, now_s: float) -> KeyIssued:
    signature = _parse_signature(wish.signature)
    try:
        message, token_id, expires_at_s = services.sign_in.read_message(wish.message, now_s=now_s)
    except SiweInvalid as error:
        raise RequestRejected(401, "invalid_message", f"Refused: {error}.", "message") from None
    standing = await _load_standing(services, token_id, now_s=int(now_s))
    if message.address != standing.owner:
        text = "The message's address is not the position's owner."
        raise RequestRejected(401, "invalid_signature", text, "message")
    await _check_signed(services, standing.owner, wish.message, signature)
    nonce = (message.nonce, expires_at_s)
    try:
        return await _issue(services, token_id, standing, now_s=int(now_s), nonce=nonce)
    except NonceUsed:
        text = "The nonce was used before: get a new one and sign again."
        raise RequestRejected(401, "nonce_used", text, "message") from None


def _parse_signature(text: str) -> bytes:
    signature = parse_signature(text)
    if signature is None:
        raise bad_request("invalid_signature", "'signature' must be 0x hex.", param="signature")
    return signature


async def _load_standing(services: Services, token_id: int, *, now_s: int) -> Standing:
    standing = await services.meter.read(lambda connection: load_standing(connection, token_id))
    if standing is None:
        raise position_not_found()
    mirror = standing.mirror
    if mirror is None or abs(now_s - mirror.observed_at_s) > services.meter.max_staleness_s:
        raise chain_state_stale()
    return standing


async def _check_signed(services: Services, owner: str, text: str, signature: bytes) -> None:
    try:
        is_signed = await asyncio.to_thread(services.checker.is_signed_by, owner, text, signature)
    except Retryable as error:
        message = "The wallet contract cannot be asked now: the chain does not answer."
        raise unavailable("chain_unavailable", message) from error
    if not is_signed:
        message = "The signature is not by the position's owner, or not over the exact text."
        raise RequestRejected(401, "invalid_signature", message, "signature")


async def _issue(
    services: Services,
    token_id: int,
    standing: Standing,
    *,
    now_s: int,
    nonce: tuple[str, int] | None = None,
) -> KeyIssued:
    claims = KeyClaims(token_id, standing.key_epoch, secrets.token_hex(KEY_ID_BYTES))

    def save(connection: Connection) -> None:
        if nonce is not None:
            use_nonce(connection, nonce[0], expires_at_s=nonce[1])
        save_issued_key(
            connection,
            key_id=claims.key_id,
            token_id=token_id,
            key_epoch=claims.key_epoch,
            now_s=now_s,
        )

    await services.meter.write(save)
    services.metrics.keys_issued.inc()
    log.info("key_issued", token_id=token_id, key_id=claims.key_id, key_epoch=claims.key_epoch)
    # So that a hold is there by the time of the first request.
    services.meter.note_demand(token_id, 0)
    return KeyIssued(
        apiKey=services.ring.build_key(claims),
        tokenId=str(token_id),
        keyEpoch=claims.key_epoch,
        keyId=claims.key_id,
    )


@router.get(
    "/self", response_model=KeySelf, responses=errors_of(401, 404, 429, 503), dependencies=BEARER
)
async def show_own_key(claims: ClaimsDep, services: ServicesDep) -> dict[str, Any]:
    """Show the key that asks: its kind, and a child key's limits and what is used of them."""
    await check_standing(claims, services.meter)
    shown: dict[str, Any] = {
        "keyId": claims.key_id,
        "tokenId": str(claims.token_id),
        "keyEpoch": claims.key_epoch,
        "kind": "child" if claims.is_child else "root",
        "child": None,
    }
    if claims.is_child:
        row = await services.meter.read(
            lambda c: load_child(c, claims.key_id, token_id=claims.token_id)
        )
        assert row is not None
        shown["child"] = describe_child(row, now_s=int(time.time()))
    return shown


# ------------------------------------------------------------------------------------ child keys

_CHILD_ERRORS: Final = errors_of(400, 401, 403, 404, 408, 413, 415, 429, 503)


async def _check_root(claims: KeyClaims, services: Services) -> None:
    await check_standing(claims, services.meter)
    if claims.is_child:
        raise child_key_forbidden()


async def _write(services: Services, call: Callable[[Connection], T]) -> T:
    try:
        return await services.meter.write(call)
    except UnknownChild:
        raise child_not_found() from None
    except TooManyChildren as error:
        message = f"Refused: {error}. Revoke some first."
        raise RequestRejected(403, "too_many_keys", message) from None


def _build_issued(services: Services, row: Any, *, now_s: int) -> dict[str, Any]:
    claims = KeyClaims(row["token_id"], row["key_epoch"], row["key_id"], row["generation"])
    return {**describe_child(row, now_s=now_s), "apiKey": services.ring.build_key(claims)}


@router.post(
    "/children",
    status_code=201,
    response_model=ChildIssued,
    responses=_CHILD_ERRORS,
    dependencies=BEARER,
    openapi_extra=_body_of(ChildTermsBody, required=False),
)
async def create_child_key(
    request: Request, claims: ClaimsDep, services: ServicesDep
) -> dict[str, Any]:
    """Make a child key under the root key that asks. It can do no more than its limits say."""
    await _check_root(claims, services)
    terms = (await _read(request, services, ChildTermsBody)).build_terms()
    now_s = int(time.time())
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


@router.get("/children", response_model=ChildList, responses=_CHILD_ERRORS, dependencies=BEARER)
async def list_child_keys(claims: ClaimsDep, services: ServicesDep) -> dict[str, Any]:
    """List the child keys of the current key epoch, with what is used of their limits."""
    await _check_root(claims, services)
    rows = await services.meter.read(
        lambda c: load_children_of(c, token_id=claims.token_id, key_epoch=claims.key_epoch)
    )
    return {"data": [describe_child(row, now_s=int(time.time())) for row in rows]}


@router.patch(
    "/children/{keyId}",
    response_model=ChildView,
    responses=_CHILD_ERRORS,
    dependencies=BEARER,
    openapi_extra=_body_of(ChildTermsBody),
)
async def change_child_key(
    keyId: str, request: Request, claims: ClaimsDep, services: ServicesDep
) -> dict[str, Any]:
    """Change the named limits of a child key; the key itself stays. Null lifts a limit."""
    await _check_root(claims, services)
    changes = (await _read(request, services, ChildTermsBody)).build_changes()
    row = await _write(
        services,
        lambda c: change_child(
            c, keyId, token_id=claims.token_id, key_epoch=claims.key_epoch, changes=changes
        ),
    )
    log.info("child_key_changed", token_id=claims.token_id, key_id=keyId, fields=sorted(changes))
    return describe_child(row, now_s=int(time.time()))


@router.post(
    "/children/{keyId}/rotate",
    response_model=ChildIssued,
    responses={**_CHILD_ERRORS, **errors_of(409)},
    dependencies=BEARER,
    openapi_extra=_body_of(RotationBody, required=False),
)
async def rotate_child_key(
    keyId: str, request: Request, claims: ClaimsDep, services: ServicesDep
) -> dict[str, Any]:
    """Replace a child key by a new one with the same limits and the same use of them.

    The one before stays good for `grace_s` seconds, an older one not at all.
    """
    await _check_root(claims, services)
    grace_s = (await _read(request, services, RotationBody)).grace_s
    now_s = int(time.time())

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
    "/children/{keyId}",
    status_code=204,
    response_class=Response,
    responses=_CHILD_ERRORS,
    dependencies=BEARER,
)
async def revoke_child_key(keyId: str, claims: ClaimsDep, services: ServicesDep) -> Response:
    """Revoke a child key for good; its live streams end."""
    await _check_root(claims, services)
    now_s = int(time.time())
    await _write(
        services,
        lambda c: revoke_child(
            c, keyId, token_id=claims.token_id, key_epoch=claims.key_epoch, now_s=now_s
        ),
    )
    log.info("child_key_revoked", token_id=claims.token_id, key_id=keyId)
    return Response(status_code=204)
