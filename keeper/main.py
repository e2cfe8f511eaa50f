"""The keeper's entry point: one round, or a daemon that makes one after the other."""

import argparse
import signal
import threading
from collections.abc import Sequence
from typing import Final

import structlog

from contracts.errors import CurrentError, Fatal, Retryable
from keeper.daemon import run_daemon
from keeper.errors import LockHeld
from keeper.jobs import Outcome, Report
from keeper.lock import hold_lock
from keeper.settings import KeeperSettings
from keeper.wiring import House, build_keeper, build_rehearsal, open_house
from ledger.logs import configure_logs

log = structlog.get_logger("keeper")

EXIT_OK, EXIT_FAILED, EXIT_MISCONFIGURED, EXIT_LOCKED = range(4)
REOPEN_AFTER_S: Final = 1.0


def run_once(
    settings: KeeperSettings, *, dry_run: bool = False, stop: threading.Event | None = None
) -> Report:
    """Do one round, or say what it would do; without a key always the latter.

    Raises ``LockHeld`` where another keeper is at work, and what ``open_house`` raises.
    """
    house = open_house(settings)
    if dry_run or settings.private_key is None:
        return build_rehearsal(settings, house).run()
    with hold_lock(house.engine):
        return build_keeper(settings, house, stop or threading.Event()).tick()


def run(settings: KeeperSettings, stop: threading.Event) -> None:
    """Make rounds until ``stop`` is set. Raises ``Fatal`` where only a person can help."""
    house = _wait_for_house(settings, stop)
    if house is None:
        return
    with hold_lock(house.engine):
        keeper = build_keeper(settings, house, stop)
        run_daemon(keeper.tick, poll_interval_s=settings.poll_interval_s, stop=stop)


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
    """Run ``[once [--dry-run]]``, configured by the environment.

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
            report = run_once(settings, dry_run=arguments.dry_run, stop=stop)
            log.info("round", outcome=report.outcome, acted=dict(report.acted))
            return EXIT_FAILED if report.outcome in (Outcome.FAILED, Outcome.STALE) else EXIT_OK
        run(settings, stop)
    except LockHeld as error:
        log.error("locked", error=str(error))
        return EXIT_LOCKED
    except CurrentError as error:
        log.error("stopped", error=str(error), kind=type(error).__name__)
        return EXIT_MISCONFIGURED if isinstance(error, Fatal) else EXIT_FAILED
    return EXIT_OK


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="current keeper", description="Act on chain.")
    commands = parser.add_subparsers(dest="command")
    once = commands.add_parser("once", help="one round, for cron")
    once.add_argument("--dry-run", action="store_true", help="say what it would do; send nothing")
    return parser.parse_args(argv)
