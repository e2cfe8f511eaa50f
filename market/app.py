"""The application: its lifespan, its routes and how exceptions become answers."""

import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
from argon2 import PasswordHasher
from fastapi import FastAPI
from sqlalchemy import Engine
from web3 import Web3

from contracts.chain import Web3Transport, open_web3
from contracts.deployment import Deployment
from contracts.reader import ChainReader
from contracts.signature_checker import SignatureChecker
from ledger.database.clock import MEASURE_S
from ledger.running import running_ledger
from market.background import (
    PURGE_INTERVAL_S,
    gather_earnings,
    note_expired,
    purge_strangers,
    refund_convicted,
    rewrap_all,
)
from market.chain_watch import ChainWatch
from market.endpoints.client import SellerClient
from market.endpoints.sealing import Kms, Sealer
from market.evidence.live_watch import LiveWatch, load_vocabularies
from market.evidence.own_probes import OwnProbes
from market.http.front import WATCHED_PATHS, build_dispatch, find_errors
from market.http.paying import TRANSLATIONS
from market.http.routes import TAGS, router
from market.identity.authentication import Authenticator
from market.identity.name_table import load_name_table
from market.media.artifacts import Artifacts
from market.media.job_following import JobFollower
from market.media.jobs import Jobs
from market.media.serving import MediaServing
from market.metrics import Metrics
from market.payments.chain_checks import PaymentChain
from market.payments.paywall import Paywall
from market.payments.quotes import Quotes
from market.payments.settlement_watch import SettlementWatch
from market.payments.withdrawing import Withdrawing
from market.pricing.media_units import check_unit_prices
from market.records.database import Database
from market.resale.api_calls import ApiCalls
from market.resale.api_client import ApiClient
from market.resale.api_shelf import ApiShelf
from market.resale.repeated_calls import RepeatedCalls
from market.resale.usage_watch import UsageWatch
from market.routing.book import Book
from market.routing.own_providers import OwnProviders
from market.services import Services
from market.settings import MarketSettings
from market.suppliers.housekeeping import erase_due, forget_old, rewrap_documents, watch
from market.suppliers.identity_keys import open_identity_keys
from market.suppliers.supplier_services import build_supplier_services
from market.suppliers.supply_building import build_supply
from market.suppliers.virus_scanner import open_scanner
from market.text.repeating import RepeatedSales
from market.text.serving import Serving
from serving.http.application import build_front
from serving.http.document.app import DocumentedApp
from serving.http.front import Front
from serving.http.limits import Limits
from serving.http.metrics import NOTE_S
from serving.http.own_pages import find_origin
from serving.http.site import load_site
from serving.http.text_pages import build_text_router
from serving.models.dialing import Dialer, Resolve, resolve_by_system
from serving.models.references import load_references
from serving.process.background import repeat, running

log = structlog.get_logger("market")

WATCH_INTERVAL_S: Final = 15.0
"""How often what waits for reviewers and for the mail server is counted, seconds."""
ABANDONED_TIMEOUT_S: Final = 1.0
"""How long requests may go on that the server has cut off: it has waited for them before."""

ABOUT: Final = (
    "A market of spare inference and API capacity: requests go to the cheapest seller who may serve"
    " them, paid by credit or by x402."
)
PAGES: Final = ("market", "resale", "suppliers", "evidence", "settings", "security")
"""The pages of docs/ that its readers need."""
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
    host_clock: Callable[[], float] = time.time,
    hasher: PasswordHasher | None = None,
) -> Front:
    """Build the ASGI application over a migrated ledger; nothing is called before its lifespan.

    ``host_clock`` is this host's. ``hasher`` None: passwords cost what argon2's authors advise.
    """
    references = load_references(settings.prices_file)
    check_unit_prices(references.operator)
    names = load_name_table(settings.names_file, settings.provenance_file)
    web3 = open_web3(settings.rpc_url.get_secret_value())
    sealer = Sealer(kms)
    limits = settings.build_limits()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running_ledger(
            Database,
            engine,
            role="market",
            timeout_s=settings.ledger_timeout_s,
            host_clock=host_clock,
        ) as database:
            book = Book(
                database,
                references,
                sealer,
                fee_bps=settings.fee_bps,
                supplier_fee_bps=settings.supplier_fee_bps,
                concurrency_max=settings.seller_concurrency_max,
                names=names,
            )
            dialer = Dialer(settings.dial_rules(), resolve=resolve)
            services = _build_services(
                settings, deployment, web3, database, book, dialer, sealer, limits, hasher
            )
            app.state.services = services
            try:
                await services.book.refresh()
                await services.serving.own_providers.refresh()
                await services.api_calls.shelf.refresh()
                async with running(*_list_loops(services, settings)):
                    try:
                        yield
                    finally:
                        await services.serving.in_flight.drain(ABANDONED_TIMEOUT_S)
            finally:
                services.suppliers.close()
                await services.supply.close()
                await services.seller_client.close()

    app = DocumentedApp(
        title="Current market",
        description=DESCRIPTION,
        tags=TAGS,
        examples="market.http",
        lifespan=lifespan,
    )
    app.include_router(build_text_router("Current market", ABOUT, PAGES))
    return build_front(
        app,
        router=router,
        translations=TRANSLATIONS,
        dispatch=build_dispatch(lambda: app.state.services),
        limits=limits,
        watched=WATCHED_PATHS,
        errors_of=find_errors,
        security_contact=settings.security_contact,
        cors=settings.build_cors(),
        site=load_site("market"),
    )


async def _note_metrics(services: Services) -> None:
    services.note_metrics()


def _list_loops(services: Services, settings: MarketSettings) -> list[Coroutine[Any, Any, None]]:
    """Return what is done beside serving."""
    database = services.database
    rules = settings.probe_rules()
    url = settings.probe_url or settings.public_url
    probes = (
        []
        if rules is None
        else [
            repeat(
                OwnProbes(database, services.book, rules, url, services.secrets[0]).look,
                settings.probe_interval_s,
            )
        ]
    )
    watch_live = services.live_watch
    live = [] if watch_live is None else [repeat(watch_live.write_down, WATCH_INTERVAL_S)]
    return [
        *probes,
        *live,
        repeat(services.serving.own_providers.refresh, settings.refresh_interval_s),
        repeat(services.job_follower.follow, settings.job_look_interval_s),
        repeat(services.book.refresh, settings.refresh_interval_s),
        repeat(services.supply.prober.probe_due, settings.refresh_interval_s),
        repeat(services.supply.settle, settings.settle_interval_s),
        repeat(services.serving.sweep, settings.sweep_interval_s),
        repeat(services.api_calls.shelf.refresh, settings.refresh_interval_s),
        repeat(services.api_calls.charging.sweep, settings.sweep_interval_s),
        repeat(database.measure_clock, MEASURE_S),
        repeat(lambda: _note_metrics(services), NOTE_S),
        repeat(lambda: purge_strangers(database, settings.purge_after_s), PURGE_INTERVAL_S),
        rewrap_all(database, services.sealer),
        repeat(lambda: note_expired(database), settings.payout_interval_s),
        repeat(lambda: refund_convicted(database), settings.payout_interval_s),
        repeat(services.api_calls.charging.open_periods, settings.payout_interval_s),
        repeat(UsageWatch(services.api_calls).look, settings.resale_usage_interval_s),
        repeat(services.suppliers.mailer.send_due, settings.mail_interval_s),
        repeat(lambda: watch(database, services.metrics), WATCH_INTERVAL_S),
        repeat(services.withdrawing.watch, WATCH_INTERVAL_S),
        repeat(lambda: erase_due(database), PURGE_INTERVAL_S),
        repeat(lambda: forget_old(database, settings.purge_after_s), PURGE_INTERVAL_S),
        rewrap_documents(database, services.sealer),
        repeat(
            lambda: gather_earnings(database, settings.payout_minimum_usdc),
            settings.payout_interval_s,
        ),
    ]


def _build_services(
    settings: MarketSettings,
    deployment: Deployment,
    web3: Web3,
    database: Database,
    book: Book,
    dialer: Dialer,
    sealer: Sealer,
    limits: Limits,
    hasher: PasswordHasher | None,
) -> Services:
    metrics, secrets = Metrics(), settings.list_secrets()
    reader = ChainReader(Web3Transport(web3))
    checker = SignatureChecker(reader, multicall3=deployment.multicall3)
    authenticator = Authenticator(
        database,
        checker,
        secrets=secrets,
        domain=settings.domain,
        uri=settings.public_url,
        chain_id=deployment.chain_id,
        challenge_lifetime_s=settings.nonce_lifetime_s,
    )
    seller_client = SellerClient(dialer, settings.seller_rules())
    own_providers = OwnProviders(database, sealer, metrics)
    repeated = RepeatedSales(
        database,
        metrics,
        settings.repeat_rules(),
        account_bytes_max=settings.idempotency_account_bytes_max,
        free_bytes_max=settings.idempotency_free_bytes_max,
    )
    live_watch = (
        LiveWatch(database, book, load_vocabularies(settings.vocabularies))
        if settings.live_checks
        else None
    )
    serving = Serving(
        database,
        book,
        seller_client,
        metrics,
        own_providers,
        repeated,
        settings.serving_rules(),
        live_watch,
    )
    artifacts = Artifacts(
        database,
        book,
        seller_client,
        public_url=settings.public_url,
        lifetime_s=settings.artifact_lifetime_s,
    )
    job_rules = settings.job_rules()
    follower = JobFollower(database, book, seller_client, artifacts, job_rules)
    return Services(
        authenticator=authenticator,
        chain_watch=ChainWatch(reader),
        withdrawing=Withdrawing(database, authenticator, settings.withdrawal_rules(), metrics),
        book=book,
        database=database,
        dialer=dialer,
        metrics=metrics,
        media=MediaServing(serving, book, seller_client, artifacts),
        artifacts=artifacts,
        jobs=Jobs(
            database,
            seller_client,
            serving,
            artifacts,
            follower,
            job_rules,
            secrets=secrets,
            public_url=settings.public_url,
        ),
        job_follower=follower,
        seller_client=seller_client,
        sealer=sealer,
        serving=serving,
        live_watch=live_watch,
        paywall=open_paywall(settings, deployment, web3, database, book, serving),
        secrets=secrets,
        origin=find_origin(settings.public_url),
        chain_id=deployment.chain_id,
        allow_loopback=settings.allow_loopback,
        listing_rules=settings.listing_rules(),
        unpayable=deployment.own_contracts,
        public_url=settings.public_url,
        body_bytes_max=settings.body_bytes_max,
        body_timeout_s=settings.body_timeout_s,
        upload_bytes_max=settings.upload_bytes_max,
        limits=limits,
        suppliers=build_supplier_services(
            database,
            sealer,
            secrets=secrets,
            session_rules=settings.session_rules(),
            mail_rules=settings.mail_rules(),
            identity_keys=open_identity_keys(settings.identity_keys, kms=settings.kms),
            scanner=open_scanner(settings.virus_scanner),
            review_rules=settings.review_rules(),
            hasher=hasher,
        ),
        supply=build_supply(
            settings, database, book, sealer, seller_client, serving.answer_check, metrics
        ),
        api_calls=ApiCalls(
            database,
            ApiShelf(database, sealer),
            ApiClient(dialer, settings.api_rules()),
            metrics,
            settings.call_rules(),
        ),
        repeated_calls=RepeatedCalls(
            database,
            metrics,
            settings.repeat_rules(),
            account_bytes_max=settings.idempotency_account_bytes_max,
        ),
    )


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
        takes_contracts=settings.x402_contracts,
    )
    rules = settings.payment_rules(payouts=deployment.payouts)
    watch = SettlementWatch(database)
    quotes = Quotes(database, book, serving.attempts)
    return Paywall(database, quotes, chain, watch, rules)
