"""What an operator must hear of, from what the keeper sees. Pure, but for the memory of ``Bell``.

================== ================================================================================
balance_low        the sender's ether is below ``KEEPER_BALANCE_WEI_MIN``
gas_price_high     base fee and tip are above ``KEEPER_FEE_WEI_MAX``: nothing is sent
mirror_stale       the mirror was not at the head for ``KEEPER_MAX_STALENESS_S``, or is empty
settlement_late    posted usage is worth its gas for longer than ``KEEPER_SETTLE_ALARM_AGE_S``
payment_late       a buyer's payment waits for longer than ``KEEPER_PAYMENT_ALARM_AGE_S``
bad_debt           posted usage that no credit pays: it was withdrawn, or its position is gone
gas_budget         a day's budget for gas is used up: items wait for the next day
kind_stopped       a kind of transaction rests after repeated failures
clock_behind       this host's clock is behind the indexer's
clock_far_off      this host's clock is far off the database's
node_away          the node did not answer
================== ================================================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

NAMES: Final = (
    "balance_low",
    "gas_price_high",
    "mirror_stale",
    "settlement_late",
    "payment_late",
    "bad_debt",
    "gas_budget",
    "kind_stopped",
    "clock_behind",
    "clock_far_off",
    "node_away",
)


@dataclass(frozen=True, slots=True)
class Vitals:
    """What the alarms are decided from. None: could not be read."""

    mirror_age_s: int | None
    oldest_posted_s: int | None
    """For how long the oldest usage waits that is worth a settlement; None where none does."""
    posted_usdc: int
    debts_usdc: Mapping[int, int]
    """The posted usage that no credit pays, by position."""
    stopped_kinds: Sequence[str] = ()
    waiting_kinds: Sequence[str] = ()
    """The kinds of which an item waits for the next day's budget."""
    gas_day_usdc: Mapping[str, int] = field(default_factory=dict)
    """What today's transactions have cost, by kind."""
    balance_wei: int | None = None
    fee_wei: int | None = None
    """Base fee and tip, per gas."""
    oldest_payment_s: int | None = None
    """For how long the oldest payment waits that is worth sending and that nothing is wrong with;
    None where none does."""
    payments_usdc: int = 0
    clock_behind_s: int = 0
    """How far our clock is behind the indexer's; 0 also where it is not."""
    clock_ahead_s: int = 0
    """How far this host's clock is ahead of the database's; below zero: behind."""


@dataclass(frozen=True, slots=True)
class AlarmRules:
    """The limits beyond which an alarm is raised."""

    balance_wei_min: int
    fee_wei_max: int
    max_staleness_s: int
    settle_age_s_max: int
    payment_age_s_max: int
    clock_behind_s_max: float
    clock_off_s_max: float


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing that a person must look at, with its figures."""

    name: str
    facts: Mapping[str, object] = field(default_factory=dict)


def decide_alarms(vitals: Vitals, rules: AlarmRules) -> list[Alarm]:
    """Return the alarms that stand, in the order of ``NAMES``."""
    alarms: list[Alarm] = []
    if vitals.balance_wei is not None and vitals.balance_wei < rules.balance_wei_min:
        figures = {"balance_wei": vitals.balance_wei, "balance_wei_min": rules.balance_wei_min}
        alarms.append(Alarm("balance_low", figures))
    if vitals.fee_wei is not None and vitals.fee_wei > rules.fee_wei_max:
        figures = {"fee_wei": vitals.fee_wei, "fee_wei_max": rules.fee_wei_max}
        alarms.append(Alarm("gas_price_high", figures))
    if vitals.mirror_age_s is None or vitals.mirror_age_s > rules.max_staleness_s:
        alarms.append(Alarm("mirror_stale", {"age_s": vitals.mirror_age_s}))
    if vitals.oldest_posted_s is not None and vitals.oldest_posted_s > rules.settle_age_s_max:
        figures = {"age_s": vitals.oldest_posted_s, "posted_usdc": vitals.posted_usdc}
        alarms.append(Alarm("settlement_late", figures))
    if vitals.oldest_payment_s is not None and vitals.oldest_payment_s > rules.payment_age_s_max:
        figures = {"age_s": vitals.oldest_payment_s, "payments_usdc": vitals.payments_usdc}
        alarms.append(Alarm("payment_late", figures))
    if vitals.debts_usdc:
        # The largest ones; `current audit` lists them all.
        largest = sorted(vitals.debts_usdc, key=lambda token: -vitals.debts_usdc[token])[:20]
        total_usdc = sum(vitals.debts_usdc.values())
        alarms.append(Alarm("bad_debt", {"debt_usdc": total_usdc, "token_ids": largest}))
    if vitals.waiting_kinds:
        spent_usdc = {kind: vitals.gas_day_usdc.get(kind, 0) for kind in vitals.waiting_kinds}
        alarms.append(Alarm("gas_budget", {"spent_usdc": spent_usdc}))
    if vitals.stopped_kinds:
        alarms.append(Alarm("kind_stopped", {"kinds": list(vitals.stopped_kinds)}))
    if vitals.clock_behind_s > rules.clock_behind_s_max:
        alarms.append(Alarm("clock_behind", {"seconds": vitals.clock_behind_s}))
    if abs(vitals.clock_ahead_s) > rules.clock_off_s_max:
        alarms.append(Alarm("clock_far_off", {"ahead_s": vitals.clock_ahead_s}))
    if vitals.balance_wei is None:
        alarms.append(Alarm("node_away"))
    return alarms


class Bell:
    """Tells which alarms are to be logged: new ones, and those that stand, once in a while."""

    def __init__(self, *, repeat_s: int) -> None:
        self._repeat_s = repeat_s
        self._rung_at_s: dict[str, int] = {}

    def ring(self, alarms: Sequence[Alarm], *, now_s: int) -> tuple[list[Alarm], list[str]]:
        """Return the alarms to log now, and the names of those that are over."""
        names = {alarm.name for alarm in alarms}
        over = [name for name in self._rung_at_s if name not in names]
        for name in over:
            del self._rung_at_s[name]
        due = [
            alarm
            for alarm in alarms
            if alarm.name not in self._rung_at_s
            or now_s - self._rung_at_s[alarm.name] >= self._repeat_s
        ]
        self._rung_at_s.update((alarm.name, now_s) for alarm in due)
        return due, over
