"""A streamed answer while it is live: relayed, counted, and charged however it ends.

It can end by the seller's last word, by the seller dying, by the buyer leaving, by what was
reserved being used up, by taking too long, or by the process being stopped. What was delivered is
charged and earned; where nothing was, the reservation is given back. A seller that breaks off has
failed, whoever pays for what came before.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from contracts.errors import CurrentError
from ledger.errors import LedgerUnavailable
from ledger.selling.sale_records import SaleResolved
from market.errors import broken_off
from market.text.tally import Move, Tally
from serving.http.errors import ApiError, internal_error, settlement_failed
from serving.models.failures import Cause, UpstreamFailure
from serving.models.prices import Tokens
from serving.models.upstream import UpstreamStream
from serving.stream.sse import EventSplitter, EventTooLong, build_event

log = structlog.get_logger("market")

EVENT_BYTES_MAX: Final = 4 * 1024**2
QUEUE_EVENTS: Final = 256
"""How far a seller may be ahead of a buyer who reads slowly."""

POST_RETRY_S: Final = 5.0


class Sale(Protocol):
    """The reservation that a stream is charged to."""

    sale_id: str
    lease_s: float

    def count(self, tally: Tally) -> tuple[Tokens, bool]:
        """Return the tokens to charge for, and whether they are our own count."""
        ...

    async def post(self, tokens: Tokens) -> int:
        """Charge; return the cost in 1e-6 USDC. Raises ``CurrentError``."""
        ...

    async def void(self, reason: str, *, is_seller_failure: bool) -> None:
        """Give the reservation back."""
        ...

    async def renew(self) -> None:
        """Keep the reservation. Raises ``SaleResolved`` or ``LedgerUnavailable``."""
        ...


@dataclass(frozen=True, slots=True)
class RelayRules:
    """How long a stream may go on. All in seconds."""

    timeout_s: float
    drain_s: float
    """How long a seller is still read, for its usage report, after the buyer has left."""
    opening_s: float
    """How long a seller may say nothing but comments."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a stream ended before the seller's last word. ``cause`` where it is the seller's doing,
    ``error`` what the buyer is told."""

    code: str
    error: ApiError
    cause: Cause | None = None


class Opening:
    """A seller's stream up to its first event: what is read here may still fail over."""

    def __init__(self, source: UpstreamStream, tally: Tally) -> None:
        self.source = source
        self.tally = tally
        self._splitter = EventSplitter(event_bytes_max=EVENT_BYTES_MAX)
        self._pieces = source.pieces()
        self._ready: list[tuple[bytes, Move]] = []

    async def begin(self, *, timeout_s: float) -> None:
        """Read until the seller has said something. Raises ``UpstreamFailure``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._read_first()
        except TimeoutError:
            raise UpstreamFailure(Cause.TIMEOUT) from None
        except EventTooLong:
            raise UpstreamFailure(Cause.BAD_FORMAT) from None

    async def _read_first(self) -> None:
        while True:
            if not await self._read_piece():
                raise UpstreamFailure(Cause.BAD_FORMAT)
            moves = {move for _, move in self._ready} - {Move.COMMENT}
            if moves & {Move.FAILED, Move.OVER} or moves == {Move.DONE}:
                raise UpstreamFailure(Cause.BAD_FORMAT)
            if moves:
                return

    async def moves(self) -> AsyncIterator[tuple[bytes, Move]]:
        """Yield the events in turn. Raises ``UpstreamFailure`` and ``EventTooLong``."""
        while True:
            for pair in self._ready:
                yield pair
            if not await self._read_piece():
                return

    async def _read_piece(self) -> bool:
        self._ready = []
        async for piece in self._pieces:
            for event in self._splitter.feed(piece):
                move = self.tally.read(event)
                self._ready.append((event, move))
                if move is Move.DONE:
                    break  # what follows, if only in the same piece, is not read: nor counted
            return True
        return False


class LiveStream:
    """One stream. ``run`` drives it to its end, in a task of its own; ``events`` is the buyer's
    side, and may stop at any time by ``leave``."""

    def __init__(
        self,
        *,
        opening: Opening,
        sale: Sale,
        asked_for_usage: bool,
        rules: RelayRules,
        on_end: Callable[[Cause | None, bool], None],
    ) -> None:
        self._opening = opening
        self._sale = sale
        self._asked_for_usage = asked_for_usage
        self._rules = rules
        self._on_end = on_end
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_EVENTS)
        self._left = False
        self._cut_by: Ending | None = None
        self._relay: asyncio.Task[Ending | None] | None = None

    # ------------------------------------------------------------------------------- buyer's side

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the events for the buyer until the stream has ended and was charged."""
        while (event := await self._queue.get()) is not None:
            yield event

    def leave(self) -> None:
        """Note that the buyer has gone. The seller is read on for a while: it may say the usage."""
        if self._left:
            return
        self._left = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)  # whoever sends to it waits for nothing more
        gone = Ending("client_gone", broken_off("client_gone", "The client left."))
        asyncio.get_running_loop().call_later(self._rules.drain_s, self.cut, gone)

    def cut(self, ending: Ending) -> None:
        """End the stream now. What was delivered is charged."""
        if self._cut_by is None and self._relay is not None and not self._relay.done():
            self._cut_by = ending
            self._relay.cancel()

    # ------------------------------------------------------------------------------ seller's side

    async def run(self) -> str:
        """Relay, then charge. Return the outcome: ``ok``, or the code of what ended it."""
        self._relay = asyncio.create_task(self._relay_all())
        renewal = asyncio.create_task(self._renew())
        try:
            ending = await self._await_relay()
        finally:
            renewal.cancel()
        # Shielded: the second cancellation of an impatient shutdown must not stop the charge.
        return await asyncio.shield(asyncio.ensure_future(self._finish(ending)))

    async def _await_relay(self) -> Ending | None:
        assert self._relay is not None
        try:
            async with asyncio.timeout(self._rules.timeout_s):
                return await asyncio.shield(self._relay)
        except TimeoutError:
            message = "The stream took too long."
            self.cut(Ending("stream_timeout", broken_off("stream_timeout", message)))
        except asyncio.CancelledError:
            # By ``cut``, which cancels the relay; or this task itself, by a shutdown.
            message = "The market is shutting down."
            self.cut(Ending("shutting_down", broken_off("shutting_down", message)))
        await asyncio.wait([self._relay])
        return self._cut_by

    async def _relay_all(self) -> Ending | None:
        tally = self._opening.tally
        try:
            async for event, move in self._opening.moves():
                match move:
                    case Move.PASS | Move.COMMENT:
                        await self._send(event)
                    case Move.DONE:
                        return None if tally.has_said_anything else _seller_broke(Cause.BAD_FORMAT)
                    case Move.FAILED:
                        return _seller_broke(Cause.SERVER)
                    case Move.OVER:
                        message = "The seller sent more than was asked for."
                        error = broken_off("ceiling_reached", message)
                        return Ending("ceiling_reached", error, Cause.BAD_FORMAT)
        except UpstreamFailure as failure:
            return None if tally.finished else _seller_broke(failure.cause)
        except EventTooLong:
            return _seller_broke(Cause.BAD_FORMAT)
        except Exception:
            log.exception("stream_failed", sale_id=self._sale.sale_id)
            return Ending("internal_error", internal_error())
        finally:
            await self._opening.source.close()
        return None if tally.finished else _seller_broke(Cause.UNREACHABLE)

    async def _send(self, event: bytes) -> None:
        if not self._left:
            await self._queue.put(event)

    async def _renew(self) -> None:
        """Keep the reservation's lease alive."""
        while True:
            await asyncio.sleep(self._sale.lease_s / 3)
            try:
                await self._sale.renew()
            except SaleResolved:
                message = "The reservation is gone."
                self.cut(Ending("reservation_lost", broken_off("reservation_lost", message)))
                return
            except LedgerUnavailable as error:
                log.warning("lease_not_renewed", sale_id=self._sale.sale_id, error=str(error))

    async def _finish(self, ending: Ending | None) -> str:
        """Charge for what was delivered, say so, and end the buyer's side."""
        tally = self._opening.tally
        cause = None if ending is None else ending.cause
        self._on_end(cause, ending is None)
        try:
            if ending is not None and tally.reported is None and tally.output_bytes == 0:
                await self._sale.void(
                    ending.code if cause is None else str(cause),
                    is_seller_failure=cause is not None,
                )
                await self._send_last(build_event(ending.error.body()))
                return ending.code
            tokens, _ = self._sale.count(tally)
            cost_usdc = await self._charge(tokens)
            if cost_usdc is None:
                return settlement_failed().code
            if ending is None:
                last = tally.build_end(
                    tokens, cost_usdc=cost_usdc, asked_for_usage=self._asked_for_usage
                )
                await self._send_last(last)
                return "ok"
            await self._send_last(build_event(ending.error.body()))
            return ending.code
        finally:
            self._end()

    async def _charge(self, tokens: Tokens) -> int | None:
        """Post what was delivered; None where the buyer could not be told the cost."""
        try:
            return await self._sale.post(tokens)
        except CurrentError as error:
            log.error("settlement_failed", sale_id=self._sale.sale_id, error=str(error))
            await self._send_last(build_event(settlement_failed().body()))
            self._end()
        # The answer is delivered already, so the charge is tried for as long as it can stand.
        until_s = time.monotonic() + self._sale.lease_s
        while time.monotonic() < until_s:
            await asyncio.sleep(POST_RETRY_S)
            try:
                await self._sale.post(tokens)
            except LedgerUnavailable:
                continue
            except CurrentError:
                break
            else:
                break
        return None

    async def _send_last(self, event: bytes) -> None:
        """Send what a buyer that has stopped reading may miss."""
        try:
            async with asyncio.timeout(self._rules.drain_s):
                await self._send(event)
        except TimeoutError:
            self.leave()

    def _end(self) -> None:
        """Let the buyer's side end. One that has left reads nothing any more."""
        if self._left:
            return
        self._left = True
        if self._queue.full():
            self._queue.get_nowait()  # it reads too slowly to ever come to the end
        self._queue.put_nowait(None)


def _seller_broke(cause: Cause) -> Ending:
    error = broken_off("seller_disconnected", "The seller broke off its answer.")
    return Ending("seller_disconnected", error, cause)
