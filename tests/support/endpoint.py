"""A provider on loopback: it answers as a good provider does, or misbehaves as a test tells it.

::

    behaviour     how every request is answered until the test sets it again (misbehaviour.py)
    script        how the next requests are answered, a step each, before ``behaviour``
    body, events  exactly the bytes of every whole answer, and of every stream
    play          how every connection is spoken to below HTTP, whatever was asked (hostile.py)

What was asked stands in ``requests`` (parsed), ``bodies`` (bytes), ``headers`` and ``keys``.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from aiohttp import web
from aiohttp.typedefs import Handler

from tests.support.answers import (
    MODEL,
    TEXT,
    USAGE,
    make_answer,
    make_first_events,
    make_last_events,
    make_piece,
    split_text,
    stream_answer,
)
from tests.support.hostile import Play
from tests.support.media import add_media_routes
from tests.support.misbehaviour import STREAM_FAULTS, end_badly, is_behaviour, misbehave

TEXT_PATHS: Final = ("chat/completions", "completions", "responses", "embeddings")
MODELS: Final = (
    {"id": MODEL, "object": "model", "owned_by": "devnet"},
    {"id": "gpt-4o", "object": "model", "owned_by": "openai"},
    {"id": "unpriced-model", "object": "model", "owned_by": "nobody"},
)
UNTRUE_USAGES: Final[Mapping[str, Any]] = {
    "no_usage": None,
    "huge_usage": {"prompt_tokens": 10**6, "completion_tokens": 10**6},
    "absurd_usage": {"prompt_tokens": -5, "completion_tokens": 10**30},
}
"""Behaviours that differ from a good provider's only in the usage that is reported."""

Build = Callable[[str, dict[str, Any]], dict[str, Any]]
"""``build(path, body)`` returns the whole answer to a request."""


class FakeEndpoint:
    """An OpenAI-compatible provider of text and media. A context manager."""

    def __init__(
        self,
        *,
        text: str = TEXT,
        usage: Any = USAGE,
        play: Play | None = None,
        build: Build | None = None,
        streams_built: bool = False,
        speaks_messages: bool = False,
    ) -> None:
        """``streams_built``: streams say what ``build`` returns, too. ``speaks_messages``: whether
        there is a path for Anthropic's dialect."""
        # ------------------------------------------------------------------ what the test sets
        self._behaviour = "normal"
        self.script: deque[str] = deque()
        self.play = play
        self.text = text
        self.usage = usage
        self.calls_itself: str | None = None
        """The model that answers say they are of; None: the one that was asked for."""
        self.body: bytes | None = None
        self.events: list[bytes] | None = None
        self.whole: bytes | None = None
        """A whole answer, also where a stream is asked for."""
        self.answer_headers: dict[str, str] = {}
        self.models: list[dict[str, Any]] | None = [dict(model) for model in MODELS]
        self.prices: list[dict[str, Any]] | None = None
        self.news: dict[str, Any] = {"status": "in_progress"}
        """What is said of media jobs, beside their ids."""
        self.delay_s = 0.0
        self.piece_delay_s = 0.0
        self.release = asyncio.Event()
        """What waits, waits for it: ``slow``, ``hang``, ``stream_stalls``."""
        self._build = build
        self._streams_built = streams_built
        # ----------------------------------------------------------------- what the test reads
        self.asked = 0
        """How many requests came, whatever they asked for."""
        self.requests: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.headers: list[Mapping[str, str]] = []
        self.keys: list[str | None] = []
        self.file_keys: list[str | None] = []
        self.polls = 0
        self.deleted: list[str] = []
        self.finished = 0
        self.open = 0
        self.peak = 0
        """The most requests that were open at once."""
        self.sent_pieces = 0
        app = web.Application(client_max_size=64 * 1024**2, middlewares=[self._receive])
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_get("/v1/prices", self._list_prices)
        for path in (*TEXT_PATHS, "messages") if speaks_messages else TEXT_PATHS:
            app.router.add_post(f"/v1/{{path:{path}}}", self._serve)
        add_media_routes(app, self)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None, lingering_time=0.0)
        self.port = 0

    @property
    def behaviour(self) -> str:
        """How requests are answered from now on: a name in ``misbehaviour.py``."""
        return self._behaviour

    @behaviour.setter
    def behaviour(self, name: str) -> None:
        assert is_behaviour(name), f"no endpoint behaves as {name!r}"
        self._behaviour = name

    @property
    def url(self) -> str:
        """The base URL, with /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def file_url(self) -> str:
        """Where a media file is kept; the URL has a query, as signed URLs do."""
        return f"http://127.0.0.1:{self.port}/files/clip.mp4?signature=abc"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release.set()
        await self._runner.cleanup()

    # ------------------------------------------------------------------------------- recording

    def note(self, request: web.Request, raw: bytes, body: dict[str, Any]) -> str:
        """Record a request; return how it is to be answered."""
        self.bodies.append(raw)
        self.requests.append(body)
        self.headers.append(request.headers)
        self.keys.append(request.headers.get("authorization"))
        return self.take_step()

    def take_step(self) -> str:
        """Return how the next request is to be answered: the script's step, or ``behaviour``."""
        if not self.script:
            return self._behaviour
        step = self.script.popleft()
        assert is_behaviour(step), f"no endpoint behaves as {step!r}"
        return step

    @web.middleware
    async def _receive(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.asked += 1
        self.open += 1
        self.peak = max(self.peak, self.open)
        try:
            if self.play is not None:
                return await _perform(self.play, request)
            return await handler(request)
        finally:
            self.open -= 1

    # ------------------------------------------------------------------------------- answering

    async def _list_models(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("authorization"))
        if self.models is None:
            return web.Response(status=503)
        return web.json_response({"object": "list", "data": self.models})

    async def _list_prices(self, _: web.Request) -> web.Response:
        if self.prices is None:
            return web.Response(status=404)
        return web.json_response({"data": self.prices})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = json.loads(raw)
        behaviour = self.note(request, raw, body)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        is_stream = bool(body.get("stream"))
        if self.whole is not None:
            self.finished += 1
            return web.Response(body=self.whole, content_type="application/json")
        if not (is_stream and behaviour == "slow"):
            failed = await misbehave(self, request, behaviour)
            if failed is not None:
                self.finished += 1
                return failed
        path = request.match_info["path"]
        if is_stream:
            response = await self._stream(request, path, body, behaviour)
        else:
            response = self._answer(path, body, behaviour)
        self.finished += 1
        return response

    def _answer(self, path: str, body: dict[str, Any], behaviour: str) -> web.StreamResponse:
        answer = self.body
        if answer is None:
            is_untrue = behaviour in UNTRUE_USAGES
            usage = UNTRUE_USAGES[behaviour] if is_untrue else self.usage
            built = (
                make_answer(path, body, text="x" * 300 if is_untrue else self.text, usage=usage)
                if self._build is None
                else self._build(path, body)
            )
            if self.calls_itself is not None:
                built = {**built, "model": self.calls_itself}
            answer = json.dumps(built).encode()
        return web.Response(
            body=answer, content_type="application/json", headers=self.answer_headers
        )

    def _name_model(self, body: dict[str, Any]) -> str:
        """Return what a stream's chunks call their model."""
        return str(body.get("model", MODEL)) if self.calls_itself is None else self.calls_itself

    async def _stream(
        self, request: web.Request, path: str, body: dict[str, Any], behaviour: str
    ) -> web.StreamResponse:
        model = self._name_model(body)
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        if self.events is not None:
            for event in self.events:
                await response.write(event)
                await asyncio.sleep(0)
            if behaviour == "stream_stalls":
                await self.release.wait()
            return response
        if self._build is not None and self._streams_built:
            for event in stream_answer(self._build(path, body)):
                await response.write(event)
            return response
        if behaviour == "stream_dies_at_once":
            assert request.transport is not None
            request.transport.close()
            return response
        for event in make_first_events(path, self.usage, model):
            await response.write(event)
        if behaviour != "stream_error_first":
            for piece in split_text(self.text):
                await response.write(make_piece(path, piece, model))
                self.sent_pieces += 1
                await asyncio.sleep(self.piece_delay_s)
        if behaviour in STREAM_FAULTS and await end_badly(self, request, response, behaviour):
            return response
        usage = UNTRUE_USAGES.get(behaviour, self.usage)
        last = make_last_events(path, None if behaviour == "stream_no_usage" else usage, model)
        for event in last:
            await response.write(event)
        return response


async def _perform(play: Play, request: web.Request) -> web.StreamResponse:
    """Speak by ``play`` on the request's connection and close it."""
    transport, loop = request.transport, asyncio.get_running_loop()
    if transport is not None:
        writer = asyncio.StreamWriter(transport, request.protocol, None, loop)
        try:
            await play(writer)
        except OSError:
            pass  # the other side has gone
        finally:
            transport.close()
    return web.Response()
