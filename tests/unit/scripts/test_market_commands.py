"""``current sell …`` and ``current buy …`` before and after they have asked a market.

::

    buy call --dry-run      without --pay-max: credit would be spent, so nothing is sent
    what others wrote       moves no terminal's cursor
    sell payouts            what is in no payout yet is told apart by state and payee
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest
from click.testing import CliRunner, Result

from scripts.cli import commands
from scripts.market_asking import Market
from scripts.wallet import buy_commands
from scripts.wallet.market_options import tell, tell_rows

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


HOSTILE: Final = "one\x1b[2J\n\x9b1Atwo"


def answer_with(monkeypatch: pytest.MonkeyPatch, status_code: int, body: Any) -> None:
    monkeypatch.setattr(Market, "send", lambda *_: httpx.Response(status_code, json=body))


def test_ask__answer_with_escapes__keeps_its_lines_only(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, 200, {"choices": [{"message": {"content": HOSTILE}}]})

    assert run("buy", "ask", "m", "Hi").stdout == "one?[2J\n?1Atwo\n"


def test_refused__words_with_escapes__are_one_clean_line(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch, 400, {"error": {"message": HOSTILE}})

    done = run("buy", "ask", "m", "Hi")
    assert (done.exit_code, "one?[2J??1Atwo" in done.stderr) == (1, True)


@pytest.mark.parametrize(("is_terminal", "shown"), [(True, "a?2Jb\n"), (False, "a\x9b2Jb\n")])
def test_call__answer_with_escapes__is_cleaned_for_a_terminal(
    monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, shown: str
) -> None:
    monkeypatch.setattr(Market, "send", lambda *_: httpx.Response(200, text="a\x9b2Jb"))
    monkeypatch.setattr(buy_commands, "_is_terminal", lambda: is_terminal)

    assert run("buy", "call", "/v1/models").stdout == shown


def test_rows__names_with_escapes__are_clean(capsys: pytest.CaptureFixture[str]) -> None:
    tell_rows([{"model": HOSTILE}], ["model"], nothing="")
    tell({f"of {HOSTILE}_usdc": 1}, as_json=False)

    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\x9b" not in shown
    assert shown.count("\n") == 3


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
