"""The pages' files: which path is what, how they are encoded, kept and protected.

::

    a path: a page, a file of one, or nothing of ours
    encodings: brotli before gzip, what a client refuses is not sent
    headers: the policy on everything; files for ever, the page asked for again
"""

import asyncio
import gzip
from pathlib import Path

import orjson
import pytest
from starlette.types import Message, Scope

from serving.http.answers import Answer, StreamAnswer
from serving.http.site import Site, read_site

SCRIPT = b"export const one = 1;\n"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'"
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return a small site."""
    assets = tmp_path / "assets"
    assets.mkdir()
    (tmp_path / "index.html").write_bytes(b"<!doctype html>")
    (assets / "main-1a2b.js").write_bytes(SCRIPT)
    (assets / "main-1a2b.js.br").write_bytes(b"brotli")
    (assets / "main-1a2b.js.gz").write_bytes(gzip.compress(SCRIPT, mtime=0))
    pages = ["/", "/position", "/position/{tokenId}", "/supplier.html"]
    (tmp_path / "site.json").write_bytes(orjson.dumps({"pages": pages}))
    site = read_site(tmp_path)
    assert site is not None
    return site


def ask(site: Site, path: str, method: str = "GET", **headers: str) -> Answer | None:
    named = [(n.replace("_", "-").encode(), v.encode()) for n, v in headers.items()]
    scope: Scope = {"type": "http", "method": method, "path": path, "headers": named}
    lean = site.dispatch_before(lambda _: None)(scope)
    if lean is None:
        return None

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def serve() -> Answer | StreamAnswer:
        return await lean(scope, receive, "id")

    answer = asyncio.run(serve())
    assert isinstance(answer, Answer)
    return answer


@pytest.mark.parametrize("path", ["/", "/position", "/position/7", "/supplier.html"])
def test_find__a_page__is_the_shell(site: Site, path: str) -> None:
    answer = ask(site, path)

    assert answer is not None
    assert (answer.status, answer.body) == (200, b"<!doctype html>")
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/position/7/8",
        "/position/",
        "/supplierxhtml",
        "//",
        "/index.html",
        "/site.json",
        "/assets/main-1a2b.js.br",
        "/assets/../site.json",
        "/assets/",
        "/v1/models",
        "",
    ],
)
def test_find__anything_else__is_left_to_the_server(site: Site, path: str) -> None:
    assert ask(site, path) is None


def test_dispatch__another_method__is_left_to_the_server(site: Site) -> None:
    assert ask(site, "/", method="POST") is None
    assert ask(site, "/", method="HEAD") is not None


@pytest.mark.parametrize(
    ("accepted", "encoding", "body"),
    [
        ("gzip, deflate, br, zstd", "br", b"brotli"),
        ("gzip;q=1.0, BR;q=0.5", "br", b"brotli"),
        ("br;q=0, *", "gzip", gzip.compress(SCRIPT, mtime=0)),
        ("gzip;q=0.000, br;q=0", None, SCRIPT),
        ("identity", None, SCRIPT),
        ("brr, xgzip", None, SCRIPT),
        ("", None, SCRIPT),
    ],
)
def test_answer__encodings__the_best_that_is_accepted(
    site: Site, accepted: str, encoding: str | None, body: bytes
) -> None:
    answer = ask(site, "/assets/main-1a2b.js", accept_encoding=accepted)

    assert answer is not None
    assert answer.headers.get("content-encoding") == encoding
    assert answer.body == body
    assert answer.headers["vary"] == "accept-encoding"


def test_answer__headers__policy_type_and_for_ever(site: Site) -> None:
    answer = ask(site, "/assets/main-1a2b.js")

    assert answer is not None
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["cross-origin-opener-policy"] == "same-origin-allow-popups"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_answer__client_has_it__is_304_of_the_same_encoding_only(site: Site) -> None:
    first = ask(site, "/", accept_encoding="br")
    plain = ask(site, "/assets/main-1a2b.js")
    assert first is not None
    assert plain is not None
    tag = plain.headers["etag"]

    again = ask(site, "/assets/main-1a2b.js", if_none_match=f'W/{tag}, "other"')
    assert again is not None
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    other = ask(site, "/assets/main-1a2b.js", if_none_match=tag, accept_encoding="br")
    assert other is not None
    assert other.status == 200


def test_read_site__not_built__is_none(tmp_path: Path) -> None:
    assert read_site(tmp_path) is None
