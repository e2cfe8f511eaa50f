"""A chat completion from parsed key to charged answer: the only path that spends.

The order never changes: read the request, price it, **reserve** (durable), call upstream, **post**
(durable), answer. Whatever goes wrong before the post gives the reservation back; whatever goes
wrong with the post withholds the answer. Once reserved, a request runs to its end whether or not
its client still waits.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from contracts.errors import CurrentError
from ledger.errors import LedgerUnavailable, ReserveRefused
from ledger.metering import Posted
from proxy.authentication import check_standing
from proxy.catalogue import Catalogue
from proxy.chat_request import ChatRequest, parse_chat_request
from proxy.errors import (
    ApiError,
    internal_error,
    ledger_unavailable,
    overloaded,
    refused,
    settlement_failed,
    upstream_failed,
)
from proxy.keys import KeyClaims
from proxy.meter import Meter, Reserved, Want
from proxy.metrics import ANSWERED, Metrics
from proxy.offers import Offer, choose_offer
from proxy.prices import PriceBook
from proxy.pricing import Tokens, get_charge_usdc, get_cost_usdc
from proxy.upstream import Completion, Upstream
from proxy.usage import count_usage, is_completion, read_usage

log = structlog.get_logger("proxy")

CANCELLED: Final = "cancelled"


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A request that has its reservation."""

    request_id: str
    request: ChatRequest
    offer: Offer
    reserved: Reserved


class Completions:
    """Serves chat completions, and knows which ones are still open."""

    def __init__(
        self,
        *,
        meter: Meter,
        upstream: Upstream,
        catalogue: Catalogue,
        prices: PriceBook,
        metrics: Metrics,
        in_flight_max: int,
    ) -> None:
        self._meter = meter
        self._upstream = upstream
        self._catalogue = catalogue
        self._prices = prices
        self._metrics = metrics
        self._in_flight_max = in_flight_max
        self._tasks: set[asyncio.Task[Answer]] = set()

    @property
    def in_flight(self) -> int:
        """How many requests are open."""
        return len(self._tasks)

    async def complete(self, claims: KeyClaims, raw: bytes, request_id: str) -> Answer:
        """Answer one request. Raises ``ApiError``.

        A cancelled caller leaves the request running: it is posted or voided without it.
        """
        if len(self._tasks) >= self._in_flight_max:
            error = overloaded()
            self._metrics.observe_request(error.code, 0.0)
            raise error
        task = asyncio.create_task(self._run(claims, raw, request_id))
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Answer]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also where its caller has gone

    async def drain(self, timeout_s: float) -> None:
        """Let open requests finish; cancel, and so void, what is still open after the timeout."""
        if not self._tasks:
            return
        log.info("draining", requests=len(self._tasks), timeout_s=timeout_s)
        _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            log.warning("drain_cancelled", requests=len(late))
            await asyncio.wait(late)

    async def _run(self, claims: KeyClaims, raw: bytes, request_id: str) -> Answer:
        started_s = time.monotonic()
        outcome = internal_error().code
        try:
            admitted = await self._admit(claims, raw, request_id)
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
            self._metrics.observe_request(outcome, time.monotonic() - started_s)

    async def _admit(self, claims: KeyClaims, raw: bytes, request_id: str) -> _Admitted:
        """Read, price and reserve. Nothing is spent where this raises."""
        try:
            request = parse_chat_request(raw)
            offer = await choose_offer(request, self._catalogue, self._prices)
        except ApiError:
            # A revoked key is told so first, whatever else is wrong with its request.
            await check_standing(claims, self._meter)
            raise
        want = Want(
            request_id=request_id,
            token_id=claims.token_id,
            key_epoch=claims.key_epoch,
            key_id=claims.key_id,
            model=offer.model,
            price=offer.price,
            prompt_bound=offer.prompt_bound,
            max_tokens=offer.max_tokens,
            choices=request.choices,
            fit=request.fit,
        )
        try:
            reserved = await self._meter.reserve(want)
        except ReserveRefused as refusal:
            raise refused(refusal, now_s=int(time.time())) from refusal
        return _Admitted(request_id, request, offer, reserved)

    async def _serve(self, admitted: _Admitted) -> Answer:
        """Call upstream and post its cost; give the reservation back where that fails."""
        try:
            completion = await self._call_upstream(admitted)
            tokens, is_estimated = _count_tokens(completion, admitted)
        except BaseException as error:
            reason = error.code if isinstance(error, ApiError) else type(error).__name__
            # Shielded: the second cancellation of an impatient shutdown must not stop it.
            await asyncio.shield(self._meter.void(admitted.request_id, reason))
            raise
        posted = await self._post(admitted, tokens, is_estimated=is_estimated)
        return self._build_answer(admitted, completion, posted)

    async def _call_upstream(self, admitted: _Admitted) -> Completion:
        body = admitted.request.build_body(
            model=admitted.offer.model, max_tokens=admitted.reserved.max_tokens
        )
        completion = await self._upstream.complete(body)
        if not is_completion(completion.parsed):
            message = "The model's provider sent an answer that is not a completion."
            raise upstream_failed("upstream_invalid_response", message)
        return completion

    async def _post(self, admitted: _Admitted, tokens: Tokens, *, is_estimated: bool) -> Posted:
        ceiling_usdc = admitted.reserved.ceiling_usdc
        cost_usdc = get_charge_usdc(tokens, admitted.offer.price, ceiling_usdc=ceiling_usdc)
        try:
            posted = await self._meter.post(
                admitted.request_id,
                cost_usdc=cost_usdc,
                prompt_tokens=tokens.prompt,
                completion_tokens=tokens.completion,
            )
        except CurrentError as error:
            log.error("settlement_failed", request_id=admitted.request_id, error=str(error))
            raise settlement_failed() from error
        is_overrun = get_cost_usdc(tokens, admitted.offer.price) > ceiling_usdc
        self._metrics.prompt_tokens_total += tokens.prompt
        self._metrics.completion_tokens_total += tokens.completion
        self._metrics.charged_usdc_total += cost_usdc
        self._metrics.estimated_total += is_estimated
        self._metrics.overruns_total += is_overrun
        log.info(
            "request_posted",
            request_id=admitted.request_id,
            model=admitted.offer.model,
            prompt_tokens=tokens.prompt,
            completion_tokens=tokens.completion,
            cost_usdc=cost_usdc,
            ceiling_usdc=ceiling_usdc,
            is_estimated=is_estimated,
            is_overrun=is_overrun,
        )
        return posted

    def _build_answer(self, admitted: _Admitted, completion: Completion, posted: Posted) -> Answer:
        headers = {
            "content-type": "application/json",
            "x-current-cost-usdc": str(posted.cost_usdc),
            "x-current-reserved-usdc": str(admitted.reserved.ceiling_usdc),
            "x-current-remaining-usdc": str(posted.hold_left_usdc),
            "x-current-model": admitted.offer.model,
            "x-current-max-tokens-applied": str(admitted.reserved.max_tokens),
            "x-current-served-by": self._upstream.name,
        }
        return Answer(200, headers, completion.raw)


def _count_tokens(completion: Completion, admitted: _Admitted) -> tuple[Tokens, bool]:
    """Return the tokens to charge for, and whether they are our own count."""
    reported = read_usage(completion.parsed)
    if reported is not None:
        return reported, False
    counted = count_usage(
        completion.parsed,
        body_bytes=admitted.request.body_bytes,
        image_tokens=admitted.offer.image_tokens,
        messages=admitted.request.messages,
        prompt_bound=admitted.offer.prompt_bound,
    )
    return counted, True
