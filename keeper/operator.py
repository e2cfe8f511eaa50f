"""What an operator does beside the rounds: the report, giving up usage that nothing pays, and
having what is left alone tried at once."""

import argparse
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from contracts.units import format_usdc
from keeper.report import (
    build_csv,
    build_report,
    build_svg,
    load_movements,
    load_spending,
    parse_period_s,
    print_report,
)
from keeper.settings import KeeperSettings
from ledger.chain.harvests import forget_harvest_failures
from ledger.database.engine import open_engine, read, write
from ledger.intents.rests import forget_all_failures
from ledger.spending.debts import load_debts, write_off


def add_desk_commands(commands: Any) -> None:
    """Add ``report``, ``write-off`` and ``retry`` to the keeper's subcommands."""
    report = commands.add_parser("report", help="yield, usage, gas and margin of a period")
    report.add_argument("--since", type=_period_s, default="7d", help="e.g. 7d, 12h, 30m")
    report.add_argument("--csv", type=Path, help="write the positions' figures here")
    report.add_argument("--plot", type=_svg_path, help="draw the sums over time here, as .svg")
    give_up = commands.add_parser("write-off", help="give up usage that no credit pays any more")
    give_up.add_argument("--token-id", type=int, required=True)
    give_up.add_argument("--yes", action="store_true", help="do it; without, only show it")
    commands.add_parser("retry", help="have the next round try what is stopped or left alone")


def _period_s(text: str) -> int:
    try:
        return parse_period_s(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _svg_path(text: str) -> Path:
    if not text.endswith(".svg"):
        raise argparse.ArgumentTypeError("the plot is drawn as SVG: name a file that ends in .svg")
    return Path(text)


def run_desk_command(arguments: argparse.Namespace, settings: KeeperSettings) -> None:
    """Run ``report``, ``write-off`` or ``retry``. Raises what the ledger raises."""
    console = Console(highlight=False, markup=False)
    engine = open_engine(settings.ledger_url.get_secret_value())
    try:
        if arguments.command == "report":
            with read(engine) as connection:
                _report(connection, arguments, settings, console)
            return
        if arguments.command == "retry":
            # Beside a keeper that runs: it looks there in every round.
            with write(engine) as connection:
                count = forget_all_failures(connection) + forget_harvest_failures(connection)
            console.print(f"{count} rests are over; the next round tries again")
            return
        now_s = int(time.time())
        if not arguments.yes:
            with read(engine) as connection:
                debts = load_debts(connection, now_s=now_s, token_id=arguments.token_id)
            debt_usdc = sum(debt.debt_usdc for debt in debts)
            advice = "; --yes gives up the requests that do not fit" if debt_usdc else ""
            console.print(
                f"position {arguments.token_id}: {format_usdc(debt_usdc)} USDC of usage that no"
                f" credit pays{advice}",
                soft_wrap=True,
            )
            return
        with write(engine) as connection:
            done = write_off(connection, token_id=arguments.token_id, now_s=now_s)
        amount = format_usdc(done.amount_usdc)
        console.print(f"position {done.token_id}: {done.requests} requests, {amount} USDC given up")
    finally:
        engine.dispose()


def _report(
    connection: Any, arguments: argparse.Namespace, settings: KeeperSettings, console: Console
) -> None:
    until_s = int(time.time())
    since_s = until_s - arguments.since
    report = build_report(
        load_movements(connection, since_s=since_s),
        load_spending(connection, since_s=since_s, ether_price_usdc=settings.ether_price_usdc),
        since_s=since_s,
        until_s=until_s,
    )
    print_report(report, console)
    for path, build in ((arguments.csv, build_csv), (arguments.plot, build_svg)):
        if path is not None:
            path.write_text(build(report), encoding="utf-8")
            console.print(f"wrote {path}", soft_wrap=True)
