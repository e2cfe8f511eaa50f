"""Webhooks of a position: set with its root key, tried, rotated, replayed."""

import secrets
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy import Connection, select

from ledger.spending.webhooks import (
    Message,
    TooManyDeliveries,
    TooManyWebhooks,
    UnknownWebhook,
    ask,
    change_webhook,
    create_webhook,
    load_deliveries,
    load_webhook,
    load_webhooks,
    replay,
)
from ledger.tables import Position, table_of
from proxy.errors import child_key_forbidden, format_time, key_revoked, position_not_found
from proxy.http.dependencies import BEARER, ClaimsDep, ServicesDep
from proxy.http.keys.bodies import read
from proxy.http.webhooks.schemas import (
    DeliveryList,
    DeliveryQueued,
    DeliveryView,
    WebhookIssued,
    WebhookList,
    WebhookRotation,
    WebhookView,
    WebhookWish,
)
from proxy.keys.authentication import check_standing
from proxy.keys.tokens import KeyClaims
from proxy.services import Services
from proxy.webhooks.delivering import read_position
from proxy.webhooks.happenings import OVERLAP_S, PING, Happening, look, write_body
from proxy.webhooks.signing import SECRET_BYTES, seal_secret, show_secret
from serving.http.document.schemas import errors_of
from serving.http.document.writing import body_of
from serving.http.errors import RequestRejected, bad_request
from serving.models.dialing import UrlRefused
from serving.process.ids import new_id

T = TypeVar("T")

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

_ERRORS: Final = errors_of(400, 401, 403, 404, 408, 413, 415)
_ASKED_ERRORS: Final = errors_of(400, 401, 403, 404, 408, 413, 415, 429)
_position = table_of(Position)
WebhookId = Annotated[str, Path(alias="webhookId", max_length=64)]


async def _check_root(claims: KeyClaims, services: Services) -> None:
    await check_standing(claims, services.meter)
    if claims.is_child:
        raise child_key_forbidden()


async def _write(services: Services, call: Callable[[Connection], T]) -> T:
    try:
        return await services.meter.write(call)
    except UnknownWebhook as error:
        message = f"Refused: {error} of this position."
        raise RequestRejected(404, "webhook_not_found", message, "webhookId") from None
    except TooManyWebhooks as error:
        message = f"Refused: {error}. Delete some first, or wait for an hour."
        raise RequestRejected(403, "too_many_webhooks", message) from None
    except TooManyDeliveries as error:
        message = f"Refused: {error}. Ask again in {error.retry_after_s} s."
        headers = {"retry-after": str(error.retry_after_s)}
        raise RequestRejected(429, "too_many_deliveries", message, headers=headers) from None


@router.post(
    "", status_code=201, responses=_ERRORS, dependencies=BEARER, openapi_extra=body_of(WebhookWish)
)
async def create_position_webhook(
    request: Request, claims: ClaimsDep, services: ServicesDep
) -> WebhookIssued:
    """Have an endpoint told of what happens to the position from now on. Root key only."""
    await _check_root(claims, services)
    wish = await read(request, services, claims, WebhookWish)
    try:
        await services.webhooks.check(wish.url)
    except UrlRefused as error:
        message = f"The URL cannot be used: {error}."
        raise bad_request("url_refused", message, param="url") from None
    webhook_id, secret, now_s = new_id(), secrets.token_bytes(SECRET_BYTES), services.meter.now_s()
    sealed = seal_secret(secret, key_secrets=services.webhooks.key_secrets, webhook_id=webhook_id)

    def create(connection: Connection) -> dict[str, Any]:
        query = select(_position).where(_position.c.token_id == claims.token_id)
        row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise position_not_found()
        if row["key_epoch"] != claims.key_epoch:
            raise key_revoked()
        now = read_position(connection, row, now_s=now_s, revoked_since_s=now_s - OVERLAP_S)
        seen = look(now, low_usdc=wish.low_usdc)
        values = {
            "webhook_id": webhook_id,
            "token_id": claims.token_id,
            "key_epoch": claims.key_epoch,
            "url": wish.url,
            "events": orjson.dumps(wish.events).decode(),
            "low_usdc": wish.low_usdc,
            "secret": sealed,
            "secret_before": None,
            "secret_before_until_s": 0,
            "seen": seen.write(),
            "next_number": 0,
            "busy_until_s": now_s,
            "created_at_s": now_s,
        }
        create_webhook(connection, values)
        return values

    row = await _write(services, create)
    return WebhookIssued(**dict(_describe(row)), secret=show_secret(secret))


@router.get("", responses=_ERRORS, dependencies=BEARER)
async def list_webhooks(claims: ClaimsDep, services: ServicesDep) -> WebhookList:
    """List the position's endpoints. Root key only."""
    await _check_root(claims, services)
    rows = await services.meter.read(lambda c: load_webhooks(c, token_id=claims.token_id))
    return WebhookList(data=[_describe(row) for row in rows])


@router.delete(
    "/{webhookId}",
    status_code=204,
    response_class=Response,
    responses=_ERRORS,
    dependencies=BEARER,
)
async def delete_webhook(
    webhook_id: WebhookId, claims: ClaimsDep, services: ServicesDep
) -> Response:
    """Tell an endpoint nothing more, not even what waits."""
    await _check_root(claims, services)
    changes = {"ended_at_s": services.meter.now_s()}
    await _write(
        services,
        lambda c: change_webhook(c, webhook_id, token_id=claims.token_id, changes=changes),
    )
    return Response(status_code=204)


@router.post(
    "/{webhookId}/rotate",
    responses=_ERRORS,
    dependencies=BEARER,
    openapi_extra=body_of(WebhookRotation, required=False),
)
async def rotate_webhook(
    webhook_id: WebhookId, request: Request, claims: ClaimsDep, services: ServicesDep
) -> WebhookIssued:
    """Give an endpoint a new secret; for `grace_s` seconds deliveries are signed by both."""
    await _check_root(claims, services)
    grace_s = (await read(request, services, claims, WebhookRotation)).grace_s
    secret, now_s = secrets.token_bytes(SECRET_BYTES), services.meter.now_s()
    sealed = seal_secret(secret, key_secrets=services.webhooks.key_secrets, webhook_id=webhook_id)

    def rotate(connection: Connection) -> Any:
        token_id = claims.token_id
        before = load_webhook(connection, webhook_id, token_id=token_id)
        changes = {
            "secret": sealed,
            "secret_before": before["secret"],
            "secret_before_until_s": now_s + grace_s,
        }
        return change_webhook(connection, webhook_id, token_id=token_id, changes=changes)

    row = await _write(services, rotate)
    return WebhookIssued(**dict(_describe(row)), secret=show_secret(secret))


@router.post("/{webhookId}/ping", status_code=202, responses=_ASKED_ERRORS, dependencies=BEARER)
async def ping_webhook(
    webhook_id: WebhookId, claims: ClaimsDep, services: ServicesDep
) -> DeliveryQueued:
    """Send an endpoint a `ping`, signed and tried as everything else is."""
    await _check_root(claims, services)
    now_s, message_id = services.meter.now_s(), f"msg_{new_id()}"
    body = write_body(
        Happening(PING, {}),
        message_id=message_id,
        token_id=claims.token_id,
        timestamp=format_time(now_s),
    )

    message = Message(message_id, PING, body)
    number = await _write(
        services, lambda c: ask(c, webhook_id, message, token_id=claims.token_id, now_s=now_s)
    )
    return DeliveryQueued(number=number)


@router.get("/{webhookId}/deliveries", responses=_ERRORS, dependencies=BEARER)
async def list_deliveries(
    webhook_id: WebhookId,
    claims: ClaimsDep,
    services: ServicesDep,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> DeliveryList:
    """List what an endpoint is and was told; what ended more than 30 days ago is forgotten."""
    await _check_root(claims, services)
    rows = await _write(
        services,
        lambda c: load_deliveries(c, webhook_id, token_id=claims.token_id, limit=limit),
    )
    return DeliveryList(data=[_describe_delivery(row) for row in rows])


@router.post(
    "/{webhookId}/deliveries/{number}/replay",
    status_code=202,
    responses=_ASKED_ERRORS,
    dependencies=BEARER,
)
async def replay_delivery(
    webhook_id: WebhookId,
    number: Annotated[int, Path(ge=0, le=2**62)],
    claims: ClaimsDep,
    services: ServicesDep,
) -> DeliveryQueued:
    """Tell an endpoint something again, with the same `webhook-id`, after all that waits."""
    await _check_root(claims, services)
    now_s = services.meter.now_s()
    queued = await _write(
        services, lambda c: replay(c, webhook_id, number, token_id=claims.token_id, now_s=now_s)
    )
    return DeliveryQueued(number=queued)


def _describe(row: Any) -> WebhookView:
    until_s = row["secret_before_until_s"]
    return WebhookView(
        webhookId=row["webhook_id"],
        tokenId=str(row["token_id"]),
        url=row["url"],
        events=orjson.loads(row["events"]),
        low_usdc=row["low_usdc"],
        created_at=format_time(row["created_at_s"]),
        secret_before_until=None if row["secret_before"] is None else format_time(until_s),
    )


def _describe_delivery(row: Any) -> DeliveryView:
    ended_at_s = row["ended_at_s"]
    return DeliveryView(
        number=row["number"],
        message_id=row["message_id"],
        type=row["kind"],
        state=row["state"],
        tries=row["tries"],
        said=row["said"],
        created_at=format_time(row["created_at_s"]),
        next_try_at=format_time(row["next_try_at_s"]) if row["state"] == "waiting" else None,
        ended_at=None if ended_at_s is None else format_time(ended_at_s),
    )
