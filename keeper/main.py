"""The keeper's entry point: one round, or a daemon that makes one after the other."""

import argparse
import signal
import threading
from collections.abc import Collection, Sequence
from functools import partial
from typing import Final

import structlog
from rich.console import Console

from contracts.errors import CurrentError, Fatal, Retryable
from keeper.daemon import run_daemon
from keeper.errors import LockHeld
from keeper.lock import ROLE, build_fence, hold_lock
from keeper.operator import add_desk_commands, run_desk_command
from keeper.printing import build_lines, print_table
from keeper.rounds import JOBS, Outcome, Report
from keeper.settings import KeeperSettings
from keeper.wiring import House, build_keeper, build_rehearsal, build_watch, open_house
from ledger.database.leadership import Leadership
from serving.process.logs import configure_logs

log = structlog.get_logger("keeper")

EXIT_OK, EXIT_FAILED, EXIT_MISCONFIGURED, EXIT_LOCKED = range(4)
REOPEN_AFTER_S: Final = 1.0


def run_once(
    settings: KeeperSettings,
    *,
    dry_run: bool = False,
    jobs: Collection[str] = JOBS,
    stop: threading.Event | None = None,
) -> Report:
    """Do one round of ``jobs``, or say what it would do; without a key always the latter.

    Raises ``LockHeld`` where another keeper is at work, and what ``open_house`` raises.
    """
    house = open_house(settings)
    if dry_run or not settings.has_key:
        return build_rehearsal(settings, house).run(jobs)
    with hold_lock(house.engine) as leadership:
        fence = build_fence(leadership)
        keeper = build_keeper(settings, house, stop or threading.Event(), fence=fence)
        return build_watch(settings, house, keeper).run(partial(keeper.tick, jobs))


def run(settings: KeeperSettings, stop: threading.Event) -> None:
    """Make rounds until ``stop`` is set; stand by while another keeper is at work.

    Raises ``Fatal`` where only a person can help.
    """
    house = _wait_for_house(settings, stop)
    if house is None:
        return
    with Leadership(house.engine, ROLE) as leadership:
        keeper = build_keeper(settings, house, stop, fence=build_fence(leadership))
        watch = build_watch(settings, house, keeper, serve=True)
        tick = partial(watch.run, keeper.tick)
        pause_s = settings.poll_interval_s
        run_daemon(tick, lead=leadership.acquire, poll_interval_s=pause_s, stop=stop)


def _wait_for_house(settings: KeeperSettings, stop: threading.Event) -> House | None:
    """Open everything as soon as node and ledger can be reached; None where stopped before."""
    while not stop.is_set():
        try:
            return open_house(settings)
        except Retryable as error:
            log.warning("not_ready", error=str(error))
            stop.wait(REOPEN_AFTER_S)
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``[once | report | write-off | retry]``, configured by the environment; a daemon without.

    Return 0 for done or nothing to do, 1 where something failed, 2 where the configuration is
    wrong, 3 where another keeper has the lock.
    """
    arguments = _parse(argv)
    configure_logs()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = KeeperSettings.from_environment()
        if arguments.command == "once":
            dry_run = arguments.dry_run or not settings.has_key
            jobs = arguments.job or JOBS
            report = run_once(settings, dry_run=dry_run, jobs=jobs, stop=stop)
            _print(report, settings, as_json=arguments.json, is_dry_run=dry_run)
            log.info("round", outcome=report.outcome, acted=dict(report.acted))
            return EXIT_FAILED if report.outcome in (Outcome.FAILED, Outcome.STALE) else EXIT_OK
        if arguments.command is not None:
            run_desk_command(arguments, settings)
            return EXIT_OK
        run(settings, stop)
    except LockHeld as error:
        log.error("locked", error=str(error))
        return EXIT_LOCKED
    except CurrentError as error:
        log.error("stopped", error=str(error), kind=type(error).__name__)
        return EXIT_MISCONFIGURED if isinstance(error, Fatal) else EXIT_FAILED
    return EXIT_OK


def _print(report: Report, settings: KeeperSettings, *, as_json: bool, is_dry_run: bool) -> None:
    """Say what happened on the standard output: a round for cron says nothing but in its log."""
    price_usdc = settings.ether_price_usdc
    console = Console(highlight=False, markup=False)
    if as_json:
        for line in build_lines(report, is_dry_run=is_dry_run, ether_price_usdc=price_usdc):
            console.out(line)
    elif is_dry_run:
        print_table(report, console, ether_price_usdc=price_usdc)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="current keeper", description="Act on chain.")
    commands = parser.add_subparsers(dest="command")
    once = commands.add_parser("once", help="one round, for cron")
    once.add_argument("--dry-run", action="store_true", help="say what it would do; send nothing")
    once.add_argument("--job", action="append", choices=JOBS, help="only this one; may be repeated")
    once.add_argument("--json", action="store_true", help="say it as JSON lines")
    add_desk_commands(commands)
    return parser.parse_args(argv)
