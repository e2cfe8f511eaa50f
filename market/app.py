"""The application: its lifespan, its routes and how exceptions become answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy import Engine
from starlette.exceptions import HTTPException
from web3 import Web3

from contracts.chain import Web3Transport, open_web3
from contracts.deployment import Deployment
from contracts.reader import ChainReader
from contracts.signatures import SignatureChecker
from ledger.database.writer import GroupWriter
from ledger.errors import LedgerUnavailable
from market.background import gather_earnings, repeat, rewrap_all
from market.endpoints.client import Provider
from market.endpoints.dialing import Dialer, Resolve, resolve_by_system
from market.endpoints.sealing import Kms, Sealer
from market.errors import (
    ApiError,
    RequestRejected,
    bad_request,
    internal_error,
    ledger_unavailable,
)
from market.http.front import ClientGone, Front
from market.http.routes import router
from market.identity.authentication import Authenticator
from market.media.artifacts import Artifacts
from market.media.job_following import JobFollower
from market.media.jobs import Jobs
from market.media.serving import MediaServing
from market.metrics import Metrics
from market.payments.chain_checks import PaymentChain
from market.payments.paywall import Paywall
from market.payments.settlement_watch import SettlementWatch
from market.pricing.units import check_unit_prices
from market.records.database import Database
from market.routing.book import Book
from market.routing.own_providers import OwnRoutes
from market.services import Services
from market.settings import MarketSettings
from market.text.serving import Serving
from serving.models.references import load_references

log = structlog.get_logger("market")

ABANDONED_TIMEOUT_S: Final = 1.0
"""How long requests may go on that the server has cut off: it has waited for them before."""

DESCRIPTION: Final = """
A market of AI inference: each request is served by the cheapest seller who is allowed, healthy and
within its caps. Amounts named `*_usdc` are integers of 1e-6 USDC, those named `*_usd` and
`price_*_per_1m` are US dollars.
"""


def create_app(
    settings: MarketSettings,
    deployment: Deployment,
    engine: Engine,
    kms: Kms,
    *,
    resolve: Resolve = resolve_by_system,
) -> Front:
    """Build the ASGI application over a migrated ledger; nothing is called before its lifespan."""
    references = load_references(settings.prices_file)
    check_unit_prices(references.operator)
    web3 = open_web3(settings.rpc_url.get_secret_value())
    checker = SignatureChecker(ChainReader(Web3Transport(web3)), multicall3=deployment.multicall3)
    sealer = Sealer(kms)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        writer = GroupWriter(engine)
        database = Database(engine, writer, timeout_s=settings.ledger_timeout_s)
        dialer = Dialer(settings.dial_rules(), resolve=resolve)
        provider = Provider(dialer, settings.provider_rules())
        book = Book(
            database,
            references,
            sealer,
            fee_bps=settings.fee_bps,
            concurrency_max=settings.seller_concurrency_max,
        )
        metrics = Metrics()
        secret = settings.secret.get_secret_value().encode()
        own_routes = OwnRoutes(database, sealer, metrics)
        serving = Serving(database, book, provider, metrics, own_routes, settings.serving_rules())
        artifacts = Artifacts(
            database,
            book,
            provider,
            public_url=settings.public_url,
            lifetime_s=settings.artifact_lifetime_s,
        )
        job_rules = settings.job_rules()
        follower = JobFollower(database, book, provider, artifacts, job_rules)
        services = Services(
            authenticator=Authenticator(
                database,
                checker,
                secret=secret,
                domain=settings.domain,
                uri=settings.public_url,
                chain_id=deployment.chain_id,
            ),
            book=book,
            database=database,
            dialer=dialer,
            metrics=metrics,
            media=MediaServing(serving, book, provider, artifacts),
            artifacts=artifacts,
            jobs=Jobs(
                database,
                provider,
                serving,
                artifacts,
                follower,
                job_rules,
                secret=secret,
                public_url=settings.public_url,
            ),
            job_follower=follower,
            provider=provider,
            sealer=sealer,
            serving=serving,
            paywall=open_paywall(settings, deployment, web3, database, book, serving),
            secret=secret,
            allow_loopback=settings.allow_loopback,
            body_bytes_max=settings.body_bytes_max,
            body_timeout_s=settings.body_timeout_s,
            upload_bytes_max=settings.upload_bytes_max,
        )
        app.state.services = services
        await book.refresh()
        await own_routes.refresh()
        loops = [
            asyncio.create_task(repeat(own_routes.refresh, settings.refresh_interval_s)),
            asyncio.create_task(repeat(follower.follow, settings.job_look_interval_s)),
            asyncio.create_task(repeat(book.refresh, settings.refresh_interval_s)),
            asyncio.create_task(repeat(services.serving.sweep, settings.sweep_interval_s)),
            asyncio.create_task(rewrap_all(database, sealer)),
            asyncio.create_task(
                repeat(
                    lambda: gather_earnings(database, settings.payout_minimum_usdc),
                    settings.payout_interval_s,
                )
            ),
        ]
        try:
            yield
        finally:
            await services.serving.drain(ABANDONED_TIMEOUT_S)
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await provider.close()
            # In a thread: what was submitted is still written, which may take a while.
            await asyncio.to_thread(writer.close)

    app = FastAPI(title="Current market", description=DESCRIPTION, version="1", lifespan=lifespan)
    app.include_router(router)
    _handle_exceptions(app)
    return Front(app)


def open_paywall(
    settings: MarketSettings,
    deployment: Deployment,
    web3: Web3,
    database: Database,
    book: Book,
    serving: Serving,
) -> Paywall | None:
    """Put together what takes payments; None where that is switched off."""
    if not settings.x402:
        return None
    chain = PaymentChain(
        web3,
        chain_id=deployment.chain_id,
        usdc=deployment.usdc,
        multicall3=deployment.multicall3,
    )
    rules = settings.payment_rules(payouts=deployment.payouts)
    watch = SettlementWatch(database)
    return Paywall(database, book, serving.attempts, chain, watch, rules)


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
    async def on_http_error(_: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
        headers = dict(error.headers or {})
        return answer(RequestRejected(error.status_code, code, error.detail, headers=headers))

    @app.exception_handler(ClientGone)
    async def on_client_gone(_: Request, __: ClientGone) -> Response:
        return Response(status_code=499)  # nobody reads it

    @app.exception_handler(Exception)
    async def on_exception(request: Request, error: Exception) -> Response:
        log.error("internal_error", path=request.url.path, exc_info=error)
        return answer(internal_error())
