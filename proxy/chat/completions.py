"""A request for text from parsed key to charged answer: the only path that spends.

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
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

import structlog

from contracts.errors import CurrentError
from ledger.errors import LedgerUnavailable
from ledger.kept_answers import NamedRequest
from ledger.spending.metering import Posted
from proxy.catalogue import FRESH_S
from proxy.chat.admitting import Admission, Admitted, Wish
from proxy.chat.answering import build_tally, describe_served_by, prepare_body
from proxy.chat.charging import buys_at_market, count_completion, get_cost_usdc
from proxy.chat.market_sales import SoldStream
from proxy.chat.meter import Meter
from proxy.chat.model_lists import try_models
from proxy.chat.operator_credit import OperatorCredit
from proxy.chat.request import AS_CHAT, Manner
from proxy.chat.revocations import RevocationWatch
from proxy.chat.served import ServedNotes
from proxy.chat.streams import CHARGE_NAME, ChatBooking, ChatEndings
from proxy.chat.upstream import Upstream
from proxy.chat.upstream_errors import (
    OPERATOR_CREDIT_SPENT,
    explain_no_answer,
    translated,
)
from proxy.errors import PRICE_CHANGED
from proxy.graded_lists import GradedLists
from proxy.keys.authentication import load_revoked
from proxy.keys.proven import ProvenPositions
from proxy.keys.tokens import KeyClaims
from proxy.metrics import Metrics
from proxy.tracing import Span, no_span
from serving.dialects.endpoints import HOLDERS, Endpoint
from serving.http.answers import Answer, StreamAnswer
from serving.http.errors import (
    ApiError,
    internal_error,
    ledger_unavailable,
    settlement_failed,
)
from serving.http.metrics import ANSWERED
from serving.http.open_requests import InFlight
from serving.http.repeat_keys import RepeatKey
from serving.http.repeated import Repeats
from serving.models.additions import Additions
from serving.models.counting import Counted
from serving.models.grades import Grade, ServedBy
from serving.models.provider_answers import find_failure, is_answer
from serving.models.terms import Tiers
from serving.models.upstream import UpstreamStream
from serving.stream.live import LiveStream, StreamRules
from serving.stream.reading import Reading

log = structlog.get_logger("proxy")

T = TypeVar("T")

Post = Callable[[Endpoint, bytes, Tiers, Grade | None, Mapping[str, str]], Awaitable[T]]
"""Asks upstream at an endpoint with a body, at prices of at most these, of a grade at least; with
the headers of the client's dialect."""

_OUTDATED_BY: Final = frozenset({PRICE_CHANGED, "upstream_error"})
"""Failures after which upstream may have other models and prices: who asks again should meet them.
"""

CANCELLED: Final = "cancelled"
INTERNAL: Final = internal_error().code
SALE_LASTS: Final = 0.8
"""The part of a lease for which a market is asked what a broken stream came to."""


class Completions:
    """Serves requests for text, and knows which ones are still open."""

    def __init__(
        self,
        *,
        meter: Meter,
        upstream: Upstream,
        lists: GradedLists,
        admission: Admission,
        metrics: Metrics,
        repeats: Repeats,
        in_flight_max: int,
        stream_rules: StreamRules,
        span: Span = no_span,
    ) -> None:
        self._meter = meter
        self._upstream = upstream
        self._lists = lists
        self.admission = admission
        self._metrics = metrics
        self._repeats = repeats
        self._stream_rules = stream_rules
        self._span = span
        self._additions = Additions()
        self.credit = OperatorCredit()
        self.in_flight = InFlight(in_flight_max)
        self.proven = ProvenPositions(meter)
        self.watch = RevocationWatch(self._find_revoked)

    def note_kept(self, kept_bytes: int) -> None:
        """Note how much the ledger keeps of everybody's answers, in bytes."""
        self._repeats.note_kept(kept_bytes)

    async def complete(
        self,
        claims: KeyClaims,
        raw: bytes,
        request_id: str,
        *,
        is_proven: bool,
        repeat: RepeatKey | None = None,
        manner: Manner = AS_CHAT,
    ) -> Answer | StreamAnswer:
        """Answer one request; a stream is live when this returns. Raises ``ApiError``.

        ``is_proven``: the position has paid before, see ``proven``.
        With ``repeat``, at most one request with the same key is charged. A cancelled caller leaves
        the request running: it is posted or voided without it.
        """
        try:
            place = self.in_flight.enter(claims.token_id, claims.key_id, is_proven=is_proven)
        except ApiError as error:
            self._metrics.observe_request(error.code, 0.0)
            raise
        wish = Wish(claims, raw, manner)
        return await self.in_flight.run(self._run(wish, request_id, repeat), place)

    async def _run(
        self, wish: Wish, request_id: str, repeat: RepeatKey | None
    ) -> Answer | StreamAnswer:
        started_s = time.monotonic()
        outcome: str | None = INTERNAL
        try:
            answer, is_live = await try_models(
                wish, request_id, lambda own_id: self._attempt(wish, own_id, repeat, started_s)
            )
            outcome = None if is_live else ANSWERED  # a live stream's is known when it has ended
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

    async def _attempt(
        self, wish: Wish, request_id: str, repeat: RepeatKey | None, started_s: float
    ) -> tuple[Answer | StreamAnswer, bool]:
        admitted = await self.admission.admit_once(wish, request_id, repeat)
        if not isinstance(admitted, Admitted):
            self._metrics.replayed.inc()
            return admitted, False
        if admitted.call.stream:
            return await self._open_stream(admitted, started_s), True
        return await self._serve(admitted), False

    async def _open_stream(self, admitted: Admitted, started_s: float) -> StreamAnswer:
        """Begin a stream; give the reservation back where upstream does not."""
        async with self._voided_on_failure(admitted):
            with self._span("upstream", request_id=admitted.request_id, stream=True), translated():
                source = await self._send(admitted, self._upstream.open_stream)
        call = admitted.call
        repeat = admitted.repeat
        transcript = None if repeat is None else self._repeats.open_transcript()
        tally = build_tally(admitted, now_s=self._meter.now_s())
        notes = ServedNotes(source.served_by, upstream_name=self._upstream.name)
        stream = LiveStream(
            reading=Reading(source, tally),
            booking=self._book(admitted, source, lambda: notes.write(tally.model)),
            endings=ChatEndings(self._upstream),
            charge_name=CHARGE_NAME,
            asks_for_usage=call.asks_for_usage,
            rules=self._stream_rules,
            transcript=transcript,
        )
        headers = self._build_headers(admitted, source.served_by, left_usdc=admitted.hold_left_usdc)
        headers |= {"content-type": "text/event-stream", "cache-control": "no-store"}
        run = self._run_stream(stream, admitted.claims, started_s)
        if repeat is not None and transcript is not None:
            run = self._repeats.run_and_keep(run, repeat, admitted.request_id, headers, transcript)
        self.in_flight.keep(run)
        return StreamAnswer(headers, stream)

    def _book(
        self, admitted: Admitted, source: UpstreamStream, get_note: Callable[[], str]
    ) -> ChatBooking:
        """Return what a stream is charged to, and by whose word; ``get_note`` says who served."""
        is_sold = buys_at_market(admitted.offer) and not source.is_own_provider
        sale = None
        if is_sold and source.sale_id is not None:
            lasting_s = SALE_LASTS * self._meter.lease_s
            sent = admitted.get_sent()
            sale = SoldStream(self._upstream, source.sale_id, sent, lasting_s=lasting_s)

        async def post(counted: Counted) -> int:
            believed = counted if is_sold else replace(counted, sold_usdc=None)
            return (await self._post(admitted, believed, served=get_note())).cost_usdc

        return ChatBooking(admitted.request_id, self._meter, post, sale)

    async def _run_stream(self, stream: LiveStream, claims: KeyClaims, started_s: float) -> str:
        outcome = INTERNAL
        self.watch.add(stream, claims)
        try:
            outcome = await stream.run()
            return outcome
        finally:
            self.watch.remove(stream)
            self._metrics.observe_request(outcome, time.monotonic() - started_s)

    async def _find_revoked(self, keys: set[KeyClaims]) -> Mapping[KeyClaims, ApiError]:
        now_s = self._meter.now_s()
        return await self._meter.read(lambda connection: load_revoked(connection, keys, now_s))

    async def _send(self, admitted: Admitted, post: Post[T]) -> T:
        """Return what ``post`` makes of the body for upstream, without what the model refuses."""
        offer = admitted.offer
        answer = await self._additions.send(
            (self._upstream.name, offer.model),
            admitted.call.additions,
            lambda without: post(
                admitted.call.endpoint,
                admitted.build_body(without),
                offer.terms.tiers,
                admitted.request.minimum_grade,
                admitted.call.headers,
            ),
            clients=admitted.call.client_fields,
        )
        self.credit.note_served()
        return answer

    async def _serve(self, admitted: Admitted) -> Answer:
        """Call upstream and post its cost; give the reservation back where that fails."""
        async with self._voided_on_failure(admitted):
            with self._span("upstream", request_id=admitted.request_id, stream=False), translated():
                completion = await self._send(admitted, self._upstream.complete)
            holder = HOLDERS[admitted.call.endpoint]
            if not is_answer(completion.parsed, holder):
                raise explain_no_answer(
                    find_failure(completion.parsed), secrets=self._upstream.secrets
                )
            counted = count_completion(completion, admitted.get_sent(), holder)
            now_s = self._meter.now_s()
            build_body = prepare_body(admitted, completion, counted, now_s=now_s)
            notes = ServedNotes(completion.served_by, upstream_name=self._upstream.name)
            note = notes.write(completion.parsed.get("model"))
        build = partial(self._build_answer, admitted, completion.served_by, build_body)
        try:
            posted = await self._post(admitted, counted, build, served=note)
        except CurrentError as error:
            log.error("settlement_failed", request_id=admitted.request_id, error=str(error))
            raise settlement_failed() from error
        return build(posted)

    def _build_answer(
        self,
        admitted: Admitted,
        served_by: ServedBy | None,
        build_body: Callable[[int], bytes],
        posted: Posted,
    ) -> Answer:
        headers = self._build_headers(admitted, served_by, left_usdc=posted.hold_left_usdc)
        headers |= {
            "content-type": "application/json",
            "x-current-cost-usdc": str(posted.cost_usdc),
        }
        return Answer(200, headers, build_body(posted.cost_usdc))

    def _keep(
        self, repeat: RepeatKey, build: Callable[[Posted], Answer]
    ) -> tuple[NamedRequest, Callable[[Posted], bytes | None]]:
        """Return how the answer is kept in the transaction that charges for it."""

        def seal(posted: Posted) -> bytes | None:
            return self._repeats.seal(repeat, build(posted))

        return repeat, seal

    @asynccontextmanager
    async def _voided_on_failure(self, admitted: Admitted) -> AsyncIterator[None]:
        try:
            yield
        except BaseException as error:
            reason = error.code if isinstance(error, ApiError) else type(error).__name__
            # Shielded: the second cancellation of an impatient shutdown must not stop it.
            await asyncio.shield(self._meter.void(admitted.request_id, reason))
            if reason == OPERATOR_CREDIT_SPENT:
                self.credit.note_refused()
            if reason in _OUTDATED_BY:
                self.in_flight.keep(self._lists.refresh(older_than_s=FRESH_S))
            raise

    async def _post(
        self,
        admitted: Admitted,
        counted: Counted,
        build: Callable[[Posted], Answer] | None = None,
        *,
        served: str | None,
    ) -> Posted:
        """Charge what was counted. Raises ``CurrentError``.

        ``build`` makes the whole answer, to be kept where the request may be repeated.
        """
        keep = None
        if build is not None and admitted.repeat is not None:
            keep = self._keep(admitted.repeat, build)
        ceiling_usdc, tokens = admitted.offer.ceiling_usdc, counted.tokens
        price = admitted.offer.get_price(tokens)
        cost_usdc = get_cost_usdc(admitted.offer, counted)
        with self._span("post", request_id=admitted.request_id, cost_usdc=cost_usdc):
            posted = await self._meter.post(
                admitted.request_id,
                tokens,
                price=price,
                cost_usdc=cost_usdc,
                keep=keep,
                served=served,
            )
        if cost_usdc:
            self.proven.note_paid(admitted.claims.token_id)
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

    def _build_headers(
        self, admitted: Admitted, served_by: ServedBy | None, *, left_usdc: int
    ) -> dict[str, str]:
        dialect = admitted.request.dialect
        id_header = None if dialect is None else dialect.id_header
        named = {} if id_header is None else {id_header: admitted.request_id}
        return {
            **named,
            "x-current-reserved-usdc": str(admitted.offer.ceiling_usdc),
            "x-current-remaining-usdc": str(left_usdc),
            "x-current-model": admitted.offer.model,
            "x-current-max-tokens-applied": str(admitted.offer.max_tokens),
            **describe_served_by(served_by, upstream_name=self._upstream.name),
        }
