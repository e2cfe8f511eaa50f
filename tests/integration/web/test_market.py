"""The market's pages in a real browser: empty, without a wallet; evidence on a model."""

import time
from pathlib import Path

from contracts.units import utc_day
from ledger.database.engine import write
from ledger.selling.evidence import EvidenceRow, hash_transcript, save_evidence
from tests.support.answers import MODEL
from tests.support.browser import Look, look_at, need_pages
from tests.support.endpoint import FakeEndpoint
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


async def test_evidence__of_a_model__shows_grade_methods_and_verdict(tmp_path: Path) -> None:
    need_pages("market")
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with (
        FakeEndpoint() as endpoint,
        run_market(make_settings(tmp_path), engine) as market,
    ):
        offer = await market.list_offer(await market.get_key(), endpoint.url)
        now_s = int(time.time())
        row = EvidenceRow(
            evidence_id="e",
            offer_id=offer["id"],
            offer_version=1,
            model=MODEL,
            method="border",
            day=utc_day(now_s),
            made_at_s=now_s,
            observed="{}",
            transcript="{}",
            transcript_hash=hash_transcript("{}"),
            cost_usdc=0,
            looks=12,
            peak_milli=9_000_000,
        )
        with write(engine) as connection:
            save_evidence(connection, row)
        reports = await look_at(
            str(market.client.base_url).rstrip("/"),
            Look("wide", f"/evidence?model={MODEL}", "doubted"),
            Look("narrow", f"/evidence?model={MODEL}", "doubted", width=360, scheme="dark"),
            Look("none", "/evidence", "Choose a model"),
        )
    engine.dispose()

    assert [report["found"] for report in reports.values()] == [[], [], []]
    text = reports["wide"]["text"]
    assert "Grade D: any other host" in text
    assert "Answers where models of one kind part\t1\t12\tat most once in 9,000" in text
