"""What an operator must hear of, from what the ledger alone shows.

The keeper and the processes raise alarms of their own, by limits of theirs: these here are what a
page can tell without them, also when they are the ones that are down.

======================= ===========================================================================
mirror_stale            the chain was not mirrored to its head for ``MIRROR_S``, or never
process_silent          a server has not said for ``SILENT_S`` that it lives
settlement_late         posted usage waits for a settlement for longer than ``SETTLEMENT_S``
kind_stopped            the keeper sends a kind of transaction no more, after repeated failures
bad_debt                posted usage that no credit pays
payouts_late            a seller's payout waits for its batch for longer than ``PAYOUT_S``
supplier_payouts_stuck  suppliers' payouts that failed, or wait for an operator
mails_stuck             mails that were given up, or wait for longer than ``MAIL_S``
reviews_late            an application waits for a reviewer for longer than ``REVIEW_S``
======================= ===========================================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

AlarmName = Literal[
    "mirror_stale",
    "process_silent",
    "settlement_late",
    "kind_stopped",
    "bad_debt",
    "payouts_late",
    "supplier_payouts_stuck",
    "mails_stuck",
    "reviews_late",
]

MIRROR_S: Final = 60
SILENT_S: Final = 60
SETTLEMENT_S: Final = 86_400
PAYOUT_S: Final = 7 * 86_400
MAIL_S: Final = 1_800
REVIEW_S: Final = 2 * 86_400
STUCK: Final = ("failed", "needs_operator")


@dataclass(frozen=True, slots=True)
class Signs:
    """What alarms are decided from. Ages in seconds; None: there is nothing of it."""

    mirror_age_s: int | None
    silent_s: Mapping[str, int]
    """For how long each role's most silent server has said nothing."""
    posted_oldest_s: int | None
    stopped_kinds: Sequence[str]
    debt_usdc: int
    payouts_oldest_s: int | None
    supplier_payouts: Mapping[str, int]
    """How many by status."""
    mails_failed: int
    mail_oldest_s: int | None
    review_oldest_s: int | None


@dataclass(frozen=True, slots=True)
class StandingAlarm:
    """One thing that a person must look at."""

    name: AlarmName
    detail: str
    """The figures of it, with their units."""


def decide_standing_alarms(signs: Signs) -> list[StandingAlarm]:
    """Return the alarms that stand, in the order of ``AlarmName``."""
    silent = {role: age_s for role, age_s in signs.silent_s.items() if age_s > SILENT_S}
    stuck = sum(signs.supplier_payouts.get(status, 0) for status in STUCK)
    return [
        alarm
        for is_raised, alarm in (
            (
                signs.mirror_age_s is None or signs.mirror_age_s > MIRROR_S,
                StandingAlarm("mirror_stale", _tell_age(signs.mirror_age_s)),
            ),
            (bool(silent), StandingAlarm("process_silent", _tell_silent(silent))),
            (
                _is_over(signs.posted_oldest_s, SETTLEMENT_S),
                StandingAlarm("settlement_late", _tell_age(signs.posted_oldest_s)),
            ),
            (
                bool(signs.stopped_kinds),
                StandingAlarm("kind_stopped", ", ".join(signs.stopped_kinds)),
            ),
            (signs.debt_usdc > 0, StandingAlarm("bad_debt", f"{signs.debt_usdc} 1e-6 USDC")),
            (
                _is_over(signs.payouts_oldest_s, PAYOUT_S),
                StandingAlarm("payouts_late", _tell_age(signs.payouts_oldest_s)),
            ),
            (stuck > 0, StandingAlarm("supplier_payouts_stuck", f"{stuck} payouts")),
            (
                signs.mails_failed > 0 or _is_over(signs.mail_oldest_s, MAIL_S),
                StandingAlarm("mails_stuck", f"{signs.mails_failed} given up"),
            ),
            (
                _is_over(signs.review_oldest_s, REVIEW_S),
                StandingAlarm("reviews_late", _tell_age(signs.review_oldest_s)),
            ),
        )
        if is_raised
    ]


def _is_over(age_s: int | None, limit_s: int) -> bool:
    return age_s is not None and age_s > limit_s


def _tell_age(age_s: int | None) -> str:
    return "never" if age_s is None else f"{age_s} s"


def _tell_silent(silent: Mapping[str, int]) -> str:
    return ", ".join(f"{role} for {age_s} s" for role, age_s in sorted(silent.items()))
