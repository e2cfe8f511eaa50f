"""Calling sellers' endpoints: each at its checked address, with its own key and bounds.

What a seller answers is translated by ``serving.models``; here is who is called, what else than
text is fetched, and how much of it.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from pyreqwest.client import Client
from pyreqwest.request import RequestBuilder

from market.endpoints.lines import Lines
from serving.models.dialing import Dialer
from serving.models.failures import Cause, UpstreamFailure
from serving.models.upstream import (
    SUCCESSES,
    Access,
    ProviderAnswer,
    RawAnswer,
    UpstreamStream,
    authorize,
    build_messages_post,
    build_post,
    fetch,
    fetch_raw,
    get_content_type,
    is_encoded,
    open_stream,
    translated,
)

MODELS_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class SellerRules:
    """How much and how long an answer may be. Times in seconds."""

    whole_timeout_s: float = 180.0
    body_bytes_max: int = 16 * 1024**2
    list_timeout_s: float = 15.0
    artifact_bytes_max: int = 512 * 1024**2
    artifact_timeout_s: float = 600.0
    calls_max: int = 1_000
    """The most calls at a time, of which no seller gets all."""


class SellerClient:
    """Calls sellers. To be made inside a running event loop.

    Every call raises ``UpstreamFailure`` or ``UpstreamRejected``; and ``NoPlace`` where other
    tenants' calls leave it no connection, which says nothing of the seller.
    """

    def __init__(self, dialer: Dialer, rules: SellerRules) -> None:
        self._dialer = dialer
        self._rules = rules
        self._lines = Lines(dialer, calls_max=rules.calls_max)

    async def close(self) -> None:
        """Close all connections."""
        await self._dialer.close()

    async def call(
        self, access: Access, path: str, body: bytes, dialect: Mapping[str, str] | None = None
    ) -> ProviderAnswer:
        """Return a whole answer that is a JSON object.

        ``dialect`` are the headers of a request in Anthropic's; None: it is in OpenAI's.
        """
        async with self._lines.hold(access) as (client, url):
            return await fetch(
                _build_post(client, f"{url}/{path}", access, body, dialect),
                access,
                timeout_s=self._rules.whole_timeout_s,
                bytes_max=self._rules.body_bytes_max,
            )

    async def open_stream(
        self, access: Access, path: str, body: bytes, dialect: Mapping[str, str] | None = None
    ) -> UpstreamStream:
        """Return a stream that has begun with success. ``dialect`` as in ``call``."""
        line = await self._lines.open(access)
        try:
            post = _build_post(line.client, f"{line.url}/{path}", access, body, dialect)
            stream = await open_stream(post, access)
        except BaseException:
            line.leave()
            raise
        stream.on_close = line.leave
        return stream

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
        """Return a whole answer of any kind."""
        async with self._lines.hold(access) as (client, url):
            request = authorize(client.request(method, f"{url}/{path}"), access)
            request = request.header("accept", "*/*")
            if body is not None and content_type is not None:
                request = request.body_bytes(body).header("content-type", content_type)
            return await fetch_raw(
                request,
                access,
                timeout_s=self._rules.whole_timeout_s if timeout_s is None else timeout_s,
                bytes_max=self._rules.body_bytes_max,
                successes=SUCCESSES,
            )

    async def fetch_models(self, access: Access) -> list[str]:
        """Return the ids of a seller's models."""
        async with self._lines.hold(access) as (client, url):
            answer = await fetch(
                authorize(client.get(f"{url}/models"), access),
                access,
                timeout_s=self._rules.list_timeout_s,
                bytes_max=self._rules.body_bytes_max,
            )
        data = answer.parsed.get("data")
        if not isinstance(data, list):
            raise UpstreamFailure(Cause.BAD_FORMAT)
        ids = (entry.get("id") for entry in data if isinstance(entry, dict))
        return [name for name in ids if isinstance(name, str) and 0 < len(name) <= 200][:MODELS_MAX]

    async def open_download(self, url: str, access: Access | None) -> "Download":
        """Return what a seller keeps at ``url``, as it arrives.

        The seller's key goes along only to where its own endpoint is.
        """
        tenant = "" if access is None else access.tenant
        line = await self._lines.open_artifact(url, tenant)
        request = line.client.get(line.url).header("accept", "*/*")
        # All of it: what drips byte by byte holds a connection at both ends.
        request = request.timeout(timedelta(seconds=self._rules.artifact_timeout_s))
        if access is not None and self._dialer.get_origin(access.base_url) == line.origin:
            request = authorize(request, access)
        try:
            with translated():
                streamed = request.streamed_read_buffer_limit(0).build_streamed()
                response = await streamed.__aenter__()
                try:
                    if response.status != 200 or is_encoded(response):
                        raise UpstreamFailure(Cause.BAD_FORMAT)
                    length = response.get_header("content-length") or ""
                    size = int(length) if length.isdecimal() and len(length) < 16 else None
                    if size is not None and size > self._rules.artifact_bytes_max:
                        raise UpstreamFailure(Cause.BAD_FORMAT)
                except BaseException:
                    await streamed.__aexit__(None, None, None)
                    raise
        except BaseException:
            line.leave()
            raise
        stream = UpstreamStream(streamed, response)
        stream.on_close = line.leave
        return Download(stream, get_content_type(response), size, self._rules.artifact_bytes_max)

    async def check_artifact(self, url: str) -> None:
        """Refuse a URL that could not be fetched."""
        await self._lines.check_artifact(url)


def _build_post(
    client: Client, url: str, access: Access, body: bytes, dialect: Mapping[str, str] | None
) -> RequestBuilder:
    if dialect is None:
        return build_post(client, url, access, body)
    return build_messages_post(client, url, access, body, dialect)


class Download:
    """Something that a seller made, as it arrives."""

    def __init__(
        self, stream: UpstreamStream, content_type: str, size: int | None, bytes_max: int
    ) -> None:
        self.content_type = content_type
        self.size = size
        self._stream = stream
        self._bytes_max = bytes_max

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield what arrives. Raises ``UpstreamFailure`` where it breaks off, or never ends."""
        arrived = 0
        try:
            async for piece in self._stream.pieces():
                arrived += len(piece)
                if arrived > self._bytes_max:
                    raise UpstreamFailure(Cause.BAD_FORMAT)
                yield piece
        finally:
            await self._stream.close()
