"""Documentation for programs: an index, all of it, each page as its author wrote it."""

from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from market.app import PAGES as MARKET_PAGES
from proxy.app import PAGES as PROXY_PAGES
from serving.http import text_pages
from serving.http.exceptions import handle_exceptions
from serving.http.text_pages import FOLDER, TextPage, build_text_router, load_pages, write_index


def make_client(names: tuple[str, ...]) -> TestClient:
    app = FastAPI()
    app.include_router(build_text_router("Current", "What it is.", names))
    handle_exceptions(app, {})
    return TestClient(app, raise_server_exceptions=False)


@pytest.mark.parametrize("names", [PROXY_PAGES, MARKET_PAGES])
def test_pages__of_each_server__are_there_and_say_what_they_are(names: tuple[str, ...]) -> None:
    pages = load_pages(names)
    assert [page.name for page in pages] == list(names)
    assert all(page.summary and len(page.summary) < 400 for page in pages)


def test_paths__index_all_and_each_page() -> None:
    client = make_client(("clients", "api"))
    index = client.get("/llms.txt")
    assert index.headers["content-type"].startswith("text/plain")
    assert index.text.startswith("# Current\n\n> What it is.\n")
    assert "[Agents and clients](/docs/clients.md): Each client takes a base URL" in index.text
    page = client.get("/docs/clients.md")
    assert page.headers["content-type"] == "text/markdown; charset=utf-8"
    assert page.text == (FOLDER / "clients.md").read_text()
    whole = client.get("/llms-full.txt").text
    assert whole.index("# Agents and clients") < whole.index("# For buyers")


@pytest.mark.parametrize(
    "path",
    ["/docs/market.md", "/docs/../pyproject.md", "/docs/%2e%2e%2fREADME.md", "/docs/adr/x.md"],
)
def test_page__that_is_not_this_servers__404(path: str) -> None:
    assert make_client(("api",)).get(path).status_code == 404


def test_pages__not_installed__404(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(text_pages, "load_pages", lambda names: load_pages(names, tmp_path))
    client = make_client(("api",))
    for path in ("/llms.txt", "/llms-full.txt", "/docs/api.md"):
        assert client.get(path).status_code == 404


def test_index__a_page_without_a_heading__goes_by_its_name() -> None:
    assert "- [plain](/docs/plain.md): " in write_index("t", "a", [TextPage("plain", "no heading")])
