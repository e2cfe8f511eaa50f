"""A streamed completion while it is live: relayed, counted, and charged however it ends.

A stream can end by upstream's last word, by upstream dying, by the client leaving, by what was
reserved being used up, by a revocation, by taking too long, or by the process being stopped. In
each case the delivered part is posted; where nothing was delivered, the reservation is given back.
Only a killed process posts nothing: its lease runs out.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from contracts.errors import CurrentError
from ledger.errors import LedgerUnavailable, UsageResolved
from ledger.spending.metering import Posted
from proxy.chat.meter import Meter
from proxy.chat.tally import Move, Tally
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
from proxy.keys.tokens import KeyClaims
from serving.http.errors import ApiError, internal_error, settlement_failed
from serving.models.failures import UpstreamError
from serving.models.prices import Tokens
from serving.models.upstream import UpstreamStream
from serving.stream.sse import DONE, EventSplitter, EventTooLong, build_event

log = structlog.get_logger("proxy")

EVENT_BYTES_MAX: Final = 4 * 1024**2
QUEUE_EVENTS: Final = 256
"""How far upstream may be ahead of a client that reads slowly."""

POST_RETRY_S: Final = 5.0
OK: Final = "ok"


class Post(Protocol):
    """Charges a reservation for these tokens. Raises ``ApiError`` where it could not be written."""

    def __call__(self, tokens: Tokens, *, is_estimated: bool) -> Awaitable[Posted]: ...


@dataclass(frozen=True, slots=True)
class StreamRules:
    """How long a stream may go on. All in seconds."""

    timeout_s: float
    drain_s: float
    """How long upstream is still read, for its usage report, after the client has left."""


class LiveStream:
    """One stream. ``run`` drives it to its end, in a task of its own; ``events`` is the client's
    side, and may stop at any time by ``leave``."""

    def __init__(
        self,
        *,
        request_id: str,
        claims: KeyClaims,
        source: UpstreamStream,
        upstream: Upstream,
        tally: Tally,
        asked_for_usage: bool,
        post: Post,
        meter: Meter,
        rules: StreamRules,
    ) -> None:
        self.request_id = request_id
        self.claims = claims
        self._source = source
        self._upstream = upstream
        self._tally = tally
        self._asked_for_usage = asked_for_usage
        self._post = post
        self._meter = meter
        self._rules = rules
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE_EVENTS)
        self._left = False
        self._cut_by: ApiError | None = None
        self._relay: asyncio.Task[ApiError | None] | None = None

    # ---------------------------------------------------------------------------- the client's side

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the events for the client until the stream has ended and was charged.

        Those that are there already go together: each write costs more than what it writes.
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
        """Note that the client has gone. Upstream is read on for a while: it may say the usage."""
        if self._left:
            return
        self._left = True
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)  # whoever sends to it waits for nothing more
        asyncio.get_running_loop().call_later(self._rules.drain_s, self.cut, _client_gone())

    def cut(self, error: ApiError) -> None:
        """End the stream now; the client is told ``error``. What was delivered is charged."""
        if self._cut_by is None and self._relay is not None and not self._relay.done():
            self._cut_by = error
            self._relay.cancel()

    # ------------------------------------------------------------------------------ upstream's side

    async def run(self) -> str:
        """Relay, then charge. Return the outcome: ``ok``, or the code of what ended it."""
        self._relay = asyncio.create_task(self._relay_all())
        renewal = asyncio.create_task(self._renew())
        try:
            error = await self._await_relay()
        finally:
            renewal.cancel()
        # Shielded: the second cancellation of an impatient shutdown must not stop the charge.
        return await asyncio.shield(asyncio.ensure_future(self._finish(error)))

    async def _await_relay(self) -> ApiError | None:
        """Return why the stream ended early, or None."""
        assert self._relay is not None
        try:
            async with asyncio.timeout(self._rules.timeout_s):
                return await asyncio.shield(self._relay)
        except TimeoutError:
            self.cut(stream_timeout())
        except asyncio.CancelledError:
            # By ``cut``, which cancels the relay; or this task itself, by a shutdown.
            self.cut(shutting_down())
        await asyncio.wait([self._relay])
        return self._cut_by

    async def _relay_all(self) -> ApiError | None:
        splitter = EventSplitter(event_bytes_max=EVENT_BYTES_MAX)
        try:
            async for piece in self._source.pieces():
                for event in splitter.feed(piece):
                    match self._tally.read(event):
                        case Move.PASS:
                            await self._send(event)
                        case Move.DONE:
                            return None
                        case Move.FAILED:
                            return self._describe_failure()
                        case Move.OVER:
                            return ceiling_reached()
        except UpstreamError as error:
            return None if self._tally.finished else translate(error)
        except EventTooLong:
            return _broken_off()
        except Exception:
            log.exception("stream_failed", request_id=self.request_id)
            return internal_error()
        finally:
            await self._source.close()
        return None if self._tally.finished else _broken_off()

    def _describe_failure(self) -> ApiError:
        failure = self._tally.failure
        return (
            _broken_off()
            if failure is None
            else describe_said(failure, secrets=self._upstream.secrets)
        )

    async def _send(self, event: bytes) -> None:
        if not self._left:
            await self._queue.put(event)

    async def _renew(self) -> None:
        """Keep the reservation's lease alive."""
        while True:
            await asyncio.sleep(self._meter.lease_s / 3)
            try:
                await self._meter.renew(self.request_id)
            except UsageResolved:
                self.cut(reservation_lost())
                return
            except LedgerUnavailable as error:
                log.warning("lease_not_renewed", request_id=self.request_id, error=str(error))

    async def _finish(self, error: ApiError | None) -> str:
        """Charge for what was delivered, say so, and end the client's side."""
        tally = self._tally
        try:
            if error is not None and tally.reported is None and tally.output_bytes == 0:
                await self._meter.void(self.request_id, error.code)
                await self._send_last(build_event(error.body()))
                return error.code
            posted = await self._charge()
            if posted is None:
                return settlement_failed().code
            charge = {"cost": posted.cost_usdc}
            last = tally.build_last_chunk(
                tokens=tally.count()[0], charge=charge, asked_for_usage=self._asked_for_usage
            )
            if error is None:
                await self._send_last(last + build_event(DONE))
                return OK
            told = charged_so_far(error, cost_usdc=posted.cost_usdc)
            await self._send_last(last + build_event(told.body()))
            return error.code
        finally:
            self._end()

    async def _charge(self) -> Posted | None:
        """Post what was delivered; None where the client could not be told the cost."""
        tokens, is_estimated = self._tally.count()
        try:
            return await self._post(tokens, is_estimated=is_estimated)
        except ApiError as error:
            await self._send_last(build_event(error.body()))
            self._end()
        # The answer is delivered already, so the charge is tried for as long as it can stand.
        await self._post_late(tokens, is_estimated=is_estimated)
        return None

    async def _post_late(self, tokens: Tokens, *, is_estimated: bool) -> None:
        until_s = time.monotonic() + self._meter.lease_s
        while time.monotonic() < until_s:
            await asyncio.sleep(POST_RETRY_S)
            try:
                await self._post(tokens, is_estimated=is_estimated)
            except CurrentError as error:
                log.warning("post_retried", request_id=self.request_id, error=str(error))
            else:
                return

    async def _send_last(self, event: bytes) -> None:
        """Send what a client that has stopped reading may miss."""
        try:
            async with asyncio.timeout(self._rules.drain_s):
                await self._send(event)
        except TimeoutError:
            self.leave()

    def _end(self) -> None:
        """Let the client's side end. One that has left reads nothing any more."""
        if self._left:
            return
        self._left = True
        if self._queue.full():
            self._queue.get_nowait()  # it reads too slowly to ever come to the end
        self._queue.put_nowait(None)


class RevocationWatch:
    """Ends live streams whose key is revoked: looks at their keys again and again.

    One read for all streams, and none while there are none.
    """

    def __init__(
        self,
        find_revoked: Callable[[set[KeyClaims]], Awaitable[Mapping[KeyClaims, ApiError]]],
    ) -> None:
        self._find_revoked = find_revoked
        self._streams: set[LiveStream] = set()

    def add(self, stream: LiveStream) -> None:
        """Watch a stream until ``remove``."""
        self._streams.add(stream)

    def remove(self, stream: LiveStream) -> None:
        """Watch a stream no longer."""
        self._streams.discard(stream)

    async def look(self) -> None:
        """Cut the streams whose key is not good any more. Raises ``LedgerUnavailable``."""
        if not self._streams:
            return
        revoked = await self._find_revoked({stream.claims for stream in self._streams})
        for stream in list(self._streams):
            problem = revoked.get(stream.claims)
            if problem is not None:
                stream.cut(problem)

    def concerns(self, token_ids: Collection[int]) -> bool:
        """Tell whether a live stream is paid by one of these positions."""
        return any(stream.claims.token_id in token_ids for stream in self._streams)


def _client_gone() -> ApiError:
    return upstream_failed("client_gone", "The client left before the stream ended.")


def _broken_off() -> ApiError:
    message = "The model's provider broke off its answer."
    return upstream_failed("upstream_disconnected", message)
