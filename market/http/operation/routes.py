"""What watches the market: the public feed, metrics, liveness."""

from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from contracts.errors import CurrentError
from market.http.dependencies import ServicesDep

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


@router.get("/readyz", responses={503: {"description": "not ready; the body says what lacks"}})
async def readyz(response: Response, services: ServicesDep) -> dict[str, Any]:
    """Tell whether requests would be let through: whether the ledger answers."""
    try:
        await services.database.probe()
        ready = True
    except CurrentError:
        ready = False
    response.status_code = 200 if ready else 503
    return {"ready": ready, "ledger": ready, "models": len(services.book.shelves)}
