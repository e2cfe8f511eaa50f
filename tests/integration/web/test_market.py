"""The market's pages in a real browser: empty, and without a wallet."""

from pathlib import Path

from tests.support.browser import Look, look_at, need_pages
from tests.support.ledgers import make_ledger
from tests.support.market import make_settings, run_market


async def test_market__nothing_is_offered__says_so_and_has_no_faults(tmp_path: Path) -> None:
    need_pages("market")
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with run_market(make_settings(tmp_path), engine) as market:
        reports = await look_at(
            str(market.client.base_url).rstrip("/"),
            Look("market", "/", "Nothing is offered just now."),
            Look("sell", "/sell", "To sell, connect the wallet", width=360, scheme="dark"),
        )
    engine.dispose()

    assert [report["found"] for report in reports.values()] == [[], []]
