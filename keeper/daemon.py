"""The dumb loop around a round: it alone waits, counts failures and catches."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import structlog
from apscheduler.schedulers.background import BackgroundScheduler

from contracts.errors import Fatal, Retryable
from keeper.rounds import RoundOutcome, RoundReport

log = structlog.get_logger("keeper")


class Rounds:
    """Runs ``tick`` and remembers what ended it for good."""

    def __init__(
        self, tick: Callable[[], RoundReport], lead: Callable[[], bool], stop: threading.Event
    ) -> None:
        self._tick = tick
        self._lead = lead
        self._was_leading: bool | None = None
        self._stop = stop
        self._failures = 0
        self.fatal: Exception | None = None

    def run_one(self) -> None:
        """Make one round, if we lead. What cannot be reached is for the next one to try again."""
        if self._stop.is_set():
            return
        try:
            if not self._may_go_on():
                return
            report = self._tick()
        except Retryable as error:
            self._failures += 1
            log.warning("round_failed", error=str(error), failures=self._failures)
            return
        except Exception as error:
            # Anything else is a mistake in here or past repair: no guess can make it right.
            log.exception("round_broke", fatal=isinstance(error, Fatal))
            self.fatal = error
            self._stop.set()
            return
        self._failures = 0
        if report.outcome is not RoundOutcome.NOTHING_DUE:
            log.info(
                "round",
                outcome=report.outcome,
                acted=dict(report.acted),
                failures=report.failures,
                waits_for=report.waits_for,
                leases_voided=report.leases_voided,
            )

    def _may_go_on(self) -> bool:
        leads = self._lead()
        if leads != self._was_leading:
            self._was_leading = leads
            log.info("leading" if leads else "standing_by")
        return leads


def run_daemon(
    tick: Callable[[], RoundReport],
    *,
    lead: Callable[[], bool],
    poll_interval_s: float,
    stop: threading.Event,
) -> None:
    """Make rounds, never two at once, until ``stop`` is set; a round that runs is finished first.

    ``lead`` tries to win or keep the keeper's lock; without it a round is left out. Raises what
    ended the rounds for good.
    """
    # A round that takes longer than the interval is no news.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    rounds = Rounds(tick, lead, stop)
    scheduler = BackgroundScheduler(timezone=UTC)
    scheduler.add_job(
        rounds.run_one,
        "interval",
        seconds=poll_interval_s,
        max_instances=1,
        coalesce=True,
        misfire_grace_time=None,
        next_run_time=datetime.now(UTC),
    )
    scheduler.start()
    try:
        stop.wait()
    finally:
        stop.set()
        scheduler.shutdown(wait=True)
    if rounds.fatal is not None:
        raise rounds.fatal
