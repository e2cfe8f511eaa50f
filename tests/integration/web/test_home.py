"""The proxy's pages in a real browser, over a proxy whose chain does not answer.

::

    home: says what is known, says what is not; calculates; breaks no policy; axe finds nothing
    the same narrow, and dark
    sign in with a wallet that does not know the chain: it is offered the chain, and signs
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ledger.database.engine import write
from scripts.stack.ports import free_port
from tests.support.browser import Look, look_at, need_pages, run_browser
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import SQLITE, Databases, make_state, put_cursor, put_positions
from tests.support.proxy import RunningProxy, now_s, run_proxy, settings_for


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[RunningProxy]:
    """Return a proxy with a position, before a node that is not there."""
    need_pages("proxy")
    with Databases(SQLITE, tmp_path) as databases:
        engine = databases.open_ledger()
        with write(engine) as connection:
            put_positions(connection, make_state(now_s=now_s()))
            put_cursor(connection, now_s=now_s())
        port = free_port()
        async with FakeEndpoint() as provider:
            settings = settings_for(provider, tmp_path, domain=f"127.0.0.1:{port}")
            async with run_proxy(settings, engine, port=port) as running:
                yield running


async def test_home__node_is_dead__says_so_and_shows_the_rest(proxy: RunningProxy) -> None:
    origin = str(proxy.client.base_url).rstrip("/")
    # Only the model's own line says that its price has arrived.
    shown = "Deposit for that many"
    reports = await look_at(
        origin,
        Look("wide", "/", shown),
        Look("narrow", "/", shown, width=360, scheme="dark"),
    )

    for report in reports.values():
        assert report["found"] == []
        assert report["status"] == 200
        assert "They could not be compared just now: the chain does not answer." in report["text"]
        assert "The vault's rate is unknown just now" in report["text"]
        # 1,000 USDC at the 4 % that is filled in, at 0.20 and 0.80 USD a million tokens:
        assert "40.00 USDC" in report["text"]
        assert "80,000" in report["text"]


async def test_sign_in__wallet_does_not_know_the_chain__is_offered_it_and_signs(
    proxy: RunningProxy,
) -> None:
    origin = str(proxy.client.base_url).rstrip("/")
    key = "0x" + "11" * 32

    report = await run_browser("unknown-chain.mjs", {"origin": origin, "key": key, "folder": None})

    assert report["found"] == []
    assert [one["chainId"] for one in report["added"]] == ["0x7a69"]
    assert report["added"][0]["nativeCurrency"]["decimals"] == 18
