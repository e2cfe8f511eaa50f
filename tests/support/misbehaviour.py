"""How a provider misbehaves within HTTP, each way by its name.

::

    before any answer    hang, disconnect
    no good answer       status_<code>, too_cheap, redirect, html, empty, bad_json,
                         not_a_completion, nonsense, huge_body
    no whole answer      half, endless
    within a stream      stream_dies_at_once, stream_error_first, stream_dies, stream_error,
                         stream_bad_event, stream_stalls, stream_endless, stream_no_usage,
                         stream_usage_with_choices
    untrue               no_usage, huge_usage, absurd_usage, and of media: lies_long, lies_negative,
                         evil_id, more_images, fewer_images, kept_images, private_images, no_images

``slow`` is a good answer that waits for ``release``: the whole of it, or a stream's last events.
Every error that is told has the provider's URL and key in it, as real ones have had.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from tests.support.answers import DONE, PROVIDER_KEY, make_chunk, make_event, make_piece

if TYPE_CHECKING:
    from tests.support.endpoint import FakeEndpoint

BEHAVIOURS: Final = frozenset(
    {
        *("normal", "slow", "hang", "disconnect"),
        *("too_cheap", "redirect", "html", "empty", "bad_json", "not_a_completion", "nonsense"),
        *("huge_body", "half", "endless", "no_usage", "huge_usage", "absurd_usage"),
        *("stream_dies_at_once", "stream_error_first", "stream_dies", "stream_error"),
        *("stream_bad_event", "stream_stalls", "stream_endless", "stream_no_usage"),
        "stream_usage_with_choices",
        *("more_images", "fewer_images", "kept_images", "private_images", "no_images"),
        *("lies_long", "lies_negative", "evil_id"),
    }
)
STREAM_FAULTS: Final = (
    "slow",
    "stream_error_first",
    "stream_dies",
    "stream_error",
    "stream_bad_event",
    "stream_stalls",
    "stream_endless",
    "stream_usage_with_choices",
)


def is_behaviour(name: str) -> bool:
    """Return whether an endpoint knows how to behave so."""
    return name in BEHAVIOURS or (name.startswith("status_") and name[7:].isdigit())


async def misbehave(
    endpoint: "FakeEndpoint", request: web.Request, behaviour: str
) -> web.StreamResponse | None:
    """Answer badly, or return None where a whole good answer or a stream is to follow."""
    if behaviour.startswith("status_"):
        return _refuse(endpoint, int(behaviour.removeprefix("status_")))
    match behaviour:
        case "slow" | "hang":
            await endpoint.release.wait()
        case "disconnect":
            assert request.transport is not None
            request.transport.close()
        case "too_cheap":
            told = {"message": "dearer", "code": "price_ceiling_not_met"}
            return web.json_response({"error": told}, status=503)
        case "redirect":
            return web.Response(status=302, headers={"location": endpoint.file_url})
        case "html":
            return web.Response(body=b"<html>hello</html>", content_type="text/html")
        case "empty":
            return web.Response(body=b"", content_type="audio/mpeg")
        case "bad_json":
            return web.Response(body=b'{"choices": [', content_type="application/json")
        case "not_a_completion":
            return web.json_response({"error": {"message": "oops"}})
        case "nonsense":
            return web.json_response({"error": "what?", "data": "none"})
        case "huge_body":
            return web.Response(body=b'"' + b"x" * (2 * 1024**2) + b'"')
        case "half" | "endless":
            return await _send_without_end(request, behaviour)
    return None


def _refuse(endpoint: "FakeEndpoint", status: int) -> web.Response:
    message = f"boom at {endpoint.url} with {PROVIDER_KEY}"
    told: dict[str, Any] = {"message": message, "param": "messages", "code": "boom"}
    if status == 400:
        told["message"] = f"context too long, {message}\n\tat line 3"
        told["code"] = "context_length_exceeded"
    return web.json_response({"error": told}, status=status, headers={"retry-after": "7"})


async def _send_without_end(request: web.Request, behaviour: str) -> web.StreamResponse:
    is_audio = request.path.endswith("/speech") or request.path.startswith("/files/")
    headers = {"content-type": "audio/mpeg" if is_audio else "application/json"}
    if behaviour == "half":
        headers["content-length"] = "100000"
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    assert request.transport is not None
    await response.write(b'{"choices": [' + b" " * 50_000)
    while behaviour == "endless" and not request.transport.is_closing():
        await response.write(b" " * 50_000)
        await asyncio.sleep(0)
    request.transport.close()
    return response


async def end_badly(
    endpoint: "FakeEndpoint", request: web.Request, response: web.StreamResponse, behaviour: str
) -> bool:
    """Go on with a stream after its pieces; return whether that was all of it."""
    assert request.transport is not None
    path = request.match_info["path"]
    match behaviour:
        case "slow" | "stream_stalls":
            await endpoint.release.wait()
            return False
        case "stream_endless":
            while not request.transport.is_closing():
                await response.write(make_piece(path, "and so on "))
                await asyncio.sleep(0)
        case "stream_dies":
            request.transport.close()
        case "stream_error_first" | "stream_error":
            told = {"message": f"boom at {endpoint.url} with {PROVIDER_KEY}", "code": "boom"}
            await response.write(make_event({"error": told}))
        case "stream_bad_event":
            await response.write(b"data: {not json\n\n")
        case "stream_usage_with_choices":
            await response.write(make_chunk("", usage=endpoint.usage, finish="stop") + DONE)
    return True
