"""Liveness, readiness, metrics."""

import asyncio

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from contracts.errors import CurrentError
from ledger.chain.mirror import MirrorState, load_mirror
from ledger.database.on_loop import PROBE_TIMEOUT_S
from proxy.http.dependencies import ServicesDep
from proxy.http.operation.schemas import Readiness
from proxy.services import Services
from serving.http.document.schemas import Alive, errors_of
from serving.http.document.writing import one_of, text_of

router = APIRouter(tags=["operation"])


@router.get("/healthz")
async def tell_alive() -> Alive:
    """Tell that the process runs. Says nothing of what it depends on."""
    return Alive(status="ok")


@router.get(
    "/readyz",
    responses={503: {"description": "not ready: see what is false", "content": one_of(Readiness)}},
)
async def tell_ready(response: Response, services: ServicesDep) -> Readiness:
    """Tell whether requests would be served: mirror, ledger, upstream, our credit there, clock."""
    (mirror, ledger_ready), upstream_ready = await asyncio.gather(
        _load_mirror(services), services.catalogue.is_reachable()
    )
    now_s = services.meter.now_s()
    age_s = None if mirror is None else mirror.age_s(now_s=now_s)
    # A mirror that was seen in the future is stale too: one of the clocks is wrong.
    mirror_ready = (
        mirror is not None and abs(now_s - mirror.observed_at_s) <= services.meter.max_staleness_s
    )
    credit_ready = not services.completions.credit.is_spent
    clock = services.meter.clock
    ready = mirror_ready and upstream_ready and credit_ready and not clock.is_far_off
    response.status_code = 200 if ready else 503
    return Readiness(
        ready=ready,
        ledger=ledger_ready,
        mirror=mirror_ready,
        mirror_block_number=None if mirror is None else mirror.block_number,
        mirror_lag_blocks=(
            None if mirror is None else max(0, mirror.head_number - mirror.block_number)
        ),
        mirror_age_s=age_s,
        mirror_age_s_max=services.meter.max_staleness_s,
        upstream=upstream_ready,
        operator_credit=credit_ready,
        clock=not clock.is_far_off,
        clock_ahead_s=clock.ahead_s,
    )


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={**errors_of(403), 200: {"content": text_of("text/plain")}},
)
async def get_metrics(request: Request, services: ServicesDep) -> str:
    """Show the counters in Prometheus' text format: to the operator only."""
    services.limits.check_monitor(request.scope)
    mirror, _ = await _load_mirror(services)
    services.note_metrics()
    return services.metrics.render(
        mirror_age_s=None if mirror is None else mirror.age_s(now_s=services.meter.now_s())
    )


async def _load_mirror(services: Services) -> tuple[MirrorState | None, bool]:
    """Return where the mirror is (None: nothing is mirrored), and whether the ledger answers."""
    try:
        return await services.meter.read(load_mirror, timeout_s=PROBE_TIMEOUT_S), True
    except CurrentError:
        return None, False
