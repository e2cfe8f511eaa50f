"""Sellers' pages in a real browser: a wallet in the page, a real API and a real provider behind.

::

    sell      sign in, list, edit, earnings as CSV, sessions, sign out
    resell    connect by OpenAPI, the economics table, test, status, price, disable, enable, delete,
              connect by a file
"""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.stack.ports import free_port
from tests.support.answers import MODEL
from tests.support.browser import need_pages, run_browser
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import SELLER, make_settings, run_market
from tests.support.resale import API_KEY, OPERATIONS, run_api

LOOKS = pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), pytest.param("dark", 360, marks=pytest.mark.slow)]
)


def make_openapi() -> dict[str, Any]:
    """Return the API's document, with one operation that its owner does not sell."""
    paths: dict[str, Any] = {"/v1/secrets": {"get": {"summary": "Not for others"}}}
    for operation in OPERATIONS:
        method, _, path = operation.partition(" ")
        described = {"summary": "<b>bold</b>", "responses": {"200": {"description": "ok"}}}
        paths.setdefault(path, {})[method.lower()] = described
    del paths["/v1/blocks/{number}"]
    paths["/v1/files/{name}.json"] = {"get": {"summary": "no whole segment"}}
    paths["/v1/blocks/{number}"] = {"delete": {"summary": "Forget a block"}}
    return {"openapi": "3.1.0", "info": {"title": "x", "version": "1"}, "paths": paths}


@LOOKS
async def test_resell__owner_connects_its_api_by_its_document__sells_what_is_chosen(
    tmp_path: Path, scheme: str, width: int
) -> None:
    need_pages("market")
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(make_openapi()))
    port = free_port()
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    settings = make_settings(tmp_path, public_url=f"http://127.0.0.1:{port}")
    async with run_api() as api, run_market(settings, engine, port=port):
        report = await run_browser(
            "resell.mjs",
            {
                "origin": settings.public_url,
                "key": "0x" + bytes(SELLER.key).hex(),
                "api": api.url,
                "apiKey": API_KEY,
                "openapi": str(document),
                "scheme": scheme,
                "width": width,
                "folder": None,
            },
        )
        credentials = [request.headers["x-api-key"] for request in api.requests]
    engine.dispose()

    assert report["found"] == []
    assert report["example"].split("\t")[1:] == [
        "0.15",
        "750.00",
        "75.00",
        "675.00",
        "\N{MINUS SIGN}500.00",
        "+175.00",
    ]
    assert sorted(report["sold"]) == sorted(
        [
            "GET /v1/blocks/latest",
            "GET /v1/addresses/{address}/balances",
            "POST /v1/balances/search",
        ]
    )
    assert credentials == [API_KEY]
    # Nor does the key stay in the form that a file was read into.
    assert report["written"] == ""
    assert API_KEY not in report["storage"]


@LOOKS
async def test_sell__wallet_signs_in__lists_changes_and_signs_out(
    tmp_path: Path, scheme: str, width: int
) -> None:
    need_pages("market")
    port = free_port()
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    settings = make_settings(tmp_path, public_url=f"http://127.0.0.1:{port}")
    async with FakeEndpoint() as endpoint, run_market(settings, engine, port=port):
        report = await run_browser(
            "sell.mjs",
            {
                "origin": settings.public_url,
                "key": "0x" + bytes(SELLER.key).hex(),
                "endpoint": endpoint.url,
                "model": MODEL,
                "scheme": scheme,
                "width": width,
                "folder": None,
            },
        )
    engine.dispose()

    assert report["found"] == []
    # One signature signs in; nothing else is asked of the wallet.
    assert report["asked"].count("personal_sign") == 1
    assert report["csv"].startswith("kind,sale_id,")
    assert "si_seller_" not in report["storage"]
