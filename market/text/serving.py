"""A request for text from parsed body to charged answer.

Buyers' own providers that go before the market are asked first; then the market (see
``market.routing.attempts``): **reserve** with the best offer (durable), call the seller, **post**
(durable), answer. After the first byte nothing is tried again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog

from contracts.errors import CurrentError
from ledger.errors import LedgerUnavailable
from ledger.selling.sale_statements import PAID_KEY_ID
from ledger.selling.sales import sweep_sales
from market.endpoints.client import SellerClient
from market.metrics import Metrics
from market.pricing.media_units import Base, find_price
from market.records.database import Database
from market.records.store import KeyHolder
from market.routing.attempts import Attempt, Attempts, Order, Won
from market.routing.book import Book
from market.routing.filters import ANY_PRICE, ROUTING_FIELD, Ceilings, parse_filters
from market.routing.own_providers import AskedWhen, OwnProviders, OwnWon, is_market_failure
from market.routing.ranking import Ask, Ranking
from market.routing.refusals import build_rejection
from market.routing.sessions import Session, make_session
from market.text.metering import (
    HOLDERS,
    SaleBooking,
    SaleEndings,
    build_tally,
    count_answer,
)
from market.text.requests import parse_request
from serving.dialects.call import Call
from serving.dialects.endpoints import Endpoint
from serving.http.answers import Answer, StreamAnswer
from serving.http.errors import (
    ApiError,
    bad_request,
    ledger_unavailable,
    settlement_failed,
)
from serving.http.open_requests import InFlight
from serving.models.additions import Additions
from serving.models.failures import Cause, UpstreamError, UpstreamFailure, classify_said
from serving.models.provider_answers import find_failure, is_answer
from serving.models.sold import COST_FIELD, COST_HEADER
from serving.models.stating import restate_answer
from serving.models.upstream import Access, ProviderAnswer
from serving.stream.live import LiveStream, StreamRules
from serving.stream.reading import NoAnswer, Reading
from serving.stream.sse import EventTooLong

log = structlog.get_logger("market")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServingRules:
    """How often and how long a request is tried."""

    attempts_max: int
    lease_s: int
    in_flight_max: int
    stream: StreamRules
    opening_s: float
    """How long a seller of a stream may say nothing but comments, in seconds."""
    session_premium_pct: int
    """How much dearer than the cheapest the seller of a conversation may be, per cent."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A seller's stream that has begun, and what no buyer is told of the seller."""

    reading: Reading
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return "Opened(…)"


class Serving:
    """Serves requests, and knows which ones are still open."""

    def __init__(
        self,
        database: Database,
        book: Book,
        seller_client: SellerClient,
        metrics: Metrics,
        own_providers: OwnProviders,
        rules: ServingRules,
    ) -> None:
        self.attempts = Attempts(
            database, book, metrics, attempts_max=rules.attempts_max, lease_s=rules.lease_s
        )
        self.own_providers = own_providers
        self._database = database
        self._book = book
        self._seller_client = seller_client
        self._metrics = metrics
        self._rules = rules
        self._additions = Additions()
        self.in_flight = InFlight(rules.in_flight_max)

    def build_ask(self, call: Call, minimum_pct: int | None, ceilings: Ceilings = ANY_PRICE) -> Ask:
        """Return what a request asks of the market. Raises ``RequestRejected``."""
        filters = ceilings.lower(parse_filters(call.own.get(ROUTING_FIELD)))
        reference = self._book.find_reference(call.model)
        context_tokens = None if reference is None else reference.context_tokens
        image_tokens = None if reference is None else reference.image_tokens
        if call.images and image_tokens is None:
            message = f"{call.model!r} does not state what an image takes, so none can be sent."
            raise bad_request("unsupported_content", message)
        estimate = call.get_estimate(context_tokens=context_tokens, image_tokens=image_tokens)
        return Ask(
            model=call.model,
            endpoint=call.endpoint,
            estimate=estimate,
            bound=call.get_bound(context_tokens=context_tokens, image_tokens=image_tokens),
            direct=find_price(reference, Base.TOKEN, prompt_tokens=estimate.prompt),
            minimum_discount_pct=minimum_pct,
            input_usdc_per_mtok_max=filters.input_usdc_per_mtok_max,
            output_usdc_per_mtok_max=filters.output_usdc_per_mtok_max,
            cached_input_usdc_per_mtok_max=filters.cached_input_usdc_per_mtok_max,
            per_request_usdc_max=filters.per_request_usdc_max,
            longer_max=filters.longer_max,
            trusted_only=filters.trusted_only,
            only=filters.only,
            ignore=filters.ignore,
        )

    def rank(self, ask: Ask) -> Ranking:
        """Return all offers of the model before this request. Raises 404 where nobody lists it."""
        return self.attempts.rank([ask])

    async def serve(
        self,
        buyer: KeyHolder,
        endpoint: Endpoint,
        raw: bytes,
        *,
        minimum_pct: int | None,
        request_id: str,
        ceilings: Ceilings = ANY_PRICE,
        session_name: str | None = None,
        drain_s: float | None = None,
    ) -> Answer | StreamAnswer:
        """Answer one request; a stream is live when this returns. Raises ``ApiError``.

        ``session_name`` is what its header calls the conversation that it belongs to. ``drain_s``
        is how long a stream's seller is read on once the buyer has left, at most as long as the
        market's rules say; None: that long.

        A cancelled caller leaves the request running: it is posted or voided without it.
        """
        call = parse_request(endpoint, raw)
        session = self._find_session(buyer, call, session_name)
        ask = replace(self.build_ask(call, minimum_pct, ceilings), session=session)
        order = Order(buyer, endpoint, [ask], request_id)
        return await self.run(lambda: self._serve(order, call, drain_s), request_id)

    def _find_session(self, buyer: KeyHolder, call: Call, name: str | None) -> Session | None:
        if buyer.key_id == PAID_KEY_ID:
            # A payment by the request is exactly what the cheapest seller's ceiling is.
            return None
        return make_session(
            call.endpoint,
            call.body,
            account_id=buyer.owner,
            model=call.model,
            name=name,
            premium_pct=self._rules.session_premium_pct,
        )

    def name_session(self, account_id: str, model: str, name: str) -> Session | None:
        """Return the session that a buyer's requests for a model give this name."""
        return make_session(
            Endpoint.CHAT,
            {},
            account_id=account_id,
            model=model,
            name=name,
            premium_pct=self._rules.session_premium_pct,
        )

    async def run(self, work: Callable[[], Awaitable[T]], request_id: str) -> T:
        """Do the work of a request to its end, whether or not its caller stays. Raises as it does,
        and 503 where too many requests are open."""
        self.in_flight.check()
        return await self.in_flight.run(_report(work, request_id))

    async def sweep(self) -> int:
        """Void what dead processes left; return how many.

        Does nothing while this host's clock is far off.
        """
        if not self._database.clock.may_sweep:
            return 0
        now_s = self._database.now_s()
        swept = await self._database.write(lambda connection: sweep_sales(connection, now_s=now_s))
        if swept:
            self._metrics.swept.inc(swept)
            log.warning("leases_swept", reservations=swept)
        return swept

    async def _serve(
        self, order: Order, call: Call, drain_s: float | None
    ) -> Answer | StreamAnswer:
        if call.stream:
            opened = await self.route(order, lambda a, name: self._open(order, call, a, name))
            return self._start_stream(opened, call, drain_s)
        answered = await self.route(order, lambda a, name: self._call(order, call, a, name))
        return await self._charge(answered, call, order.asks[0])

    async def route(self, order: Order, attempt: Attempt[T]) -> Won[T] | OwnWon[T]:
        """Return the first attempt that goes well: the buyer's own priority providers, the market,
        then the buyer's own fallbacks. Raises ``ApiError``."""
        first = await self.own_providers.run(order, AskedWhen.PRIORITY, attempt)
        if isinstance(first, OwnWon):
            return first
        try:
            return await self.attempts.run(order, attempt)
        except ApiError as error:
            if not is_market_failure(error):
                raise
            last = await self.own_providers.run(order, AskedWhen.FALLBACK, attempt)
            if isinstance(last, OwnWon):
                return last
            rejected = first or last
            if rejected is not None:
                raise build_rejection(rejected) from error
            raise

    async def _send(
        self,
        order: Order,
        call: Call,
        access: Access,
        model: str,
        post: Callable[[bytes], Awaitable[T]],
    ) -> T:
        """Return what ``post`` makes of the body for a seller, without what its model refuses."""
        max_tokens = order.asks[0].bound.completion // call.choices
        return await self._additions.send(
            (access.base_url, model),
            call.additions,
            lambda without: post(
                call.build_body(model=model, max_tokens=max_tokens, without=without)
            ),
        )

    async def _call(self, order: Order, call: Call, access: Access, model: str) -> ProviderAnswer:
        answer = await self._send(
            order,
            call,
            access,
            model,
            lambda body: self._seller_client.call(access, call.endpoint, body),
        )
        if not is_answer(answer.parsed, HOLDERS[call.endpoint]):
            raise explain_no_answer(find_failure(answer.parsed), access)
        return answer

    async def _charge(
        self, won: Won[ProviderAnswer] | OwnWon[ProviderAnswer], call: Call, ask: Ask
    ) -> Answer:
        won.end()
        counted = count_answer(call, ask, won.result.parsed)
        cost_usdc = await settle(won.charge.post(counted.tokens), won.charge.sale_id)
        headers = won.build_headers() | {
            "content-type": "application/json",
            COST_HEADER: str(cost_usdc),
        }
        raw = restate_answer(won.result.raw, won.result.parsed, counted, HOLDERS[call.endpoint])
        return Answer(200, headers, raw)

    async def _open(self, order: Order, call: Call, access: Access, model: str) -> Opened:
        """Begin a stream; until the seller has said something, the next seller may serve."""
        source = await self._send(
            order,
            call,
            access,
            model,
            lambda body: self._seller_client.open_stream(access, call.endpoint, body),
        )
        reading = Reading(source, build_tally(call, order.asks[0]))
        try:
            await reading.begin(timeout_s=self._rules.opening_s)
        except TimeoutError:
            await source.close()
            raise UpstreamFailure(Cause.TIMEOUT) from None
        except (NoAnswer, EventTooLong):
            await source.close()
            raise explain_no_answer(reading.tally.failure, access) from None
        except BaseException:
            await source.close()
            raise
        return Opened(reading, access.secrets)

    def _start_stream(
        self, won: Won[Opened] | OwnWon[Opened], call: Call, drain_s: float | None
    ) -> StreamAnswer:
        rules = self._rules.stream
        if drain_s is not None:
            drain_s = min(drain_s, rules.drain_s)
            rules = replace(rules, drain_s=drain_s, last_words_s=rules.drain_s)
        stream = LiveStream(
            reading=won.result.reading,
            booking=SaleBooking(won.charge, won),
            endings=SaleEndings(won.result.secrets),
            charge_name=COST_FIELD,
            asks_for_usage=call.asks_for_usage,
            rules=rules,
        )
        self.in_flight.keep(stream.run())
        headers = won.build_headers()
        headers |= {"content-type": "text/event-stream", "cache-control": "no-store"}
        return StreamAnswer(headers, stream)


def explain_no_answer(failure: Any, access: Access) -> UpstreamError:
    """Return what a seller's success without an answer says of it: its own error, if it has one."""
    if failure is None:
        return UpstreamFailure(Cause.BAD_FORMAT)
    return classify_said(failure, secrets=access.secrets)


async def settle(post: Coroutine[Any, Any, int], sale_id: str) -> int:
    """Return the cost (1e-6 USDC) once it is charged, whoever is cancelled. Raises 502."""
    try:
        return await asyncio.shield(asyncio.ensure_future(post))
    except CurrentError as error:
        log.error("settlement_failed", sale_id=sale_id, error=str(error))
        raise settlement_failed() from error


async def _report(work: Callable[[], Awaitable[T]], request_id: str) -> T:
    try:
        return await work()
    except ApiError as error:
        log.info("request_failed", request_id=request_id, code=error.code, status=error.status)
        raise
    except LedgerUnavailable as error:
        log.error("ledger_unavailable", request_id=request_id, error=str(error))
        raise ledger_unavailable() from error
