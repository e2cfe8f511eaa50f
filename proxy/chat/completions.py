"""A chat completion from parsed key to charged answer: the only path that spends.

The order never changes: read the request, price it, **reserve** (durable), call upstream, **post**
(durable), answer. A stream is passed on while it arrives, and posted before its last event:
``streaming``. Whatever goes wrong before the post gives the reservation back; whatever goes
wrong with the post withholds the answer. Once reserved, a request runs to its end whether or not
its client still waits.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeVar

import structlog

from contracts.errors import CurrentError
from ledger.errors import LedgerUnavailable, ReserveRefused
from ledger.spending.metering import Posted, Reserved
from ledger.tables.usage import Reservation
from proxy.catalogue import FRESH_S, Catalogue
from proxy.chain_view import ChainView
from proxy.chat.meter import Meter
from proxy.chat.model_choice import Offer, list_offers
from proxy.chat.request import CHEAPEST, ChatRequest, parse_chat_request
from proxy.chat.revocations import RevocationWatch
from proxy.chat.streams import CHARGE_NAME, ChatBooking, ChatEndings
from proxy.chat.upstream import Upstream
from proxy.chat.upstream_errors import explain_no_answer, translated
from proxy.errors import PRICE_CHANGED
from proxy.keys.authentication import check_standing, load_revoked
from proxy.keys.tokens import KeyClaims
from proxy.metrics import Metrics
from proxy.money_refusals import needs_outlook, refused
from proxy.store import load_models
from proxy.tracing import Span, no_span
from serving.dialects.call import Call
from serving.http.answers import Answer, StreamAnswer
from serving.http.errors import (
    ApiError,
    internal_error,
    ledger_unavailable,
    settlement_failed,
)
from serving.http.metrics import ANSWERED
from serving.http.open_requests import InFlight
from serving.models.additions import Additions
from serving.models.answers import Holder, find_failure, is_answer, weigh_answer
from serving.models.counting import Counted, Sent, count_tokens, deliver_whole
from serving.models.prices import Price, get_charge_usdc
from serving.models.references import References
from serving.models.usage import TOKENS_MAX, find_usage, read_report
from serving.stream.live import LiveStream, StreamRules
from serving.stream.reading import Reading
from serving.stream.tally import ChatTally

log = structlog.get_logger("proxy")

T = TypeVar("T")

_OUTDATED_BY: Final = frozenset({PRICE_CHANGED, "upstream_error"})
"""Failures after which upstream may have other models and prices: who asks again should meet them.
"""

CANCELLED: Final = "cancelled"
INTERNAL: Final = internal_error().code
QUOTED_OFFERS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A request that has its reservation."""

    request_id: str
    claims: KeyClaims
    request: ChatRequest
    offer: Offer
    """As it was reserved: with ``fit``, its output limit may be lower than asked for."""
    hold_left_usdc: int

    @property
    def call(self) -> Call:
        """What is sent to upstream."""
        return self.request.call

    def build_body(self, without: frozenset[str]) -> bytes:
        """Return the JSON for upstream, without additions that the model refuses."""
        return self.call.build_body(
            model=self.offer.model, max_tokens=self.offer.max_tokens, without=without
        )

    def get_sent(self) -> Sent:
        """Return what upstream is sent, as far as it bounds what is charged."""
        offer, call = self.offer, self.call
        return Sent(
            prompt_estimate=offer.estimate.prompt,
            prompt_bound=offer.prompt_bound,
            output_bound=offer.max_tokens * call.choices,
            choices=call.choices,
            # The operator's provider is believed what it read from its cache, up to the ceiling.
            cached_bound=TOKENS_MAX,
        )


class _ReserveStep(Protocol):
    """``Meter.reserve``, or ``Meter.preview``."""

    async def __call__(
        self,
        reservation: Reservation,
        *,
        fit: Callable[[int], int] | None,
        generation: int | None,
    ) -> Reserved: ...


class Completions:
    """Serves chat completions, and knows which ones are still open."""

    def __init__(
        self,
        *,
        meter: Meter,
        upstream: Upstream,
        catalogue: Catalogue,
        prices: References,
        chain_view: ChainView,
        metrics: Metrics,
        in_flight_max: int,
        stream_rules: StreamRules,
        span: Span = no_span,
    ) -> None:
        self._meter = meter
        self._upstream = upstream
        self._catalogue = catalogue
        self._prices = prices
        self._chain_view = chain_view
        self._metrics = metrics
        self._stream_rules = stream_rules
        self._span = span
        self._additions = Additions()
        self.in_flight = InFlight(in_flight_max)
        self.watch = RevocationWatch(self._find_revoked)

    async def complete(
        self, claims: KeyClaims, raw: bytes, request_id: str
    ) -> Answer | StreamAnswer:
        """Answer one request; a stream is live when this returns. Raises ``ApiError``.

        A cancelled caller leaves the request running: it is posted or voided without it.
        """
        try:
            self.in_flight.check()
        except ApiError as error:
            self._metrics.observe_request(error.code, 0.0)
            raise
        return await self.in_flight.run(self._run(claims, raw, request_id))

    async def _run(self, claims: KeyClaims, raw: bytes, request_id: str) -> Answer | StreamAnswer:
        started_s = time.monotonic()
        outcome: str | None = INTERNAL
        try:
            admitted = await self._admit(claims, raw, request_id)
            if admitted.call.stream:
                streamed = await self._open_stream(admitted, started_s)
                outcome = None  # known when the stream has ended
                return streamed
            answer = await self._serve(admitted)
            outcome = ANSWERED
            return answer
        except ApiError as error:
            outcome = error.code
            log.info("request_failed", request_id=request_id, code=error.code, status=error.status)
            raise
        except LedgerUnavailable as error:
            outcome = "ledger_unavailable"
            log.error("ledger_unavailable", request_id=request_id, error=str(error))
            raise ledger_unavailable() from error
        except asyncio.CancelledError:
            outcome = CANCELLED
            raise
        finally:
            if outcome is not None:
                self._metrics.observe_request(outcome, time.monotonic() - started_s)

    async def _open_stream(self, admitted: _Admitted, started_s: float) -> StreamAnswer:
        """Begin a stream; give the reservation back where upstream does not."""
        async with self._voided_on_failure(admitted):
            with self._span("upstream", request_id=admitted.request_id, stream=True), translated():
                source = await self._send(admitted, self._upstream.open_stream)
        call = admitted.call
        tally = ChatTally(admitted.get_sent(), passes_usage=call.asks_for_running_usage)
        stream = LiveStream(
            reading=Reading(source, tally),
            booking=ChatBooking(admitted.request_id, self._meter, partial(self._charge, admitted)),
            endings=ChatEndings(self._upstream),
            charge_name=CHARGE_NAME,
            asks_for_usage=call.asks_for_usage,
            rules=self._stream_rules,
        )
        self.in_flight.keep(self._run_stream(stream, admitted.claims, started_s))
        headers = self._build_headers(admitted, left_usdc=admitted.hold_left_usdc)
        headers |= {"content-type": "text/event-stream", "cache-control": "no-store"}
        return StreamAnswer(headers, stream)

    async def _run_stream(self, stream: LiveStream, claims: KeyClaims, started_s: float) -> None:
        outcome = INTERNAL
        self.watch.add(stream, claims)
        try:
            outcome = await stream.run()
        finally:
            self.watch.remove(stream)
            self._metrics.observe_request(outcome, time.monotonic() - started_s)

    async def _find_revoked(self, keys: set[KeyClaims]) -> Mapping[KeyClaims, ApiError]:
        now_s = int(time.time())
        return await self._meter.read(lambda connection: load_revoked(connection, keys, now_s))

    async def quote(self, claims: KeyClaims, raw: bytes, request_id: str) -> dict[str, Any]:
        """Return what ``complete`` would reserve for the same body, and whether it could.

        Writes nothing. Raises ``ApiError`` for a request that is wrong whoever asks.
        """
        await check_standing(claims, self._meter)
        request, offers = await self._read(claims, raw)
        offer = offers[0]
        applied, left_usdc, refusal = offer, None, None
        try:
            applied, left_usdc = await _reserve(
                self._meter.preview, request_id, claims, request, offer
            )
        except ReserveRefused as refused_by_ledger:
            refusal = await self._explain(claims, refused_by_ledger, fit=request.fit)
        return {
            "admitted": refusal is None,
            "refusal": None if refusal is None else refusal.describe(),
            "model": offer.model,
            "required_usdc": applied.ceiling_usdc,
            "max_tokens_applied": applied.max_tokens,
            "max_tokens_requested": request.call.requested_max_tokens,
            "choices": request.call.choices,
            "fit": request.fit,
            "remaining_usdc": left_usdc,
            "offers": [candidate.describe() for candidate in offers[:QUOTED_OFFERS_MAX]],
        }

    async def _read(self, claims: KeyClaims, raw: bytes) -> tuple[ChatRequest, list[Offer]]:
        """Read a request and price it; the best offer comes first. Raises ``ApiError``."""
        request = parse_chat_request(raw)
        models = None
        if claims.is_child and request.call.model == CHEAPEST:
            # The ledger checks the model that is chosen; here it may still be another one.
            models = await self._meter.read(lambda connection: load_models(connection, claims))
        offers = await list_offers(request, self._catalogue, self._prices, models=models)
        return request, offers

    async def _admit(self, claims: KeyClaims, raw: bytes, request_id: str) -> _Admitted:
        """Read, price and reserve. Nothing is spent where this raises."""
        try:
            request, offers = await self._read(claims, raw)
        except ApiError:
            # A revoked key is told so first, whatever else is wrong with its request.
            await check_standing(claims, self._meter)
            raise
        offer = offers[0]
        try:
            with self._span("reserve", request_id=request_id, model=offer.model):
                offer, left_usdc = await _reserve(
                    self._meter.reserve, request_id, claims, request, offer
                )
        except ReserveRefused as refusal:
            raise await self._explain(claims, refusal, fit=request.fit) from refusal
        return _Admitted(request_id, claims, request, offer, left_usdc)

    async def _explain(self, claims: KeyClaims, refusal: ReserveRefused, *, fit: bool) -> ApiError:
        """Return what a client is told of a refusal, and when a harvest may change it."""
        outlook = None
        if needs_outlook(refusal) and refusal.facts is not None:
            outlook = await self._chain_view.fetch_outlook(
                claims.token_id, refusal.facts.harvest, now_s=refusal.facts.as_of_s
            )
        return refused(refusal, outlook=outlook, now_s=int(time.time()), fit=fit)

    async def _send(self, admitted: _Admitted, post: Callable[[bytes, Price], Awaitable[T]]) -> T:
        """Return what ``post`` makes of the body for upstream, without what the model refuses."""
        offer = admitted.offer
        return await self._additions.send(
            (self._upstream.name, offer.model),
            admitted.call.additions,
            lambda without: post(admitted.build_body(without), offer.list_price),
        )

    async def _serve(self, admitted: _Admitted) -> Answer:
        """Call upstream and post its cost; give the reservation back where that fails."""
        async with self._voided_on_failure(admitted):
            with self._span("upstream", request_id=admitted.request_id, stream=False), translated():
                completion = await self._send(admitted, self._upstream.complete)
            if not is_answer(completion.parsed, Holder.CHOICES):
                raise explain_no_answer(
                    find_failure(completion.parsed), secrets=self._upstream.secrets
                )
            delivered = deliver_whole(weigh_answer(completion.parsed, Holder.CHOICES))
            report = read_report(find_usage(completion.parsed))
            counted = count_tokens(admitted.get_sent(), delivered, report)
        try:
            posted = await self._post(admitted, counted)
        except CurrentError as error:
            log.error("settlement_failed", request_id=admitted.request_id, error=str(error))
            raise settlement_failed() from error
        headers = self._build_headers(admitted, left_usdc=posted.hold_left_usdc)
        headers |= {
            "content-type": "application/json",
            "x-current-cost-usdc": str(posted.cost_usdc),
        }
        return Answer(200, headers, completion.raw)

    @asynccontextmanager
    async def _voided_on_failure(self, admitted: _Admitted) -> AsyncIterator[None]:
        try:
            yield
        except BaseException as error:
            reason = error.code if isinstance(error, ApiError) else type(error).__name__
            # Shielded: the second cancellation of an impatient shutdown must not stop it.
            await asyncio.shield(self._meter.void(admitted.request_id, reason))
            if reason in _OUTDATED_BY:
                self.in_flight.keep(self._catalogue.refresh(older_than_s=FRESH_S))
            raise

    async def _charge(self, admitted: _Admitted, counted: Counted) -> int:
        return (await self._post(admitted, counted)).cost_usdc

    async def _post(self, admitted: _Admitted, counted: Counted) -> Posted:
        """Charge what was counted. Raises ``CurrentError``."""
        ceiling_usdc, tokens = admitted.offer.ceiling_usdc, counted.tokens
        price = admitted.offer.get_price(tokens)
        cost_usdc = get_charge_usdc(tokens, price, ceiling_usdc=ceiling_usdc)
        with self._span("post", request_id=admitted.request_id, cost_usdc=cost_usdc):
            posted = await self._meter.post(
                admitted.request_id, tokens, price=price, cost_usdc=cost_usdc
            )
        self._metrics.observe_charge(
            tokens,
            cost_usdc=cost_usdc,
            is_estimated=counted.is_estimated,
            is_overrun=counted.is_cut,
        )
        log.info(
            "request_posted",
            request_id=admitted.request_id,
            model=admitted.offer.model,
            prompt_tokens=tokens.prompt,
            cached_tokens=tokens.cached,
            completion_tokens=tokens.completion,
            cost_usdc=cost_usdc,
            ceiling_usdc=ceiling_usdc,
            is_estimated=counted.is_estimated,
            is_overrun=counted.is_cut,
        )
        return posted

    def _build_headers(self, admitted: _Admitted, *, left_usdc: int) -> dict[str, str]:
        return {
            "x-current-reserved-usdc": str(admitted.offer.ceiling_usdc),
            "x-current-remaining-usdc": str(left_usdc),
            "x-current-model": admitted.offer.model,
            "x-current-max-tokens-applied": str(admitted.offer.max_tokens),
            "x-current-served-by": self._upstream.name,
        }


async def _reserve(
    reserve: _ReserveStep, request_id: str, claims: KeyClaims, request: ChatRequest, offer: Offer
) -> tuple[Offer, int]:
    """Reserve an offer's ceiling; return the offer as reserved, and what is left of the hold."""

    def fit(affordable_usdc: int) -> int:
        return offer.fit(affordable_usdc, choices=request.call.choices).ceiling_usdc

    reserved = await reserve(
        _build_reservation(request_id, claims, offer),
        fit=fit if request.fit else None,
        generation=claims.generation,
    )
    if reserved.ceiling_usdc < offer.ceiling_usdc:
        offer = offer.fit(reserved.ceiling_usdc, choices=request.call.choices)
    return offer, reserved.hold_left_usdc


def _build_reservation(request_id: str, claims: KeyClaims, offer: Offer) -> Reservation:
    return Reservation(
        request_id=request_id,
        token_id=claims.token_id,
        key_epoch=claims.key_epoch,
        key_id=claims.key_id,
        model=offer.model,
        ceiling_usdc=offer.ceiling_usdc,
        input_usdc_per_mtok=offer.price.input_usdc_per_mtok,
        output_usdc_per_mtok=offer.price.output_usdc_per_mtok,
        cached_input_usdc_per_mtok=offer.price.cached_input_usdc_per_mtok,
    )
