"""``current keeper``: rounds without end, one round, and what an operator does beside them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from serving.process.command_line import (
    Failed,
    LazyChoice,
    Parsed,
    group,
    stop_on_signals,
)
from serving.process.exit_codes import ExitCode

if TYPE_CHECKING:
    from keeper.rounds import RoundReport
    from keeper.settings import KeeperSettings

SETTINGS: Final = ("KEEPER_RPC_URL", "KEEPER_LEDGER_URL", "KEEPER_DEPLOYMENT_FILE")
ONCE_CODES: Final = {
    ExitCode.DONE: "done, nothing due, or waiting for a transaction or for cheaper gas",
    ExitCode.FAILED: "something failed, the mirror is stale, or node or ledger are away",
    ExitCode.UNUSABLE: "wrong arguments, settings, key, deployment or chain: a person must act",
    ExitCode.LOCKED: "another keeper works on this ledger",
}


def _load_jobs() -> Sequence[str]:
    from keeper.rounds import JOBS

    return JOBS


def _parse_period_s(text: str) -> int:
    from keeper.report import parse_period_s

    return parse_period_s(text)


def _parse_svg_path(text: str) -> Path:
    if not text.endswith(".svg"):
        raise ValueError("the plot is drawn as SVG: name a file that ends in .svg")
    return Path(text)


@group("keeper", invoke_without_command=True, settings=SETTINGS, is_service=True)
def keeper() -> None:
    """Harvest, hold, settle, sweep and pay on chain, round after round, until stopped.

    A second keeper on one ledger stands by. Without a key only `once` and `report` are of use.
    """
    from keeper.main import run
    from keeper.settings import KeeperSettings
    from serving.process.logs import configure_logs

    settings = KeeperSettings.from_environment()
    configure_logs(level=settings.log_level)
    run(settings, stop_on_signals())


@keeper.command("once", settings=SETTINGS, is_service=True, exit_codes=ONCE_CODES)
@click.option("--dry-run", is_flag=True, help="Say what a round would do; send nothing.")
@click.option(
    "--job",
    "jobs",
    multiple=True,
    type=LazyChoice(_load_jobs),
    help="Do only this job; may be repeated.  [default: all]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each transaction.")
def once(dry_run: bool, jobs: tuple[str, ...], as_json: bool) -> ExitCode:
    """Make one round, for cron; without a key, say what it would do."""
    from keeper.errors import LockHeld
    from keeper.main import log, run_once
    from keeper.rounds import JOBS, RoundOutcome
    from keeper.settings import KeeperSettings
    from serving.process.logs import configure_logs

    stop = stop_on_signals()
    settings = KeeperSettings.from_environment()
    configure_logs(level=settings.log_level)
    is_dry_run = dry_run or not settings.has_key
    try:
        report = run_once(settings, dry_run=is_dry_run, jobs=jobs or JOBS, stop=stop)
    except LockHeld as error:
        log.error("locked", error=str(error))
        raise Failed(str(error), ExitCode.LOCKED) from error
    _print_round(report, settings, as_json=as_json, is_dry_run=is_dry_run)
    log.info("round", outcome=report.outcome, acted=dict(report.acted))
    has_failed = report.outcome in (RoundOutcome.FAILED, RoundOutcome.STALE)
    return ExitCode.FAILED if has_failed else ExitCode.DONE


def _print_round(
    report: "RoundReport", settings: "KeeperSettings", *, as_json: bool, is_dry_run: bool
) -> None:
    """Say what happened on the standard output: a round for cron says nothing but in its log."""
    from rich.console import Console

    from keeper.printing import build_lines, print_table

    price_usdc = settings.ether_price_usdc
    if as_json:
        for line in build_lines(report, is_dry_run=is_dry_run, ether_price_usdc=price_usdc):
            click.echo(line)
    elif is_dry_run:
        console = Console(highlight=False, markup=False)
        print_table(report, console, ether_price_usdc=price_usdc)


@keeper.command("report", settings=SETTINGS)
@click.option(
    "--since",
    "since_s",
    type=Parsed("period", _parse_period_s),
    default="7d",
    help="How far back: days, hours or minutes, e.g. 7d, 12h, 30m.",
)
@click.option(
    "--csv",
    "csv_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the positions' figures here, in 1e-6 USDC.",
)
@click.option(
    "--plot",
    "svg_path",
    type=Parsed("file.svg", _parse_svg_path),
    help="Draw the sums over time here, as SVG.",
)
def report(since_s: int, csv_path: Path | None, svg_path: Path | None) -> None:
    """Add up yield, usage, gas and margin of a period, by position and kind of transaction."""
    from keeper.operator import print_period
    from keeper.settings import KeeperSettings

    settings = KeeperSettings.from_environment()
    print_period(settings, since_s=since_s, csv_path=csv_path, svg_path=svg_path)


@keeper.command("write-off", settings=SETTINGS)
@click.option("--token-id", type=click.IntRange(0), required=True, help="The position.")
@click.option("--yes", is_flag=True, help="Do it; without, only say how much it would be.")
def write_off(token_id: int, yes: bool) -> None:
    """Give up posted usage of a position that no credit pays any more."""
    from keeper.operator import give_up, say_debt
    from keeper.settings import KeeperSettings

    act = give_up if yes else say_debt
    click.echo(act(KeeperSettings.from_environment(), token_id=token_id))


@keeper.command("retry", settings=SETTINGS)
def retry() -> None:
    """Have the next round try at once what is stopped or left alone after failures."""
    from keeper.operator import end_rests
    from keeper.settings import KeeperSettings

    count = end_rests(KeeperSettings.from_environment())
    click.echo(f"{count} rests are over; the next round tries again")
