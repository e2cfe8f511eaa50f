"""What can be held of the pages without a browser: unit tests, types, sizes."""

import json

import pytest

from tests.support.browser import WEB, need_pages, run_node
from tests.support.openapi import get_market_document, get_proxy_document

FIRST_VIEW_BYTES_MAX = 30_000
WITH_WALLET_BYTES_MAX = 100_000
STYLE_BYTES_MAX = 12_000
"""Compressed by brotli: the budgets of the pages' design."""


async def test_units__all__hold() -> None:
    need_pages("proxy")
    code, output, errors = await run_node(
        "--import", "./tests/loader.mjs", "--test", *map(str, sorted(WEB.glob("tests/*.test.ts")))
    )

    assert code == 0, output[-6_000:] + errors


async def test_types__of_the_pages__fit_both_documents() -> None:
    need_pages("proxy")
    for server, document in (("proxy", get_proxy_document()), ("market", get_market_document())):
        path = WEB / "src" / "api" / f"{server}.openapi.json"
        path.write_text(json.dumps(document.written), encoding="utf-8")

    for arguments in (["types.mjs"], ["node_modules/typescript/bin/tsc", "--noEmit"]):
        code, output, errors = await run_node(*arguments)
        assert code == 0, output + errors


@pytest.mark.parametrize("server", ["proxy", "market"])
def test_sizes__of_what_a_page_loads__stay_in_budget(server: str) -> None:
    site = need_pages(server)
    sizes = {name: size["brotli_bytes"] for name, size in site["sizes"].items()}
    styles = [name for name in sizes if name.endswith(".css")]
    views = {
        view: sum(sizes[name] for name in files if name.endswith(".js"))
        for view, files in site["needs"].items()
    }
    # What viem itself loads later is for names that resolve off the chain: we ask for none.
    later = {view for view in views if "node_modules/viem" in view}
    wallet = [view for view in views if "/wallet/" in view]

    assert len(styles) == 1
    assert sizes[styles[0]] <= STYLE_BYTES_MAX
    pages = {view: size for view, size in views.items() if view not in {*wallet, *later}}
    assert {view: size for view, size in pages.items() if size > FIRST_VIEW_BYTES_MAX} == {}
    all_wallet = {name for view in wallet for name in site["needs"][view] if name.endswith(".js")}
    largest = max(pages, key=lambda page: pages[page])
    together = all_wallet | {name for name in site["needs"][largest] if name.endswith(".js")}
    assert sum(sizes[name] for name in together) <= WITH_WALLET_BYTES_MAX


@pytest.mark.parametrize("server", ["proxy", "market"])
def test_files__of_the_pages__name_no_other_host(server: str) -> None:
    need_pages(server)
    folder = WEB.parent / server / "site"
    texts = [folder / "index.html", *folder.glob("assets/*.css")]

    assert [path.name for path in texts if "://" in path.read_text(encoding="utf-8")] == []
