"""HTTP as uvicorn speaks it, with a bound on what comes before a request's body.

The application sees headers only when they are complete; whoever never completes them would fill
the memory before.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from proxy.errors import bad_request, headers_too_large


def build_protocol(headers_bytes_max: int) -> type[HttpToolsProtocol]:
    """Return the protocol class for ``uvicorn.Config(http=…)``."""

    class BoundedProtocol(HttpToolsProtocol):
        _head_bytes = 0
        _in_body = False

        def data_received(self, data: bytes) -> None:
            if not self._in_body:
                self._head_bytes += len(data)
                # A packet may hold the beginning of the body too: that much is let pass.
                if self._head_bytes - len(data) > headers_bytes_max:
                    self._refuse()
                    return
            super().data_received(data)

        def on_headers_complete(self) -> None:
            self._in_body, self._head_bytes = True, 0
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._in_body = False
            super().on_message_complete()

        def send_400_response(self, msg: str) -> None:
            # What the parser cannot read; it is told as every other error is.
            self._answer("400 Bad Request", bad_request("invalid_http", msg).body())

        def _refuse(self) -> None:
            body = headers_too_large(headers_bytes_max).body()
            self._answer("431 Request Header Fields Too Large", body)

        def _answer(self, status: str, body: bytes) -> None:
            head = (
                f"HTTP/1.1 {status}\r\n"
                "content-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
            self.transport.close()

    return BoundedProtocol
