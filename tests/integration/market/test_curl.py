"""The command lines of the sellers' guide and of the page on minimum discounts, as written.

Only what stands for something is put in: the host, the wallet, the message, keys and an offer's id.
"""

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from eth_account.messages import encode_defunct

from market.operator import agree_trust
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.market import PRICES, SELLER, make_settings, run_market
from tests.support.waiting import LIMIT_S

CHALLENGE = "curl https://api.surplusintelligence.ai/v1/seller/auth/challenge?address=0xYourWallet"
KEYS = """curl -X POST https://api.surplusintelligence.ai/v1/seller/auth/keys \\
-H "Content-Type: application/json" \\
-d '{"message": "", "signature": "0x..."}'"""
OFFER = """curl -X POST https://api.surplusintelligence.ai/v1/seller/offers \\
-H "Authorization: Bearer si_seller_xxx" \\
-H "Content-Type: application/json" \\
-d '{
"model": "claude-opus-4.6",
"api_key": "your-provider-key",
"seller_base_url": "https://api.venice.ai/api/v1",
"price_input_per_1m": 12.00,
"price_output_per_1m": 48.00
}'"""
SHORT_OFFER = """curl -X POST .../v1/seller/offers \\
-H "Authorization: Bearer si_seller_xxx" \\
-d '{ "model": "claude-opus-4.6", "api_key": "***",
"seller_base_url": "https://api.venice.ai/api/v1",
"price_input_per_1m": 12.00, "price_output_per_1m": 48.00 }'"""
LIST = 'curl .../v1/seller/offers -H "Authorization: Bearer si_seller_xxx"'
REPRICE = """curl -X PATCH .../v1/seller/offers/{id} \\
-H "Authorization: Bearer si_seller_xxx" \\
-d '{ "price_input_per_1m": 10.00 }'"""
EARNINGS = 'curl .../v1/seller/earnings -H "Authorization: Bearer si_seller_xxx"'
HEALTH = 'curl .../v1/seller/health-log -H "Authorization: Bearer si_seller_xxx"'
CHAT = """curl https://api.surplusintelligence.ai/min30/v1/chat/completions \\
-H "Authorization: Bearer $SURPLUS_API_KEY" \\
-H "Content-Type: application/json" \\
-d '{
"model": "claude-opus-4.6",
"messages": [{"role":"user","content":"Hello"}],
"stream": true
}'"""
REFERENCE = """
[models."claude-opus-4.6"]
input_usd_per_mtok = "20"
output_usd_per_mtok = "80"
"""


async def resolve(host: str, _: int) -> Sequence[str]:
    """Say that the provider's host is a public one; nothing is sent there."""
    return ["127.0.0.1"] if host == "127.0.0.1" else ["93.184.216.34"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl__every_line_of_the_guides__does_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "prices.toml").write_text(PRICES + REFERENCE)
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    async with (
        FakeEndpoint() as seller,
        run_market(make_settings(tmp_path), engine, resolve=resolve) as market,
    ):
        url = str(market.client.base_url).rstrip("/")

        async def run(line: str, **put_in: str) -> str:
            for name, value in put_in.items():
                line = line.replace(name, value)
            line = line.replace("https://api.surplusintelligence.ai", url)
            line = line.replace("curl -X", "curl -s -X").replace(" .../", f" {url}/")
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", line, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
            )
            out, _ = await asyncio.wait_for(process.communicate(), LIMIT_S)
            assert process.returncode == 0
            return out.decode()

        async def read(line: str, **put_in: str) -> Any:
            return json.loads(await run(line, **put_in))

        message = (await read(CHALLENGE, **{"0xYourWallet": SELLER.address}))["message"]
        signed = SELLER.sign_message(encode_defunct(text=message)).signature.to_0x_hex()
        named = {'"message": ""': f'"message": {json.dumps(message)}', "0x...": signed}
        key = (await read(KEYS, **named))["api_key"]
        assert key.startswith("si_seller_")
        mine = {"si_seller_xxx": key}
        agree_trust(engine, SELLER.address, is_trusted=True)

        listed = [await read(OFFER, **mine), await read(SHORT_OFFER, **mine)]
        assert {offer["price_input_per_1m"] for offer in listed} == {12.0}
        repriced = await read(REPRICE, **mine, **{"{id}": listed[0]["id"]})
        assert (repriced["price_input_per_1m"], repriced["price_output_per_1m"]) == (10.0, 48.0)
        assert len((await read(LIST, **mine))["offers"]) == 2

        buyer_key = await market.get_buyer_key()
        model = {"model": "claude-opus-4.6", "price_output_per_1m": 20}
        await market.list_offer(key, seller.url, **model)
        stream = await run(CHAT, **{"$SURPLUS_API_KEY": buyer_key})
        assert stream.startswith("data: {")
        assert stream.endswith("data: [DONE]\n\n")
        await market.settled_sales()
        (earning,) = (await read(EARNINGS, **mine))["earnings"]
        assert earning["earning_usdc"] == 285
        assert (await read(HEALTH, **mine))["failures"] == []
    engine.dispose()
