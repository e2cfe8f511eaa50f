"""Calling a seller's endpoint. Its failures are translated here, once, by what they say of it.

Nothing of what a seller sends in an error reaches a buyer but a cleaned message; the seller's key
and URL are in no message, log or repr.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlsplit

import orjson
from pyreqwest.client import Client
from pyreqwest.exceptions import ConnectError, PyreqwestError
from pyreqwest.request import RequestBuilder, StreamRequest
from pyreqwest.response import Response

from contracts.errors import CurrentError
from market.endpoints.dialing import Dialer, UrlRefused
from market.endpoints.health import Cause

T = TypeVar("T")

MESSAGE_MAX: Final = 500
MODELS_MAX: Final = 2_000
ERROR_BYTES_MAX: Final = 64 * 1024
_REJECTED: Final = frozenset({400, 409, 413, 422})
"""The seller says that the request is wrong: the next one may think otherwise."""

_SUCCESSES: Final = frozenset({200, 201, 202})
_NOT_SERVED: Final = frozenset({404, 405})
_URLS: Final = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_TOKENS: Final = re.compile(r"\b(?:sk|pk|si|inf|key|Bearer)[-_ ][\w.-]{8,}", re.IGNORECASE)


class SellerFailure(CurrentError):
    """A seller did not serve; ``cause`` says what that means for its health."""

    def __init__(self, cause: Cause, *, retry_after_s: float | None = None) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.retry_after_s = retry_after_s


class SellerRejected(CurrentError):
    """A seller refused the request as wrong. The message is cleaned."""

    def __init__(self, status: int, message: str, param: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param


class NotServed(SellerRejected):
    """A seller has nothing at the path of the request."""

    def __init__(self) -> None:
        super().__init__(400, "The sellers of this model do not serve this endpoint.", None)


@dataclass(frozen=True, slots=True)
class Access:
    """Where a seller's endpoint is, and the key for it. Shows neither in its repr."""

    base_url: str
    api_key: str

    def __repr__(self) -> str:
        return "Access(…)"


@dataclass(frozen=True, slots=True)
class Answer:
    """A seller's whole answer: the bytes as they came, and the same parsed."""

    raw: bytes
    parsed: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A seller's whole answer that need not be JSON. ``content_type`` is without parameters."""

    content_type: str
    raw: bytes

    def parse(self) -> dict[str, Any]:
        """Return the JSON object that it is. Raises ``SellerFailure``."""
        try:
            parsed = orjson.loads(self.raw)
        except orjson.JSONDecodeError:
            raise SellerFailure(Cause.BAD_FORMAT) from None
        if not isinstance(parsed, dict):
            raise SellerFailure(Cause.BAD_FORMAT)
        return parsed


@dataclass(frozen=True, slots=True)
class ProviderRules:
    """How much and how long an answer may be. Times in seconds."""

    whole_timeout_s: float = 180.0
    body_bytes_max: int = 16 * 1024**2
    list_timeout_s: float = 15.0
    artifact_bytes_max: int = 512 * 1024**2
    artifact_timeout_s: float = 600.0


class Provider:
    """Calls sellers. To be made inside a running event loop."""

    def __init__(self, dialer: Dialer, rules: ProviderRules) -> None:
        self._dialer = dialer
        self._rules = rules

    async def close(self) -> None:
        """Close all connections."""
        await self._dialer.close()

    async def call(self, access: Access, path: str, body: bytes) -> Answer:
        """Return a whole answer. Raises ``SellerFailure`` or ``SellerRejected``."""
        with _translated():
            client, url = await self._dialer.dial(access.base_url)
            request = _post(client, f"{url}/{path}", access, body)
            request = request.timeout(timedelta(seconds=self._rules.whole_timeout_s))
            return await self._fetch(request, access)

    async def send(
        self,
        access: Access,
        method: Literal["GET", "POST", "DELETE"],
        path: str,
        *,
        content_type: str | None = None,
        body: bytes | None = None,
        timeout_s: float | None = None,
    ) -> RawAnswer:
        """Return a whole answer of any kind. Raises ``SellerFailure`` or ``SellerRejected``."""
        with _translated():
            client, url = await self._dialer.dial(access.base_url)
            request = client.request(method, f"{url}/{path}").bearer_auth(access.api_key)
            request = request.header("accept", "*/*")
            if body is not None and content_type is not None:
                request = request.body_bytes(body).header("content-type", content_type)
            limit_s = self._rules.whole_timeout_s if timeout_s is None else timeout_s
            request = request.timeout(timedelta(seconds=limit_s))
            async with request.build_streamed() as response:
                raw = await self._read(response)
                if response.status not in _SUCCESSES:
                    raise _translate(response, raw, access)
                stated = response.get_header("content-type") or ""
        return RawAnswer(stated.partition(";")[0].strip().lower(), raw)

    async def open_download(self, url: str, access: Access | None) -> "Download":
        """Return what a seller keeps at ``url``, as it arrives. Raises ``SellerFailure``.

        The seller's key goes along only to where its own endpoint is.
        """
        with _translated():
            client, called, origin = await self._dialer.dial_artifact(url)
            request = client.get(called).header("accept", "*/*")
            # All of it: what drips byte by byte holds a connection at both ends.
            request = request.timeout(timedelta(seconds=self._rules.artifact_timeout_s))
            if access is not None and self._dialer.get_origin(access.base_url) == origin:
                request = request.bearer_auth(access.api_key)
            streamed = request.streamed_read_buffer_limit(0).build_streamed()
            response = await streamed.__aenter__()
            try:
                if response.status != 200 or _is_encoded(response):
                    raise SellerFailure(Cause.BAD_FORMAT)
                length = response.get_header("content-length") or ""
                size = int(length) if length.isdecimal() and len(length) < 16 else None
                if size is not None and size > self._rules.artifact_bytes_max:
                    raise SellerFailure(Cause.BAD_FORMAT)
            except BaseException:
                await streamed.__aexit__(None, None, None)
                raise
        stream = SellerStream(streamed, response)
        content_type = response.get_header("content-type") or ""
        return Download(stream, content_type, size, self._rules.artifact_bytes_max)

    async def check_artifact(self, url: str) -> None:
        """Refuse a URL that could not be fetched. Raises ``SellerFailure``."""
        with _translated():
            await self._dialer.dial_artifact(url)

    async def fetch_models(self, access: Access) -> list[str]:
        """Return the ids of a seller's models. Raises ``SellerFailure`` or ``SellerRejected``."""
        with _translated():
            client, url = await self._dialer.dial(access.base_url)
            request = client.get(f"{url}/models").bearer_auth(access.api_key)
            request = request.timeout(timedelta(seconds=self._rules.list_timeout_s))
            data = (await self._fetch(request, access)).parsed.get("data")
        if not isinstance(data, list):
            raise SellerFailure(Cause.BAD_FORMAT)
        ids = (entry.get("id") for entry in data if isinstance(entry, dict))
        return [name for name in ids if isinstance(name, str) and 0 < len(name) <= 200][:MODELS_MAX]

    async def open_stream(self, access: Access, path: str, body: bytes) -> "SellerStream":
        """Return a stream that has begun with success. Raises as ``call`` does."""
        with _translated():
            client, url = await self._dialer.dial(access.base_url)
            post = _post(client, f"{url}/{path}", access, body)
            # What has arrived is passed on at once, not when a buffer is full.
            post = post.header("accept", "text/event-stream").streamed_read_buffer_limit(0)
            request = post.build_streamed()
            response = await request.__aenter__()
            try:
                if response.status != 200:
                    raise _translate(response, await self._read(response), access)
                content_type = response.get_header("content-type") or ""
                if not content_type.startswith("text/event-stream") or _is_encoded(response):
                    raise SellerFailure(Cause.BAD_FORMAT)
            except BaseException:
                await request.__aexit__(None, None, None)
                raise
        return SellerStream(request, response)

    async def _fetch(self, request: RequestBuilder, access: Access) -> Answer:
        async with request.build_streamed() as response:
            raw = await self._read(response)
            if response.status != 200:
                raise _translate(response, raw, access)
        return Answer(raw, RawAnswer("", raw).parse())

    async def _read(self, response: Response) -> bytes:
        is_success = response.status in _SUCCESSES
        limit = self._rules.body_bytes_max if is_success else ERROR_BYTES_MAX
        chunks, size = [], 0
        while (chunk := await _heed_cancel(response.body_reader.read_chunk())) is not None:
            size += len(chunk)
            if size > limit:
                if not is_success:
                    break  # enough to know what it is
                raise SellerFailure(Cause.BAD_FORMAT)
            chunks.append(bytes(chunk))
        if is_success and _is_encoded(response):
            raise SellerFailure(Cause.BAD_FORMAT)  # not asked for
        return b"".join(chunks)


class SellerStream:
    """An answer that is still arriving."""

    def __init__(self, request: StreamRequest, response: Response) -> None:
        self._request = request
        self._response = response

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield what arrives, cut anywhere. Raises ``SellerFailure`` where it breaks off."""
        with _translated():
            while (
                piece := await _heed_cancel(self._response.body_reader.read_chunk())
            ) is not None:
                yield bytes(piece)

    async def close(self) -> None:
        """Stop receiving; the seller notices. Again is harmless."""
        await self._request.__aexit__(None, None, None)


class Download:
    """Something that a seller made, as it arrives."""

    def __init__(
        self, stream: SellerStream, content_type: str, size: int | None, bytes_max: int
    ) -> None:
        self.content_type = content_type.partition(";")[0].strip().lower()
        self.size = size
        self._stream = stream
        self._bytes_max = bytes_max

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield what arrives. Raises ``SellerFailure`` where it breaks off, or never ends."""
        arrived = 0
        try:
            async for piece in self._stream.pieces():
                arrived += len(piece)
                if arrived > self._bytes_max:
                    raise SellerFailure(Cause.BAD_FORMAT)
                yield piece
        finally:
            await self._stream.close()


async def _heed_cancel(arriving: Awaitable[T]) -> T:
    """Return what arrives. Raises ``CancelledError`` where the task was cancelled meanwhile.

    The client forgets a cancellation that comes together with what it waits for: without this a
    seller that sends all the time could not be stopped.
    """
    arrived = await arriving
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return arrived


def _post(client: Client, url: str, access: Access, body: bytes) -> RequestBuilder:
    request = client.post(url).body_bytes(body).bearer_auth(access.api_key)
    return request.header("content-type", "application/json")


def _is_encoded(response: Response) -> bool:
    return (response.get_header("content-encoding") or "identity") != "identity"


def _translate(response: Response, raw: bytes, access: Access) -> CurrentError:
    """Return what an answer other than 200 says of the seller, or of the request."""
    status = response.status
    if status in _NOT_SERVED:
        # Which endpoint is called is the buyer's choice: it is no fault of the offer's.
        return NotServed()
    if status in _REJECTED:
        message, param = _read_error(raw, access)
        return SellerRejected(status, message, param)
    if status in (401, 403):
        return SellerFailure(Cause.AUTH)
    if status == 402 or (status == 429 and b"insufficient_quota" in raw):
        return SellerFailure(Cause.FUNDS)
    if status == 429:
        told = response.get_header("retry-after") or ""
        retry_after_s = float(told) if told.isdecimal() and len(told) < 8 else None
        return SellerFailure(Cause.RATE, retry_after_s=retry_after_s)
    if status == 408 or status >= 500:
        return SellerFailure(Cause.SERVER)
    # Redirects, and what an OpenAI-compatible endpoint with this model does not answer.
    return SellerFailure(Cause.BAD_FORMAT)


def _read_error(raw: bytes, access: Access) -> tuple[str, str | None]:
    fallback = "The sellers of this model rejected the request."
    try:
        error = orjson.loads(raw)["error"]
        message = error if isinstance(error, str) else error["message"]
        param = None if isinstance(error, str) else error.get("param")
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        return fallback, None
    if not isinstance(message, str):
        return fallback, None
    cleaned_param = _clean(param, access) if isinstance(param, str) else None
    return _clean(message, access) or fallback, cleaned_param


def _clean(text: str, access: Access) -> str:
    parts = urlsplit(access.base_url)
    for secret in filter(None, (access.api_key, access.base_url, parts.netloc, parts.hostname)):
        text = text.replace(secret, "…")
    text = _TOKENS.sub("…", _URLS.sub("…", text))
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable[:MESSAGE_MAX].strip()


@contextmanager
def _translated() -> Iterator[None]:
    """Translate what the client raises into what it says of the seller."""
    try:
        yield
    except TimeoutError:
        raise SellerFailure(Cause.TIMEOUT) from None
    except (ConnectError, UrlRefused):
        raise SellerFailure(Cause.UNREACHABLE) from None
    except PyreqwestError:
        # Its text may hold the URL.
        raise SellerFailure(Cause.UNREACHABLE) from None
