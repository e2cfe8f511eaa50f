"""The documents as a site: built strictly, whole, and loading nothing from elsewhere.

::

    every page of docs/ is in the navigation; every kind of reader begins with ten minutes
    strict build       every link and anchor leads somewhere (GitHub's anchors); slow
    ├── each page      loads its own site's files only, and each of them is there
    ├── search         finds what a page says
    └── a broken link  nothing is built, and it is named
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from scripts import build_docs as building
from scripts.api_reference import render_reference
from scripts.build_docs import LOCK, MANUAL, REFERENCES, DocsNotBuilt, build_docs
from scripts.export_openapi import build_documents
from scripts.setup import SetupError
from scripts.stack.anvil_path import ROOT
from tests.support.folders import temporary_folder

READERS: Final = {
    *("depositor", "buyer", "seller", "supplier", "api-owner", "operator", "auditor"),
    "contributor",
}
LOADED: Final = re.compile(r"<(?:script|link|img|iframe)[^>]*?\b(?:src|href)=\"?([^\" >]+)")


def list_nav(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    for one in entry.values() if isinstance(entry, dict) else entry:
        if not isinstance(entry, str):
            yield from list_nav(one)


def load_settings() -> Any:
    return yaml.safe_load((MANUAL / "mkdocs.yml").read_text(encoding="utf-8"))


def test_nav__has_every_page_and_each_readers_first_minutes() -> None:
    docs = ROOT / "docs"
    pages = {str(path.relative_to(docs)) for path in docs.rglob("*.md")}
    listed = list(list_nav(load_settings()["nav"]))

    generated = {f"reference/{server}.md" for server in REFERENCES}
    assert sorted(listed) == sorted(pages | generated)
    starts = {page for page in pages if page.startswith("start/")}
    assert starts == {f"start/{reader}.md" for reader in READERS}
    home = (docs / "index.md").read_text(encoding="utf-8")
    assert all(f"]({page})" in home for page in starts)
    for page in starts:
        assert (docs / page).read_text(encoding="utf-8").startswith("# First ten minutes: ")


def test_lock__of_the_site__pins_everything_with_hashes_and_no_address() -> None:
    text = LOCK.read_text(encoding="utf-8")
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.M)[1:]

    assert any(entry.startswith("mkdocs-material==") for entry in entries)
    assert all("==" in entry and "--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


@pytest.fixture(scope="module")
def site() -> Iterator[Path]:
    with temporary_folder() as name:
        folder = Path(name) / "site"
        try:
            build_docs(folder)
        except DocsNotBuilt as error:
            # Once they are installed, no network is needed.
            if isinstance(error.__cause__, SetupError):
                pytest.skip(f"no tools of the site, and none to be had: {error}")
            raise
        yield folder


@pytest.mark.slow
def test_site__each_page__loads_what_is_there_and_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(READERS)
    for page in pages:
        for target in LOADED.findall(page.read_text(encoding="utf-8")):
            assert not target.startswith(("http:", "https:", "//")), f"{page.name} loads {target}"
            if target.startswith("data:") or page.name == "404.html":
                continue
            assert (page.parent / target.partition("#")[0]).exists(), f"{page.name}: {target}"
    for sheet in site.rglob("*.css"):
        assert "url(http" not in sheet.read_text(encoding="utf-8"), sheet.name


def test_reference__has_every_route_with_its_fields_and_refusals() -> None:
    for server, document in build_documents().items():
        page = render_reference(document, title="Title", served_at="here")
        routes = [
            f"### {method.upper()} `{path}`"
            for path, methods in document["paths"].items()  # type: ignore[attr-defined]
            for method in methods
        ]
        assert sorted(re.findall(r"^### .+$", page, re.M)) == sorted(routes), server
    assert "| `amount_usdc` | integer" in page
    assert "- 401: no key, or a key that is invalid" in page


@pytest.mark.slow
def test_site__search__knows_what_pages_say(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {one["location"] for one in index["docs"] if "settlement_late" in one["text"]}

    assert any(place.startswith("operations.html#") for place in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line", ["[gone](nowhere.md)", "[gone](operations.md#nowhere)", "[out](/somewhere)"]
)
def test_build__broken_link__is_named_and_nothing_is_built(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    assert site.is_dir()  # the tools are installed
    for folder in ("docs", "manual"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    page = tmp_path / "docs" / "indexer.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    monkeypatch.setattr(building, "MANUAL", tmp_path / "manual")

    with pytest.raises(DocsNotBuilt, match=re.escape(line.partition("(")[2].rstrip(")"))):
        build_docs(tmp_path / "built")
