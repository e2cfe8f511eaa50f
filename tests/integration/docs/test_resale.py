"""`docs/resale.md`, followed: an owner connects an API, and a stranger pays for a call of it."""

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

from market.resale.presets import PRESETS
from scripts.stack.analytics import KEY_HEADER
from scripts.stack.anvil_path import ROOT
from tests.support.documents import find_document
from tests.support.keepers import Stage
from tests.support.market import BUYER, SELLER
from tests.support.payments import run_shop
from tests.support.resale import LATEST, run_api
from tests.support.waiting import LIMIT_S
from tests.support.walkthrough import read_blocks

CURRENT: Final = 'current() { "$PYTHON" -m scripts.cli "$@" --market-url "$MARKET"; }\n'
KEY_OF_PAGE: Final = "your-nansen-key"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_page__followed__an_api_is_connected_called_and_paid(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = read_blocks(find_document("docs/resale.md"))
    texts = {"yaml": [""], "sh": [""], "python": [""]}
    for block in blocks:
        texts[block.language].append(block.text)
    (tmp_path / "connections.yaml").write_text("".join(texts["yaml"]))
    (tmp_path / "pay.py").write_text("".join(texts["python"]))
    walk = CURRENT + "\n".join(texts["sh"]) + '\n"$PYTHON" pay.py\n'
    assert [len(found) - 1 for found in texts.values()] == [1, 2, 1]

    async with run_api(api_key=KEY_OF_PAGE) as api, run_shop(stage, tmp_path) as shop:
        # What the page calls Nansen is an API of ours here.
        ours = {
            "base_url": api.url,
            "credential": f"header: {KEY_HEADER}",
            "operations": [f"GET /{LATEST}"],
        }
        monkeypatch.setitem(PRESETS, "nansen", ours)
        call = f"{shop.url}/x402/~{SELLER.address.lower()}/nansen/{LATEST}"
        environment = {
            **os.environ,
            "PYTHON": sys.executable,
            "PYTHONPATH": str(ROOT),
            "MARKET": shop.url,
            "CURRENT_SELLER_KEY": shop.seller_key,
            "BUYER_KEY": await shop.market.get_buyer_key(),
            "WALLET_KEY": f"0x{BUYER.key.hex()}",
            "CALL_URL": call,
        }
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", walk),
            env=environment,
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await asyncio.wait_for(shell.communicate(), LIMIT_S)
        said = out.decode()
        payments = shop.payments()

    assert shell.returncode == 0, said
    assert "nansen: enabled, calls at " in said
    assert "answered 200" in said
    assert "nansen: disabled" in said
    assert '"sold_under":"~' in said
    assert "402\n200 {" in said
    assert "cost 151000" in said
    assert [one["state"] for one in payments] == ["settled"]
    # The owner's test, the buyer's call, the payer's.
    assert [request.url.path for request in api.requests] == [f"/{LATEST}"] * 3
    assert {request.headers[KEY_HEADER] for request in api.requests} == {KEY_OF_PAGE}
