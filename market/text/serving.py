"""A request for text from parsed body to charged answer.

Buyers' own providers that go before the market are asked first; then the market (see
``market.routing.attempts``): **reserve** with the best offer (durable), call the seller, **post**
(durable), answer. After the first byte nothing is tried again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import structlog

from contracts.errors import CurrentError
from ledger.errors import LedgerUnavailable
from ledger.selling.sale_statements import PAID_KEY_ID
from ledger.selling.sales import sweep_sales
from market.endpoints.client import SellerClient
from market.metrics import Metrics
from market.pricing.media_units import Base, find_price, list_tiers
from market.records.database import Database
from market.records.store import KeyHolder
from market.routing.attempts import Attempt, Attempts, Order, Won
from market.routing.book import Book
from market.routing.filters import ANY_PRICE, ROUTING_FIELD, Ceilings, keep_prices, parse_filters
from market.routing.own_providers import AskedWhen, OwnProviders, OwnWon, is_market_failure
from market.routing.ranking import Ask, Offer, Ranking
from market.routing.refusals import build_rejection
from market.routing.sessions import Session, make_session
from market.routing.shelf import Shelf
from market.text.answered import AnswerCheck
from market.text.calling import Answered, Opened, SellerCalls
from market.text.measuring import AnswerWatch, measure_stream, measure_whole
from market.text.metering import SaleBooking, SaleEndings, count_answer
from market.text.repeating import RepeatedSales
from market.text.requests import parse_request
from serving.dialects.call import Call
from serving.dialects.endpoints import Endpoint
from serving.dialects.policy import POLICY_FIELD, find_needed, parse_policy
from serving.http.answers import Answer, StreamAnswer
from serving.http.errors import (
    ApiError,
    bad_request,
    ledger_unavailable,
    settlement_failed,
)
from serving.http.open_requests import InFlight
from serving.http.repeat_keys import RepeatKey
from serving.models.grades import Grade, get_stricter
from serving.models.sold import COST_FIELD, COST_HEADER
from serving.stream.live import LiveStream, StreamRules

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
    trusted_only: bool
    """Whether requests that do not say otherwise go to approved sellers only."""
    vesting_s: int = 0
    """How long a conviction gives back what an offer of grade D earned, seconds."""


class Serving:
    """Serves requests, and knows which ones are still open."""

    def __init__(
        self,
        database: Database,
        book: Book,
        seller_client: SellerClient,
        metrics: Metrics,
        own_providers: OwnProviders,
        repeated: RepeatedSales,
        rules: ServingRules,
        watch: AnswerWatch | None = None,
    ) -> None:
        """``watch`` looks at what sellers report."""
        self._watch = watch
        self.attempts = Attempts(
            database,
            book,
            metrics,
            attempts_max=rules.attempts_max,
            lease_s=rules.lease_s,
            vesting_s=rules.vesting_s,
        )
        self.own_providers = own_providers
        self._database = database
        self._book = book
        self._metrics = metrics
        self._rules = rules
        self._repeated = repeated
        self.answer_check = AnswerCheck(
            book.names.models,
            lambda model: book.find_reference(model) is not None,
            book.references.find_id,
        )
        self._calls = SellerCalls(
            seller_client,
            opening_s=rules.opening_s,
            answer_check=self.answer_check,
            get_now_s=database.now_s,
        )
        self.in_flight = InFlight(rules.in_flight_max)

    def find_trust(self, asked: bool | None, buyer: KeyHolder | None = None) -> bool:
        """Return whether only approved sellers may serve: as the request has it, else its key, else
        the market."""
        by_key = None if buyer is None else buyer.trusted_only
        found = (one for one in (asked, by_key) if one is not None)
        return next(found, self._rules.trusted_only)

    def build_ask(
        self,
        call: Call,
        minimum_pct: int | None,
        ceilings: Ceilings = ANY_PRICE,
        *,
        buyer: KeyHolder | None = None,
    ) -> Ask:
        """Return what a request asks of the market; ``buyer`` is the holder of its key, if any.

        Raises ``RequestRejected``.
        """
        policy, read = parse_policy(call.own.get(POLICY_FIELD)), call.as_chat or call
        filters = ceilings.lower(keep_prices(parse_filters(call.own.get(ROUTING_FIELD)), policy))
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
            direct_tiers=list_tiers(reference, Base.TOKEN),
            minimum_discount_pct=minimum_pct,
            input_usdc_per_mtok_max=filters.input_usdc_per_mtok_max,
            output_usdc_per_mtok_max=filters.output_usdc_per_mtok_max,
            cached_input_usdc_per_mtok_max=filters.cached_input_usdc_per_mtok_max,
            per_request_usdc_max=filters.per_request_usdc_max,
            longer_max=filters.longer_max,
            trusted_only=policy.trusted_only or self.find_trust(filters.trusted_only, buyer),
            minimum_grade=get_stricter(filters.minimum_grade, policy.minimum_grade) or Grade.OTHER,
            only=filters.only,
            ignore=filters.ignore,
            policy=policy,
            needed=find_needed(read.body) if policy.requires_parameters else frozenset(),
        )

    def list_served(self, shelves: Mapping[Base, Shelf]) -> Mapping[Base, Collection[Offer]]:
        """Return the offers of a model that serve where a request does not say whom it trusts."""
        if not self._rules.trusted_only:
            return shelves
        return {base: shelf.trusted for base, shelf in shelves.items() if shelf.trusted}

    def rank(self, ask: Ask) -> Ranking:
        """Return all offers of the model before this request. Raises 404 for an unlisted model."""
        return self.attempts.selection.rank([ask])

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
        repeat: RepeatKey | None = None,
        dialect_headers: Mapping[str, str] | None = None,
    ) -> Answer | StreamAnswer:
        """Answer one request; a stream is live when this returns. Raises ``ApiError``.

        With ``repeat``, at most one request with the same key is charged. ``session_name`` is what
        its header calls the conversation that it belongs to. ``drain_s`` is how long a stream's
        seller is read on once the buyer has left, at most as long as the market's rules say; None:
        that long. ``dialect_headers`` are those that a client's own dialect sends to its provider.

        A cancelled caller leaves the request running: it is posted or voided without it.
        """
        call = parse_request(endpoint, raw, dialect_headers or {})
        session = self._find_session(buyer, call, session_name)
        built = self.build_ask(call, minimum_pct, ceilings, buyer=buyer)
        ask = replace(built, session=session)
        order = Order(buyer, endpoint, [ask], request_id)
        if repeat is None:
            return await self.run(lambda: self._serve(order, call, drain_s), buyer, request_id)
        return await self.run(
            lambda: self._repeated.answer_once(
                repeat, order, lambda taken: self._serve(taken, call, drain_s, repeat)
            ),
            buyer,
            request_id,
        )

    def _find_session(self, buyer: KeyHolder, call: Call, name: str | None) -> Session | None:
        if buyer.key_id == PAID_KEY_ID:
            # A payment by the request is exactly what the cheapest seller's ceiling is.
            return None
        read = call.as_chat or call
        return make_session(
            read.endpoint,
            read.body,
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

    async def run(self, work: Callable[[], Awaitable[T]], buyer: KeyHolder, request_id: str) -> T:
        """Do the work of a request to its end, whether or not its caller stays. Raises as it does,
        and 503 where too many requests are open for another one of this buyer's."""
        place = self.in_flight.enter(buyer.owner, buyer.key_id, is_proven=buyer.is_proven)
        return await self.in_flight.run(_report(work, request_id), place)

    async def sweep(self) -> int:
        """Void what dead processes left; return how many.

        Does nothing while this host's clock is far off.
        """
        if not self._database.clock.may_sweep:
            return 0
        now_s = self._database.now_s()
        swept = await self._database.write(lambda connection: sweep_sales(connection, now_s=now_s))
        await self._repeated.forget()
        if swept:
            self._metrics.swept.inc(swept)
            log.warning("leases_swept", reservations=swept)
        return swept

    async def _serve(
        self, order: Order, call: Call, drain_s: float | None, repeat: RepeatKey | None = None
    ) -> Answer | StreamAnswer:
        if call.stream:
            opened = await self.route(
                order, lambda callee: self._calls.open(order, call, callee), is_open=True
            )
            return self._start_stream(opened, order, call, drain_s, repeat)
        answered = await self.route(order, lambda callee: self._calls.call(order, call, callee))
        return await self._charge(answered, order, repeat)

    async def route(
        self, order: Order, attempt: Attempt[T], *, is_open: bool = False
    ) -> Won[T] | OwnWon[T]:
        """Return the first attempt that goes well: the buyer's own priority providers, the market,
        then the buyer's own fallbacks. Raises ``ApiError``. ``is_open``: it begins a stream."""
        first = await self.own_providers.run(order, AskedWhen.PRIORITY, attempt)
        if isinstance(first, OwnWon):
            return first
        try:
            return await self.attempts.run(order, attempt, is_open=is_open)
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

    async def _charge(
        self,
        won: Won[Answered] | OwnWon[Answered],
        order: Order,
        repeat: RepeatKey | None,
    ) -> Answer:
        won.end()
        answered = won.result
        parsed = answered.answer.parsed
        counted = count_answer(answered.call, order.asks[0], parsed, is_trusted=won.is_trusted)
        headers = won.build_headers() | {
            "content-type": "application/json",
            COST_HEADER: str(won.charge.get_cost_usdc(counted.tokens)),
        }
        answer = Answer(200, headers, answered.tell(counted, order, now_s=self._database.now_s()))
        also = None if repeat is None else self._repeated.keep_whole(repeat, order, answer)
        measure_whole(won, counted, account_id=order.buyer.owner, watch=self._watch)
        post = won.charge.post(counted.tokens, also=also, is_cut=counted.is_cut)
        await settle(post, won.charge.sale_id)
        if repeat is not None and isinstance(won, OwnWon):
            await self._repeated.keep_free(repeat, order, answer)
        return answer

    def _start_stream(
        self,
        won: Won[Opened] | OwnWon[Opened],
        order: Order,
        call: Call,
        drain_s: float | None,
        repeat: RepeatKey | None,
    ) -> StreamAnswer:
        rules = self._rules.stream
        if drain_s is not None:
            drain_s = min(drain_s, rules.drain_s)
            rules = replace(rules, drain_s=drain_s, last_words_s=rules.drain_s)
        transcript = None if repeat is None else self._repeated.repeats.open_transcript()
        stream = LiveStream(
            reading=won.result.reading,
            booking=self._book_stream(won, order),
            endings=SaleEndings(won.result.secrets),
            charge_name=COST_FIELD,
            asks_for_usage=call.asks_for_usage,
            rules=rules,
            transcript=transcript,
        )
        headers = won.build_headers()
        headers |= {"content-type": "text/event-stream", "cache-control": "no-store"}
        run = stream.run()
        if repeat is not None and transcript is not None:
            keep = self._repeated.run_own if isinstance(won, OwnWon) else self._repeated.run_sold
            run = keep(run, repeat, order, headers, transcript)
        self.in_flight.keep(run)
        return StreamAnswer(headers, stream)

    def _book_stream(self, won: Won[Opened] | OwnWon[Opened], order: Order) -> SaleBooking:
        """Return what a stream is charged to."""
        note = measure_stream(won, account_id=order.buyer.owner, watch=self._watch)
        if isinstance(won, OwnWon):
            return SaleBooking(won.charge, won, note)
        return SaleBooking(
            won.charge,
            won,
            note,
            find_other=won.result.find_other,
            take_mismatch=partial(self.attempts.take_mismatch, won.charge),
            take_good=partial(self.attempts.take_good, won.offer_id),
        )


async def settle(post: Coroutine[Any, Any, int], sale_id: str) -> int:
    """Return the cost (1e-6 USDC) once charged, even if the caller is cancelled. Raises 502."""
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
