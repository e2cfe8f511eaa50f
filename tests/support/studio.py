"""A seller of media on loopback, which delivers or misbehaves as told."""

import asyncio
import json
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Final, Self

from aiohttp import web

IMAGE_MODEL: Final = "image-model"
SPEECH_MODEL: Final = "speech-model"
TRANSCRIPT_MODEL: Final = "transcript-model"
VIDEO_MODEL: Final = "video-model"
MUSIC_MODEL: Final = "music-model"
MEDIA_PRICES: Final = """
[models."image-model"]
usd_per = {image = "0.08", megapixel = "0.08"}
[models."speech-model"]
usd_per = {1k_characters = "0.03"}
[models."transcript-model"]
usd_per = {minute = "0.012"}
[models."video-model"]
usd_per = {second = "0.2"}
"""
CLIP: Final = b"not really a film" * 1_000


class FakeStudio:
    """Serves every medium. Set ``behaviour``; read ``requests``, ``jobs`` and ``deleted``."""

    def __init__(self) -> None:
        self.behaviour = "normal"
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.file_keys: list[str | None] = []
        self.polls = 0
        self.deleted: list[str] = []
        self.news: dict[str, Any] = {"status": "in_progress"}
        """What is said of jobs, beside their ids."""
        self.release = asyncio.Event()
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_post("/v1/images/generations", self._make_images)
        app.router.add_post("/v1/audio/speech", self._speak)
        app.router.add_post("/v1/audio/transcriptions", self._transcribe)
        app.router.add_post("/v1/{kind:video|music}/generations", self._submit)
        app.router.add_get("/v1/{kind:video|music}/generations/{id}", self._poll)
        app.router.add_delete("/v1/{kind:video|music}/generations/{id}", self._delete)
        app.router.add_get("/files/{name}", self._hand_out)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL, with /v1."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def file_url(self) -> str:
        """Where a file is kept; the URL has a query, as signed ones do."""
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

    async def _note(self, request: web.Request) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(await request.read())
        self.requests.append(body)
        self.keys.append(request.headers.get("authorization"))
        return body

    async def _misbehave(self, request: web.Request) -> web.StreamResponse | None:
        match self.behaviour:
            case "status_500":
                return web.json_response({"error": {"message": "no"}}, status=500)
            case "status_404":
                return web.json_response({"error": {"message": "no"}}, status=404)
            case "redirect":
                return web.Response(status=302, headers={"location": self.file_url})
            case "nonsense":
                return web.json_response({"error": "what?", "data": "none"})
            case "html":
                return web.Response(body=b"<html>hello</html>", content_type="text/html")
            case "empty":
                return web.Response(body=b"", content_type="audio/mpeg")
            case "hang":
                await self.release.wait()
            case "half" | "endless":
                headers = {"content-type": "audio/mpeg"}
                if self.behaviour == "half":
                    headers["content-length"] = "100000"
                response = web.StreamResponse(headers=headers)
                await response.prepare(request)
                await response.write(b"x" * 50_000)
                assert request.transport is not None
                while self.behaviour == "endless" and not request.transport.is_closing():
                    await response.write(b"x" * 50_000)
                    await asyncio.sleep(0)
                request.transport.close()
                return response
        return None

    async def _make_images(self, request: web.Request) -> web.StreamResponse:
        body = await self._note(request)
        failed = await self._misbehave(request)
        if failed is not None:
            return failed
        count = body["n"] + 5 if self.behaviour == "more_images" else body["n"]
        images: list[dict[str, Any]] = [{"b64_json": "aGVsbG8="} for _ in range(count)]
        match self.behaviour:
            case "fewer_images":
                images = images[:1]
            case "kept_images":
                images = [{"url": self.file_url, "revised_prompt": "a cat"} for _ in images]
            case "private_images":
                images = [{"url": "http://169.254.169.254/latest/meta-data"} for _ in images]
            case "no_images":
                images = []
        return web.json_response({"created": 1, "data": images})

    async def _speak(self, request: web.Request) -> web.StreamResponse:
        await self._note(request)
        failed = await self._misbehave(request)
        if failed is not None:
            return failed
        return web.Response(body=b"ID3 spoken", content_type="audio/mpeg")

    async def _transcribe(self, request: web.Request) -> web.StreamResponse:
        head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
        form = BytesParser(EmailMessage, policy=HTTP).parsebytes(head + await request.read())
        fields: dict[str, Any] = {}
        for part in form.iter_parts():
            name = part.get_param("name", header="content-disposition")
            fields[str(name)] = part.get_payload(decode=True)
        self.requests.append(fields)
        failed = await self._misbehave(request)
        if failed is not None:
            return failed
        if fields.get("response_format") == b"srt":
            return web.Response(body=b"1\n00:00\nHello\n", content_type="text/plain")
        seconds = {"lies_long": 10**6, "lies_negative": -5}.get(self.behaviour, 3)
        return web.json_response(
            {"text": "Hello.", "usage": {"type": "duration", "seconds": seconds}}
        )

    async def _submit(self, request: web.Request) -> web.StreamResponse:
        await self._note(request)
        failed = await self._misbehave(request)
        if failed is not None:
            return failed
        upstream_id = "../../evil" if self.behaviour == "evil_id" else f"up-{len(self.requests)}"
        return web.json_response({"id": upstream_id, "status": "queued"}, status=202)

    async def _poll(self, request: web.Request) -> web.StreamResponse:
        self.polls += 1
        self.keys.append(request.headers.get("authorization"))
        failed = await self._misbehave(request)
        if failed is not None:
            return failed
        return web.json_response({"id": request.match_info["id"], **self.news})

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        self.deleted.append(request.match_info["id"])
        return web.json_response({"id": request.match_info["id"], "status": "cancelled"})

    async def _hand_out(self, request: web.Request) -> web.StreamResponse:
        self.file_keys.append(request.headers.get("authorization"))
        failed = await self._misbehave(request)
        if failed is not None:
            return failed
        return web.Response(body=CLIP, content_type="video/mp4")


def complete(studio: FakeStudio, **changes: Any) -> None:
    """Have the studio say that every job is done."""
    studio.news = {
        "status": "completed",
        "data": [{"url": studio.file_url}],
        "usage": {"seconds": 4},
        **changes,
    }
