"""The page of the document loads nothing from anybody else.

::

    the page, its script, Swagger's style sheet ── name no other host
    everything that the page loads ── is served, with its type
    the policy ── lets the browser load and call this server only
"""

import re

import httpx
import pytest

from serving.http.document.page import PAGE_PATH, POLICY
from tests.support.openapi import make_market_app, make_proxy_app

OTHER_HOST = re.compile(r"""(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}""", re.I)


@pytest.fixture(params=[make_proxy_app, make_market_app], ids=["proxy", "market"])
def client(request: pytest.FixtureRequest) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=request.param())
    return httpx.AsyncClient(transport=transport, base_url="http://server.test")


async def test_page__and_what_it_loads__come_from_this_server(client: httpx.AsyncClient) -> None:
    page = await client.get(PAGE_PATH)

    assert page.status_code == 200
    assert page.headers["content-security-policy"] == POLICY
    assert OTHER_HOST.search(page.text) is None
    loaded = re.findall(r"""(?:src|href)="([^"]+)\"""", page.text)
    files = {"docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "docs/start.js"}
    assert set(loaded) == {"data:,", "openapi.json", *files}
    for path in loaded:
        if path.startswith("data:"):
            continue
        answer = await client.get(f"/{path}")
        assert answer.status_code == 200, path
        if path.endswith("start.js"):
            assert OTHER_HOST.search(answer.text) is None
            assert answer.headers["content-type"].startswith("text/javascript")
        if path.endswith(".css"):
            fetched = re.findall(r"url\(['\"]?([^'\")]{1,8})", answer.text)
            assert all(url.startswith("data:") for url in fetched)


async def test_page__of_the_framework__is_not_served(client: httpx.AsyncClient) -> None:
    assert (await client.get("/redoc")).status_code == 404


def test_policy__names_this_server_only() -> None:
    sources = {word for rule in POLICY.split("; ") for word in rule.split()[1:]}
    assert sources == {"'none'", "'self'", "'unsafe-inline'", "data:"}
    assert "script-src 'self';" in POLICY
