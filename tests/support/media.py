"""What the fake endpoint does for media: images, speech, transcripts, jobs and their files."""

import json
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from tests.support.misbehaviour import misbehave

if TYPE_CHECKING:
    from tests.support.endpoint import FakeEndpoint

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
UNTRUE_SECONDS: Final = {"lies_long": 10**6, "lies_negative": -5}

Good = Callable[["FakeEndpoint", dict[str, Any], str], web.Response]
"""``good(endpoint, body, behaviour)`` answers a request that no fault of HTTP befalls."""


def add_media_routes(app: web.Application, endpoint: "FakeEndpoint") -> None:
    """Let ``app`` serve every medium."""
    job = "/v1/{kind:video|music}/generations"
    app.router.add_post("/v1/images/generations", _taking(endpoint, _make_images))
    app.router.add_post("/v1/audio/speech", _taking(endpoint, _speak))
    app.router.add_post("/v1/audio/transcriptions", _taking(endpoint, _transcribe))
    app.router.add_post(job, _taking(endpoint, _submit))
    app.router.add_get(job + "/{id}", _polling(endpoint))
    app.router.add_delete(job + "/{id}", _deleting(endpoint))
    app.router.add_get("/files/{name}", _handing_out(endpoint))


def complete(endpoint: "FakeEndpoint", **changes: Any) -> None:
    """Have the endpoint say that every job is done."""
    endpoint.news = {
        "status": "completed",
        "data": [{"url": endpoint.file_url}],
        "usage": {"seconds": 4},
        **changes,
    }


_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _taking(endpoint: "FakeEndpoint", good: Good) -> _Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = _parse(raw, request.headers.get("content-type", ""))
        behaviour = endpoint.note(request, raw, body)
        failed = await misbehave(endpoint, request, behaviour)
        return good(endpoint, body, behaviour) if failed is None else failed

    return handle


def _parse(raw: bytes, content_type: str) -> dict[str, Any]:
    if not content_type.startswith("multipart/"):
        body: dict[str, Any] = json.loads(raw)
        return body
    head = f"content-type: {content_type}\r\n\r\n".encode()
    form = BytesParser(EmailMessage, policy=HTTP).parsebytes(head + raw)
    return {
        str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True)
        for part in form.iter_parts()
    }


def _make_images(endpoint: "FakeEndpoint", body: dict[str, Any], behaviour: str) -> web.Response:
    count = body["n"] + 5 if behaviour == "more_images" else body["n"]
    images: list[dict[str, Any]] = [{"b64_json": "aGVsbG8="} for _ in range(count)]
    match behaviour:
        case "fewer_images":
            images = images[:1]
        case "kept_images":
            images = [{"url": endpoint.file_url, "revised_prompt": "a cat"} for _ in images]
        case "private_images":
            images = [{"url": "http://169.254.169.254/latest/meta-data"} for _ in images]
        case "no_images":
            images = []
    return web.json_response({"created": 1, "data": images})


def _speak(_: "FakeEndpoint", __: dict[str, Any], ___: str) -> web.Response:
    return web.Response(body=b"ID3 spoken", content_type="audio/mpeg")


def _transcribe(_: "FakeEndpoint", body: dict[str, Any], behaviour: str) -> web.Response:
    if body.get("response_format") == b"srt":
        return web.Response(body=b"1\n00:00\nHello\n", content_type="text/plain")
    usage = {"type": "duration", "seconds": UNTRUE_SECONDS.get(behaviour, 3)}
    return web.json_response({"text": "Hello.", "usage": usage})


def _submit(endpoint: "FakeEndpoint", _: dict[str, Any], behaviour: str) -> web.Response:
    job_id = "../../evil" if behaviour == "evil_id" else f"up-{len(endpoint.requests)}"
    return web.json_response({"id": job_id, "status": "queued"}, status=202)


def _polling(endpoint: "FakeEndpoint") -> _Handler:
    async def poll(request: web.Request) -> web.StreamResponse:
        endpoint.polls += 1
        endpoint.keys.append(request.headers.get("authorization"))
        failed = await misbehave(endpoint, request, endpoint.take_step())
        if failed is not None:
            return failed
        return web.json_response({"id": request.match_info["id"], **endpoint.news})

    return poll


def _deleting(endpoint: "FakeEndpoint") -> _Handler:
    async def delete(request: web.Request) -> web.StreamResponse:
        endpoint.deleted.append(request.match_info["id"])
        return web.json_response({"id": request.match_info["id"], "status": "cancelled"})

    return delete


def _handing_out(endpoint: "FakeEndpoint") -> _Handler:
    async def hand_out(request: web.Request) -> web.StreamResponse:
        endpoint.file_keys.append(request.headers.get("authorization"))
        failed = await misbehave(endpoint, request, endpoint.take_step())
        if failed is not None:
            return failed
        return web.Response(body=CLIP, content_type="video/mp4")

    return hand_out
