"""What is scaled: proxies and markets in processes of their own, on one ledger."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.proxy.ours import write_record
from bench.proxy.servers import Server, serve
from bench.proxy.upstream import MODEL
from ledger.database.engine import open_engine
from scripts.stack.ports import free_port
from tests.support.market import KMS_LINE, SECRET, make_settings, run_market, write_kms

PRICES: Final = f"""
[models."{MODEL}"]
input_usd_per_mtok = "0.15"
output_usd_per_mtok = "0.60"
context_tokens = 128000
"""


def list_and_credit(ledger_url: str, folder: Path, seller_url: str, *, credit_usdc: int) -> str:
    """List one seller's offer, credit a buyer, 1e-6 USDC; return the buyer's key."""
    (folder / "prices.toml").write_text(PRICES)
    engine = open_engine(ledger_url)

    async def prepare() -> str:
        async with run_market(make_settings(folder), engine) as market:
            terms = {"price_input_per_1m": "0.1", "price_output_per_1m": "0.4"}
            await market.list_offer(await market.get_key(), seller_url, model=MODEL, **terms)
            return await market.get_buyer_key(credit_usdc=credit_usdc)

    try:
        return asyncio.run(prepare())
    finally:
        engine.dispose()


@contextmanager
def serve_market(name: str, ledger_url: str, folder: Path) -> Iterator[Server]:
    """Run ``python -m market`` with its default settings, on what ``list_and_credit`` made."""
    port = free_port()
    write_kms(folder, KMS_LINE)
    environment = {
        "MARKET_RPC_URL": "http://127.0.0.1:9",
        "MARKET_LEDGER_URL": ledger_url,
        "MARKET_DEPLOYMENT_FILE": str(write_record(folder)),
        "MARKET_SECRET": SECRET,
        "MARKET_KMS": f"file:{folder}/kms",
        "MARKET_PORT": str(port),
        "MARKET_ALLOW_LOOPBACK": "true",
        "MARKET_PRICES_FILE": str(folder / "prices.toml"),
        "MARKET_X402": "false",
        "MARKET_SELLER_CONCURRENCY_MAX": "1000",
    }
    command = [sys.executable, "-m", "market"]
    with serve(
        name, command, port=port, ready="/readyz", folder=folder, environment=environment
    ) as server:
        yield server
