"""Suppliers' pages in a real browser, over a real market and a real mail server.

::

    journey    apply, confirm by mail, KYB, review, offer, dashboard: by the pages alone
    dashboard  offers probed, changed; payouts, usage, CSV; an address; one-time codes; a key
    operator   alarms with what to do, figures, an audit; narrow and dark
    countries  the form offers those that the server takes
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contracts.units import SECONDS_PER_DAY, utc_day
from ledger.database.engine import read, write
from ledger.suppliers.accounts import find_supplier, set_kyb_status
from ledger.suppliers.settlement import settle_chunk
from ledger.suppliers.supply_probes import note_probe
from ledger.tables import MarketAccount, SupplierPayout, SupplierSession, SupplyOffer, table_of
from market.suppliers.countries import COUNTRIES
from market.suppliers.reviewing import grant
from scripts.stack.ports import free_port
from tests.support.browser import WEB, need_pages, run_browser
from tests.support.endpoint import FakeEndpoint
from tests.support.kyb import ID_NUMBER, PDF, make_jpeg, make_png
from tests.support.ledgers import make_ledger
from tests.support.mailbox import Mailbox
from tests.support.market import RunningMarket, make_settings, run_market
from tests.support.suppliers import EMAIL, PASSWORD, join
from tests.support.supply import (
    TERMS,
    put_address,
    put_buyer,
    put_supply_offer,
    sell,
)
from tests.support.waiting import until

REVIEWER = "review@market.example"


def put_documents(folder: Path) -> Path:
    """Put what a company sends into a folder, with one document that is cut off."""
    folder.mkdir()
    contents = {
        "license.pdf": PDF,
        "broken.pdf": PDF[:-20],
        "bank.png": make_png(400, 300),
        "tax.jpg": make_jpeg(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


@dataclass(frozen=True, slots=True)
class Served:
    """A market that a browser finds, with what stands around it."""

    market: RunningMarket
    mailbox: Mailbox
    wish: dict[str, Any]
    """What a journey is told."""


@asynccontextmanager
async def serve(folder: Path, **wish: Any) -> AsyncIterator[Served]:
    """Serve a market with a mail server and a provider beside it, until the block ends."""
    mails = folder / "mails"
    mails.mkdir()
    port = free_port()
    engine = make_ledger(folder / "ledger.sqlite3")
    async with Mailbox(mails) as mailbox, FakeEndpoint() as endpoint:
        settings = make_settings(
            folder,
            public_url=f"http://127.0.0.1:{port}",
            smtp_url=mailbox.url,
            mail_interval_s=0.02,
        )
        async with run_market(settings, engine, port=port) as market:
            told = {
                "origin": settings.public_url,
                "mails": str(mails),
                "documents": str(put_documents(folder / "documents")),
                "endpoint": endpoint.url,
                "folder": None,
                **wish,
            }
            yield Served(market, mailbox, told)
    engine.dispose()


async def put_approved(market: RunningMarket, mailbox: Mailbox) -> dict[str, str]:
    """Open the account of a supplier who was approved, has sold and was paid."""
    await join(market, mailbox)
    now_s = int(time.time())
    yesterday_s = now_s - SECONDS_PER_DAY
    with write(market.engine) as connection:
        found = find_supplier(connection, EMAIL)
        assert found is not None
        set_kyb_status(connection, found.supplier_id, "approved", change_id="a", now_s=1)
        put_supply_offer(connection, supplier_id=found.supplier_id, is_probed=False)
        answered = {"model": "m", "ok": True, "latency_ms": 80, "cause": None, "detail": None}
        note_probe(connection, "so", key_version=0, report=[answered], now_s=yesterday_s)
        put_address(connection, found.supplier_id)
        put_buyer(connection)
        for days in (3, 2, 1):
            at_s = now_s - days * SECONDS_PER_DAY
            sell(connection, 1_000_000 * days, supplier_id=found.supplier_id, now_s=at_s)
        for day in range(utc_day(yesterday_s) - 2, utc_day(yesterday_s) + 1):
            settle_chunk(connection, day=day, terms=TERMS, now_s=now_s)
        table = table_of(SupplierPayout)
        connection.execute(
            table.update()
            .where(table.c.day == utc_day(yesterday_s) - 2)
            .values(status="sent", tx_hash="0x" + "5a" * 32, sent_at_s=now_s)
        )
    return {"email": EMAIL, "password": PASSWORD}


async def forget_passwords(market: RunningMarket) -> None:
    """Once offers are listed, let each password have been shown long ago."""
    offers, sessions = table_of(SupplyOffer), table_of(SupplierSession)

    def is_listed() -> bool:
        with read(market.engine) as connection:
            return len(connection.execute(offers.select()).all()) > 1

    await until(is_listed, "an offer is listed")
    with write(market.engine) as connection:
        connection.execute(sessions.update().values(fresh_at_s=1))


@pytest.mark.parametrize(
    ("scheme", "width"),
    [("light", 1280), pytest.param("dark", 360, marks=pytest.mark.slow)],
)
async def test_journey__company_reads_only_its_pages_and_mails__gets_there(
    tmp_path: Path, scheme: str, width: int
) -> None:
    need_pages("market")
    async with serve(tmp_path, scheme=scheme, width=width) as served:
        with write(served.market.engine) as connection:
            grant(connection, email=REVIEWER, role="reviewer", actor="command line", now_s=1)
        report = await run_browser("supplier.mjs", {**served.wish, "reviewer": REVIEWER})

    assert report["found"] == []
    assert report["storage"] == "[{},{}]"
    assert all(ID_NUMBER not in mail.as_string() for mail in served.mailbox.mails)


@pytest.mark.parametrize(
    ("scheme", "width"),
    [("dark", 1280), pytest.param("light", 360, marks=pytest.mark.slow)],
)
async def test_dashboard__of_an_approved_supplier__does_all_that_it_offers(
    tmp_path: Path, scheme: str, width: int
) -> None:
    need_pages("market")
    async with serve(tmp_path, scheme=scheme, width=width) as served:
        account = await put_approved(served.market, served.mailbox)
        waiting = asyncio.create_task(forget_passwords(served.market))
        report = await run_browser("dashboard.mjs", {**served.wish, **account})
        await waiting

    assert report["found"] == []
    assert report["storage"] == "[{},{}]"
    lines = report["csv"].splitlines()
    assert lines[0].startswith("period_start_utc,")
    assert len(lines) == 4


async def test_operator__at_its_page__sees_alarms_and_audits(tmp_path: Path) -> None:
    need_pages("market")
    async with serve(tmp_path, scheme="dark", width=360) as served:
        known = await put_approved(served.market, served.mailbox)
        with write(served.market.engine) as connection:
            grant(connection, email=EMAIL, role="operator", actor="command line", now_s=1)
            account = table_of(MarketAccount)
            # What an audit is for: somebody has spent what no sale took.
            connection.execute(account.update().values(spent_usdc=account.c.spent_usdc + 1))
        report = await run_browser("operator.mjs", {**served.wish, **known})

    assert report["found"] == []
    assert "sent 1" in report["text"]


def test_countries__of_the_form__are_those_that_the_server_takes() -> None:
    source = (WEB / "src" / "app" / "countries.ts").read_text(encoding="utf-8")
    codes = source.partition(".split(")[0]

    assert set(re.findall(r"\b[A-Z]{2}\b", codes)) == COUNTRIES
