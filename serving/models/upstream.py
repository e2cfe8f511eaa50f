"""Calling a model's provider: any OpenAI-compatible endpoint, over a pooled client.

A proxy has one upstream, a market calls many: who is called is the caller's choice, what is made
of the answer is decided here. Whatever the client raises and whatever the provider answers is
translated once, into ``UpstreamFailure`` or ``UpstreamRejected``. The provider's key and URL are in
no message, log or repr.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError
from pyreqwest.request import RequestBuilder, StreamRequest
from pyreqwest.response import Response

from serving.models.failures import (
    Cause,
    UpstreamFailure,
    classify,
    classify_said,
)
from serving.models.grades import ServedBy, read_served_by
from serving.models.provider_json import read_for_clients
from serving.models.sold import is_own_provider, read_cost_header, read_sale_id
from serving.models.whole_answers import stream_whole
from serving.process.hops import HOPS_HEADER, write_hops

T = TypeVar("T")

KEEPALIVE_S: Final = 4.0
"""Below the five seconds after which common servers close: a closed connection loses a request."""

ERROR_BYTES_MAX: Final = 64 * 1024
"""As much of an error is read: enough to know what it is."""

WHOLE_BYTES_MAX: Final = 4 * 1024**2
"""The longest whole answer that is taken where a stream was asked for."""

SUCCESSES: Final = frozenset({200, 201, 202})
_EVENT_STREAM: Final = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Access:
    """Where a provider's endpoint is, and the key for it. Shows neither in its repr."""

    base_url: str
    api_key: str
    tenant: str = ""
    """Whose endpoint it is, to whose share of connections and requests its calls count."""

    def __repr__(self) -> str:
        return "Access(…)"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets to remove from all texts: the key, and the URL in whole and in parts."""
        parts = urlsplit(self.base_url)
        return (self.api_key, self.base_url, parts.netloc, parts.hostname or "")


@dataclass(frozen=True, slots=True)
class ClientRules:
    """How connections are made and kept. Times in seconds."""

    connect_timeout_s: float
    read_timeout_s: float
    """Longest silence of a provider, also before its first byte."""
    pool_timeout_s: float
    """How long a request waits for a free connection."""
    connections_max: int


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """A provider's whole answer: the bytes for its client, as they came where every client reads
    them, and the same parsed."""

    raw: bytes
    parsed: dict[str, Any]
    sold_usdc: int | None = None
    """What a market states that it charged, in 1e-6 USDC: see ``serving.models.sold``."""
    served_by: ServedBy | None = None
    """Who served, as a market states it."""


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """A provider's whole answer that need not be JSON. ``content_type`` is without parameters."""

    content_type: str
    raw: bytes
    sold_usdc: int | None = None
    served_by: ServedBy | None = None

    def parse(self) -> dict[str, Any]:
        """Return the JSON object that it is. Raises ``UpstreamFailure``."""
        return _parse_object(self.raw)[1]


def configure_client(rules: ClientRules, *, user_agent: str) -> ClientBuilder:
    """Return the builder of a client: HTTP/1.1, no redirects, no proxies, nothing compressed."""
    return (
        ClientBuilder()
        .default_headers({"accept": "application/json", "accept-encoding": "identity"})
        .user_agent(user_agent)
        .http1_only()
        .follow_redirects(False)
        .referer(False)
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .no_proxy()
        .connect_timeout(timedelta(seconds=rules.connect_timeout_s))
        .read_timeout(timedelta(seconds=rules.read_timeout_s))
        .max_connections(rules.connections_max)
        .pool_timeout(timedelta(seconds=rules.pool_timeout_s))
        .pool_idle_timeout(timedelta(seconds=KEEPALIVE_S))
        .tcp_nodelay(True)
    )


def build_post(
    client: Client, url: str, access: Access, body: bytes, headers: Mapping[str, str] | None = None
) -> RequestBuilder:
    """Return a request with a JSON body."""
    request = authorize(client.post(url), access).body_bytes(body)
    request = request.header("content-type", "application/json")
    for name, value in (headers or {}).items():
        request = request.header(name, value)
    return request


_MAKERS_HOST: Final = "api.anthropic.com"
"""The host that takes a bearer for another kind of key."""


def build_messages_post(
    client: Client, url: str, access: Access, body: bytes, headers: Mapping[str, str]
) -> RequestBuilder:
    """Return a request in Anthropic's dialect: with the key where its providers look for it."""
    request = client.post(url).header(HOPS_HEADER, write_hops()).body_bytes(body)
    told = {"content-type": "application/json", **headers}
    if access.api_key:
        told["x-api-key"] = access.api_key
        if urlsplit(access.base_url).hostname != _MAKERS_HOST:
            request = request.bearer_auth(access.api_key)
    for name, value in told.items():
        request = request.header(name, value)
    return request


def authorize(request: RequestBuilder, access: Access) -> RequestBuilder:
    """Return a request with the provider's key, where there is one, and with this server counted
    among those that the request has passed."""
    request = request.header(HOPS_HEADER, write_hops())
    return request.bearer_auth(access.api_key) if access.api_key else request


async def fetch(
    request: RequestBuilder, access: Access, *, timeout_s: float, bytes_max: int
) -> ProviderAnswer:
    """Return a whole answer. Raises ``UpstreamFailure`` or ``UpstreamRejected``.

    An error that comes as a success is raised as the error that it is.
    """
    answer = await fetch_raw(request, access, timeout_s=timeout_s, bytes_max=bytes_max)
    readable, parsed = _parse_object(answer.raw)
    if parsed.get("error"):
        raise classify_said(parsed["error"], secrets=access.secrets)
    return ProviderAnswer(readable, parsed, answer.sold_usdc, answer.served_by)


async def fetch_raw(
    request: RequestBuilder,
    access: Access,
    *,
    timeout_s: float,
    bytes_max: int,
    successes: frozenset[int] = frozenset({200}),
) -> RawAnswer:
    """Return a whole answer of any kind. Raises as ``fetch`` does."""
    with translated():
        timed = request.timeout(timedelta(seconds=timeout_s))
        async with timed.build_streamed() as response:
            raw = await _read(response, access, bytes_max=bytes_max, successes=successes)
            sold_usdc = read_cost_header(response.get_header)
            served_by = read_served_by(response.get_header)
            return RawAnswer(get_content_type(response), raw, sold_usdc, served_by)


async def open_stream(request: RequestBuilder, access: Access) -> "UpstreamStream":
    """Return a stream of events that has begun with success. Raises as ``fetch`` does."""
    # What has arrived is passed on at once, not when a buffer is full.
    post = request.header("accept", _EVENT_STREAM).streamed_read_buffer_limit(0)
    with translated():
        streamed = post.build_streamed()
        response = await streamed.__aenter__()
        try:
            if response.status != 200:
                await _read(response, access, bytes_max=ERROR_BYTES_MAX)
            if is_encoded(response):
                raise UpstreamFailure(Cause.BAD_FORMAT)
            if get_content_type(response) != _EVENT_STREAM:
                whole = await _read_no_stream(response, access)
                return WholeStream(streamed, response, whole)
        except BaseException:
            await streamed.__aexit__(None, None, None)
            raise
    return UpstreamStream(streamed, response)


async def _read_no_stream(response: Response, access: Access) -> bytes:
    """Return the events that say what a success says that is no stream: a whole answer.

    Raises what it says where that is no chat completion: some providers refuse in it.
    """
    _, said = _parse_object(await _read(response, access, bytes_max=WHOLE_BYTES_MAX))
    if said.get("error"):
        raise classify_said(said["error"], secrets=access.secrets)
    events = stream_whole(said)
    if events is None:
        raise UpstreamFailure(Cause.BAD_FORMAT)
    return events


class UpstreamStream:
    """An answer that is still arriving."""

    def __init__(self, request: StreamRequest, response: Response) -> None:
        self._request = request
        self._response = response
        self.on_close: Callable[[], None] | None = None
        """Called once, when nothing is received any more."""
        self.sale_id = read_sale_id(response.get_header)
        """The id by which a market knows the request; None where no market's offer answers."""
        self.served_by = read_served_by(response.get_header)
        """Who serves, as a market states it; None where none does."""
        self.is_own_provider = is_own_provider(response.get_header)
        """Whether a market has passed the request on to a provider of the account's own."""

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield what arrives, cut anywhere. Raises ``UpstreamFailure`` where it breaks off."""
        with translated():
            reader = self._response.body_reader
            while (piece := await heed_cancel(reader.read_chunk())) is not None:
                yield bytes(piece)

    async def close(self) -> None:
        """Stop receiving; the provider notices. Idempotent."""
        on_close, self.on_close = self.on_close, None
        try:
            await self._request.__aexit__(None, None, None)
        finally:
            if on_close is not None:
                on_close()


class WholeStream(UpstreamStream):
    """A whole answer where a stream was asked for, told as a stream."""

    def __init__(self, request: StreamRequest, response: Response, events: bytes) -> None:
        super().__init__(request, response)
        self._events = events

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield all of it at once."""
        yield self._events


async def _read(
    response: Response,
    access: Access,
    *,
    bytes_max: int,
    successes: frozenset[int] = frozenset({200}),
) -> bytes:
    """Return a success's body. Raises what any other answer means."""
    is_success = response.status in successes
    limit = bytes_max if is_success else ERROR_BYTES_MAX
    if is_success and is_encoded(response):
        raise UpstreamFailure(Cause.BAD_FORMAT)  # not asked for
    chunks, size = [], 0
    while (chunk := await heed_cancel(response.body_reader.read_chunk())) is not None:
        size += len(chunk)
        if size > limit:
            if not is_success:
                break
            raise UpstreamFailure(Cause.BAD_FORMAT)
        chunks.append(bytes(chunk))
    raw = b"".join(chunks)
    if not is_success:
        raise classify(
            response.status,
            raw,
            retry_after=response.get_header("retry-after"),
            secrets=access.secrets,
            now_s=time.time(),
        )
    return raw


def _parse_object(raw: bytes) -> tuple[bytes, dict[str, Any]]:
    """Return the JSON object that a provider sent, before it the bytes of it that every client
    reads. Raises ``UpstreamFailure``."""
    try:
        parsed, readable = read_for_clients(raw)
    except ValueError:
        raise UpstreamFailure(Cause.BAD_FORMAT) from None
    if not isinstance(parsed, dict):
        raise UpstreamFailure(Cause.BAD_FORMAT)
    return readable, parsed


def get_content_type(response: Response) -> str:
    """Return an answer's content type, in lower case and without parameters."""
    stated = response.get_header("content-type") or ""
    return stated.partition(";")[0].strip().lower()


def is_encoded(response: Response) -> bool:
    """Tell whether an answer is compressed. No code but ``identity`` was asked for."""
    codes = (response.get_header("content-encoding") or "").split(",")
    return any(code.strip().lower() not in ("", "identity") for code in codes)


async def heed_cancel(arriving: Awaitable[T]) -> T:
    """Return what arrives. Raises ``CancelledError`` where the task was cancelled meanwhile.

    The client forgets a cancellation that comes together with what it waits for: without this, a
    stream whose provider sends all the time could not be cut.
    """
    arrived = await arriving
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return arrived


@contextmanager
def translated() -> Iterator[None]:
    """Translate what the client raises into what it says of the provider.

    The client's texts may hold the URL, so they are not kept.
    """
    try:
        yield
    except TimeoutError:
        raise UpstreamFailure(Cause.TIMEOUT) from None
    except ConnectError:
        raise UpstreamFailure(Cause.UNREACHABLE) from None
    except PyreqwestError:
        raise UpstreamFailure(Cause.DISCONNECTED) from None
