"""What watches the market: the public feed, metrics, liveness."""

import time
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from market.errors import bad_request
from market.http.dependencies import OPEN, ServicesDep, errors_of
from market.listing.feed import FEED_MAX, load_feed, parse_cursor

router = APIRouter()

_TEXT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
}


@router.get("/feed", responses=OPEN)
async def get_feed(
    services: ServicesDep,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=FEED_MAX)] = 50,
) -> dict[str, Any]:
    """Return what happened lately: sales without names, and offers as they change. Newest first."""
    after = None if cursor is None else parse_cursor(cursor)
    if cursor is not None and after is None:
        raise bad_request("invalid_cursor", "'cursor' is not one of this feed.", param="cursor")
    now_s = int(time.time())
    events = await services.database.read(
        lambda connection: load_feed(connection, after=after, limit=limit, now_s=now_s)
    )
    return {
        "events": [described for _, described in events],
        "next_cursor": str(events[-1][0]) if len(events) == limit else None,
    }


@router.get("/metrics", response_class=PlainTextResponse, responses=_TEXT)
async def get_metrics(services: ServicesDep) -> PlainTextResponse:
    """Return what this process counts, for Prometheus."""
    text = services.metrics.render(
        in_flight=services.serving.in_flight,
        open_jobs=services.job_follower.open_jobs,
        standings=services.book.standings(),
    )
    return PlainTextResponse(text)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Tell that the process lives."""
    return {"status": "ok"}


@router.get("/readyz", responses=errors_of())
async def readyz(services: ServicesDep) -> Response:
    """Tell whether the ledger answers."""
    await services.book.refresh()
    return JSONResponse({"status": "ok", "models": len(services.book.shelves)})
