"""The keeper's entry point: one round, or a daemon that makes rounds until it is stopped."""

import threading
from collections.abc import Collection
from functools import partial
from typing import Final

import structlog

from contracts.errors import Retryable
from keeper.daemon import run_daemon
from keeper.lock import ROLE, build_fence, hold_lock
from keeper.rounds import JOBS, RoundReport
from keeper.settings import KeeperSettings
from keeper.wiring import House, build_keeper, build_rehearsal, build_watch, open_house
from ledger.database.leadership import Leadership

log = structlog.get_logger("keeper")

REOPEN_AFTER_S: Final = 1.0


def run_once(
    settings: KeeperSettings,
    *,
    dry_run: bool = False,
    jobs: Collection[str] = JOBS,
    stop: threading.Event | None = None,
) -> RoundReport:
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
