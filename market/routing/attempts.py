"""Trying one offer after the other until one serves: rank, **reserve**, call, or give back.

An attempt that fails before anything of its answer was used gives its reservation back, and the
next offer is tried; the buyer sees nothing of it until none is left. What follows an attempt that
went well, the charge, is the caller's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

import structlog
from sqlalchemy import Connection

from ledger.selling.ceilings import note_exhausted
from ledger.selling.sale_calls import ReserveSale
from ledger.selling.sale_records import NewSale, SaleDenial, SaleRefused
from market.endpoints.sealing import KmsUnavailable
from market.errors import credit_spent, invalid_key, sellers_failed
from market.metrics import Metrics
from market.pricing.media_units import Base
from market.records.database import Database
from market.records.store import KeyHolder
from market.routing.book import Book
from market.routing.live_offers import Live
from market.routing.mismatches import Mismatches, suspend
from market.routing.ranking import Ask, Drop, Offer, Verdict
from market.routing.refusals import DENIALS, build_rejection, find_telling
from market.routing.reservations import ReservedSale
from market.routing.selection import Selection
from market.routing.tried import Tried
from serving.http.errors import RequestRejected, overloaded
from serving.models.failures import Cause, Looped, UpstreamFailure, UpstreamRejected
from serving.models.grades import Grade, ServedBy, write_served_by
from serving.models.sold import OFFER_HEADER
from serving.models.upstream import Access
from serving.process.aes_gcm import SealBroken
from serving.process.hops import is_first
from serving.process.turns import NoPlace

log = structlog.get_logger("market")

T = TypeVar("T")

REFUSALS_MAX: Final = 20
"""Offers that the ledger may turn down for one request, their caps used up meanwhile."""

REJECTIONS_MAX: Final = 10
"""Sellers that may say that a request is wrong until it is believed."""

SERVED: Final = "ok"
"""The cause of an attempt that went well."""


@dataclass(frozen=True, slots=True)
class Order:
    """A buyer's request, as far as it matters for trying offers.

    ``asks`` are the ways in which it can be priced, one for each unit; ``also`` is written with
    every reservation, and its refusals (``CurrentError``) end the request.
    """

    buyer: KeyHolder
    endpoint: str
    asks: Sequence[Ask]
    request_id: str
    also: Callable[[Connection, NewSale], object] | None = None
    attempts_before: int = 0
    """How many sales the request has had already."""

    @property
    def priced_asks(self) -> Sequence[Ask]:
        """The same asks, with what this buyer pays beside a seller's price."""
        fee_usdc = self.buyer.flat_fee_usdc
        return (
            [replace(ask, flat_fee_usdc=fee_usdc) for ask in self.asks] if fee_usdc else self.asks
        )


@dataclass(frozen=True, slots=True)
class Won(Generic[T]):
    """The attempt that went well. Its offer's place is still taken, its sale still reserved."""

    result: T
    charge: ReservedSale
    attempts: int
    book: Book
    began_s: float
    """When it was called, on the monotonic clock."""

    @property
    def offer_id(self) -> str:
        """The offer that was tried."""
        return self.charge.sale.offer_id

    @property
    def is_trusted(self) -> bool:
        """Whether the operator has approved the seller."""
        return self.charge.verdict.offer.is_trusted

    @property
    def base(self) -> Base:
        """The base that the offer's price counts."""
        return self.charge.verdict.offer.base

    @property
    def served_by(self) -> ServedBy:
        """Who served, and how sure it is what."""
        offer = self.charge.verdict.offer
        return ServedBy(offer.seller, offer.offer_id, offer.host, offer.grade)

    def end(self, cause: Cause | None = None, *, well: bool = True) -> None:
        """Give the offer's place back: it went well, or not by the seller's doing, or failed."""
        offer_id = self.charge.sale.offer_id
        if cause is None:
            self.book.end(offer_id, well=well)
        else:
            self.book.fail(offer_id, cause)

    def build_headers(self) -> dict[str, str]:
        """Return the headers that tell the buyer of the attempt."""
        verdict = self.charge.verdict
        discount = verdict.discount_pct
        headers = {
            OFFER_HEADER: verdict.offer.offer_id,
            "x-market-reserved-usdc": str(verdict.ceiling_usdc),
            "x-market-attempts": str(self.attempts),
        } | write_served_by(self.served_by)
        if discount is not None:
            headers["x-market-estimated-discount-pct"] = str(discount)
        return headers


@dataclass(frozen=True, slots=True)
class Callee:
    """The endpoint that is called, and how far it is believed."""

    access: Access
    model: str
    """The endpoint's own name for the model."""
    is_own: bool = False
    """Whether it is the buyer's own provider: nothing is sold."""
    is_trusted: bool = True
    """Whether the operator has approved its seller."""


Attempt = Callable[[Callee], Awaitable[T]]
"""Calls one endpoint."""


class Attempts:
    """Tries offers for requests."""

    def __init__(
        self,
        database: Database,
        book: Book,
        metrics: Metrics,
        *,
        attempts_max: int,
        lease_s: int,
        vesting_s: int = 0,
    ) -> None:
        self.selection = Selection(book)
        self._database = database
        self._book = book
        self._metrics = metrics
        self._attempts_max = attempts_max
        self._lease_s = lease_s
        self._vesting_s = vesting_s
        self._mismatches = Mismatches()

    async def run(self, order: Order, attempt: Attempt[T], *, is_open: bool = False) -> Won[T]:
        """Return the first attempt that goes well. Raises ``ApiError``.

        ``is_open``: what goes well is the beginning of a stream, which may still name another
        model; ``take_good`` is called at its end.
        """
        asks = order.priced_asks
        is_single = asks[0].policy.is_single
        tried = Tried()
        attempts = refusals = shortages = 0
        asks_resting = False
        rejections: list[UpstreamRejected] = []
        refused_by: list[str] = []
        denied: Drop | None = None
        shortage: RequestRejected | None = None
        while (
            attempts - len(rejections) < self._attempts_max
            and len(rejections) < REJECTIONS_MAX
            and refusals < REFUSALS_MAX
            and not (is_single and attempts)
        ):
            failures = attempts - len(rejections)
            is_last = 0 < failures == self._attempts_max - 1
            verdict = (
                self.selection.find_proven(asks, tried)
                if is_last
                else self.selection.find(asks, tried)
            )
            if verdict is None and not asks_resting:
                asks_resting = True
                verdict = self.selection.find_resting(asks, tried)
            if verdict is None:
                break
            offer_id = verdict.offer.offer_id
            tried.offers.add(offer_id)
            # Before anything is waited for: the next request must find the place taken.
            # The terms are taken now too, so that they match the price that was ranked.
            self._book.begin(offer_id)
            live = self._book.get_live(offer_id)
            try:
                access, reserved = await self._prepare(order, verdict, live, attempts)
            except (SealBroken, KmsUnavailable) as error:
                log.error("key_not_opened", offer_id=offer_id, error=str(error))
                refusals += 1
                continue
            except SaleRefused as refusal:
                refusals += 1
                if refusal.reason is SaleDenial.CREDIT_SPENT:
                    asks, shortage = self._take_shortage(refusal, verdict, asks, tried)
                    asks_resting = False
                    continue
                denied = await self._take_refusal(refusal, verdict)
                if denied is None:
                    tried.offers.discard(offer_id)
                continue
            attempts += 1
            shortage = None
            tried.note(verdict.offer)
            began_s = time.monotonic()
            try:
                callee = Callee(access, live.upstream_model, is_trusted=verdict.offer.is_trusted)
                result = await self._attempt(attempt, reserved, callee)
                if not is_open:
                    self.take_good(offer_id)
            except UpstreamFailure as failure:
                if isinstance(failure, Looped) and is_first():
                    # It goes round behind this seller, not before it: who always says so comes
                    # last.
                    refused_by.append(offer_id)
                continue
            except NoPlace:
                shortages += 1
                continue
            except UpstreamRejected as error:
                rejections.append(error)
                refused_by.append(offer_id)
                continue
            self._book.note_served(offer_id, order.endpoint, refused_by=refused_by)
            return Won(result, reserved, attempts, self._book, began_s)
        if shortage is not None:
            raise shortage
        if rejections:
            raise build_rejection(find_telling(rejections))
        if attempts and attempts == shortages:
            raise overloaded()
        if attempts:
            raise sellers_failed(attempts)
        raise self.selection.explain(asks, denied)

    async def _prepare(
        self, order: Order, verdict: Verdict, live: Live, attempt: int
    ) -> tuple[Access, ReservedSale]:
        """Open the offer's key and reserve with it. Gives the offer's place back where it fails."""
        try:
            access = await self._book.open_access(verdict.offer, live.base_url)
            return access, await self._reserve(order, verdict, live, attempt)
        except BaseException:
            # Where a reservation was written after all, its lease runs out.
            self._book.withdraw(verdict.offer.offer_id)
            raise

    async def _reserve(
        self, order: Order, verdict: Verdict, live: Live, attempt: int
    ) -> ReservedSale:
        offer = verdict.offer
        sale = NewSale(
            request_id=order.request_id,
            attempt=order.attempts_before + attempt,
            account_id=order.buyer.owner,
            key_id=order.buyer.key_id,
            offer_id=offer.offer_id,
            offer_version=offer.version,
            seller=offer.seller,
            payout_address=live.payout_address,
            endpoint=order.endpoint,
            model=offer.model,
            input_usdc_per_mtok=verdict.price.input_usdc_per_mtok,
            output_usdc_per_mtok=verdict.price.output_usdc_per_mtok,
            cached_input_usdc_per_mtok=verdict.price.cached_input_usdc_per_mtok,
            per_request_usdc=verdict.price.per_request_usdc,
            fee_bps=live.fee_bps,
            ceiling_usdc=verdict.ceiling_usdc,
            unit=offer.unit,
            flat_fee_usdc=order.buyer.flat_fee_usdc,
            vesting_s=self._get_vesting_s(offer, live),
        )
        if live.supply_offer_id is not None:
            bound = next(ask.bound for ask in order.asks if ask.base is offer.base)
            sale = replace(
                sale,
                supply_offer_id=live.supply_offer_id,
                bound_tokens=bound.prompt + bound.completion,
            )
        self._database.clock.check_known()
        now_s = self._database.now_s()
        expires_at_s = now_s + self._lease_s
        reserve = ReserveSale(sale, now_s, expires_at_s, self._database.holder_id, order.also)
        self._book.note_used(await self._database.write(reserve))
        return ReservedSale(
            self._database, self._book, sale, verdict=verdict, lease_s=self._lease_s
        )

    def _get_vesting_s(self, offer: Offer, live: Live) -> int:
        """Return how long a sale's earning may still go back to the buyer, seconds.

        A supplier is known by name and paid by the day; a known company has its own to lose.
        """
        is_unknown = offer.grade is Grade.OTHER and live.supply_offer_id is None
        return self._vesting_s if is_unknown else 0

    async def _take_refusal(self, refusal: SaleRefused, verdict: Verdict) -> Drop | None:
        """Learn from what the ledger turned down; return why, None where the offer is another now.

        Raises ``ApiError`` where no offer would do.
        """
        offer_id = verdict.offer.offer_id
        if refusal.reason is SaleDenial.KEY_REVOKED:
            raise invalid_key() from refusal
        if refusal.reason is SaleDenial.RATE_LIMITED:
            self._book.note_limited(offer_id)
            return DENIALS[refusal.reason]
        live = self._book.find_live(offer_id)
        if refusal.reason is SaleDenial.TOKENS_SPENT and live is not None:
            supply_offer_id, now_s = live.supply_offer_id, self._database.now_s()
            assert supply_offer_id is not None
            await self._database.write(
                lambda connection: note_exhausted(connection, supply_offer_id, now_s=now_s)
            )
        await self._book.refresh_offers([offer_id])
        return DENIALS.get(refusal.reason)

    def _take_shortage(
        self, refusal: SaleRefused, verdict: Verdict, asks: Sequence[Ask], tried: Tried
    ) -> tuple[list[Ask], RequestRejected]:
        """Return what the credit that is left may pay for, and the error where that is nothing."""
        left_usdc = refusal.available_usdc or 0
        at_any_price = [replace(ask, session=None, ceiling_usdc_max=None) for ask in asks]
        other = self.selection.find(at_any_price, tried)
        required_usdc = min(one.ceiling_usdc for one in (verdict, other) if one is not None)
        return (
            [replace(ask, ceiling_usdc_max=left_usdc) for ask in at_any_price],
            credit_spent(required_usdc=required_usdc, available_usdc=left_usdc),
        )

    async def _attempt(self, attempt: Attempt[T], reserved: ReservedSale, callee: Callee) -> T:
        """Call the seller. Whatever goes wrong gives the reservation back, and is raised."""
        offer_id = reserved.sale.offer_id
        try:
            result = await attempt(callee)
        except UpstreamFailure as failure:
            if isinstance(failure, Looped):
                await self._give_back(reserved, "loop_detected")
                raise
            self._book.fail(offer_id, failure.cause, retry_after_s=failure.retry_after_s)
            self._metrics.observe_attempt(failure.cause)
            await asyncio.shield(reserved.void(str(failure.cause), is_seller_failure=True))
            if failure.cause is Cause.WRONG_MODEL:
                await asyncio.shield(self.take_mismatch(reserved, str(failure.message)))
            raise
        except BaseException as error:
            reason = "rejected" if isinstance(error, UpstreamRejected) else type(error).__name__
            await self._give_back(reserved, reason)
            raise
        self._metrics.observe_attempt(SERVED)
        return result

    def take_good(self, offer_id: str) -> None:
        """Take in that a whole answer was of the model that was sold."""
        self._mismatches.forget(offer_id)

    async def take_mismatch(self, reserved: ReservedSale, said: str) -> None:
        """Take in that another model answered, as it said itself: its offer may be suspended."""
        offer = reserved.verdict.offer
        if self._mismatches.note(offer.offer_id, offer.grade) and await suspend(
            self._database, self._book, reserved.sale, said
        ):
            self._mismatches.forget(offer.offer_id)

    async def _give_back(self, reserved: ReservedSale, reason: str) -> None:
        """Give a reservation back after what was not the seller's doing."""
        self._book.end(reserved.sale.offer_id, well=False)
        self._metrics.observe_attempt("rejected" if reason == "rejected" else "other")
        await asyncio.shield(reserved.void(reason, is_seller_failure=False))
