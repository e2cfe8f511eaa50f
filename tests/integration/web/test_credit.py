"""Prepaid credit in a real browser: looked at, and withdrawn once though an answer is lost."""

from pathlib import Path

import pytest

from ledger.database.engine import read, write
from ledger.payments.withdrawals import load_withdrawals
from ledger.selling.accounts import save_account
from scripts.stack.ports import free_port
from tests.support.browser import need_pages, run_browser
from tests.support.credit import pay_in
from tests.support.ledgers import NOW_S, make_ledger
from tests.support.market import BUYER, OUTSIDER, make_settings, run_market


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), pytest.param("dark", 360, marks=pytest.mark.slow)]
)
async def test_credit__of_a_wallet__is_withdrawn_once_though_an_answer_is_lost(
    tmp_path: Path, scheme: str, width: int
) -> None:
    need_pages("market")
    port = free_port()
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    wallet = BUYER.address.lower()
    with write(engine) as connection:
        save_account(connection, account_id="ac", kind="prepaid", wallet=wallet, now_s=NOW_S)
    pay_in(engine, "a", 2_500_000, payer=wallet, signature="0x" + "0d" * 65)
    settings = make_settings(tmp_path, public_url=f"http://127.0.0.1:{port}")
    async with run_market(settings, engine, port=port):
        report = await run_browser(
            "credit.mjs",
            {
                "origin": settings.public_url,
                "key": "0x" + bytes(BUYER.key).hex(),
                "other": "0x" + bytes(OUTSIDER.key).hex(),
                "scheme": scheme,
                "width": width,
                "folder": None,
            },
        )
    with read(engine) as connection:
        made = load_withdrawals(connection, "ac", limit=10)
    engine.dispose()

    assert report["found"] == []
    assert report["all"] == 1
    # The header of the table and one withdrawal.
    assert report["rows"] == 2
    assert [(one.amount_usdc, one.wallet) for one in made] == [(750_000, wallet)]
    # One signature signs in; two are asked for, of which one was refused.
    assert report["asked"].count("personal_sign") == 3
    assert "inf_" not in report["storage"]
