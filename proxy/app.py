"""The application: its lifespan, its routes and how exceptions become answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import structlog
from fastapi import FastAPI
from sqlalchemy import Engine
from starlette.routing import Route

from contracts.deployment import Deployment
from contracts.reader import ChainReader
from contracts.signature_checker import SignatureChecker
from contracts.transport import HttpTransport
from ledger.database.clock import MEASURE_S
from ledger.database.on_loop import RETRY_DELAYS_S, LoopLedger
from ledger.kept_on_loop import KeptAnswers
from ledger.running import running_ledger
from ledger.spending.archive_files import ArchiveFolder
from ledger.spending.once import find_completion
from proxy.books_proof import BooksWatch
from proxy.catalogue import Catalogue
from proxy.chain_view import ChainView
from proxy.chat.admitting import Admission
from proxy.chat.completions import Completions
from proxy.chat.meter import Meter
from proxy.chat.policy_choice import PolicyChoice
from proxy.chat.revocations import RevocationListener
from proxy.chat.upstream import HttpUpstream, Upstream
from proxy.graded_lists import GradedLists
from proxy.http.front import TRANSLATIONS, WATCHED_PATHS, build_dispatch, find_errors
from proxy.http.routes import TAGS, router
from proxy.keys.policies import LOOK_S, KeyPolicies
from proxy.keys.sign_in import SignIn
from proxy.keys.tokens import KeyRing, KnownKeys
from proxy.keys.wallet_sessions import Sessions
from proxy.list_memory import ListMemory
from proxy.mcp_door import MCP_PATH, McpDoor
from proxy.metrics import Metrics
from proxy.services import Services
from proxy.settings import ProxySettings
from proxy.tracing import Span, open_spans
from proxy.vault_watch import VaultWatch
from proxy.webhooks.delivering import LOOK_S as WEBHOOKS_LOOK_S
from proxy.webhooks.delivering import Webhooks
from serving.http.application import build_front
from serving.http.document.app import DocumentedApp
from serving.http.front import Front
from serving.http.limits import Limits
from serving.http.metrics import NOTE_S
from serving.http.repeated import Repeats
from serving.http.site import load_site
from serving.http.text_pages import build_text_router
from serving.models.dialing import Dialer
from serving.models.grades import Grade
from serving.models.references import References, load_references
from serving.process.background import repeat, running
from serving.stream.live import StreamRules

log = structlog.get_logger("proxy")

REVOCATION_LOOK_S: Final = 0.2
"""How soon a live stream ends after its key's revocation is mirrored, without a notification."""

ABOUT: Final = (
    "Paid AI inference from the yield of a deposit in USDC: OpenAI's and Anthropic's APIs by a base"
    " URL and a key."
)
PAGES: Final = ("clients", "api", "depositors", "settings", "security")
"""The pages of docs/ that its readers need."""

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
    retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
    host_clock: Callable[[], float] = time.time,
) -> Front:
    """Build the ASGI application over a migrated ledger. Connects to nothing before its lifespan.

    ``make_upstream`` is called in the running event loop; ``retry_delays_s`` are the pauses between
    the tries to write a charge; ``host_clock`` is this host's.
    Raises ``Fatal`` where prices or tracing are configured wrongly.
    """
    prices = load_references(
        settings.prices_file, upstream_age_s_max=settings.upstream_prices_age_s_max
    )
    span, stop_spans = open_spans(settings.otel_endpoint)
    node = HttpTransport(settings.rpc_url.get_secret_value())
    limits = settings.build_limits()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        upstream = make_upstream(settings)
        async with AsyncExitStack() as closing:
            closing.callback(node.close)
            closing.push_async_callback(asyncio.to_thread, stop_spans)
            ledger = await closing.enter_async_context(
                running_ledger(
                    LoopLedger,
                    engine,
                    role="proxy",
                    timeout_s=settings.ledger_timeout_s,
                    retry_delays_s=retry_delays_s,
                    host_clock=host_clock,
                )
            )
            closing.push_async_callback(upstream.close)
            services = _build_services(
                settings, deployment, ledger, upstream, prices, ChainReader(node), span, limits
            )
            app.state.services = services
            await services.policies.refresh()
            await services.catalogue.refresh()
            listener = RevocationListener(engine, services.completions.watch)
            listener.start()
            closing.push_async_callback(asyncio.to_thread, listener.close)
            closing.push_async_callback(door.close)
            closing.push_async_callback(services.webhooks.close)
            async with running(
                repeat(services.lists.refresh, settings.catalogue_interval_s),
                repeat(lambda: _sweep(services), settings.sweep_interval_s),
                repeat(services.policies.refresh, LOOK_S),
                repeat(services.completions.watch.look, REVOCATION_LOOK_S),
                repeat(ledger.measure_clock, MEASURE_S),
                repeat(lambda: _note_metrics(services), NOTE_S),
                *_work_webhooks(services, settings),
            ):
                try:
                    yield
                finally:
                    await services.completions.in_flight.drain(ABANDONED_TIMEOUT_S)

    front: Front | None = None

    def get_front() -> Front:
        assert front is not None
        return front

    cors = settings.build_cors()
    door = McpDoor(
        get_front,
        lambda: app.state.services,
        origins=settings.list_page_origins(),
        market_url=settings.mcp_market_url,
        creates_keys=settings.mcp_creates_keys,
    )
    app = DocumentedApp(
        title="Current",
        description=DESCRIPTION,
        tags=TAGS,
        examples="proxy.http",
        lifespan=lifespan,
    )
    app.include_router(build_text_router("Current", ABOUT, PAGES))
    if settings.mcp:
        app.router.routes.append(Route(MCP_PATH, door, include_in_schema=False))
    front = build_front(
        app,
        router=router,
        translations=TRANSLATIONS,
        dispatch=build_dispatch(lambda: app.state.services),
        limits=limits,
        watched=WATCHED_PATHS,
        security_contact=settings.security_contact,
        cors=cors,
        errors_of=find_errors,
        site=load_site("proxy"),
    )
    return front


def _build_services(
    settings: ProxySettings,
    deployment: Deployment,
    ledger: LoopLedger,
    upstream: Upstream,
    prices: References,
    reader: ChainReader,
    span: Span,
    limits: Limits,
) -> Services:
    rules = settings.admission_rules()
    kept = KeptAnswers(
        ledger,
        find_work=find_completion,
        bytes_max=settings.idempotency_position_bytes_max,
    )
    meter = Meter(ledger, rules, kept)
    metrics = Metrics()
    upstream_url = settings.upstream_url.get_secret_value()

    def build_lower(grade: Grade) -> Catalogue:
        memory = ListMemory(ledger, upstream_url, below=grade)
        forked, now_s = prices.fork(), ledger.now_s
        return Catalogue(upstream, forked, memory, now_s=now_s, minimum_grade=grade)

    catalogue = Catalogue(upstream, prices, ListMemory(ledger, upstream_url), now_s=ledger.now_s)
    lists = GradedLists(catalogue, settings.minimum_grade, build_lower)
    chain_view = ChainView(reader, adapter=deployment.adapter)
    repeats = Repeats(kept, settings.repeat_rules(), id_header="x-current-request-id")
    policies = KeyPolicies(meter)
    admission = Admission(
        meter=meter,
        lists=lists,
        chain_view=chain_view,
        repeats=repeats,
        limits=settings.get_limits(),
        aliases=settings.get_aliases(),
        policies=policies,
        choice=PolicyChoice(upstream, settings.get_upstream_facts()),
        passes=settings.list_native_dialects(),
        span=span,
    )
    completions = Completions(
        meter=meter,
        upstream=upstream,
        lists=lists,
        admission=admission,
        metrics=metrics,
        repeats=repeats,
        in_flight_max=settings.requests_in_flight_max,
        stream_rules=StreamRules(settings.stream_timeout_s, settings.stream_drain_s),
        span=span,
    )
    key_secrets = settings.key_secrets()
    ring = KeyRing(key_secrets, deployment.chain_id, deployment.position)
    checker = SignatureChecker(reader, multicall3=deployment.multicall3)
    sign_in = SignIn(
        key_secrets,
        settings.get_domain(),
        deployment.chain_id,
        deployment.position,
        settings.nonce_lifetime_s,
    )
    return Services(
        deployment=deployment,
        ring=ring,
        known_keys=KnownKeys(ring),
        meter=meter,
        catalogue=catalogue,
        lists=lists,
        completions=completions,
        checker=checker,
        chain_view=chain_view,
        vault_watch=VaultWatch(reader, vault=deployment.vault, usdc=deployment.usdc),
        books_watch=BooksWatch(reader, meter, position=deployment.position, usdc=deployment.usdc),
        sign_in=sign_in,
        sessions=Sessions(meter, checker, sign_in, lifetime_s=settings.session_lifetime_s),
        policies=policies,
        webhooks=Webhooks(meter, lambda: Dialer(settings.dial_rules()), key_secrets),
        legacy_key_message=settings.legacy_key_message,
        aliases=settings.get_aliases(),
        metrics=metrics,
        body_bytes_max=settings.body_bytes_max,
        body_timeout_s=settings.body_timeout_s,
        limits=limits,
        archive=None if settings.archive_folder is None else ArchiveFolder(settings.archive_folder),
    )


def _work_webhooks(
    services: Services, settings: ProxySettings
) -> Iterator[Coroutine[Any, Any, None]]:
    if settings.webhooks:
        yield repeat(services.webhooks.look, WEBHOOKS_LOOK_S)
        yield repeat(services.webhooks.deliver, WEBHOOKS_LOOK_S)


async def _note_metrics(services: Services) -> None:
    services.note_metrics()


async def _sweep(services: Services) -> None:
    swept = await services.meter.sweep()
    services.completions.note_kept(await services.meter.count_kept_bytes())
    await services.webhooks.forget()
    services.metrics.swept.inc(swept)
    if swept:
        log.warning("leases_swept", reservations=swept)
