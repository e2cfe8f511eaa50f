"""The proxy's part of a live stream: its reservation, and its words for every ending."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from contracts.errors import CurrentError
from ledger.errors import UsageResolved
from proxy.chat.market_sales import SaleUnsettled, SoldStream
from proxy.chat.meter import Meter
from proxy.chat.upstream import Upstream
from proxy.chat.upstream_errors import describe_said, translate
from proxy.errors import (
    ceiling_reached,
    charged_so_far,
    reservation_lost,
    shutting_down,
    stream_timeout,
    upstream_failed,
)
from serving.http.errors import ApiError, charge_follows, internal_error
from serving.models.counting import Counted
from serving.models.failures import UpstreamError
from serving.models.prices import Tokens
from serving.stream.live import Ending, Why

log = structlog.get_logger("proxy")

_NOTHING: Final = Counted(Tokens(0, 0), is_estimated=True)
_STOPPING: Final = shutting_down().code

CHARGE_NAME: Final = "cost"
"""What the usage of a stream calls the cost, in 1e-6 USDC."""

Post = Callable[[Counted], Awaitable[int]]
"""Charges a reservation; returns the cost in 1e-6 USDC. Raises ``CurrentError``."""


class ChatBooking:
    """A request's reservation in the ledger: see ``serving.stream.live.Booking``."""

    def __init__(
        self, request_id: str, meter: Meter, post: Post, sale: SoldStream | None = None
    ) -> None:
        """``sale`` is what the stream came to at the market that sells it, if one does."""
        self.booking_id = request_id
        self.lease_s: float = meter.lease_s
        self._meter = meter
        self._post = post
        self._sale = sale

    async def post(self, counted: Counted) -> int:
        """Charge; return the cost in 1e-6 USDC. Raises ``CurrentError``.

        ``SaleUnsettled``: the market has not said the cost yet; the reservation is kept meanwhile.
        """
        if self._sale is not None:
            try:
                counted = await self._sale.settle(counted)
            except SaleUnsettled:
                await self.renew()
                raise
        return await self._post(counted)

    async def void(self, ending: Ending) -> int | None:
        """Give the reservation back, unless the market charged for what it had sent.

        Where that cannot be written, the lease runs out.
        """
        if self._sale is not None:
            try:
                sold = await self._sale.settle(_NOTHING)
                if sold.sold_usdc:
                    return await self._post(sold)
            except CurrentError as error:
                log.warning("sale_not_posted", request_id=self.booking_id, error=str(error))
        await self._meter.void(self.booking_id, ending.code)
        return None

    async def renew(self) -> bool:
        """Keep the reservation; tell whether it still stands. Raises ``LedgerUnavailable``."""
        try:
            await self._meter.renew(self.booking_id)
        except UsageResolved:
            return False
        return True

    def note_end(self, ending: Ending | None) -> None:
        """Note whether this process stops: then nothing can be asked of a market later."""
        if ending is not None and ending.code == _STOPPING:
            self.note_stop()

    def note_stop(self) -> None:
        """Note that this process stops: the market has its last chance to say the cost."""
        if self._sale is not None:
            self._sale.is_stopping = True


class ChatEndings:
    """The proxy's errors for streams that end early."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def explain(self, why: Why, detail: Any = None) -> Ending:
        """Return the ending."""
        return end_with(self._find_error(why, detail))

    def _find_error(self, why: Why, detail: Any) -> ApiError:
        match why:
            case Why.DIED if isinstance(detail, UpstreamError):
                return translate(detail)
            case Why.FAILED if detail is not None:
                return describe_said(detail, secrets=self._upstream.secrets)
            case Why.DIED | Why.FAILED | Why.BROKE_OFF | Why.MALFORMED:
                message = "The model's provider broke off its answer."
                return upstream_failed("upstream_disconnected", message)
            case Why.EMPTY:
                message = "The model's provider ended its stream without an answer."
                return upstream_failed("upstream_invalid_response", message)
            case Why.LEFT:
                return upstream_failed("client_gone", "The client left before the stream ended.")
            case Why.OVER:
                return ceiling_reached()
            case Why.TOO_LONG:
                return stream_timeout()
            case Why.STOPPED:
                return shutting_down()
            case Why.LOST:
                return reservation_lost()
            case Why.UNSETTLED:
                return charge_follows()
            case Why.INTERNAL:
                return internal_error()


def end_with(error: ApiError) -> Ending:
    """Return the ending that tells the client ``error``."""

    def describe(cost_usdc: int | None) -> bytes:
        told = error if cost_usdc is None else charged_so_far(error, cost_usdc=cost_usdc)
        return told.body()

    return Ending(error.code, describe)
