"""A real HTTP upstream on loopback, which answers well or misbehaves as it is told."""

import asyncio
import json
from typing import Any, Final, Self

from aiohttp import web
from multidict import CIMultiDictProxy

MODEL: Final = "SmolLM2-135M-Instruct"
USAGE: Final = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
SECRET: Final = "upstream-token-0123456789"

BEHAVIOURS: Final = (
    "normal",
    "slow",
    "status_500",
    "status_429",
    "status_400",
    "too_cheap",
    "status_401",
    "bad_json",
    "not_a_completion",
    "no_usage",
    "huge_usage",
    "absurd_usage",
    "disconnect",
    "huge_body",
    "redirect",
    "stream_endless",
    "stream_dies",
    "stream_error",
    "stream_no_usage",
    "stream_usage_with_choices",
    "stream_bad_event",
    "stream_dies_at_once",
    "stream_stalls",
)


def make_completion(text: str = "Hello!", usage: Any = USAGE) -> dict[str, Any]:
    """Return a completion as a provider would."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    completion = {"id": "c-1", "object": "chat.completion", "model": MODEL, "choices": [choice]}
    return completion if usage is None else {**completion, "usage": usage}


def make_chunk(text: str | None, *, usage: Any = None, finish: str | None = None) -> bytes:
    """Return one event of a stream: a piece of text, the end of the choice, or the usage."""
    choices = [{"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}]
    chunk = {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": MODEL,
        "choices": choices if text is not None or finish else [],
    }
    if usage is not None:
        chunk["usage"] = usage
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


class FakeProvider:
    """An OpenAI-compatible server. Set ``behaviour``; read ``requests`` and ``peak``."""

    def __init__(self) -> None:
        self.behaviour = "normal"
        self.delay_s = 0.0
        self.models: list[dict[str, Any]] | None = [
            {"id": MODEL, "object": "model", "owned_by": "devnet"},
            {"id": "gpt-4o", "object": "model", "owned_by": "openai"},
            {"id": "unpriced-model", "object": "model", "owned_by": "nobody"},
        ]
        self.prices: list[dict[str, Any]] | None = None
        self.usage: Any = USAGE
        self.requests: list[dict[str, Any]] = []
        self.request_headers: list[CIMultiDictProxy[str]] = []
        self.finished = 0
        self.stream_pieces = 3
        self.sent_pieces = 0
        self.piece_delay_s = 0.0
        self.release = asyncio.Event()
        """A slow answer waits for it."""
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_get("/v1/prices", self._list_prices)
        app.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL, with /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release.set()
        await self._runner.cleanup()

    async def _list_models(self, _: web.Request) -> web.Response:
        if self.models is None:
            return web.Response(status=503)
        return web.json_response({"object": "list", "data": self.models})

    async def _list_prices(self, _: web.Request) -> web.Response:
        if self.prices is None:
            return web.Response(status=404)
        return web.json_response({"data": self.prices})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.requests.append(body)
        self.request_headers.append(request.headers)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if body.get("stream") and (self.behaviour.startswith("stream") or self.is_well):
            response = await self._stream(request)
        else:
            response = await self._misbehave(request)
        self.finished += 1
        return response

    @property
    def is_well(self) -> bool:
        """Whether it answers as a good provider would."""
        return self.behaviour in ("normal", "slow")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        transport = request.transport
        assert transport is not None
        if self.behaviour == "stream_dies_at_once":
            transport.close()
            return response
        for number in range(self.stream_pieces):
            await response.write(make_chunk(f"piece {number} "))
            self.sent_pieces += 1
            if self.piece_delay_s:
                await asyncio.sleep(self.piece_delay_s)
        match self.behaviour:
            case "slow" | "stream_stalls":
                await self.release.wait()
            case "stream_endless":
                while not transport.is_closing():
                    await response.write(make_chunk("and so on "))
                    await asyncio.sleep(0)
            case "stream_dies":
                transport.close()
                return response
            case "stream_error":
                error = {"message": f"boom at {self.url} with {SECRET}", "code": "boom"}
                await response.write(b"data: " + json.dumps({"error": error}).encode() + b"\n\n")
                return response
            case "stream_bad_event":
                await response.write(b"data: {not json\n\n")
                return response
        if self.behaviour == "stream_usage_with_choices":
            await response.write(make_chunk("", usage=USAGE, finish="stop"))
        else:
            await response.write(make_chunk("", finish="stop"))
            if self.behaviour != "stream_no_usage":
                await response.write(make_chunk(None, usage=USAGE))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def _misbehave(self, request: web.Request) -> web.StreamResponse:
        match self.behaviour:
            case "slow":
                await self.release.wait()
                return web.json_response(make_completion())
            case "status_500" | "status_429" | "status_401":
                status = int(self.behaviour.removeprefix("status_"))
                message = f"boom at {self.url} with {SECRET}"
                body = {"error": {"message": message, "code": "boom"}}
                return web.json_response(body, status=status, headers={"retry-after": "7"})
            case "too_cheap":
                body = {"error": {"message": "dearer", "code": "price_ceiling_not_met"}}
                return web.json_response(body, status=503)
            case "status_400":
                message = f"context too long, see {self.url} and {SECRET}\n\tat line 3"
                said = {"message": message, "param": "messages", "code": "context_length_exceeded"}
                body = {"error": said}
                return web.json_response(body, status=400)
            case "bad_json":
                return web.Response(body=b'{"choices": [', content_type="application/json")
            case "not_a_completion":
                return web.json_response({"error": {"message": "oops"}})
            case "no_usage":
                return web.json_response(make_completion("x" * 300, usage=None))
            case "huge_usage":
                usage = {"prompt_tokens": 10**6, "completion_tokens": 10**6}
                return web.json_response(make_completion(usage=usage))
            case "absurd_usage":
                usage = {"prompt_tokens": -5, "completion_tokens": 10**30}
                return web.json_response(make_completion("x" * 300, usage=usage))
            case "disconnect":
                stream = web.StreamResponse(headers={"content-length": "1000"})
                await stream.prepare(request)
                await stream.write(b'{"choices": [')
                assert request.transport is not None
                request.transport.close()
                return stream
            case "huge_body":
                return web.Response(body=b'"' + b"x" * (2 * 1024**2) + b'"')
            case "redirect":
                return web.Response(status=302, headers={"location": f"{self.url}/models"})
        return web.json_response(make_completion(usage=self.usage))
