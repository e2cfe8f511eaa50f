"""The ordinary routes: models, positions, receipts, health. Parse, call, translate."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from contracts.errors import CurrentError
from ledger.chain.mirror import MirrorState, load_mirror
from proxy.catalogue import FRESH_S
from proxy.chat.completions import StreamAnswer
from proxy.errors import bad_request, position_not_found, receipt_not_found
from proxy.http.dependencies import BEARER, ClaimsDep, ServicesDep, errors_of
from proxy.http.front import answer_completion, read_body
from proxy.http.schemas import (
    COMPLETION_HEADERS,
    COMPLETION_REQUEST,
    USAGE_PARAMETERS,
    ModelCatalogue,
    OpenAiModelList,
    PositionView,
    QuoteView,
    ReceiptView,
    UsagePage,
    parse_token_id,
)
from proxy.keys.authentication import check_standing
from proxy.keys.tokens import KeyClaims
from proxy.services import Services
from proxy.store import UsageQuery, load_position_view, load_receipt_view, load_usage
from proxy.usage import PAGE_MAX, build_csv, build_cursor, parse_query
from serving.process.ids import new_id

router = APIRouter(prefix="/api/current")
host_router = APIRouter()
"""What some clients ask at the host's root, whatever their base URL is: LiteLLM lists models so."""


# It only documents: ``authenticate`` reads the header.
@router.get("/models", response_model=ModelCatalogue, response_model_exclude_unset=True)
async def list_models(services: ServicesDep) -> dict[str, Any]:
    """List the models, live from upstream. `fallback` is true while upstream is down."""
    snapshot = await services.catalogue.refresh(older_than_s=FRESH_S)
    listed: dict[str, Any] = {"models": [model.describe() for model in snapshot.models.values()]}
    if snapshot.fallback:
        listed["fallback"] = True
    return listed


@host_router.get("/v1/models", response_model=OpenAiModelList, include_in_schema=False)
@router.get("/v1/models", response_model=OpenAiModelList)
async def list_openai_models(services: ServicesDep) -> dict[str, Any]:
    """List the models as OpenAI does, so that `base_url=…/api/current/v1` works in any SDK."""
    snapshot = await services.catalogue.refresh(older_than_s=FRESH_S)
    return {"data": [model.describe() for model in snapshot.models.values()]}


@router.post(
    "/v1/chat/completions",
    dependencies=BEARER,
    openapi_extra={"requestBody": COMPLETION_REQUEST},
    responses={
        200: {
            "description": "upstream's completion, unchanged; events where `stream` is true",
            "headers": COMPLETION_HEADERS,
            "content": {"text/event-stream": {}},
        },
        **errors_of(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504),
    },
)
async def create_completion(request: Request, services: ServicesDep) -> Response:
    """Complete a chat, paid from the key's position. Amounts in headers are 1e-6 USDC."""
    # ``Front`` usually answers before this route is reached.
    answer = await answer_completion(request.scope, request.receive, services, new_id())
    if isinstance(answer, StreamAnswer):
        return StreamingResponse(answer.stream.events(), headers=dict(answer.headers))
    return Response(answer.body, answer.status, dict(answer.headers))


@router.post(
    "/v1/quote",
    response_model=QuoteView,
    responses=errors_of(400, 401, 404, 408, 413, 415, 429, 503),
    dependencies=BEARER,
    openapi_extra={"requestBody": COMPLETION_REQUEST},
)
async def quote_completion(
    request: Request, claims: ClaimsDep, services: ServicesDep
) -> dict[str, Any]:
    """Say what a completion with the same body would reserve, and whether it would be admitted."""
    raw = await read_body(request.scope, request.receive, services)
    return await services.completions.quote(claims, raw, new_id())


@router.get("/positions/{tokenId}", response_model=PositionView, responses=errors_of(400, 404, 503))
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
    view["pending_yield_usdc"] = await services.chain_view.fetch_pending_yield(token_id)
    return view


@router.get(
    "/receipts/{requestId}",
    response_model=ReceiptView,
    responses=errors_of(401, 404, 503),
    dependencies=BEARER,
)
async def show_receipt(
    requestId: str,
    claims: ClaimsDep,
    services: ServicesDep,
) -> dict[str, Any]:
    """Show one request's receipt, and once it is batched the proof that its batch contains it."""
    await check_standing(claims, services.meter)
    view = await services.meter.read(
        lambda connection: load_receipt_view(
            connection, requestId, token_id=claims.token_id, key_id=_own_key_id(claims)
        )
    )
    if view is None:
        raise receipt_not_found()
    return view


def _own_key_id(claims: KeyClaims) -> str | None:
    """Return the key whose requests a caller sees; None = all of its position's."""
    return claims.key_id if claims.is_child else None


@router.get(
    "/usage",
    response_model=UsagePage,
    responses=errors_of(400, 401, 404, 503),
    dependencies=BEARER,
    openapi_extra={"parameters": USAGE_PARAMETERS},
)
async def list_usage(request: Request, claims: ClaimsDep, services: ServicesDep) -> dict[str, Any]:
    """List the requests of the key's position, newest first."""
    query = parse_query(claims, request.query_params)
    await check_standing(claims, services.meter)
    entries = await services.meter.read(lambda connection: load_usage(connection, query))
    is_last = len(entries) < query.limit
    return {"data": entries, "next_cursor": None if is_last else build_cursor(entries[-1])}


@router.get(
    "/usage.csv",
    response_class=StreamingResponse,
    responses={
        200: {"description": "one line for each request", "content": {"text/csv": {}}},
        **errors_of(400, 401, 404, 503),
    },
    dependencies=BEARER,
    openapi_extra={"parameters": USAGE_PARAMETERS},
)
async def download_usage(
    request: Request, claims: ClaimsDep, services: ServicesDep
) -> StreamingResponse:
    """Download all requests of the key's position as CSV, newest first; `limit` is per page."""
    query = replace(parse_query(claims, request.query_params), limit=PAGE_MAX)
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
    mirror = await _load_mirror(services)
    now_s = int(time.time())
    age_s = None if mirror is None else mirror.age_s(now_s=now_s)
    # Also where it was seen in the future: one of the clocks is wrong.
    mirror_ready = (
        mirror is not None and abs(now_s - mirror.observed_at_s) <= services.meter.max_staleness_s
    )
    upstream_ready = not services.catalogue.snapshot.fallback
    ready = mirror_ready and upstream_ready
    response.status_code = 200 if ready else 503
    return {
        "ready": ready,
        "mirror": mirror_ready,
        "mirror_block_number": None if mirror is None else mirror.block_number,
        "mirror_lag_blocks": (
            None if mirror is None else max(0, mirror.head_number - mirror.block_number)
        ),
        "mirror_age_s": age_s,
        "mirror_age_s_max": services.meter.max_staleness_s,
        "upstream": upstream_ready,
    }


@router.get("/metrics", response_class=PlainTextResponse)
async def show_metrics(services: ServicesDep) -> str:
    """Show the counters in Prometheus' text format."""
    mirror = await _load_mirror(services)
    return services.metrics.render(
        in_flight=services.completions.in_flight,
        mirror_age_s=None if mirror is None else mirror.age_s(now_s=int(time.time())),
        catalogue_fallback=services.catalogue.snapshot.fallback,
    )


async def _load_mirror(services: Services) -> MirrorState | None:
    """Return where the mirror is; None where the ledger or the mirror is not there."""
    try:
        return await services.meter.read(load_mirror)
    except CurrentError:
        return None
