"""The model's provider: any OpenAI-compatible endpoint, over one pooled client.

Its errors are translated here, once. What a client is told never holds upstream's URL, key or
stack traces.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import urlsplit

from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import ConnectError, PyreqwestError
from pyreqwest.request import RequestBuilder, StreamRequest
from pyreqwest.response import Response

from proxy.errors import price_changed, upstream_failed
from proxy.settings import ProxySettings
from serving.http.errors import ApiError, RequestRejected, TryLater
from serving.models.prices import Price
from serving.models.provider_json import read_provider_json

T = TypeVar("T")

INPUT_CEILING: Final = "x-market-max-input-usdc-per-mtok"
OUTPUT_CEILING: Final = "x-market-max-output-usdc-per-mtok"
"""Tell a market the prices that the buyer is charged, so that no dearer seller serves; others take
no notice."""

PRICE_CEILING_NOT_MET: Final = "price_ceiling_not_met"
"""What a market answers where only dearer sellers are left."""

KEEPALIVE_S: Final = 4.0
"""Below the five seconds after which common servers close: a closed connection loses a request."""

MESSAGE_MAX: Final = 500
_PASSED_STATUSES: Final = frozenset({400, 404, 409, 413, 422})
_URLS: Final = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_TOKENS: Final = re.compile(r"\b(?:sk|pk|si|key|Bearer)[-_ ][\w-]{8,}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Completion:
    """Upstream's successful answer: the bytes as they came, and the same parsed."""

    raw: bytes
    parsed: dict[str, Any]


class UpstreamStream(Protocol):
    """An answer that is still arriving."""

    def pieces(self) -> AsyncIterator[bytes]:
        """Yield what arrives, cut anywhere. Raises ``ApiError`` where upstream breaks off."""
        ...

    async def close(self) -> None:
        """Stop receiving; upstream notices. Again is harmless."""
        ...


class Upstream(Protocol):
    """What the proxy needs of a provider."""

    @property
    def name(self) -> str:
        """What clients are told served them."""
        ...

    async def fetch_models(self) -> list[dict[str, Any]]:
        """Return upstream's model list. Raises ``ApiError``."""
        ...

    async def fetch_prices(self) -> list[dict[str, Any]] | None:
        """Return upstream's own prices; none where it has no list, None where it does not say."""
        ...

    async def complete(self, body: bytes, price: Price) -> Completion:
        """Return a whole completion that costs us no more than ``price``.

        Raises ``ApiError``; then nothing is to be charged.
        """
        ...

    async def open_stream(self, body: bytes, price: Price) -> UpstreamStream:
        """Return a streamed completion that has begun with success. Raises ``ApiError``."""
        ...

    def describe_failure(self, failure: Any) -> ApiError:
        """Return what a client is told of an error object that upstream sent in a stream."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class HttpUpstream:
    """An OpenAI-compatible endpoint over HTTP. To be made inside a running event loop."""

    def __init__(self, settings: ProxySettings) -> None:
        self._url = settings.upstream_url.get_secret_value()
        self._key = settings.upstream_key.get_secret_value()
        self._name = settings.upstream_name
        self._bytes_max = settings.upstream_body_bytes_max
        self._asks_prices = settings.upstream_prices
        headers = {"accept": "application/json", "accept-encoding": "identity"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        self._whole_timeout = timedelta(seconds=settings.upstream_timeout_s)
        self._list_timeout = timedelta(seconds=2 * settings.upstream_connect_timeout_s)
        self._client = (
            ClientBuilder()
            .default_headers(headers)
            .http1_only()
            .follow_redirects(False)
            .no_proxy()
            .connect_timeout(timedelta(seconds=settings.upstream_connect_timeout_s))
            .read_timeout(self._whole_timeout)
            .max_connections(settings.upstream_connections_max)
            .pool_timeout(self._whole_timeout)
            .pool_idle_timeout(timedelta(seconds=KEEPALIVE_S))
            .tcp_nodelay(True)
            .build()
        )

    @property
    def name(self) -> str:
        return self._name

    async def close(self) -> None:
        await self._client.close()

    async def fetch_models(self) -> list[dict[str, Any]]:
        """Return the entries of upstream's model list that have an id. Raises ``ApiError``."""
        request = self._client.get(self._url + "/models").timeout(self._list_timeout)
        data = (await self._fetch(request)).parsed.get("data")
        if not isinstance(data, list):
            raise _invalid_response()
        return [
            entry
            for entry in data
            if isinstance(entry, dict) and isinstance(entry.get("id"), str) and entry["id"]
        ]

    async def fetch_prices(self) -> list[dict[str, Any]] | None:
        """Return the entries of upstream's price list; none where it has no such list.

        None where it does not answer: then what it said last stands for as long as it may.
        """
        if not self._asks_prices:
            return []
        request = self._client.get(self._url + "/prices").timeout(self._list_timeout)
        try:
            data = (await self._fetch(request)).parsed.get("data")
        except ApiError as error:
            return [] if error.status == 404 else None
        entries = data if isinstance(data, list) else []
        return [entry for entry in entries if isinstance(entry, dict)]

    async def complete(self, body: bytes, price: Price) -> Completion:
        """Return a whole completion. Raises ``ApiError``; then nothing is to be charged."""
        return await self._fetch(self._build_post(body, price).timeout(self._whole_timeout))

    async def open_stream(self, body: bytes, price: Price) -> UpstreamStream:
        """Return a streamed completion that has begun with success. Raises ``ApiError``."""
        post = self._build_post(body, price).header("accept", "text/event-stream")
        # What has arrived is passed on at once, not when a buffer is full.
        request = post.streamed_read_buffer_limit(0).build_streamed()
        with _translated():
            response = await request.__aenter__()
            try:
                if response.status != 200:
                    raise self._translate(response, await self._read(response))
                content_type = response.get_header("content-type") or ""
                if not content_type.startswith("text/event-stream") or _is_encoded(response):
                    raise _invalid_response()
            except BaseException:
                await request.__aexit__(None, None, None)
                raise
        return _HttpStream(request, response)

    def _build_post(self, body: bytes, price: Price) -> RequestBuilder:
        request = self._client.post(self._url + "/chat/completions").body_bytes(body)
        return (
            request.header("content-type", "application/json")
            .header(INPUT_CEILING, str(price.input_usdc_per_mtok))
            .header(OUTPUT_CEILING, str(price.output_usdc_per_mtok))
        )

    async def _fetch(self, request: RequestBuilder) -> Completion:
        with _translated():
            async with request.build_streamed() as response:
                raw = await self._read(response)
                if response.status != 200:
                    raise self._translate(response, raw)
        try:
            parsed = read_provider_json(raw)
        except ValueError:
            raise _invalid_response() from None
        if not isinstance(parsed, dict):
            raise _invalid_response()
        return Completion(raw, parsed)

    def describe_failure(self, failure: Any) -> ApiError:
        """Return what a client is told of an error object that upstream sent in a stream."""
        message, _, _ = self._describe_error(failure)
        return upstream_failed("upstream_error", message)

    async def _read(self, response: Response) -> bytes:
        if _is_encoded(response):
            raise _invalid_response()  # not asked for
        chunks, size = [], 0
        while (chunk := await _heed_cancel(response.body_reader.read_chunk())) is not None:
            size += len(chunk)
            if size > self._bytes_max:
                raise _invalid_response()
            chunks.append(bytes(chunk))
        return b"".join(chunks)

    def _translate(self, response: Response, raw: bytes) -> ApiError:
        """Keep the status and meaning of what the client can mend; call the rest a failure."""
        status = response.status
        if status in _PASSED_STATUSES:
            message, param, code = self._describe_error(_find_error(raw))
            facts = {} if code is None else {"upstream_code": code}
            return RequestRejected(status, "upstream_rejected", message, param, facts=facts)
        if status == 503 and self._describe_error(_find_error(raw))[2] == PRICE_CEILING_NOT_MET:
            return price_changed()
        if status == 429:
            error: ApiError = TryLater(
                503, "upstream_rate_limited", "The model's provider is busy. You are not charged."
            )
            retry_after = response.get_header("retry-after") or ""
            error.headers = {"retry-after": retry_after if retry_after.isdecimal() else "5"}
            return error
        return upstream_failed(
            "upstream_error", f"The model's provider failed with HTTP status {status}."
        )

    def _describe_error(self, error: Any) -> tuple[str, str | None, str | None]:
        """Return an error's message, param and code, cleaned of what looks secret or internal."""
        said = error if isinstance(error, dict) else {"message": error}
        message, param, code = (
            self._clean(said[name]) if isinstance(said.get(name), str) else None
            for name in ("message", "param", "code")
        )
        return message or "The model's provider rejected the request.", param, code

    def _clean(self, text: str) -> str:
        parts = urlsplit(self._url)
        for secret in filter(None, (self._key, self._url, parts.netloc, parts.hostname)):
            text = text.replace(secret, "…")
        text = _TOKENS.sub("…", _URLS.sub("…", text))
        printable = "".join(character if character.isprintable() else " " for character in text)
        return printable[:MESSAGE_MAX].strip()


class _HttpStream:
    def __init__(self, request: StreamRequest, response: Response) -> None:
        self._request = request
        self._response = response

    async def pieces(self) -> AsyncIterator[bytes]:
        with _translated():
            reader = self._response.body_reader
            while (piece := await _heed_cancel(reader.read_chunk())) is not None:
                yield bytes(piece)

    async def close(self) -> None:
        await self._request.__aexit__(None, None, None)


async def _heed_cancel(arriving: Awaitable[T]) -> T:
    """Return what arrives. Raises ``CancelledError`` where the task was cancelled meanwhile.

    The client forgets a cancellation that comes together with what it waits for: without this, a
    stream whose provider sends all the time could not be cut.
    """
    arrived = await arriving
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return arrived


def _find_error(raw: bytes) -> Any:
    try:
        parsed = read_provider_json(raw)
    except ValueError:
        return None
    return parsed.get("error") if isinstance(parsed, dict) else None


def _is_encoded(response: Response) -> bool:
    return (response.get_header("content-encoding") or "identity") != "identity"


@contextmanager
def _translated() -> Iterator[None]:
    """Translate the client's exceptions into what our client is told."""
    try:
        yield
    except TimeoutError as error:
        message = "The model's provider did not answer in time."
        raise upstream_failed("upstream_timeout", message, status=504) from error
    except ConnectError as error:
        message = "The model's provider cannot be reached."
        raise upstream_failed("upstream_unreachable", message) from error
    except PyreqwestError as error:
        message = "The model's provider broke off its answer."
        raise upstream_failed("upstream_disconnected", message) from error


def _invalid_response() -> ApiError:
    message = "The model's provider sent an answer that is not a completion."
    return upstream_failed("upstream_invalid_response", message)
