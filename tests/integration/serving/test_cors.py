"""Which web pages may ask both servers from a browser.

::

    no setting      no page is allowed anything
    an origin       listed: preflight, answers and errors are readable; another: nothing is said
    any origin      without credentials only
    monitors' paths never
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from serving.http.cors import parse_origins
from tests.integration.serving.test_both_servers import RUN, Server
from tests.support.ledgers import make_ledger
from tests.support.proxy import make_settings

PAGE = "https://app.example"
OTHER = "https://app.example.evil"
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization, content-type, x-stainless-lang",
}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    yield engine
    engine.dispose()


@pytest.fixture(params=list(RUN))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def speak(
    server: Server, method: str, path: str, headers: dict[str, str]
) -> tuple[int, dict[str, str]]:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = server.head(path, *lines, "content-length: 0", method=method)
    status, found, _ = await server.speak(head)
    return status, found


def allowed(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


async def test_cors__no_setting__no_page_is_allowed(
    kind: str, engine: Engine, tmp_path: Path
) -> None:
    async with RUN[kind](engine, tmp_path) as server:
        for method, path in (("OPTIONS", server.chat), ("POST", server.chat)):
            _, headers = await speak(server, method, path, PREFLIGHT)
            assert allowed(headers) == {}


async def test_cors__listed_origin__preflight_and_answers_are_readable(
    kind: str, engine: Engine, tmp_path: Path
) -> None:
    async with RUN[kind](engine, tmp_path, cors_origins=f"{PAGE}, http://b.example:81") as server:
        status, headers = await speak(server, "OPTIONS", server.chat, PREFLIGHT)
        assert status == 204
        assert "content-length" not in headers
        assert "transfer-encoding" not in headers
        assert headers["access-control-allow-origin"] == PAGE
        assert headers["vary"] == "origin"
        assert "post" in headers["access-control-allow-methods"]
        wanted = PREFLIGHT["access-control-request-headers"]
        assert headers["access-control-allow-headers"] == wanted
        assert "access-control-allow-credentials" not in headers

        # An error on the lean path, and a success of the framework's.
        for method, path, expected in (("POST", server.chat, 400), ("GET", server.public, 200)):
            status, headers = await speak(server, method, path, {"origin": PAGE})
            assert (status, headers["access-control-allow-origin"]) == (expected, PAGE)
            assert headers["vary"] == "origin"
            assert "x-request-id" in headers["access-control-expose-headers"]
        if kind == "proxy":
            _, headers = await speak(server, "POST", server.chat, {"origin": PAGE})
            exposed = headers["access-control-expose-headers"].split(", ")
            assert "x-current-cost-usdc" in exposed
            assert "content-type" not in exposed

        for method in ("OPTIONS", "POST"):
            _, headers = await speak(server, method, server.chat, {**PREFLIGHT, "origin": OTHER})
            assert allowed(headers) == {}
            assert headers["vary"] == "origin"


async def test_cors__listed_origin__answers_without_an_origin_vary_by_it(
    kind: str, engine: Engine, tmp_path: Path
) -> None:
    async with RUN[kind](engine, tmp_path, cors_origins=PAGE) as server:
        # The documentation is cached publicly.
        for method, path in (("GET", f"{server.prefix}/docs"), ("POST", server.chat)):
            _, headers = await speak(server, method, path, {})
            assert headers["vary"] == "origin"
            assert allowed(headers) == {}


async def test_cors__monitors_paths__never(kind: str, engine: Engine, tmp_path: Path) -> None:
    async with RUN[kind](engine, tmp_path, cors_origins="*") as server:
        for page in ({"origin": OTHER}, {}):
            _, headers = await speak(server, "GET", server.public, page)
            assert headers["access-control-allow-origin"] == "*"
            assert "vary" not in headers
        for name in ("metrics", "readyz", "healthz"):
            for method in ("GET", "OPTIONS"):
                _, headers = await speak(server, method, f"{server.prefix}/{name}", PREFLIGHT)
                assert allowed(headers) == {}


async def test_cors__with_credentials__said_for_listed_origins(
    kind: str, engine: Engine, tmp_path: Path
) -> None:
    changes = {"cors_origins": PAGE, "cors_credentials": True}
    async with RUN[kind](engine, tmp_path, **changes) as server:
        _, headers = await speak(server, "OPTIONS", server.chat, PREFLIGHT)

    assert headers["access-control-allow-credentials"] == "true"


def test_settings__any_origin_with_credentials__refused() -> None:
    with pytest.raises(ValueError, match="list the origins"):
        make_settings(cors_origins="*", cors_credentials=True)


@pytest.mark.parametrize(
    "text", ["app.example", "https://app.example/", "null", "* https://a.example", "https://*.b"]
)
def test_origins__not_one__refused(text: str) -> None:
    with pytest.raises(ValueError, match="origin"):
        parse_origins(text)
