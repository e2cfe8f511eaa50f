"""Operations for monitors: metrics, liveness, readiness."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from contracts.errors import CurrentError
from market.http.dependencies import ServicesDep
from market.http.operation.schemas import Readiness
from serving.http.document.schemas import Alive, errors_of
from serving.http.document.writing import one_of, text_of

router = APIRouter(tags=["operation"])


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={**errors_of(403), 200: {"content": text_of("text/plain")}},
)
async def get_metrics(request: Request, services: ServicesDep) -> PlainTextResponse:
    """Return what this process counts, for Prometheus: to the operator only."""
    services.limits.check_monitor(request.scope)
    services.note_metrics()
    return PlainTextResponse(services.metrics.expose())


@router.get("/healthz", name="tell_alive")
async def healthz() -> Alive:
    """Tell that the process lives."""
    return Alive(status="ok")


@router.get(
    "/readyz",
    responses={503: {"description": "not ready: see what is false", "content": one_of(Readiness)}},
    name="tell_ready",
)
async def readyz(response: Response, services: ServicesDep) -> Readiness:
    """Tell whether requests would be let through: the ledger answers, the clock is right."""
    try:
        await services.database.probe()
        ledger_ready = True
    except CurrentError:
        ledger_ready = False
    clock = services.database.clock
    ready = ledger_ready and not clock.is_far_off
    response.status_code = 200 if ready else 503
    return Readiness(
        ready=ready,
        ledger=ledger_ready,
        clock=not clock.is_far_off,
        clock_ahead_s=clock.ahead_s,
        models=len(services.book.shelves),
    )
