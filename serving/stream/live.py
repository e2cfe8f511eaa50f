"""A streamed answer while it is live: relayed, counted, and charged however it ends.

A stream can end by the provider's last word, by the provider dying, by the client leaving, by what
was reserved being used up, by a revocation, by taking too long, or by the process being stopped. In
each case what was delivered is charged; where nothing was, the reservation is given back. Only a
killed process charges nothing: its reservation's lease runs out.

Both servers bring what is theirs: a ``Source`` of bytes, a ``Booking`` that knows how to charge,
give back and renew their reservation, and the ``Endings`` that say to their clients why a stream
ended early.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Protocol

import structlog

from contracts.errors import CurrentError, Retryable
from serving.models.counting import Counted
from serving.stream.reading import Reading, StreamState
from serving.stream.sse import EventTooLong
from serving.stream.tally import Tally
from serving.stream.transcript import SentEvents

log = structlog.get_logger("serving")

QUEUE_PIECES: Final = 256
"""How far a provider may be ahead of a client that reads slowly."""

OK: Final = "ok"


class Why(Enum):
    """Why a stream ended before the provider's last word."""

    DIED = auto()
    """Reading from the provider raised; the detail is the exception."""
    BROKE_OFF = auto()
    """The provider closed the connection in the middle of its answer."""
    MALFORMED = auto()
    """The provider sent something that is no stream of this endpoint."""
    FAILED = auto()
    """The provider said so; the detail is its error object, or None."""
    EMPTY = auto()
    """The provider ended its stream without an answer in it."""
    OVER = auto()
    """The provider sent more than what was reserved for."""
    TOO_LONG = auto()
    """The stream took longer than a stream may."""
    LEFT = auto()
    """The client left."""
    STOPPED = auto()
    """This process is stopping."""
    LOST = auto()
    """The reservation is gone."""
    INTERNAL = auto()
    """A bug here; the log has the details."""
    UNSETTLED = auto()
    """The charge could not be written yet."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a stream ended early, in the words of the server that it ends at."""

    code: str
    describe: Callable[[int | None], bytes]
    """Returns the JSON of the error for the client: with the cost (1e-6 USDC), or with None where
    nothing is charged."""
    cause: str | None = None
    """What the provider did wrong, in the server's own words; None where it did nothing wrong."""


class Endings(Protocol):
    """Words for every way in which a stream can end early."""

    def explain(self, why: Why, detail: Any = None) -> Ending:
        """Return the ending."""
        ...


class Booking(Protocol):
    """The reservation that a stream is charged to."""

    @property
    def booking_id(self) -> str:
        """What the reservation is called in logs."""
        ...

    @property
    def lease_s(self) -> float:
        """How long the reservation stands without being renewed, in seconds."""
        ...

    async def post(self, counted: Counted) -> int:
        """Charge; return the cost in 1e-6 USDC. Raises ``CurrentError``."""
        ...

    async def void(self, ending: Ending) -> int | None:
        """Give the reservation back. Where that cannot be written, its lease runs out.

        Where it turns out that something is owed all the same, charge and return it (1e-6 USDC).
        """
        ...

    async def renew(self) -> bool:
        """Keep the reservation for another lease; tell whether it still stands.

        Raises ``Retryable`` where that cannot be written now.
        """
        ...

    def note_end(self, ending: Ending | None) -> None:
        """Note how the provider's side ended, before anything is charged; None: well."""
        ...

    def note_stop(self) -> None:
        """Note that this process stops: the next charge is the last that is tried."""
        ...


@dataclass(frozen=True, slots=True)
class StreamRules:
    """How long a stream may go on. All in seconds."""

    timeout_s: float
    drain_s: float
    """How long a provider is still read, for its usage report, after the client has left."""
    post_retry_s: float = 5.0
    """Pause between the tries to charge what was delivered already."""
    last_words_s: float | None = None
    """How long a client that reads slowly may take to read the last event; None: ``drain_s``."""
    ping_s: float = 7.0
    """How long nothing is sent before the client is told that the stream is alive; at most twice
    as long, since it is looked at this often."""


class LiveStream:
    """A stream. ``run`` drives it to its end, in a task of its own; ``events`` is the client's
    side, and may stop at any time by ``leave``."""

    def __init__(
        self,
        *,
        reading: Reading,
        booking: Booking,
        endings: Endings,
        charge_name: str,
        asks_for_usage: bool,
        rules: StreamRules,
        transcript: SentEvents | None = None,
    ) -> None:
        self._reading = reading
        self._booking = booking
        self._endings = endings
        self._charge_name = charge_name
        """What the cost is called in the usage that the client is told."""
        self._asks_for_usage = asks_for_usage
        self._rules = rules
        self._transcript = transcript
        """Takes down what the client is told, also after it has left: it may ask again."""
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_PIECES)
        self._left = False
        self._passed = 0
        """How many times something was passed on."""
        self._pulse: asyncio.TimerHandle | None = None
        self._cut_by: Ending | None = None
        self._stopping = asyncio.Event()
        self._relay: asyncio.Task[Ending | None] | None = None

    @property
    def _tally(self) -> Tally:
        return self._reading.tally

    # ---------------------------------------------------------------------------- the client's side

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the events for the client until the stream has ended and was charged.

        Events that are ready go together: each write costs more than what it writes.
        """
        has_ended = False
        while not has_ended:
            ready = [await self._queue.get()]
            while not self._queue.empty():
                ready.append(self._queue.get_nowait())
            has_ended = None in ready
            if events := b"".join(event for event in ready if event is not None):
                yield events

    def leave(self) -> None:
        """Note that the client has gone. The provider is read on for a while: it may say the
        usage."""
        if self._left:
            return
        self._left = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)  # so that no reader waits for the queue any more
        if self._transcript is not None:
            return  # a client that asks again gets the whole answer
        gone = self._endings.explain(Why.LEFT)
        asyncio.get_running_loop().call_later(self._rules.drain_s, self.cut, gone)

    def cut(self, ending: Ending) -> None:
        """End the stream now and tell the client why. The delivered part is charged."""
        if self._cut_by is None and self._relay is not None and not self._relay.done():
            self._cut_by = ending
            self._relay.cancel()

    # -------------------------------------------------------------------------- the provider's side

    async def run(self) -> str:
        """Relay, then charge. Return the outcome: ``ok``, or the code of what ended the stream."""
        self._relay = asyncio.create_task(self._relay_all())
        renewal = asyncio.create_task(self._renew())
        if self._tally.build_ping() is not None:
            self._keep_alive(0, is_first=True)
        try:
            ending = await self._await_relay()
        finally:
            renewal.cancel()
        # Shielded: no cancellation of an impatient shutdown stops the charge. It hurries it.
        finishing = asyncio.ensure_future(self._finish(ending))
        while True:
            try:
                return await asyncio.shield(finishing)
            except asyncio.CancelledError:
                if finishing.cancelled():
                    raise
                self._booking.note_stop()
                self._stopping.set()

    async def _await_relay(self) -> Ending | None:
        """Return why the stream ended early, or None."""
        assert self._relay is not None
        try:
            async with asyncio.timeout(self._rules.timeout_s):
                return await asyncio.shield(self._relay)
        except TimeoutError:
            self.cut(self._endings.explain(Why.TOO_LONG))
        except asyncio.CancelledError:
            # By ``cut``, which cancels the relay; or this task itself, by a shutdown.
            self.cut(self._endings.explain(Why.STOPPED))
        await asyncio.wait([self._relay])
        return self._cut_by

    async def _relay_all(self) -> Ending | None:
        try:
            why, detail = await self._pass_on()
        except CurrentError as error:
            why, detail = Why.DIED, error
        except EventTooLong:
            why, detail = Why.MALFORMED, None
        except Exception:
            log.exception("stream_failed", booking_id=self._booking.booking_id)
            return self._endings.explain(Why.INTERNAL)
        finally:
            await self._reading.close()
        if why is None or (why in (Why.DIED, Why.BROKE_OFF) and self._tally.is_finished):
            return None
        return self._endings.explain(why, detail)

    async def _pass_on(self) -> tuple[Why | None, Any]:
        """Pass everything on; return why the stream ended early, and what is known of that."""
        reading = self._reading
        while True:
            piece, verdict = await reading.read()
            if piece and self._transcript is not None:
                self._transcript.add(piece)
            if piece and not self._left:
                self._passed += 1
                await self._queue.put(piece)
            match verdict:
                case StreamState.GOES_ON:
                    pass
                case StreamState.DONE:
                    return (None if reading.has_answer else Why.EMPTY), None
                case StreamState.FAILED:
                    return Why.FAILED, self._tally.failure
                case StreamState.OVER:
                    return Why.OVER, None
                case StreamState.CLOSED:
                    return Why.BROKE_OFF, None

    def _keep_alive(self, passed: int, *, is_first: bool = False) -> None:
        """Tell the client that the stream is alive where nothing was passed on; look again later.

        Clients and what stands between give up on a connection that says nothing for long.
        """
        if self._left:
            return
        ping = self._tally.build_ping()
        if not is_first and ping is not None and passed == self._passed and self._queue.empty():
            self._queue.put_nowait(ping)
        loop = asyncio.get_running_loop()
        self._pulse = loop.call_later(self._rules.ping_s, self._keep_alive, self._passed)

    async def _renew(self) -> None:
        """Keep the reservation's lease alive."""
        while True:
            await asyncio.sleep(self._booking.lease_s / 3)
            try:
                if not await self._booking.renew():
                    self.cut(self._endings.explain(Why.LOST))
                    return
            except Retryable as error:
                booking_id = self._booking.booking_id
                log.warning("lease_not_renewed", booking_id=booking_id, error=str(error))

    # -------------------------------------------------------------------------------------- the end

    async def _finish(self, ending: Ending | None) -> str:
        """Charge for what was delivered, say so, and end the client's side."""
        self._booking.note_end(ending)
        try:
            if ending is not None and self._tally.weight.extent == 0:
                owed_usdc = await self._booking.void(ending)
                await self._send_last(self._tally.build_error(ending.describe(owed_usdc)))
                return ending.code
            counted = self._tally.count()
            cost_usdc = await self._charge(counted)
            if cost_usdc is None:
                return self._endings.explain(Why.UNSETTLED).code
            try:
                last = self._tally.build_end(
                    counted,
                    charge={self._charge_name: cost_usdc},
                    asks_for_usage=self._asks_for_usage,
                    is_whole=ending is None,
                )
            except Exception:
                # The client has paid: it is told so, instead of a stream that just stops.
                log.exception("stream_end_failed", booking_id=self._booking.booking_id)
                last, ending = b"", self._endings.explain(Why.INTERNAL)
            if ending is None:
                await self._send_last(last)
                return OK
            await self._send_last(last + self._tally.build_error(ending.describe(cost_usdc)))
            return ending.code
        finally:
            self._end()

    async def _charge(self, counted: Counted) -> int | None:
        """Charge what was delivered; None where the client could not be told the cost."""
        booking = self._booking
        try:
            return await booking.post(counted)
        except CurrentError as error:
            log.error("settlement_failed", booking_id=booking.booking_id, error=str(error))
            unsettled = self._endings.explain(Why.UNSETTLED)
            await self._send_last(self._tally.build_error(unsettled.describe(None)))
            self._end()
        # The answer is delivered already, so the charge is tried for as long as it can stand.
        until_s = time.monotonic() + booking.lease_s
        is_last = False
        while not is_last and time.monotonic() < until_s:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._rules.post_retry_s)
            is_last = self._stopping.is_set()
            try:
                await booking.post(counted)
            except Retryable as error:
                log.warning("post_retried", booking_id=booking.booking_id, error=str(error))
            except CurrentError:
                break
            else:
                break
        return None

    async def _send_last(self, event: bytes) -> None:
        """Send what a client that has stopped reading may miss."""
        if self._transcript is not None:
            self._transcript.add(event)
        try:
            rules = self._rules
            patience_s = rules.drain_s if rules.last_words_s is None else rules.last_words_s
            async with asyncio.timeout(patience_s):
                if not self._left:
                    await self._queue.put(event)
        except TimeoutError:
            self.leave()

    def _end(self) -> None:
        """Let the client's side end. A client that has left reads nothing any more."""
        if self._pulse is not None:
            self._pulse.cancel()
        if self._left:
            return
        self._left = True
        if self._queue.full():
            self._queue.get_nowait()  # it reads too slowly to ever come to the end
        self._queue.put_nowait(None)
