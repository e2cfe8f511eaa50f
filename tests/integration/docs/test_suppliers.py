"""`docs/suppliers.md`, followed by a shell from top to bottom against a market that serves."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from scripts.stack.anvil_path import ROOT
from scripts.stack.mail_server import describe_mail
from tests.support.documents import find_document
from tests.support.kyb import KINDS, PDF
from tests.support.ledgers import make_ledger
from tests.support.mailbox import Mailbox
from tests.support.market import SECRET, RunningMarket, make_settings, run_market
from tests.support.waiting import LIMIT_S
from tests.support.walkthrough import read_blocks

PERSON: Final = ("Apply", "Sign in", "Your application (KYB)", "Reviewing")
"""The headings whose blocks belong to this walk, in the order of the page."""
CURRENT: Final = """\
current() {
  if [ "$1" = mail ]; then cat mailbox.txt 2>/dev/null; return; fi
  "$PYTHON" -m scripts.cli "$@"
}
"""


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
        settings = make_settings(tmp_path, smtp_url=mailbox.url, mail_interval_s=0.05)
        async with run_market(settings, engine) as running:
            yield running
    engine.dispose()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_page__followed_by_a_new_supplier__ends_approved(
    market: RunningMarket, tmp_path: Path
) -> None:
    blocks = read_blocks(find_document("docs/suppliers.md"))
    walk = [block.text for block in blocks if block.heading in PERSON and block.language == "sh"]
    assert len(walk) == len(PERSON)
    for kind in KINDS:
        (tmp_path / f"{kind}.pdf").write_bytes(PDF)
    environment = {
        **os.environ,
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "MARKET": str(market.client.base_url).rstrip("/"),
        "MARKET_RPC_URL": "http://127.0.0.1:9",
        "MARKET_LEDGER_URL": f"sqlite:///{tmp_path}/ledger.sqlite3",
        "MARKET_DEPLOYMENT_FILE": "unused.json",
        "MARKET_SECRET": SECRET,
        "MARKET_KMS": f"file:{tmp_path}/kms",
    }
    shell = await asyncio.create_subprocess_exec(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        CURRENT + "\n".join(walk),
        env=environment,
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(shell.communicate(), LIMIT_S)
    said = out.decode()

    assert shell.returncode == 0, said
    assert "/login.html?signup=1&supplier=1&prefill_email=ops%40compute.example" in said
    assert '"currently_due":[]' in said
    assert said.rstrip().splitlines()[-1].count('"kyb_status":"approved"') == 1
