"""What an operator does beside the rounds: the report, giving up usage that nothing pays, and
having what is left alone tried at once."""

from pathlib import Path

from rich.console import Console

from contracts.units import format_usdc
from keeper.report import (
    build_csv,
    build_report,
    build_svg,
    load_movements,
    load_spending,
    print_report,
)
from keeper.settings import KeeperSettings
from ledger.chain.harvests import forget_harvest_failures
from ledger.database.clock import ask_now_s
from ledger.database.engine import read, write
from ledger.database.schema import opened_ledger
from ledger.intents.days import load_left
from ledger.intents.rests import forget_all_failures
from ledger.spending.debts import load_debts, write_off


def print_period(
    settings: KeeperSettings, *, since_s: int, csv_path: Path | None, svg_path: Path | None
) -> None:
    """Print yield, usage, gas and margin of the last ``since_s`` seconds; write CSV and SVG.

    Raises ``LedgerUnavailable``, and ``OSError`` where a file cannot be written.
    """
    console = Console(highlight=False, markup=False)
    with opened_ledger(settings.ledger_url.get_secret_value()) as engine:
        until_s = ask_now_s(engine)
        from_s = until_s - since_s
        ether_price_usdc = settings.ether_price_usdc
        with read(engine) as connection:
            report = build_report(
                load_movements(connection, since_s=from_s),
                load_spending(connection, since_s=from_s, ether_price_usdc=ether_price_usdc),
                load_left(connection, since_s=from_s),
                since_s=from_s,
                until_s=until_s,
            )
    print_report(report, console)
    for path, build in ((csv_path, build_csv), (svg_path, build_svg)):
        if path is not None:
            path.write_text(build(report), encoding="utf-8")
            console.print(f"wrote {path}", soft_wrap=True)


def say_debt(settings: KeeperSettings, *, token_id: int) -> str:
    """Say how much of a position's posted usage no credit pays. Raises ``LedgerUnavailable``."""
    with opened_ledger(settings.ledger_url.get_secret_value()) as engine:
        now_s = ask_now_s(engine)
        with read(engine) as connection:
            debts = load_debts(connection, now_s=now_s, token_id=token_id)
    debt_usdc = sum(debt.debt_usdc for debt in debts)
    advice = "; --yes gives up the requests that do not fit" if debt_usdc else ""
    amount = format_usdc(debt_usdc)
    return f"position {token_id}: {amount} USDC of usage that no credit pays{advice}"


def give_up(settings: KeeperSettings, *, token_id: int) -> str:
    """Give up the requests of a position that no credit pays, and say how many and how much.

    Raises ``LedgerUnavailable``.
    """
    with opened_ledger(settings.ledger_url.get_secret_value()) as engine:
        now_s = ask_now_s(engine)
        with write(engine) as connection:
            done = write_off(connection, token_id=token_id, now_s=now_s)
    amount = format_usdc(done.amount_usdc)
    return f"position {done.token_id}: {done.requests} requests, {amount} USDC given up"


def end_rests(settings: KeeperSettings) -> int:
    """Forget all failures, also beside a running keeper, which looks there in every round.

    Return how many kinds and positions rest no longer. Raises ``LedgerUnavailable``.
    """
    with (
        opened_ledger(settings.ledger_url.get_secret_value()) as engine,
        write(engine) as connection,
    ):
        return forget_all_failures(connection) + forget_harvest_failures(connection)
