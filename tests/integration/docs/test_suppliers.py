"""`docs/suppliers.md`, followed by a shell from top to bottom against a market that serves."""

import asyncio
import csv
import io
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from ledger.audit import find_violations
from ledger.database.engine import read
from scripts.stack.anvil_path import ROOT
from scripts.stack.mail_server import describe_mail
from tests.support.answers import PROVIDER_KEY
from tests.support.documents import find_document
from tests.support.endpoint import FakeEndpoint
from tests.support.kyb import KINDS, PDF
from tests.support.ledgers import make_ledger
from tests.support.mailbox import Mailbox
from tests.support.market import SECRET, RunningMarket, make_settings, run_market
from tests.support.waiting import LIMIT_S
from tests.support.walkthrough import read_blocks

STEPS: Final = (
    "Apply",
    "Sign in",
    "Your application (KYB)",
    "Reviewing",
    "Keys for programs",
    "Offers",
    "Payout addresses",
    "Pay",
)
"""The headings whose blocks belong to this walk, in the order of the page."""
CURRENT: Final = """\
current() {
  if [ "$1" = mail ]; then cat mailbox.txt 2>/dev/null; return; fi
  "$PYTHON" -m scripts.cli "$@"
}
days_pass() { "$PYTHON" days_pass.py ledger.sqlite3; }
"""
DAYS_PASS: Final = """\
import sqlite3, sys
ledger = sqlite3.connect(sys.argv[1], timeout=60)
with ledger:
    ledger.execute("UPDATE supply_address SET counts_from_s = saved_at_s")
    ledger.execute("UPDATE supply_day SET day = day - 1")
    ledger.execute(
        "UPDATE market_sale SET payout_id = supply_offer_id || ':' || (day - 1)"
        " WHERE payout_id IS NOT NULL AND supply_offer_id IS NOT NULL"
    )
"""
"""What happened today happened yesterday, and the payout address counts."""


class SpoolingMailbox(Mailbox):
    """A mail server whose mails `current mail` finds in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    async def handle_DATA(self, *arguments: object) -> str:
        """Keep a message, and show it."""
        said = await super().handle_DATA(*arguments)  # type: ignore[arg-type]
        self._path.write_text("\n\n".join(describe_mail(mail) for mail in self.mails))
        return said


@pytest.fixture
async def market(tmp_path: Path) -> AsyncIterator[RunningMarket]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with SpoolingMailbox(tmp_path / "mailbox.txt") as mailbox:
        settings = make_settings(
            tmp_path,
            smtp_url=mailbox.url,
            mail_interval_s=0.05,
            refresh_interval_s=0.05,
            settle_interval_s=3_600,
        )
        async with run_market(settings, engine) as running:
            yield running
    engine.dispose()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_page__followed_by_a_new_supplier__ends_paid(
    market: RunningMarket, tmp_path: Path
) -> None:
    blocks = read_blocks(find_document("docs/suppliers.md"))
    walk = [block for block in blocks if block.heading in STEPS and block.language == "sh"]
    assert [*dict.fromkeys(block.heading for block in walk)] == list(STEPS)
    (tmp_path / "days_pass.py").write_text(DAYS_PASS)
    lines = ["days_pass\n" + block.text if block.heading == "Pay" else block.text for block in walk]
    for kind in KINDS:
        (tmp_path / f"{kind}.pdf").write_bytes(PDF)
    async with FakeEndpoint() as endpoint:
        environment = {
            **os.environ,
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "MARKET": str(market.client.base_url).rstrip("/"),
            "PROVIDER": endpoint.url,
            "PROVIDER_KEY": PROVIDER_KEY,
            "MARKET_RPC_URL": "http://127.0.0.1:9",
            "MARKET_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.sqlite3",
            "MARKET_DEPLOYMENT_FILE": "unused.json",
            "MARKET_SECRET": SECRET,
            "MARKET_KMS": f"file:{tmp_path}/kms",
            "MARKET_PAYOUT_MINIMUMS": "bep20=0.000001",
        }
        shell = await asyncio.create_subprocess_exec(
            "bash",
            "-euo",
            "pipefail",
            "-c",
            CURRENT + "\n".join(lines),
            env=environment,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(shell.communicate(), 5 * LIMIT_S)
    said = out.decode()

    assert shell.returncode == 0, said
    assert "/login.html?signup=1&supplier=1&prefill_email=ops%40compute.example" in said
    assert '"currently_due":[]' in said
    assert said.count('"kyb_status":"approved"') == 1
    assert '"totals":{"requests":1,' in said
    assert "settled through" in said and ": 1 suppliers' days, 0 of them carried over" in said
    csv_of_payouts = said[said.rindex("period_start_utc,") :]
    (line,) = csv.DictReader(io.StringIO(csv_of_payouts.strip()))
    assert (line["status"], line["network"], line["net"]) == ("sent", "bep20", "0.000003")
    assert (line["tx_hash"], line["supplier_legal_name"]) == ("0x" + "ab" * 32, "計算 Pte. Ltd.")
    with read(market.engine) as connection:
        assert find_violations(connection) == []
