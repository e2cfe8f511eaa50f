"""Whether an offer is to be trusted with a request: learned from requests only. Pure.

::

    healthy ──failure──► backing off ──time, or no other──► one trial ──success──► healthy
                              ▲                                    │
                              └──────────────failure───────────────┘

Nothing asks a seller how it is: its quota is its own. How long an offer rests depends on the cause
and doubles with each failure in a row. Times are seconds on any one clock.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from serving.models.failures import Cause

REST_S_MAX: Final = 3_600.0


_REST_S: Final = {
    # A person must act.
    Cause.AUTH: 600.0,
    Cause.FUNDS: 600.0,
    Cause.BAD_FORMAT: 300.0,
    Cause.WRONG_MODEL: 600.0,
    Cause.OVERSTATED: 600.0,
    # It may pass by itself.
    Cause.UNREACHABLE: 30.0,
    Cause.DISCONNECTED: 30.0,
    Cause.TIMEOUT: 30.0,
    Cause.RATE: 10.0,
    Cause.SERVER: 10.0,
}


class Standing(StrEnum):
    """What may be sent to an offer now."""

    HEALTHY = "healthy"
    BACKING_OFF = "backing_off"
    ON_TRIAL = "on_trial"
    """One request, and it is not taken."""
    TRIAL_TAKEN = "trial_taken"


@dataclass(frozen=True, slots=True)
class HealthReport:
    """How an offer is doing, for its seller."""

    standing: Standing
    failures: int
    """Failures in a row."""
    cause: Cause | None
    """The cause of the newest failure."""
    rests_s: float
    """How long nothing will be sent to it yet, in seconds."""


@dataclass(frozen=True, slots=True)
class Health:
    """The health of an offer, as learned from requests."""

    failures: int = 0
    """Failures in a row."""
    cause: Cause | None = None
    rests_until_s: float = 0.0
    in_trial: bool = False

    def get_standing(self, now_s: float) -> Standing:
        """Return what may be sent at ``now_s``."""
        if self.failures == 0:
            return Standing.HEALTHY
        if self.in_trial:
            return Standing.TRIAL_TAKEN
        return Standing.BACKING_OFF if now_s < self.rests_until_s else Standing.ON_TRIAL


WELL: Final = Health()


def begin(health: Health, *, now_s: float) -> Health:
    """Return the health once a request is on its way: the first one takes the trial.

    An offer that still rests is asked only where no other offer is left; that request is its trial.
    """
    is_well = health.get_standing(now_s) is Standing.HEALTHY
    return health if is_well else replace(health, in_trial=True)


def give_up(health: Health) -> Health:
    """Return the health after a request that says nothing about the seller."""
    return replace(health, in_trial=False)


def fail(
    health: Health, cause: Cause, *, now_s: float, jitter: float, retry_after_s: float | None = None
) -> Health:
    """Return the health after a failure. ``jitter`` is random, from 0 to 1.

    A rest is between half and the whole of its doubled length, so that offers do not come back all
    at once. Where a seller says when to come again, it is believed up to the longest rest.
    """
    assert 0.0 <= jitter <= 1.0
    failures = health.failures + 1
    rest_s = min(_REST_S[cause] * 2.0 ** min(failures - 1, 20), REST_S_MAX)
    rest_s *= 0.5 + jitter / 2
    if retry_after_s is not None:
        rest_s = max(rest_s, min(retry_after_s, REST_S_MAX))
    return Health(failures, cause, now_s + rest_s)
