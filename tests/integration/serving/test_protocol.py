"""What stands before every server's application: HTTP itself, on raw connections.

::

    a request's head
    ├── within the bound: served, several on one connection, each with a body beyond the bound
    ├── endless: 431 as JSON, and cut off; endless in the shadow of an answer: only cut off
    ├── trickled: 408 as JSON when its time is over; nothing at all: closed without an answer
    ├── too many that owe a head, or that are kept and idle: the longest silent of its kind ends
    └── no HTTP: 400 as JSON; after a request that is being answered: that answer stays whole
    a body that is still sent after its answer: the connection ends when its time is over
    two requests at once: answered in turn; an upgrade: the plain answer; Expect: 100 first
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final

import pytest
import uvicorn

from serving.http.protocol import build_protocol
from serving.http.silence import SilentConnections
from tests.support.waiting import LIMIT_S

HEAD_MAX: Final = 10_000

App = Callable[[Any, Any, Any], Awaitable[None]]


async def answer(send: Any, body: bytes = b"") -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def read_all(_: Any, receive: Any, send: Any) -> None:
    """Answer when the body has come."""
    while (await receive()).get("more_body"):
        pass
    await answer(send, b"read")


async def at_once(_: Any, __: Any, send: Any) -> None:
    """Answer whatever the body is."""
    await answer(send, b"at once")


@asynccontextmanager
async def serving(
    app: App,
    *,
    timeout_s: float = LIMIT_S,
    silent: SilentConnections | None = None,
    kept: SilentConnections | None = None,
) -> AsyncIterator[int]:
    """Serve an application; yield its port."""
    config = uvicorn.Config(
        app,
        port=0,
        http=build_protocol(HEAD_MAX, timeout_s, silent, kept),
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    config.load()
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


class Line:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def read_answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the next answer."""
        async with asyncio.timeout(LIMIT_S):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(first.split()[1]), headers, body

    async def read_rest(self) -> bytes:
        """Return all until the server closes the connection."""
        async with asyncio.timeout(LIMIT_S):
            return await self.reader.read()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


def code_of(body: bytes) -> str:
    return str(json.loads(body)["error"]["code"])


async def test_head__within_the_bound__each_request_has_its_own() -> None:
    async with serving(read_all) as port, connected(port) as line:
        for _ in range(3):
            line.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 50000\r\n")
            line.send(b"x-filler: " + b"x" * 8_000 + b"\r\n\r\n" + b"x" * 50_000)
            assert (await line.read_answer())[0] == 200


@pytest.mark.parametrize("piece", [b"x-filler: " + b"x" * 1_000 + b"\r\n", b"x" * 1_000])
async def test_head__endless__431_and_cut_off(piece: bytes) -> None:
    async with serving(read_all) as port, connected(port) as line:
        line.send(b"GET / HTTP/1.1\r\nhost: a\r\nx: ")
        said = b""
        with pytest.raises(ConnectionError):
            for _ in range(100_000):
                line.send(piece)
                await line.writer.drain()
                await asyncio.sleep(0)
        # What was still under way may make the system reset the connection.
        with suppress(ConnectionError):
            said = await line.read_rest()
        assert said == b"" or (said.startswith(b"HTTP/1.1 431") and b"headers_too_large" in said)


async def test_head__one_packet_beyond_the_bound__431_as_json() -> None:
    async with serving(read_all) as port, connected(port) as line:
        line.send(b"GET / HTTP/1.1\r\nx-filler: " + b"x" * HEAD_MAX)
        await line.writer.drain()
        await asyncio.sleep(0.1)
        line.send(b"x")
        status, headers, body = await line.read_answer()
        assert (status, code_of(body)) == (431, "headers_too_large")
        assert (headers["content-type"], headers["connection"]) == ("application/json", "close")
        assert await line.read_rest() == b""


async def test_head__trickled__408_when_its_time_is_over() -> None:
    async with serving(read_all, timeout_s=0.5) as port, connected(port) as line:
        line.send(b"GET / HTTP/1.1\r\n")

        async def trickle() -> None:
            while True:
                line.send(b"a")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        status, _, body = await line.read_answer()
        trickling.cancel()
        assert (status, code_of(body)) == (408, "headers_timeout")


async def test_head__trickled_after_an_answer__408_too() -> None:
    async with serving(read_all, timeout_s=2.0) as port, connected(port) as line:
        line.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await line.read_answer())[0] == 200
        line.send(b"GET / HT")
        assert (await line.read_answer())[0] == 408


async def test_connection__silent__closed_without_an_answer() -> None:
    async with serving(read_all, timeout_s=0.3) as port, connected(port) as line:
        assert await line.read_rest() == b""


async def test_connection__too_many_silent__the_oldest_ends_and_others_are_served() -> None:
    silent = SilentConnections(4, is_exempt=lambda _: True)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(read_all, silent=silent))
        served = await stack.enter_async_context(connected(port))
        served.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await served.read_answer())[0] == 200

        lines = [await stack.enter_async_context(connected(port)) for _ in range(6)]
        lines[0].send(b"GET / HT")
        for line in lines[:2]:
            assert await line.read_rest() == b""
        for line in (served, *lines[2:]):
            line.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await line.read_answer())[0] == 200
        assert silent.count == 0


async def test_connection__too_many_kept__the_longest_idle_ends_and_others_are_served() -> None:
    kept = SilentConnections(4, is_exempt=lambda _: True)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(serving(read_all, kept=kept))
        lines = [await stack.enter_async_context(connected(port)) for _ in range(6)]
        for line in lines:
            line.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert (await line.read_answer())[0] == 200
        for line in lines[:2]:
            assert await line.read_rest() == b""
        # What begins to ask again is idle no longer, and makes room.
        lines[2].send(b"GET / HT")
        async with asyncio.timeout(LIMIT_S):
            while kept.count == 4:
                await asyncio.sleep(0.005)
        more = await stack.enter_async_context(connected(port))
        for line, rest in ((more, b"GET / HTTP/1.1"), (lines[2], b"TP/1.1")):
            line.send(rest + b"\r\nhost: a\r\n\r\n")
            assert (await line.read_answer())[0] == 200
        assert await lines[3].read_rest() == b""


async def test_connection__body_after_its_answer__is_kept_within_the_bounds_from_then_on() -> None:
    silent, kept = (SilentConnections(8, is_exempt=lambda _: True) for _ in range(2))
    async with serving(at_once, silent=silent, kept=kept) as port, connected(port) as line:
        line.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n")
        assert (await line.read_answer())[0] == 200
        line.send(b"12345")
        async with asyncio.timeout(LIMIT_S):
            while kept.count == 0:
                await asyncio.sleep(0.005)
        assert silent.count == 0
        line.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        assert (await line.read_answer())[0] == 200


@pytest.mark.parametrize(
    "said",
    [
        b"this is no request\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a client that speaks TLS
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: a\r\n\r\n",
    ],
    ids=["words", "no colon", "tls", "two lengths", "length and chunks", "no chunk", "path"],
)
async def test_http__that_cannot_be_read__400_as_json(said: bytes) -> None:
    async with serving(read_all) as port, connected(port) as line:
        line.send(said)
        status, headers, body = await line.read_answer()
        assert (status, code_of(body)) == (400, "invalid_http")
        assert headers["content-type"] == "application/json"
        assert await line.read_rest() == b""


@pytest.mark.parametrize(
    "garbage",
    [b"garbage\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"x" * 30_000],
    ids=["no HTTP", "endless head"],
)
async def test_http__garbage_after_a_request__its_answer_stays_whole(garbage: bytes) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(_: Any, __: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200}
        await send({**start, "headers": [(b"content-length", b"10")]})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        begun.set()
        await go_on.wait()
        await send({"type": "http.response.body", "body": b"-last"})

    async with serving(slowly) as port, connected(port) as line:
        line.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
        await begun.wait()
        for start in range(0, len(garbage), 8_000):
            line.send(garbage[start : start + 8_000])
            await line.writer.drain()
            await asyncio.sleep(0.05)
        go_on.set()
        status, _, body = await line.read_answer()
        assert (status, body) == (200, b"first-last")
        with suppress(ConnectionError):
            assert await line.read_rest() == b"", "what followed is not answered"


async def test_body__still_sent_after_its_answer__ends_when_its_time_is_over() -> None:
    async with serving(at_once, timeout_s=2.0) as port, connected(port) as line:
        line.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n")
        assert (await line.read_answer())[2] == b"at once"

        async def trickle() -> None:
            while True:
                line.send(b"a")
                await asyncio.sleep(0.05)

        trickling = asyncio.create_task(trickle())
        with suppress(ConnectionError):  # the system's word for the same
            assert await line.read_rest() == b""
        trickling.cancel()


async def test_requests__two_at_once__answered_in_turn() -> None:
    async def echo(scope: Any, _: Any, send: Any) -> None:
        await asyncio.sleep(0.05 if scope["path"] == "/1" else 0)
        await answer(send, scope["path"].encode())

    async with serving(echo) as port, connected(port) as line:
        line.send(b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\n\r\n")
        assert [(await line.read_answer())[2] for _ in range(2)] == [b"/1", b"/2"]


async def test_upgrade__wished__plain_answer() -> None:
    async with serving(at_once) as port, connected(port) as line:
        line.send(
            b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert (await line.read_answer())[2] == b"at once"


async def test_expectation__is_met_before_the_body_comes() -> None:
    async with serving(read_all) as port, connected(port) as line:
        line.send(
            b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        )
        assert (await line.read_answer())[0] == 100
        line.send(b"hi")
        assert (await line.read_answer())[2] == b"read"
