"""A request from parsed body to charged answer: the only path that spends.

Rank, **reserve** with the best offer (durable), call the seller, **post** (durable), answer. A
seller that fails before its first byte gives the reservation back and the next offer is tried; the
buyer sees nothing of it until none is left. After the first byte nothing is tried again.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from contracts.errors import CurrentError
from ledger.errors import LedgerUnavailable
from ledger.market import (
    Figures,
    NewSale,
    SaleDenial,
    SaleRefused,
    post_sale,
    renew_sale,
    reserve_sale,
    sweep_sales,
    void_sale,
)
from market.book import Book, Live
from market.database import Database
from market.dialects import (
    Call,
    Endpoint,
    count_output_bytes,
    count_tokens,
    is_answer,
    parse_call,
    read_usage,
)
from market.errors import (
    ApiError,
    RequestRejected,
    bad_request,
    credit_spent,
    discount_not_met,
    invalid_key,
    ledger_unavailable,
    model_not_found,
    sellers_failed,
    settlement_failed,
    unavailable,
)
from market.filters import parse_filters
from market.health import Cause
from market.pricing import Price, Split, Tokens, get_discount_pct, split_cost
from market.provider import Access, Provider, SellerFailure, SellerRejected
from market.relay import LiveStream, Opening, RelayRules
from market.routing import Ask, Drop, Ranking, Verdict, rank
from market.sealing import KmsUnavailable, SealBroken
from market.store import KeyHolder
from market.tally import Tally

log = structlog.get_logger("market")

REFUSALS_MAX: Final = 20
"""Offers that the ledger may turn down for one request, their caps used up meanwhile."""


@dataclass(frozen=True, slots=True)
class ServingRules:
    """How often and how long a request is tried."""

    attempts_max: int
    lease_s: int
    in_flight_max: int
    relay: RelayRules


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the buyer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """A stream that goes back to the buyer while it arrives."""

    headers: Mapping[str, str]
    stream: LiveStream


class Reserved:
    """One attempt that has its reservation."""

    def __init__(
        self,
        database: Database,
        sale: NewSale,
        *,
        call: Call,
        ask: Ask,
        verdict: Verdict,
        lease_s: int,
        book: Book,
    ) -> None:
        self.sale = sale
        self.sale_id = sale.sale_id
        self.verdict = verdict
        self.lease_s: float = lease_s
        self.split: Split | None = None
        self._database = database
        self._call = call
        self._ask = ask
        self._book = book

    def count(self, tally: Tally) -> tuple[Tokens, bool]:
        """Return the tokens to charge for a stream, and whether they are our own count."""
        return count_tokens(
            self._call,
            tally.reported,
            output_bytes=tally.output_bytes,
            bound=self._ask.bound,
            estimate=self._ask.estimate,
        )

    def count_answer(self, parsed: Mapping[str, Any]) -> tuple[Tokens, bool]:
        """Return the tokens to charge for a whole answer, and whether they are our own count."""
        return count_tokens(
            self._call,
            read_usage(parsed),
            output_bytes=count_output_bytes(self._call.endpoint, parsed),
            bound=self._ask.bound,
            estimate=self._ask.estimate,
        )

    async def post(self, tokens: Tokens) -> int:
        """Charge; return the cost in 1e-6 USDC. Raises ``CurrentError``."""
        sale = self.sale
        split = split_cost(
            tokens,
            Price(sale.input_usdc_per_mtok, sale.output_usdc_per_mtok),
            ceiling_usdc=sale.ceiling_usdc,
            fee_bps=sale.fee_bps,
        )
        figures = Figures(
            prompt_tokens=tokens.prompt,
            completion_tokens=tokens.completion,
            cost_usdc=split.cost_usdc,
            earning_usdc=split.earning_usdc,
            fee_usdc=split.fee_usdc,
            margin_usdc=split.margin_usdc,
        )
        now_s = int(time.time())
        used = await self._database.persist(
            lambda connection: post_sale(connection, self.sale_id, figures, now_s=now_s)
        )
        self._book.note_used(used)
        self.split = split
        log.info(
            "sale_posted",
            sale_id=self.sale_id,
            offer_id=sale.offer_id,
            model=sale.model,
            prompt_tokens=tokens.prompt,
            completion_tokens=tokens.completion,
            cost_usdc=split.cost_usdc,
            earning_usdc=split.earning_usdc,
            fee_usdc=split.fee_usdc,
        )
        return split.cost_usdc

    async def void(self, reason: str, *, is_seller_failure: bool) -> None:
        """Give the reservation back. Where that cannot be written, its lease runs out."""
        now_s = int(time.time())
        try:
            used = await self._database.persist(
                lambda connection: void_sale(
                    connection,
                    self.sale_id,
                    reason=reason,
                    is_seller_failure=is_seller_failure,
                    now_s=now_s,
                )
            )
        except CurrentError as error:
            log.error("void_failed", sale_id=self.sale_id, error=str(error))
            return
        if used is not None:
            self._book.note_used(used)

    async def renew(self) -> None:
        """Keep the reservation. Raises ``SaleResolved`` or ``LedgerUnavailable``."""
        expires_at_s = int(time.time() + self.lease_s)
        await self._database.write(
            lambda connection: renew_sale(connection, self.sale_id, lease_expires_at_s=expires_at_s)
        )


class Serving:
    """Serves requests, and knows which ones are still open."""

    def __init__(
        self, database: Database, book: Book, provider: Provider, rules: ServingRules
    ) -> None:
        self._database = database
        self._book = book
        self._provider = provider
        self._rules = rules
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def in_flight(self) -> int:
        """How many requests are open."""
        return len(self._tasks)

    def build_ask(self, call: Call, minimum_pct: int | None) -> Ask:
        """Return what a request asks of the market. Raises ``RequestRejected``."""
        filters = parse_filters(call.routing)
        reference = self._book.references.find(call.model)
        image_tokens = None if reference is None else reference.image_tokens
        if call.images and image_tokens is None:
            message = f"{call.model!r} does not state what an image takes, so none can be sent."
            raise bad_request("unsupported_content", message)
        return Ask(
            model=call.model,
            estimate=call.get_estimate(image_tokens=image_tokens),
            bound=call.get_bound(
                context_tokens=None if reference is None else reference.context_tokens,
                image_tokens=image_tokens,
            ),
            direct=None if reference is None else reference.price,
            minimum_discount_pct=minimum_pct,
            input_usdc_per_mtok_max=filters.input_usdc_per_mtok_max,
            output_usdc_per_mtok_max=filters.output_usdc_per_mtok_max,
            trusted_only=filters.trusted_only,
            only=filters.only,
            ignore=filters.ignore,
        )

    def rank(self, ask: Ask) -> Ranking:
        """Return all offers of the model before this request. Raises 404 where nobody lists it."""
        shelf = self._book.get_shelf(ask.model)
        if shelf is None:
            raise model_not_found(ask.model)
        return rank(shelf, self._book.get_state, ask)

    async def serve(
        self,
        buyer: KeyHolder,
        endpoint: Endpoint,
        raw: bytes,
        *,
        minimum_pct: int | None,
        request_id: str,
    ) -> Answer | StreamAnswer:
        """Answer one request; a stream is live when this returns. Raises ``ApiError``.

        A cancelled caller leaves the request running: it is posted or voided without it.
        """
        if len(self._tasks) >= self._rules.in_flight_max:
            raise unavailable("overloaded", "Too many requests are open. Try again soon.")
        call = parse_call(endpoint, raw)
        ask = self.build_ask(call, minimum_pct)
        task = asyncio.create_task(self._run(buyer, call, ask, request_id))
        self._keep(task)
        return await asyncio.shield(task)

    async def drain(self, timeout_s: float) -> None:
        """Let open requests finish; cancel, and so void, what is still open after the timeout."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            log.warning("drain_cancelled", requests=len(late))
            await asyncio.wait(late)

    async def sweep(self) -> int:
        """Void what dead processes left; return how many."""
        now_s = int(time.time())
        swept = await self._database.write(lambda connection: sweep_sales(connection, now_s=now_s))
        if swept:
            log.warning("leases_swept", reservations=swept)
        return swept

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, also where its caller has gone

    async def _run(
        self, buyer: KeyHolder, call: Call, ask: Ask, request_id: str
    ) -> Answer | StreamAnswer:
        try:
            return await self._try_offers(buyer, call, ask, request_id)
        except ApiError as error:
            log.info("request_failed", request_id=request_id, code=error.code, status=error.status)
            raise
        except LedgerUnavailable as error:
            log.error("ledger_unavailable", request_id=request_id, error=str(error))
            raise ledger_unavailable() from error

    async def _try_offers(
        self, buyer: KeyHolder, call: Call, ask: Ask, request_id: str
    ) -> Answer | StreamAnswer:
        tried: set[str] = set()
        attempt = refusals = 0
        rejected: SellerRejected | None = None
        denied: Drop | None = None
        while attempt < self._rules.attempts_max and refusals < REFUSALS_MAX:
            verdict = self._select(replace(ask, excluded=frozenset(tried)))
            if verdict is None:
                break
            tried.add(verdict.offer.offer_id)
            # Before anything is waited for: the next request must find the place taken.
            # Its terms are taken now too: they are those of the price that was ranked.
            self._book.begin(verdict.offer.offer_id)
            live = self._book.get_live(verdict.offer.offer_id)
            try:
                access, reserved = await self._prepare(
                    buyer, call, ask, verdict, live, request_id, attempt
                )
            except (SealBroken, KmsUnavailable) as error:
                log.error("key_not_opened", offer_id=verdict.offer.offer_id, error=str(error))
                refusals += 1
                continue
            except SaleRefused as refusal:
                denied = await self._take_refusal(refusal, verdict)
                if denied is None:
                    tried.discard(verdict.offer.offer_id)
                refusals += 1
                continue
            attempt += 1
            try:
                body = call.build_body(live.upstream_model)
                return await self._attempt(call, ask, reserved, access, body, attempt)
            except SellerFailure:
                continue
            except SellerRejected as error:
                rejected = rejected or error
        if rejected is not None:
            raise RequestRejected(
                rejected.status, "seller_rejected", rejected.message, rejected.param
            )
        if attempt:
            raise sellers_failed(attempt)
        raise self._explain(ask, denied)

    def _select(self, ask: Ask) -> Verdict | None:
        shelf = self._book.get_shelf(ask.model)
        return None if shelf is None else shelf.select(self._book.get_state, ask)

    async def _prepare(
        self,
        buyer: KeyHolder,
        call: Call,
        ask: Ask,
        verdict: Verdict,
        live: Live,
        request_id: str,
        attempt: int,
    ) -> tuple[Access, Reserved]:
        """Open the offer's key and reserve with it. Gives the offer's place back where it fails."""
        try:
            access = await self._book.open_access(verdict.offer, live.base_url)
            return access, await self._reserve(buyer, call, ask, verdict, live, request_id, attempt)
        except BaseException:
            # Where a reservation was written after all, its lease runs out.
            self._book.withdraw(verdict.offer.offer_id)
            raise

    async def _reserve(
        self,
        buyer: KeyHolder,
        call: Call,
        ask: Ask,
        verdict: Verdict,
        live: Live,
        request_id: str,
        attempt: int,
    ) -> Reserved:
        offer = verdict.offer
        sale = NewSale(
            request_id=request_id,
            attempt=attempt,
            account_id=buyer.owner,
            key_id=buyer.key_id,
            offer_id=offer.offer_id,
            offer_version=offer.version,
            seller=offer.seller,
            payout_address=live.payout_address,
            endpoint=call.endpoint,
            model=call.model,
            input_usdc_per_mtok=offer.price.input_usdc_per_mtok,
            output_usdc_per_mtok=offer.price.output_usdc_per_mtok,
            fee_bps=live.fee_bps,
            ceiling_usdc=verdict.ceiling_usdc,
        )
        now_s = int(time.time())
        expires_at_s = now_s + self._rules.lease_s
        used = await self._database.write(
            lambda connection: reserve_sale(
                connection, sale, now_s=now_s, lease_expires_at_s=expires_at_s
            )
        )
        self._book.note_used(used)
        return Reserved(
            self._database,
            sale,
            call=call,
            ask=ask,
            verdict=verdict,
            lease_s=self._rules.lease_s,
            book=self._book,
        )

    async def _take_refusal(self, refusal: SaleRefused, verdict: Verdict) -> Drop | None:
        """Learn from what the ledger turned down; return why, None where the offer is another now.

        Raises ``ApiError`` where no offer would do.
        """
        if refusal.reason is SaleDenial.KEY_REVOKED:
            raise invalid_key() from refusal
        if refusal.reason is SaleDenial.CREDIT_SPENT:
            raise credit_spent(
                required_usdc=verdict.ceiling_usdc, available_usdc=refusal.available_usdc or 0
            ) from refusal
        await self._book.refresh_offers([verdict.offer.offer_id])
        return _DENIALS.get(refusal.reason)

    async def _attempt(
        self,
        call: Call,
        ask: Ask,
        reserved: Reserved,
        access: Access,
        body: bytes,
        attempt: int,
    ) -> Answer | StreamAnswer:
        """Call the seller. Whatever goes wrong gives the reservation back, and is raised."""
        offer_id = reserved.sale.offer_id
        try:
            if call.stream:
                return await self._start_stream(call, ask, reserved, access, body, attempt)
            answer = await self._provider.call(access, call.endpoint, body)
            if not is_answer(call.endpoint, answer.parsed):
                raise SellerFailure(Cause.BAD_FORMAT)
        except SellerFailure as failure:
            self._book.fail(offer_id, failure.cause, retry_after_s=failure.retry_after_s)
            await asyncio.shield(reserved.void(str(failure.cause), is_seller_failure=True))
            raise
        except BaseException as error:
            self._book.end(offer_id, well=False)
            reason = "rejected" if isinstance(error, SellerRejected) else type(error).__name__
            await asyncio.shield(reserved.void(reason, is_seller_failure=False))
            raise
        self._book.end(offer_id, well=True)
        tokens, _ = reserved.count_answer(answer.parsed)
        try:
            cost_usdc = await asyncio.shield(asyncio.ensure_future(reserved.post(tokens)))
        except CurrentError as error:
            log.error("settlement_failed", sale_id=reserved.sale_id, error=str(error))
            raise settlement_failed() from error
        headers = self._build_headers(reserved, attempt) | {
            "content-type": "application/json",
            "x-market-cost-usdc": str(cost_usdc),
        }
        return Answer(200, headers, answer.raw)

    async def _start_stream(
        self,
        call: Call,
        ask: Ask,
        reserved: Reserved,
        access: Access,
        body: bytes,
        attempt: int,
    ) -> StreamAnswer:
        source = await self._provider.open_stream(access, call.endpoint, body)
        opening = Opening(source, Tally(call.endpoint, ask.bound))
        try:
            await opening.begin()
        except BaseException:
            await source.close()
            raise
        offer_id = reserved.sale.offer_id

        def on_end(cause: Cause | None, well: bool) -> None:
            if cause is None:
                self._book.end(offer_id, well=well)
            else:
                self._book.fail(offer_id, cause)

        stream = LiveStream(
            opening=opening,
            sale=reserved,
            asked_for_usage=call.asks_for_usage,
            rules=self._rules.relay,
            on_end=on_end,
        )
        self._keep(asyncio.create_task(stream.run()))
        headers = self._build_headers(reserved, attempt)
        headers |= {"content-type": "text/event-stream", "cache-control": "no-store"}
        return StreamAnswer(headers, stream)

    def _build_headers(self, reserved: Reserved, attempt: int) -> dict[str, str]:
        verdict = reserved.verdict
        discount = get_discount_pct(cost_usdc=verdict.cost_usdc, direct_usdc=verdict.direct_usdc)
        headers = {
            "x-market-offer": verdict.offer.offer_id,
            "x-market-reserved-usdc": str(verdict.ceiling_usdc),
            "x-market-attempts": str(attempt),
        }
        if discount is not None:
            headers["x-market-estimated-discount-pct"] = str(discount)
        return headers

    def _explain(self, ask: Ask, denied: Drop | None) -> ApiError:
        """Return why no offer was even tried."""
        try:
            ranking = self.rank(ask)
        except ApiError as error:
            return error
        return explain_none(ranking, ask, denied=denied)


def explain_none(ranking: Ranking, ask: Ask, *, denied: Drop | None = None) -> ApiError:
    """Return why no offer may serve a request: what the offers that came furthest did not pass.

    ``denied`` is why the ledger turned an offer down that may have room again by now.
    """
    if ranking.is_blocked_by_discount:
        assert ask.minimum_discount_pct is not None
        eligible = [v for v in ranking.dropped if v.drop is Drop.MINIMUM_DISCOUNT]
        discounts = [
            get_discount_pct(cost_usdc=v.cost_usdc, direct_usdc=v.direct_usdc) for v in eligible
        ]
        return discount_not_met(
            model=ask.model,
            minimum_pct=ask.minimum_discount_pct,
            best_pct=max((pct for pct in discounts if pct is not None), default=None),
        )
    if ranking.ranked and denied is not None:
        return unavailable(*_NONE_LEFT[denied])
    if ranking.ranked:
        # They would do, but cannot be called: their keys do not open.
        return unavailable("sellers_unavailable", "The sellers of this model cannot be reached.")
    drops = [verdict.drop for verdict in ranking.dropped if verdict.drop is not None]
    if not drops or set(drops) == {Drop.INACTIVE}:
        return model_not_found(ask.model)
    order = list(Drop)
    furthest = max(drops, key=order.index)
    code, message = _NONE_LEFT[furthest]
    error = unavailable(code, message)
    counts = {str(drop): drops.count(drop) for drop in order if drop in drops}
    error.facts = {"dropped": counts}
    return error


_NONE_LEFT: Final[Mapping[Drop, tuple[str, str]]] = {
    Drop.UNTRUSTED: ("no_trusted_seller", "No trusted seller offers this model now."),
    Drop.FILTERED: ("no_seller_matches", "No seller passes the filters of the request."),
    Drop.PRICE_CEILING: (
        "price_ceiling_not_met",
        "No seller is within the request's price ceilings.",
    ),
    Drop.BACKING_OFF: ("sellers_backing_off", "All sellers of this model failed lately."),
    Drop.BUSY: ("sellers_busy", "All sellers of this model are busy."),
    Drop.CAP_REACHED: ("seller_caps_reached", "All sellers have sold what they sell in a day."),
    Drop.QUOTA_SPENT: ("seller_quotas_spent", "All sellers have sold their quota."),
    Drop.RATE_LIMITED: ("sellers_rate_limited", "All sellers are at their requests a minute."),
}

_DENIALS: Final = {
    SaleDenial.CAP_REACHED: Drop.CAP_REACHED,
    SaleDenial.QUOTA_SPENT: Drop.QUOTA_SPENT,
}
