"""Pass requests through with the proxy's server and client, and nothing else.

``python bare.py PORT UPSTREAM_URL``; served with exactly what ``proxy/main.py`` serves with.
"""

import sys
from typing import Any

import uvicorn
from pyreqwest.client import ClientBuilder


class Bare:
    """An ASGI application that knows nothing of what it passes on."""

    def __init__(self, upstream_url: str) -> None:
        self._upstream_url = upstream_url
        self._client: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._client is None:  # it belongs into the running event loop
            self._client = (
                ClientBuilder().http1_only().max_connections(512).tcp_nodelay(True).build()
            )
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        request = self._client.request(scope["method"], self._upstream_url + scope["path"])
        request = request.body_bytes(body).header("content-type", "application/json")
        if scope["path"].startswith("/stream/"):
            await self._pass_stream(request, send)
            return
        response = await request.build().send()
        answer = bytes(await response.bytes())
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(answer)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    async def _pass_stream(self, request: Any, send: Any) -> None:
        async with request.streamed_read_buffer_limit(0).build_streamed() as response:
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while (piece := await response.body_reader.read_chunk()) is not None:
                event = {"type": "http.response.body", "body": bytes(piece), "more_body": True}
                await send(event)
            await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(
        Bare(sys.argv[2]),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        server_header=False,
        log_level="warning",
    )
