"""What watches the market: the public feed, metrics, liveness."""

from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from market.http.dependencies import ServicesDep, errors_of

router = APIRouter()

_TEXT: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
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
    await services.database.probe()
    return JSONResponse({"status": "ok", "models": len(services.book.shelves)})
