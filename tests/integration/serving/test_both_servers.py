"""What both servers do alike over HTTP: every property is tried on the proxy and on the market.

::

    paths      a slash at the end, an unknown path: 404 as JSON, no redirect
    methods    another one: 405 with all that the path takes; HEAD as GET; OPTIONS
    bodies     Identity in any case; compressed, too long, too slow: a JSON error
               in pieces, after 100-continue: read like any other
    headers    too long: 431, on lean paths and on the framework's
    rates      an address, a key, sign-ins and nonces: 429 with Retry-After; no monitor is limited
    log        one access line a request, with its id; none for monitors
    health     /healthz, /readyz, /metrics of one shape
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import pytest
from sqlalchemy import Engine

from ledger.database.engine import write
from serving.http.limits import Limits
from tests.support import market as markets
from tests.support import proxy as proxies
from tests.support.clocks import stand_still
from tests.support.ledgers import make_ledger, make_state, put_cursor, put_positions
from tests.support.waiting import LIMIT_S, until_probed

BODY_MAX: Final = 2_000


@dataclass(frozen=True, slots=True)
class Server:
    """One of both, and what the tests ask of it."""

    client: httpx.AsyncClient
    limits: Limits
    prefix: str
    chat: str
    public: str
    """A path that anybody may GET."""
    nonce: str
    sign_in: str
    key: str
    """A key that may ask for completions."""
    two_methods: tuple[str, str]
    """A path that takes several methods, and the Allow header that says so."""

    @property
    def bearer(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    async def speak(self, *pieces: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send bytes on a connection of their own; return status, headers, and all that follows."""
        url = urlsplit(str(self.client.base_url))
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.02)
            async with asyncio.timeout(LIMIT_S):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().rstrip()
                first, *lines = head.split("\r\n")
                headers = dict(line.lower().split(": ", 1) for line in lines)
                status = int(first.split()[1])
                if "transfer-encoding" in headers:
                    body = await reader.readuntil(b"0\r\n\r\n")
                else:
                    length = 0 if status in (100, 204) else int(headers["content-length"])
                    body = await reader.readexactly(length)
        finally:
            writer.close()
        return status, headers, body

    def head(self, path: str, *lines: str, method: str = "POST") -> bytes:
        """Return a request's head; it carries the key."""
        all_lines = (
            f"{method} {path} HTTP/1.1",
            "host: a",
            f"authorization: Bearer {self.key}",
            *lines,
        )
        return ("\r\n".join(all_lines) + "\r\n\r\n").encode()


@asynccontextmanager
async def run_proxy(engine: Engine, folder: Path, **changes: Any) -> AsyncIterator[Server]:
    with write(engine) as connection:
        put_positions(connection, make_state(now_s=proxies.now_s()))
        put_cursor(connection, now_s=proxies.now_s())
    prices = proxies.write_prices(folder)
    settings = proxies.make_settings(prices_file=prices, **changes)
    async with proxies.run_proxy(settings, engine) as running:
        yield Server(
            client=running.client,
            limits=running.front.app.state.services.limits,
            prefix="/api/current",
            chat=proxies.CHAT,
            public="/api/current/models",
            nonce="/api/current/keys/nonce",
            sign_in="/api/current/keys",
            key=proxies.make_key(),
            two_methods=("/api/current/keys/children", "GET, HEAD, POST"),
        )


@asynccontextmanager
async def run_market(engine: Engine, folder: Path, **changes: Any) -> AsyncIterator[Server]:
    settings = markets.make_settings(folder, **changes)
    async with markets.run_market(settings, engine) as running:
        yield Server(
            client=running.client,
            limits=running.front.app.state.services.limits,
            prefix="",
            chat="/v1/chat/completions",
            public="/v1/prices",
            nonce=f"/v1/buyer/auth/challenge?address={markets.BUYER.address}",
            sign_in="/v1/buyer/auth/keys",
            key=await running.get_key(markets.BUYER, "buyer"),
            two_methods=("/v1/seller/offers", "GET, HEAD, POST"),
        )


RUN: Final = {"proxy": run_proxy, "market": run_market}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    yield engine
    engine.dispose()


@pytest.fixture(params=list(RUN))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def server(kind: str, engine: Engine, tmp_path: Path) -> AsyncIterator[Server]:
    bounds = {"body_bytes_max": BODY_MAX, "body_timeout_s": 2.0}
    async with RUN[kind](engine, tmp_path, **bounds) as running:
        yield running


def code_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    assert {"message", "type", "code", "param"} <= error.keys()
    return answer.status_code, error["code"]


@pytest.mark.parametrize("sort", ["public", "refused", "unknown", "chat"])
async def test_answers__of_every_kind__are_no_page_and_are_kept_by_nobody(
    server: Server, sort: str
) -> None:
    ask: dict[str, tuple[str, str]] = {
        "public": ("GET", server.public),
        "refused": ("POST", server.sign_in),
        "unknown": ("GET", f"{server.prefix}/nothing"),
        "chat": ("POST", server.chat),
    }
    method, path = ask[sort]
    answer = await server.client.request(method, path, headers=server.bearer, content=b"{}")

    assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
    [kept] = answer.headers.get_list("cache-control")
    assert kept == "no-store" or (sort == "public" and "max-age" in kept)


# ---------------------------------------------------------------------------------------- paths


async def test_path__with_a_slash_at_its_end__is_another_and_redirects_nowhere(
    server: Server,
) -> None:
    for path in (server.public, server.chat, server.sign_in):
        for method in ("GET", "POST"):
            answer = await server.client.request(method, path + "/", headers=server.bearer)
            assert code_of(answer) == (404, "not_found")
            assert "location" not in answer.headers
            assert path in answer.json()["error"]["message"]


async def test_method__another__405_with_all_that_the_path_takes(server: Server) -> None:
    path, allowed = server.two_methods
    for method in ("PUT", "OPTIONS", "TRACE"):
        answer = await server.client.request(method, path)
        assert code_of(answer) == (405, "method_not_allowed")
        assert answer.headers["allow"] == allowed
    chat = await server.client.get(server.chat)
    assert code_of(chat) == (405, "method_not_allowed")
    assert chat.headers["allow"] == "POST"


async def test_head__like_get_without_the_body(server: Server) -> None:
    for path in (server.public, server.prefix + "/healthz", server.prefix + "/nothing"):
        whole, head = await server.client.get(path), await server.client.head(path)
        assert head.status_code == whole.status_code
        assert head.content == b""
        assert head.headers["content-type"] == whole.headers["content-type"]


# --------------------------------------------------------------------------------------- bodies


@pytest.mark.parametrize("encoding", ["identity", "Identity", "IDENTITY"])
async def test_encoding__that_is_none__is_read(server: Server, encoding: str) -> None:
    answer = await server.client.post(
        server.chat, content=b"[]", headers={**server.bearer, "content-encoding": encoding}
    )
    assert code_of(answer) == (400, "invalid_type")


@pytest.mark.parametrize("encoding", ["gzip", "identity, gzip", "br"])
async def test_encoding__compressed__415(server: Server, encoding: str) -> None:
    for path in (server.chat, server.sign_in):
        answer = await server.client.post(
            path, content=b"{}", headers={**server.bearer, "content-encoding": encoding}
        )
        assert code_of(answer) == (415, "unsupported_encoding")


async def test_body__in_pieces__is_read_whole(server: Server) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for byte in b"[1, 2]":
            yield bytes([byte])

    answer = await server.client.post(server.chat, content=pieces(), headers=server.bearer)
    assert code_of(answer) == (400, "invalid_type")


async def test_body__after_100_continue__is_read(server: Server) -> None:
    head = server.head(server.chat, "content-length: 2", "expect: 100-continue")
    assert (await server.speak(head))[0] == 100


async def test_body__too_long__413_and_the_connection_ends(server: Server) -> None:
    for path in (server.chat, server.sign_in):
        said = await server.client.post(path, content=b"x" * (BODY_MAX + 1), headers=server.bearer)
        assert code_of(said) == (413, "body_too_large")
        assert said.headers["connection"] == "close"
        # Not even asked for: what it says of its length is enough.
        head = server.head(path, f"content-length: {BODY_MAX * 100}", "expect: 100-continue")
        status, headers, body = await server.speak(head)
        assert (status, json.loads(body)["error"]["code"]) == (413, "body_too_large")
        assert headers["connection"] == "close"


async def test_body__too_slow__408_and_the_connection_ends(server: Server) -> None:
    for path in (server.chat, server.sign_in):
        status, headers, body = await server.speak(server.head(path, "content-length: 9"), b"{")
        assert (status, json.loads(body)["error"]["code"]) == (408, "body_timeout")
        assert headers["connection"] == "close"


# -------------------------------------------------------------------------------------- headers


async def test_headers__too_long__431(server: Server) -> None:
    headers = {**server.bearer, "x-filler": "x" * 33_000}
    for method, path in (("GET", server.public), ("POST", server.chat)):
        answer = await server.client.request(method, path, headers=headers)
        assert code_of(answer) == (431, "headers_too_large")


# ---------------------------------------------------------------------------------------- rates


async def test_rate__of_an_address__429_whatever_it_asks_but_monitors(
    kind: str, engine: Engine, tmp_path: Path
) -> None:
    limits = {"address_requests_per_minute_max": 10, "trusted_proxies": "127.0.0.0/8"}
    async with RUN[kind](engine, tmp_path, **limits) as server:
        for _ in range(11):
            last = await server.client.get(server.public)
        assert code_of(last) == (429, "rate_limited")
        assert last.json()["error"]["type"] == "rate_limit_error"
        assert 1 <= int(last.headers["retry-after"]) <= 60
        chat = await server.client.post(server.chat, headers=server.bearer, json={})
        assert code_of(chat) == (429, "rate_limited")
        for name in ("healthz", "readyz", "metrics"):
            watched = await server.client.get(f"{server.prefix}/{name}")
            assert watched.status_code != 429
        elsewhere = {"x-forwarded-for": "198.51.100.1"}
        assert (await server.client.get(server.public, headers=elsewhere)).status_code == 200


async def test_rate__of_an_address__is_not_escaped_by_a_header_of_ones_own(
    kind: str, engine: Engine, tmp_path: Path
) -> None:
    async with RUN[kind](engine, tmp_path, address_requests_per_minute_max=10) as server:
        stand_still(server.limits)
        for number in range(11):
            headers = {"x-forwarded-for": f"198.51.100.{number}"}
            last = await server.client.get(server.public, headers=headers)
        assert code_of(last) == (429, "rate_limited")


async def test_rate__of_a_key__429_on_every_path_that_knows_it(
    kind: str, engine: Engine, tmp_path: Path
) -> None:
    async with RUN[kind](engine, tmp_path, key_requests_per_minute_max=3) as server:
        stand_still(server.limits)
        codes = [
            code_of(await server.client.post(server.chat, headers=server.bearer, json=[]))
            for _ in range(4)
        ]
        assert codes == [(400, "invalid_type")] * 3 + [(429, "rate_limited")]
        path = {"proxy": "/api/current/usage", "market": "/v1/buyer/account"}[kind]
        other = await server.client.get(path, headers=server.bearer)
        assert code_of(other) == (429, "rate_limited")
        assert (await server.client.get(server.public)).status_code == 200


async def test_rate__of_sign_ins__429_for_nonces_and_for_keys(
    kind: str, engine: Engine, tmp_path: Path
) -> None:
    async with RUN[kind](engine, tmp_path, address_keys_per_minute_max=2) as server:
        stand_still(server.limits)
        for _ in range(3):
            nonce = await server.client.get(server.nonce)
            key = await server.client.post(server.sign_in, json={})
        assert code_of(nonce) == (429, "rate_limited")
        assert code_of(key) == (429, "rate_limited")


# ------------------------------------------------------------------------------------------ log


async def test_log__one_access_line_a_request__with_its_id_and_without_the_key(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    asked = [
        await server.client.get(server.public),
        await server.client.post(server.chat, headers=server.bearer, json=[]),
        await server.client.get(server.prefix + "/nothing"),
        await server.client.get(server.public, headers={"x-filler": "x" * 33_000}),
    ]
    await server.client.get(server.prefix + "/healthz")

    lines = [line for line in capsys.readouterr().out.splitlines() if "request_served" in line]
    assert len(lines) == len(asked)
    for line, answer in zip(lines, asked, strict=True):
        assert answer.headers["x-request-id"] in line
        assert str(answer.status_code) in line
        assert answer.request.url.path in line
        assert server.key not in line


# --------------------------------------------------------------------------------------- health


async def test_health__of_one_shape(server: Server) -> None:
    alive = await server.client.get(server.prefix + "/healthz")
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    ready = await until_probed(server.client, server.prefix + "/readyz")
    said = ready.json()
    assert ready.status_code == (200 if said["ready"] else 503)
    metrics = await server.client.get(server.prefix + "/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "_requests_total" in metrics.text
