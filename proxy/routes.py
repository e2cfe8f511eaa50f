"""The ordinary routes: keys, models, positions, receipts, health. Parse, call, translate."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from pydantic import ValidationError

from contracts.errors import CurrentError, Retryable
from ledger.keys import save_issued_key
from ledger.mirror import load_mirror
from proxy.authentication import authenticate, check_standing
from proxy.catalogue import FRESH_S
from proxy.completions import StreamAnswer
from proxy.errors import (
    RequestRejected,
    bad_request,
    chain_state_stale,
    position_not_found,
    receipt_not_found,
    unavailable,
)
from proxy.front import answer_completion, read_body
from proxy.ids import new_request_id
from proxy.keys import KEY_ID_BYTES, KeyClaims
from proxy.schemas import (
    COMPLETION_HEADERS,
    COMPLETION_REQUEST,
    USAGE_PARAMETERS,
    ErrorBody,
    KeyIssued,
    KeyRequest,
    ModelCatalogue,
    OpenAiModelList,
    PositionView,
    ReceiptView,
    UsagePage,
    parse_token_id,
)
from proxy.services import Services
from proxy.signatures import build_key_message, is_timestamp_current, parse_signature
from proxy.store import (
    Standing,
    UsageQuery,
    load_position_view,
    load_receipt_view,
    load_standing,
    load_usage,
)
from proxy.usage_list import PAGE_MAX, build_csv, build_cursor, parse_query

router = APIRouter(prefix="/api/current")

_BEARER: Final[dict[str, Any]] = {"security": [{"apiKey": []}]}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorBody} for status in statuses}


def _get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


def _get_claims(request: Request, services: "ServicesDep") -> KeyClaims:
    header = request.headers.get("authorization")
    return authenticate(None if header is None else header.encode("latin-1"), services.ring)


ServicesDep = Annotated[Services, Depends(_get_services)]
ClaimsDep = Annotated[KeyClaims, Depends(_get_claims)]


@router.post(
    "/keys",
    response_model=KeyIssued,
    responses=_errors(400, 401, 404, 408, 413, 415, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": KeyRequest.model_json_schema()}},
        }
    },
)
async def issue_key(request: Request, services: ServicesDep) -> KeyIssued:
    """Issue an API key to the owner of a position, who proves it with a wallet signature."""
    # Read by hand: a body counts as JSON also where its content type does not say so.
    raw = await read_body(request.scope, request.receive, services)
    wish = _parse_key_request(raw)
    now_ms = time.time_ns() // 1_000_000
    if not is_timestamp_current(wish.timestamp, now_ms=now_ms):
        message = "The timestamp (milliseconds) must be within five minutes of now: sign again."
        raise RequestRejected(401, "signature_expired", message, "timestamp")
    signature = parse_signature(wish.signature)
    if signature is None:
        raise bad_request("invalid_signature", "'signature' must be 0x hex.", param="signature")
    standing = await services.meter.read(lambda connection: load_standing(connection, wish.tokenId))
    if standing is None:
        raise position_not_found()
    _check_fresh(standing, services, now_s=now_ms // 1_000)
    text = build_key_message(token_id=wish.tokenId, timestamp_ms=wish.timestamp)
    if not await _is_signed_by(services, standing.owner, text, signature):
        message = "The signature is not by the position's owner, or not over the exact text."
        raise RequestRejected(401, "invalid_signature", message, "signature")
    return await _issue(services, wish.tokenId, standing, now_s=now_ms // 1_000)


def _parse_key_request(raw: bytes) -> KeyRequest:
    try:
        return KeyRequest.model_validate_json(raw)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        param = ".".join(str(part) for part in problem["loc"]) or None
        where = "" if param is None else f"'{param}': "
        raise bad_request("invalid_request", where + problem["msg"], param=param) from None


def _check_fresh(standing: Standing, services: Services, *, now_s: int) -> None:
    mirror = standing.mirror
    if mirror is None or mirror.age_s(now_s=now_s) > services.meter.max_staleness_s:
        raise chain_state_stale()


async def _is_signed_by(services: Services, owner: str, text: str, signature: bytes) -> bool:
    try:
        return await asyncio.to_thread(services.checker.is_signed_by, owner, text, signature)
    except Retryable as error:
        message = "The wallet contract cannot be asked now: the chain does not answer."
        raise unavailable("chain_unavailable", message) from error


async def _issue(services: Services, token_id: int, standing: Standing, *, now_s: int) -> KeyIssued:
    claims = KeyClaims(token_id, standing.key_epoch, secrets.token_hex(KEY_ID_BYTES))
    await services.meter.write(
        lambda connection: save_issued_key(
            connection,
            key_id=claims.key_id,
            token_id=token_id,
            key_epoch=claims.key_epoch,
            now_s=now_s,
        )
    )
    # So that a hold is there by the time of the first request.
    services.meter.note_demand(token_id, 0)
    return KeyIssued(
        apiKey=services.ring.build_key(claims),
        tokenId=str(token_id),
        keyEpoch=claims.key_epoch,
        keyId=claims.key_id,
    )


@router.get("/models", response_model=ModelCatalogue, response_model_exclude_unset=True)
async def list_models(services: ServicesDep) -> dict[str, Any]:
    """List the models, live from upstream. `fallback` is true while upstream is down."""
    snapshot = await services.catalogue.refresh(older_than_s=FRESH_S)
    listed: dict[str, Any] = {"models": [model.describe() for model in snapshot.models.values()]}
    if snapshot.fallback:
        listed["fallback"] = True
    return listed


@router.get("/v1/models", response_model=OpenAiModelList)
async def list_openai_models(services: ServicesDep) -> dict[str, Any]:
    """List the models as OpenAI does, so that `base_url=…/api/current/v1` works in any SDK."""
    snapshot = await services.catalogue.refresh(older_than_s=FRESH_S)
    return {"data": [model.describe() for model in snapshot.models.values()]}


@router.post(
    "/v1/chat/completions",
    openapi_extra={"requestBody": COMPLETION_REQUEST, **_BEARER},
    responses={
        200: {"description": "upstream's completion, unchanged", "headers": COMPLETION_HEADERS},
        **_errors(400, 401, 404, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504),
    },
)
async def create_completion(request: Request, services: ServicesDep) -> Response:
    """Complete a chat, paid from the key's position. Amounts in headers are 1e-6 USDC."""
    # ``Front`` usually answers before this route is reached.
    answer = await answer_completion(request.scope, request.receive, services, new_request_id())
    if isinstance(answer, StreamAnswer):
        return StreamingResponse(answer.stream.events(), headers=dict(answer.headers))
    return Response(answer.body, answer.status, dict(answer.headers))


@router.get("/positions/{tokenId}", response_model=PositionView, responses=_errors(400, 404, 503))
async def show_position(tokenId: str, services: ServicesDep) -> dict[str, Any]:
    """Show a position's allowance, harvests and how recent that is."""
    try:
        token_id = parse_token_id(tokenId)
    except ValueError as error:
        raise bad_request("invalid_token_id", f"'tokenId' {error}.", param="tokenId") from None
    now_s = int(time.time())
    view = await services.meter.read(
        lambda connection: load_position_view(connection, token_id, now_s=now_s)
    )
    if view is None:
        raise position_not_found()
    return view


@router.get(
    "/receipts/{requestId}",
    response_model=ReceiptView,
    responses=_errors(401, 404, 503),
    openapi_extra=_BEARER,
)
async def show_receipt(
    requestId: str,
    claims: ClaimsDep,
    services: ServicesDep,
) -> dict[str, Any]:
    """Show one request's receipt, and once it is batched the proof that its batch contains it."""
    await check_standing(claims, services.meter)
    view = await services.meter.read(
        lambda connection: load_receipt_view(connection, requestId, token_id=claims.token_id)
    )
    if view is None:
        raise receipt_not_found()
    return view


@router.get(
    "/usage",
    response_model=UsagePage,
    responses=_errors(400, 401, 404, 503),
    openapi_extra={**_BEARER, "parameters": USAGE_PARAMETERS},
)
async def list_usage(request: Request, claims: ClaimsDep, services: ServicesDep) -> dict[str, Any]:
    """List the requests of the key's position, newest first."""
    query = parse_query(claims.token_id, request.query_params)
    await check_standing(claims, services.meter)
    entries = await services.meter.read(lambda connection: load_usage(connection, query))
    is_last = len(entries) < query.limit
    return {"data": entries, "next_cursor": None if is_last else build_cursor(entries[-1])}


@router.get(
    "/usage.csv",
    response_class=StreamingResponse,
    responses={
        200: {"description": "one line for each request", "content": {"text/csv": {}}},
        **_errors(400, 401, 404, 503),
    },
    openapi_extra={**_BEARER, "parameters": USAGE_PARAMETERS},
)
async def download_usage(
    request: Request, claims: ClaimsDep, services: ServicesDep
) -> StreamingResponse:
    """Download all requests of the key's position as CSV, newest first; `limit` is per page."""
    query = replace(parse_query(claims.token_id, request.query_params), limit=PAGE_MAX)
    await check_standing(claims, services.meter)
    first = await services.meter.read(lambda connection: load_usage(connection, query))
    headers = {"content-disposition": 'attachment; filename="usage.csv"'}
    lines = _stream_csv(services, query, first)
    return StreamingResponse(lines, media_type="text/csv", headers=headers)


async def _stream_csv(
    services: Services, query: UsageQuery, entries: list[dict[str, Any]]
) -> AsyncIterator[bytes]:
    yield build_csv(entries, with_head=True)
    while len(entries) == query.limit:
        last = entries[-1]
        query = replace(query, before=(last["reserved_at_s"], last["request_id"]))
        entries = await services.meter.read(partial(load_usage, query=query))
        yield build_csv(entries, with_head=False)


@router.get("/healthz")
async def tell_alive() -> dict[str, str]:
    """Tell that the process runs. Says nothing of what it depends on."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "not ready; the body says what lacks"}})
async def tell_ready(response: Response, services: ServicesDep) -> dict[str, Any]:
    """Tell whether requests would be let through: mirror, ledger and upstream."""
    age_s = await _load_mirror_age(services)
    mirror_ready = age_s is not None and age_s <= services.meter.max_staleness_s
    upstream_ready = not services.catalogue.snapshot.fallback
    ready = mirror_ready and upstream_ready
    response.status_code = 200 if ready else 503
    return {
        "ready": ready,
        "mirror": mirror_ready,
        "mirror_age_s": age_s,
        "upstream": upstream_ready,
    }


@router.get("/metrics", response_class=PlainTextResponse)
async def show_metrics(services: ServicesDep) -> str:
    """Show the counters in Prometheus' text format."""
    return services.metrics.render(
        in_flight=services.completions.in_flight,
        mirror_age_s=await _load_mirror_age(services),
        catalogue_fallback=services.catalogue.snapshot.fallback,
    )


async def _load_mirror_age(services: Services) -> int | None:
    """Return the mirror's age in seconds; None where the ledger or the mirror is not there."""
    try:
        mirror = await services.meter.read(load_mirror)
    except CurrentError:
        return None
    return None if mirror is None else mirror.age_s(now_s=int(time.time()))
