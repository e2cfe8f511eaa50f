"""The front around any application: ids, access lines, answers, exceptions, clients that leave.

::

    lean: an answer, a stream, a client that has gone; what fails is an answer too
    framework: its answer with the id; what it fails at is translated by the server's table
    an answer that breaks off never looks whole
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope
from structlog.testing import capture_logs

from contracts.errors import Retryable
from serving.http.answers import Answer, StreamAnswer
from serving.http.application import build_front
from serving.http.bodies import ClientGone
from serving.http.errors import ApiError, RequestRejected, ledger_unavailable
from serving.http.exceptions import Translations, answer_safely
from serving.http.front import Front, Lean, get_request_id
from serving.http.limits import Limits


class StoreAway(Retryable):
    """A room's own exception."""


class StoreLost(StoreAway):
    """A special case of it."""


TABLE: Final[Translations] = {StoreAway: ledger_unavailable}
FAILURES: Final = {
    "rejected": (RequestRejected(409, "taken", "It is taken.", beside={"by": "b"}), 409, "taken"),
    "away": (StoreAway("host db-1"), 503, "ledger_unavailable"),
    "lost": (StoreLost("host db-1"), 503, "ledger_unavailable"),
    "mistake": (KeyError("secret"), 500, "internal_error"),
}

router = APIRouter()


@router.get("/id")
async def show_id(request: Request) -> str:
    return get_request_id(request.scope)


@router.get("/fail/{name}")
async def fail(name: str) -> None:
    raise FAILURES[name][0]


@router.get("/number/{number}")
async def number(number: int) -> int:
    return number


@router.get("/broken")
async def broken() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"begun"
        raise RuntimeError("broken")

    return StreamingResponse(pieces())


class Events:
    """A stream of two events; it notes that its client has left."""

    def __init__(self, pause: asyncio.Event | None = None) -> None:
        self._pause = pause
        self.left = 0

    async def events(self) -> AsyncIterator[bytes]:
        yield b"one"
        if self._pause is not None:
            await self._pause.wait()
        yield b"two"

    def leave(self) -> None:
        self.left += 1
        if self._pause is not None:
            self._pause.set()


def build(lean: Lean | None = None, *, headers_bytes_max: int = 1_000) -> Front:
    limits = Limits(
        headers_bytes_max=headers_bytes_max,
        key_per_minute=0,
        address_per_minute=0,
        sign_in_per_minute=0,
    )
    return build_front(
        FastAPI(),
        router=router,
        translations=TABLE,
        dispatch=lambda scope: lean if scope["path"] == "/lean" else None,
        limits=limits,
        watched={"/id"},
        security_contact="",
    )


class Exchange:
    """One request, as a server would bring it to the front."""

    def __init__(self, method: str, path: str, body: bytes = b"") -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [],
            "root_path": "",
            "scheme": "http",
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
            "http_version": "1.1",
        }
        self.gone = asyncio.Event()
        self.sent: list[dict[str, Any]] = []
        self._body = [body]

    async def receive(self) -> dict[str, Any]:
        if self._body:
            return {"type": "http.request", "body": self._body.pop()}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def run(self, front: Front) -> "Exchange":
        await front(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    @property
    def is_whole(self) -> bool:
        return not self.sent[-1].get("more_body", False)


async def test_framework__its_answer__has_the_requests_id() -> None:
    with capture_logs() as lines:
        shown = await Exchange("GET", "/id").run(build())
    assert json.loads(shown.body) == shown.headers["x-request-id"]
    assert lines == [], "a watched path"

    with capture_logs() as lines:
        answered = await Exchange("GET", "/number/5").run(build())
    (line,) = lines
    assert line["request_id"] == answered.headers["x-request-id"]
    assert {name: line[name] for name in ("event", "method", "path", "status")} == {
        "event": "request_served",
        "method": "GET",
        "path": "/number/5",
        "status": 200,
    }


@pytest.mark.parametrize("name", list(FAILURES))
async def test_failure__framework_or_lean__same_answer_by_the_table(name: str) -> None:
    error, status, code = FAILURES[name]
    seen: list[str] = []

    async def lean(_: Scope, __: Receive, request_id: str) -> Answer | StreamAnswer:
        async def serve() -> Answer:
            raise error

        return await answer_safely(serve, TABLE, request_id=request_id, observe=seen.append)

    by_framework = await Exchange("GET", f"/fail/{name}").run(build())
    by_lean = await Exchange("POST", "/lean").run(build(lean))

    for exchange in (by_framework, by_lean):
        assert exchange.status == status
        said = json.loads(exchange.body)
        assert said["error"]["code"] == code
        assert said.get("by") == ("b" if name == "rejected" else None)
        assert b"db-1" not in exchange.body and b"secret" not in exchange.body
        assert exchange.headers["content-type"] == "application/json"
        assert exchange.headers["x-request-id"]
    assert by_framework.body == by_lean.body
    assert seen == [code]


async def test_validation__400_that_names_the_field() -> None:
    exchange = await Exchange("GET", "/number/x").run(build())
    error = json.loads(exchange.body)["error"]
    assert (exchange.status, error["code"], error["param"]) == (400, "invalid_request", "number")


async def test_answer__that_breaks_off__is_not_made_whole() -> None:
    exchange = Exchange("GET", "/broken")
    # It goes on to the server, which closes the connection.
    with pytest.raises(RuntimeError):
        await exchange.run(build())
    assert exchange.body == b"begun"
    assert not exchange.is_whole


async def test_lean__answer__has_length_and_id_and_no_header_that_cannot_be() -> None:
    async def lean(_: Scope, __: Receive, ___: str) -> Answer:
        headers = {"x-model": "gpt\r\nset-cookie: x", "x-name": "Ünïcode", "x-plain": "a b"}
        return Answer(200, headers, b"body")

    exchange = await Exchange("POST", "/lean").run(build(lean))
    assert exchange.headers == {
        "x-model": "gpt??set-cookie: x",
        "x-name": "?n?code",
        "x-plain": "a b",
        "x-request-id": exchange.scope["current.request_id"],
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
        "content-length": "4",
    }
    assert exchange.body == b"body"


async def test_lean__stream__is_sent_whole_and_left() -> None:
    events = Events()

    async def lean(_: Scope, __: Receive, ___: str) -> StreamAnswer:
        return StreamAnswer({"content-type": "text/event-stream"}, events)

    exchange = await Exchange("POST", "/lean").run(build(lean))
    assert (exchange.body, exchange.is_whole, events.left) == (b"onetwo", True, 1)


async def test_lean__stream_whose_client_leaves__is_told_at_once() -> None:
    events = Events(asyncio.Event())

    async def lean(_: Scope, __: Receive, ___: str) -> StreamAnswer:
        return StreamAnswer({}, events)

    exchange = Exchange("POST", "/lean")
    running = asyncio.create_task(exchange.run(build(lean)))
    while exchange.body != b"one":
        await asyncio.sleep(0)
    assert events.left == 0
    exchange.gone.set()
    await running
    assert events.left == 2


async def test_lean__client_gone_before__is_answered_nothing_and_noted() -> None:
    async def lean(_: Scope, __: Receive, ___: str) -> Answer:
        raise ClientGone

    with capture_logs() as lines:
        exchange = await Exchange("POST", "/lean").run(build(lean))
    assert exchange.sent == []
    assert [line["status"] for line in lines] == [499]


@pytest.mark.parametrize("error", [ClientGone(), asyncio.CancelledError()])
async def test_safely__client_gone__is_counted_and_goes_on(error: BaseException) -> None:
    seen: list[str] = []

    async def serve() -> Answer:
        raise error

    with pytest.raises(type(error)):
        await answer_safely(serve, TABLE, request_id="r", observe=seen.append)
    assert seen == ["client_gone"]


@pytest.mark.parametrize("status", [408, 413])
async def test_error__that_leaves_a_body_unread__ends_the_connection(status: int) -> None:
    async def serve() -> Answer:
        raise ApiError(status, "x", "x")

    async def lean(_: Scope, __: Receive, request_id: str) -> Answer:
        return await answer_safely(serve, TABLE, request_id=request_id, observe=lambda _: None)

    exchange = await Exchange("POST", "/lean").run(build(lean))
    assert exchange.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/lean", "/number/1"])
async def test_hops__passed_on_too_often__is_refused_before_anything_is_done(path: str) -> None:
    async def serve(_: Scope, __: Receive, ___: str) -> Answer | StreamAnswer:
        raise AssertionError("served")

    exchange = Exchange("POST" if path == "/lean" else "GET", path)
    exchange.scope["headers"] = [(b"x-current-hops", b"4")]
    await exchange.run(build(serve))

    assert exchange.sent[0]["status"] == 508
    assert json.loads(exchange.sent[1]["body"])["error"]["code"] == "loop_detected"
