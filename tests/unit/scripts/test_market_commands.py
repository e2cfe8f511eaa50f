"""``current sell …`` and ``current buy …`` before and after they have asked a market.

::

    buy call --dry-run      without --pay-max: credit would be spent, so nothing is sent
    sell payouts            what is in no payout yet is told apart by state and payee
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from click.testing import CliRunner, Result

from scripts.cli import commands
from scripts.market_asking import Market

KEYS: Final = {"CURRENT_MARKET_KEY": "inf_x", "CURRENT_SELLER_KEY": "si_seller_x"}


def run(*words: str) -> Result:
    return CliRunner(mix_stderr=False).invoke(commands, words, env=KEYS)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """What is sent to a market; nothing of it arrives."""
    found: list[tuple[Any, ...]] = []

    def keep(_: Market, *request: Any, **__: Any) -> None:
        found.append(request)
        raise AssertionError("sent")

    monkeypatch.setattr(Market, "send", keep)
    yield found


def test_call__dry_run_that_credit_would_pay__nothing_is_sent(sent: list[tuple[Any, ...]]) -> None:
    done = run("buy", "call", "/v1/chat/completions", "--body", "{}", "--dry-run")

    assert (done.exit_code, sent) == (2, [])
    assert "--dry-run goes with --pay-max" in done.stderr


def test_payouts__none_yet__are_told_apart_by_state_and_payee(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sales = [
        (None, "accrued", "0xa", 5),
        (None, "vesting", "0xa", 7),
        (None, "accrued", "0xb", 11),
        (None, "accrued", "0xa", 13),
        ("p1", "paid", "0xa", 17),
    ]
    names = ("payout_id", "payout_state", "payout_address", "earning_usdc")
    page = {
        "earnings": [dict(zip(names, sale, strict=True), payout_tx_hash=None) for sale in sales],
        "next_cursor": None,
        "payout_policy": "daily",
    }
    monkeypatch.setattr(Market, "ask", lambda *_, **__: page)

    done = run("sell", "payouts", "--json")

    assert done.exit_code == 0, done.stderr
    rows = [tuple(row.values()) for row in json.loads(done.stdout)["payouts"]]
    assert rows == [
        (None, "accrued", "0xa", None, 18),
        (None, "vesting", "0xa", None, 7),
        (None, "accrued", "0xb", None, 11),
        ("p1", "paid", "0xa", None, 17),
    ]
