"""uvicorn's HTTP protocol, with bounds on a request's line and headers.

The application sees a request only when its head (request line and headers) is complete; a client
that never completes a head would fill the memory, or hold its connection, without the application.
"""

import asyncio
import http
from asyncio import TimerHandle
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from serving.http.errors import (
    ApiError,
    bad_request,
    headers_timeout,
    headers_too_large,
)
from serving.http.silence import SilentConnections

INVALID_HTTP: Final = "invalid_http"


def build_protocol(
    headers_bytes_max: int,
    headers_timeout_s: float = 30.0,
    silent: SilentConnections | None = None,
    kept: SilentConnections | None = None,
) -> type[HttpToolsProtocol]:
    """Return the protocol class for ``uvicorn.Config(http=…)``.

    ``silent``: bounds the connections that owe a head, ``kept`` those that are kept after an answer
    and ask nothing; None: they may be any number.

    ``headers_timeout_s`` counts from the connection, and on a connection that is kept from the
    first byte of the next head.
    """

    class BoundedProtocol(HttpToolsProtocol):
        _head_bytes = 0
        """The bytes of the incomplete head so far."""
        _in_body = False
        _deadline: TimerHandle | None = None
        """When a head that has begun must be complete."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._start_clock()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_clock()
            if kept is not None:
                kept.remove(self)
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if kept is not None:
                kept.remove(self)
            if not self._in_body:
                self._head_bytes += len(data)
                # A packet may hold the beginning of the body too: that much is let pass.
                if self._head_bytes - len(data) > headers_bytes_max:
                    self._refuse(headers_too_large(headers_bytes_max))
                    return
            super().data_received(data)
            if self._deadline is None and self._is_awaited():
                self._start_clock()
            elif self._is_idle() and self.timeout_keep_alive_task is None:
                # The rest of a body that was answered already: only now is it over.
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.timeout_keep_alive, self.timeout_keep_alive_handler
                )
                self._keep()

        def on_headers_complete(self) -> None:
            self._in_body, self._head_bytes = True, 0
            self._stop_clock()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_body = False
            self._stop_clock()
            super().on_message_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self._is_idle():
                self._keep()

        def send_400_response(self, msg: str) -> None:
            # What the parser cannot read is answered as every other error is.
            self._refuse(bad_request(INVALID_HTTP, msg))

        def _unsupported_upgrade_warning(self) -> None:
            pass  # a client may ask for an upgrade: the request is served without it

        def _is_awaited(self) -> bool:
            """Tell whether the client owes the rest of something that nobody else waits for: of a
            head, or of the body of a request that is answered already."""
            if self.transport.is_closing():
                return False
            return self.cycle.response_complete if self._in_body else self._head_bytes > 0

        def _is_idle(self) -> bool:
            """Tell whether the connection is kept, and neither side owes the other anything."""
            cycle: RequestResponseCycle | None = self.cycle
            is_answered = cycle is not None and cycle.response_complete and not self.pipeline
            is_asked = self._in_body or self._head_bytes > 0
            return is_answered and not is_asked and not self.transport.is_closing()

        def _keep(self) -> None:
            if kept is not None:
                kept.add(self, self._get_address(), self.transport.close)

        def _start_clock(self) -> None:
            self._deadline = self.loop.call_later(headers_timeout_s, self._give_up)
            if silent is not None:
                silent.add(self, self._get_address(), self.transport.close)

        def _get_address(self) -> str:
            return self.client[0] if self.client else ""

        def _stop_clock(self) -> None:
            if silent is not None:
                silent.remove(self)
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _give_up(self) -> None:
            self._stop_clock()
            if self._in_body or self._head_bytes == 0:
                self.transport.close()  # answered already, or nothing was asked
            else:
                self._refuse(headers_timeout())

        def _may_answer(self, cycle: RequestResponseCycle) -> bool:
            """Tell whether a refusal cannot be mixed with the answer to an earlier request: there
            is none any more, or it is this very request, whose body is wrong."""
            is_own_body = self._in_body and not cycle.response_started and not self.pipeline
            return cycle.response_complete or is_own_body

        def _refuse(self, error: ApiError) -> None:
            """Answer what never became a request, and close the connection."""
            self._stop_clock()
            if self.transport.is_closing():
                return
            cycle: RequestResponseCycle | None = self.cycle
            if cycle is not None and not self._may_answer(cycle):
                cycle.keep_alive = False
                self.flow.pause_reading()
                return
            body = error.body()
            head = (
                f"HTTP/1.1 {error.status} {http.HTTPStatus(error.status).phrase}\r\n"
                "content-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self.transport.close()

    return BoundedProtocol
