"""A market that sends its mails at once, and lets one address sign up as often as tests do."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.ledgers import make_ledger
from tests.support.mailbox import Mailbox
from tests.support.market import RunningMarket, make_settings, run_market


@asynccontextmanager
async def run_mailing_market(folder: Path, mailbox: Mailbox) -> AsyncIterator[RunningMarket]:
    """Run a market over a new ledger in ``folder``."""
    engine = make_ledger(folder / "ledger.sqlite3")
    settings = make_settings(
        folder,
        smtp_url=mailbox.url,
        mail_interval_s=0.02,
        address_keys_per_minute_max=0,
    )
    async with run_market(settings, engine) as running:
        yield running
    engine.dispose()
