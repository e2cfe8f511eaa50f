"""The application: its lifespan, its routes and how exceptions become answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy import Engine
from starlette.exceptions import HTTPException

from contracts.deployment import Deployment
from contracts.errors import Retryable
from contracts.reader import ChainReader
from contracts.transport import HttpTransport
from ledger.database.on_loop import LoopLedger
from ledger.database.writer import GroupWriter
from ledger.errors import LedgerUnavailable
from proxy.catalogue import Catalogue
from proxy.chain_view import ChainView
from proxy.chat.completions import Completions
from proxy.chat.meter import Meter
from proxy.chat.revocations import RevocationListener
from proxy.chat.streaming import StreamRules
from proxy.chat.upstream import HttpUpstream, Upstream
from proxy.errors import (
    ApiError,
    RequestRejected,
    bad_request,
    internal_error,
    ledger_unavailable,
    method_not_allowed,
    not_found,
)
from proxy.http.front import ClientGone, Front
from proxy.http.limits import Buckets, parse_networks
from proxy.http.routes import router
from proxy.keys.sign_in import SignIn
from proxy.keys.signatures import SignatureChecker
from proxy.keys.tokens import KeyRing, KnownKeys
from proxy.metrics import Metrics
from proxy.services import Services
from proxy.settings import ProxySettings
from proxy.tracing import Span, open_spans
from serving.models.references import References, load_references

log = structlog.get_logger("proxy")

REVOCATION_LOOK_S: Final = 0.2
"""How soon a live stream ends after its key's revocation is mirrored, where nobody announces it."""

ABANDONED_TIMEOUT_S: Final = 1.0
"""How long requests may go on that the server has cut off: it has waited for them before."""

DESCRIPTION: Final = """
Paid AI inference from the yield of a deposit. Amounts named `*-usdc` or `*_usdc` are integers of
1e-6 USDC. Errors are OpenAI-shaped, so every OpenAI SDK raises its right class.
"""


def create_app(
    settings: ProxySettings,
    deployment: Deployment,
    engine: Engine,
    *,
    make_upstream: Callable[[ProxySettings], Upstream] = HttpUpstream,
) -> Front:
    """Build the ASGI application over a migrated ledger. Connects to nothing before its lifespan.

    ``make_upstream`` is called in the running event loop. Raises ``Fatal`` where prices or tracing
    are configured wrongly.
    """
    prices = load_references(
        settings.prices_file, upstream_age_s_max=settings.upstream_prices_age_s_max
    )
    span, stop_spans = open_spans(settings.otel_endpoint)
    node = HttpTransport(settings.rpc_url.get_secret_value())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        upstream = make_upstream(settings)
        writer = GroupWriter(engine)
        services = _build_services(
            settings, deployment, engine, writer, upstream, prices, ChainReader(node), span
        )
        app.state.services = services
        await services.catalogue.refresh()
        loops = [
            asyncio.create_task(_repeat(services.catalogue.refresh, settings.catalogue_interval_s)),
            asyncio.create_task(_repeat(lambda: _sweep(services), settings.sweep_interval_s)),
            asyncio.create_task(_repeat(services.completions.watch.look, REVOCATION_LOOK_S)),
        ]
        listener = RevocationListener(engine, services.completions.watch)
        listener.start()
        try:
            yield
        finally:
            await services.completions.drain(ABANDONED_TIMEOUT_S)
            await asyncio.to_thread(listener.close)
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await upstream.close()
            # In a thread: what was submitted is still written, which may take a while.
            await asyncio.to_thread(writer.close)
            await asyncio.to_thread(stop_spans)
            node.close()

    app = FastAPI(
        title="Current",
        description=DESCRIPTION,
        version="1",
        lifespan=lifespan,
        # It would send a key on to http:// where something in front of us speaks https.
        redirect_slashes=False,
    )
    app.include_router(router)
    _handle_exceptions(app)
    return Front(app)


def _build_services(
    settings: ProxySettings,
    deployment: Deployment,
    engine: Engine,
    writer: GroupWriter,
    upstream: Upstream,
    prices: References,
    reader: ChainReader,
    span: Span,
) -> Services:
    rules = settings.admission_rules()
    ledger = LoopLedger(engine, writer, timeout_s=settings.ledger_timeout_s)
    meter = Meter(ledger, rules)
    metrics = Metrics()
    catalogue = Catalogue(upstream, prices)
    completions = Completions(
        meter=meter,
        upstream=upstream,
        catalogue=catalogue,
        prices=prices,
        metrics=metrics,
        in_flight_max=settings.requests_in_flight_max,
        stream_rules=StreamRules(settings.stream_timeout_s, settings.stream_drain_s),
        span=span,
    )
    key_secrets = settings.key_secrets()
    ring = KeyRing(key_secrets, deployment.chain_id, deployment.position)
    return Services(
        ring=ring,
        known_keys=KnownKeys(ring),
        meter=meter,
        catalogue=catalogue,
        completions=completions,
        checker=SignatureChecker(reader, multicall3=deployment.multicall3),
        chain_view=ChainView(reader, adapter=deployment.adapter),
        sign_in=SignIn(
            key_secrets, settings.get_domain(), deployment.chain_id, deployment.position
        ),
        legacy_key_message=settings.legacy_key_message,
        metrics=metrics,
        body_bytes_max=settings.body_bytes_max,
        body_timeout_s=settings.body_timeout_s,
        headers_bytes_max=settings.headers_bytes_max,
        key_requests=_build_buckets(settings.key_requests_per_minute_max, "of this key"),
        address_requests=_build_buckets(
            settings.address_requests_per_minute_max, "from this address"
        ),
        key_wishes=_build_buckets(
            settings.address_keys_per_minute_max, "for keys from this address"
        ),
        trusted=parse_networks(settings.trusted_proxies),
    )


def _build_buckets(per_minute: int, what: str) -> Buckets:
    return Buckets(per_minute, what=what, clock=time.monotonic)


async def _repeat(step: Callable[[], Awaitable[Any]], interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            await step()
        except Retryable as error:
            log.warning("background_step_failed", error=str(error))
        except Exception:
            log.exception("background_step_failed")


async def _sweep(services: Services) -> None:
    swept = await services.meter.sweep()
    services.metrics.swept.inc(swept)
    if swept:
        log.warning("leases_swept", reservations=swept)


def _handle_exceptions(app: FastAPI) -> None:
    def answer(error: ApiError) -> Response:
        headers = dict(error.headers)
        return Response(error.body(), error.status, headers, media_type="application/json")

    @app.exception_handler(ApiError)
    async def on_api_error(_: Request, error: ApiError) -> Response:
        return answer(error)

    @app.exception_handler(LedgerUnavailable)
    async def on_ledger_error(_: Request, error: LedgerUnavailable) -> Response:
        log.error("ledger_unavailable", error=str(error))
        return answer(ledger_unavailable())

    @app.exception_handler(RequestValidationError)
    async def on_validation_error(_: Request, error: RequestValidationError) -> Response:
        problem = error.errors()[0]
        param = ".".join(str(part) for part in problem["loc"][1:]) or None
        return answer(bad_request("invalid_request", str(problem["msg"]), param=param))

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        match error.status_code:
            case 404:
                return answer(not_found(request.url.path))
            case 405:
                return answer(method_not_allowed(request.method, headers.get("Allow")))
            case status:
                return answer(RequestRejected(status, "http_error", error.detail, headers=headers))

    @app.exception_handler(ClientGone)
    async def on_client_gone(_: Request, __: ClientGone) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(Exception)
    async def on_exception(request: Request, error: Exception) -> Response:
        log.error("internal_error", path=request.url.path, exc_info=error)
        return answer(internal_error())
