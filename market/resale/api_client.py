"""Calling an API with its owner's credential: at its checked address, bounded, never redirected.

What comes back is searched for the credential before anybody sees it. Whatever the client raises is
an ``UpstreamFailure``; nothing here holds a URL or a key in a message.
"""

import time
from base64 import b64encode
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import quote

from pyreqwest.response import Response

from market.endpoints.lines import Lines
from market.resale.api_streams import ApiStream, CredentialLeaked, check_leaks, is_streamed
from market.resale.connection_terms import Credential
from market.resale.leaks import LeakSearch
from market.resale.passed_headers import choose_incoming
from serving.models.dialing import Dialer
from serving.models.failures import Cause, UpstreamFailure, read_retry_after
from serving.models.upstream import Access, heed_cancel, is_encoded, translated
from serving.process.hops import HOPS_HEADER, write_hops

REDIRECTS: Final = range(300, 400)


@dataclass(frozen=True, slots=True)
class ApiRules:
    """How much and how long an answer may be. Times in seconds."""

    bytes_max: int
    timeout_s: float
    calls_max: int


@dataclass(frozen=True, slots=True)
class OutgoingCall:
    """A call as it goes to an API, but for the credential."""

    method: str
    path: str
    query: str
    """Encoded, without ``?``."""
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """An API's answer as its consumer may see it, and what its owner learns of it."""

    status: int
    headers: dict[str, str]
    body: bytes
    api_ms: int
    remaining_units: int | None
    stated: Mapping[str, str]
    """The headers that the market reads and does not pass on."""


class ApiClient:
    """Calls APIs. To be made inside a running event loop."""

    def __init__(self, dialer: Dialer, rules: ApiRules) -> None:
        self._lines = Lines(dialer, calls_max=rules.calls_max)
        self._rules = rules

    async def call(
        self,
        access: Access,
        credential: Credential,
        call: OutgoingCall,
        *,
        reads: tuple[str, ...] = (),
        remaining_header: str | None = None,
    ) -> ApiAnswer:
        """Return an answer of any status but a redirect. Raises ``UpstreamFailure``, ``NoPlace``.

        ``reads``: the headers of the answer that the market wants to know.
        """
        answer = await self.open(
            access, credential, call, reads=reads, remaining_header=remaining_header
        )
        assert isinstance(answer, ApiAnswer)
        return answer

    async def open(
        self,
        access: Access,
        credential: Credential,
        call: OutgoingCall,
        *,
        reads: tuple[str, ...] = (),
        remaining_header: str | None = None,
        streams: bool = False,
    ) -> ApiAnswer | ApiStream:
        """Return an answer as ``call`` does; or, where it ``streams``, one that has begun."""
        search = LeakSearch(*list_secrets(access.api_key, credential))
        query, headers = add_credential(access.api_key, credential, call)
        started_s = time.monotonic()
        with translated():
            async with AsyncExitStack() as opened:
                line = await self._lines.open(access)
                opened.callback(line.leave)
                target = f"{line.url}{call.path}" + (f"?{query}" if query else "")
                request = line.client.request(call.method, target).header(HOPS_HEADER, write_hops())
                for name, value in headers.items():
                    request = request.header(name, value)
                if call.body:
                    request = request.body_bytes(call.body)
                request = request.timeout(timedelta(seconds=self._rules.timeout_s))
                if streams:
                    # An answer begins with its headers, however little of it is there.
                    request = request.streamed_read_buffer_limit(0)
                response = await opened.enter_async_context(request.build_streamed())
                status = response.status
                if status in REDIRECTS or is_encoded(response):
                    raise UpstreamFailure(Cause.BAD_FORMAT, status=status)
                passed = choose_incoming(response.get_header)
                found = ((name, response.get_header(name)) for name in reads)
                stated = {name: text for name, text in found if text is not None}
                remaining = read_count(
                    None if remaining_header is None else response.get_header(remaining_header)
                )
                retry_after = response.get_header("retry-after")
                if streams and status == 200 and is_streamed(passed.get("content-type")):
                    if any(map(search.is_in_text, passed.values())):
                        raise CredentialLeaked
                    return ApiStream(
                        status,
                        passed,
                        remaining,
                        stated,
                        response,
                        search,
                        self._rules.bytes_max,
                        opened.pop_all(),
                    )
                body = await self._read(response)
        elapsed_ms = int((time.monotonic() - started_s) * 1_000)
        await check_leaks(search, body)
        if any(map(search.is_in_text, passed.values())):
            raise CredentialLeaked
        failure = read_failure(status, retry_after)
        if failure is not None:
            raise failure
        return ApiAnswer(status, passed, body, elapsed_ms, remaining, stated)

    async def _read(self, response: Response) -> bytes:
        length = response.get_header("content-length") or ""
        if length.isdecimal() and int(length[:18]) > self._rules.bytes_max:
            raise UpstreamFailure(Cause.BAD_FORMAT)
        chunks, size = [], 0
        while (chunk := await heed_cancel(response.body_reader.read_chunk())) is not None:
            size += len(chunk)
            if size > self._rules.bytes_max:
                raise UpstreamFailure(Cause.BAD_FORMAT)
            chunks.append(bytes(chunk))
        return b"".join(chunks)


def add_credential(
    api_key: str, credential: Credential, call: OutgoingCall
) -> tuple[str, dict[str, str]]:
    """Return a call's query and headers with the credential in its place."""
    headers = dict(call.headers)
    if credential.kind == "query":
        named = f"{quote(credential.name, safe='')}={quote(api_key, safe='')}"
        return (f"{call.query}&{named}" if call.query else named), headers
    if credential.kind == "header":
        headers[credential.name] = api_key
    else:
        headers["authorization"] = (
            f"Bearer {api_key}"
            if credential.kind == "bearer"
            else "Basic " + b64encode(api_key.encode()).decode()
        )
    return call.query, headers


def list_secrets(api_key: str, credential: Credential) -> tuple[str, ...]:
    """Return what no answer may have in it: the key, and the parts of ``user:password``."""
    if credential.kind != "basic":
        return (api_key,)
    _, _, password = api_key.partition(":")
    return (api_key, password) if len(password) >= 8 else (api_key,)


def read_failure(status: int, retry_after: str | None) -> UpstreamFailure | None:
    """Return what a status says of the API or its subscription; None where it is an answer."""
    causes = {401: Cause.AUTH, 402: Cause.FUNDS, 403: Cause.AUTH, 407: Cause.AUTH, 429: Cause.RATE}
    cause = causes.get(status, Cause.SERVER if status >= 500 or status < 200 else None)
    if cause is None:
        return None
    wait_s = read_retry_after(retry_after, now_s=time.time())
    return UpstreamFailure(cause, retry_after_s=wait_s, status=status)


def read_count(text: str | None) -> int | None:
    """Return a whole number of a header, None where it has none."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else None
