"""A caller's own requests: lists of them and receipts."""

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from proxy.archived_receipts import load_receipt
from proxy.errors import receipt_not_found
from proxy.http.dependencies import BEARER, ClaimsDep, ServicesDep
from proxy.http.requests.schemas import (
    USAGE_PARAMETERS,
    ReceiptView,
    UsageEntry,
    UsageGroup,
    UsagePage,
)
from proxy.keys.authentication import check_standing
from proxy.services import Services
from proxy.store import USAGE_FIELDS, UsageQuery, load_usage
from proxy.usage import PAGE_MAX, build_cursor, parse_query
from proxy.usage_sums import check_grouping, load_sums
from serving.http.document.schemas import errors_of
from serving.http.document.writing import table_of_lines
from serving.http.tables import write_csv

router = APIRouter(tags=["requests"])


@router.get(
    "/receipts/{requestId}",
    responses=errors_of(400, 401, 403, 404),
    dependencies=BEARER,
)
async def show_receipt(
    requestId: str,
    claims: ClaimsDep,
    services: ServicesDep,
) -> ReceiptView:
    """Show one request's receipt, and once it is batched the proof that its batch contains it."""
    await check_standing(claims, services.meter)
    view = await load_receipt(services, claims, requestId)
    if view is None:
        raise receipt_not_found()
    return ReceiptView.model_validate(view)


@router.get(
    "/usage",
    response_model_exclude_unset=True,
    responses=errors_of(400, 401, 403, 404),
    dependencies=BEARER,
    openapi_extra={"parameters": USAGE_PARAMETERS},
)
async def list_usage(request: Request, claims: ClaimsDep, services: ServicesDep) -> UsagePage:
    """List the requests of the key's position, newest first."""
    query = parse_query(claims, request.query_params)
    group_by = request.query_params.get("group_by")
    grouping = None if group_by is None else check_grouping(group_by)
    await check_standing(claims, services.meter)
    if grouping is not None:
        sums = await services.meter.read(lambda connection: load_sums(connection, query, grouping))
        groups = [UsageGroup.model_validate(one) for one in sums]
        return UsagePage(data=[], groups=groups, next_cursor=None)
    entries = await services.meter.read(lambda connection: load_usage(connection, query))
    is_last = len(entries) < query.limit
    return UsagePage(
        data=[UsageEntry.model_validate(entry) for entry in entries],
        next_cursor=None if is_last else build_cursor(entries[-1]),
    )


@router.get(
    "/usage.csv",
    response_class=Response,
    responses={
        200: table_of_lines(USAGE_FIELDS),
        **errors_of(400, 401, 403, 404),
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
    yield write_csv(entries, USAGE_FIELDS)
    while len(entries) == query.limit:
        last = entries[-1]
        query = replace(query, before=(last["reserved_at_s"], last["request_id"]))
        entries = await services.meter.read(partial(load_usage, query=query))
        yield write_csv(entries, USAGE_FIELDS, with_head=False)
