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

from contracts.chain import Web3Transport, open_web3
from contracts.deployment import Deployment
from contracts.errors import Retryable
from contracts.reader import ChainReader
from contracts.signatures import SignatureChecker
from contracts.units import SECONDS_PER_DAY
from ledger.errors import LedgerUnavailable
from ledger.market import plan_payouts, replace_sealed_key
from ledger.writer import GroupWriter
from market.authentication import Authenticator
from market.book import Book
from market.database import Database
from market.dialing import Dialer, Resolve, resolve_by_system
from market.errors import (
    ApiError,
    RequestRejected,
    bad_request,
    internal_error,
    ledger_unavailable,
)
from market.front import ClientGone, Front
from market.ids import new_id
from market.prices import load_references
from market.provider import Provider
from market.routes import router
from market.sealing import Kms, SealBroken, Sealer
from market.services import Services
from market.serving import Serving
from market.settings import MarketSettings
from market.store import load_stale_keys

log = structlog.get_logger("market")

ABANDONED_TIMEOUT_S: Final = 1.0
"""How long requests may go on that the server has cut off: it has waited for them before."""

REWRAP_BATCH: Final = 100
DAILY_PAYOUT_S: Final = 2 * 3_600
"""Seconds after a UTC midnight at which the day before is paid to those who are paid daily."""

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
        secret = settings.secret.get_secret_value().encode()
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
            provider=provider,
            sealer=sealer,
            serving=Serving(database, book, provider, settings.serving_rules()),
            secret=secret,
            allow_loopback=settings.allow_loopback,
            body_bytes_max=settings.body_bytes_max,
            body_timeout_s=settings.body_timeout_s,
        )
        app.state.services = services
        await book.refresh()
        loops = [
            asyncio.create_task(_repeat(book.refresh, settings.refresh_interval_s)),
            asyncio.create_task(_repeat(services.serving.sweep, settings.sweep_interval_s)),
            asyncio.create_task(_rewrap_all(database, sealer)),
            asyncio.create_task(
                _repeat(
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


async def gather_earnings(database: Database, minimum_usdc: int) -> list[str]:
    """Plan payouts of what is due now; return their ids.

    Sellers who are paid at once are paid what they earned so far, those who are paid daily what
    they earned until the last 02:00 UTC.
    """
    now_s = int(time.time())
    last_close_s = (now_s - DAILY_PAYOUT_S) // SECONDS_PER_DAY * SECONDS_PER_DAY + DAILY_PAYOUT_S
    planned: list[str] = []
    for policy, until_s in (("at_once", now_s), ("daily", last_close_s - 1)):
        planned += await database.write(
            lambda connection, policy=policy, until_s=until_s: plan_payouts(  # type: ignore[misc]
                connection,
                policies=[policy],
                until_s=until_s,
                now_s=now_s,
                make_id=new_id,
                minimum_usdc=minimum_usdc,
            )
        )
    if planned:
        log.info("payouts_planned", payouts=len(planned))
    return planned


async def _rewrap_all(database: Database, sealer: Sealer) -> None:
    """Wrap anew what an older KMS key has wrapped, so that the old one can be taken away."""
    try:
        while stale := await database.read(
            lambda connection: load_stale_keys(
                connection, kms_key_id=sealer.key_id, limit=REWRAP_BATCH
            )
        ):
            changed = 0
            for offer_id, sealed in stale:
                fresh = await asyncio.to_thread(sealer.rewrap, sealed, offer_id=offer_id)
                changed += await database.write(
                    lambda connection, o=offer_id, b=sealed, a=fresh: replace_sealed_key(  # type: ignore[misc]
                        connection, offer_id=o, before=b, after=a
                    )
                )
            log.info("keys_rewrapped", keys=changed, kms_key=sealer.key_id)
    except (Retryable, SealBroken) as error:
        log.error("keys_not_rewrapped", error=str(error))


async def _repeat(step: Callable[[], Awaitable[Any]], interval_s: float) -> None:
    while True:
        await asyncio.sleep(interval_s)
        try:
            await step()
        except Retryable as error:
            log.warning("background_step_failed", error=str(error))
        except Exception:
            log.exception("background_step_failed")


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
