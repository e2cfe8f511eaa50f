"""Periods of a quota, and what of a period is for sale. Pure.

For sale = quota - reserve - buffer, less what the owner uses beyond the reserve. The owner's own
calls use the reserve up first: the reference's example has 3,000 of 10,000 reserved, 3,000 used by
the owner, and 7,000 for sale.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final

from contracts.units import SECONDS_PER_DAY, mul_div_up
from ledger.resale.call_records import PeriodTerms

FOR_EVER_S: Final = 2**40


class Period(StrEnum):
    """When a quota is whole again."""

    MONTH = "month"
    """At midnight of a day of each month, in a time zone."""
    DAY = "day"
    """At each midnight, in a time zone."""
    DAYS = "days"
    """Each N days, counted from an instant."""
    ONCE = "once"
    """Never."""


@dataclass(frozen=True, slots=True)
class Quota:
    """A subscription's quota. Units are the API's: calls or credits."""

    units: int
    reserved: int
    buffer_pct: int = 2
    unit: str = "calls"
    period: Period = Period.MONTH
    reset_day: int = 1
    """Of the month; a shorter month resets on its last day."""
    days: int = 30
    zone: tzinfo = UTC
    resets_at_s: int | None = None
    """An instant at which the quota is whole again: where N days are counted from; the day and the
    time of it of each month, or its time of each day; the end of what is never whole again."""

    @property
    def buffer_units(self) -> int:
        """The part that is never sold, so that a count that differs a little stops nothing."""
        return mul_div_up(self.units, self.buffer_pct, 100)

    @property
    def base_units(self) -> int:
        """What is for sale while the owner uses no more than the reserve."""
        return max(0, self.units - self.reserved - self.buffer_units)

    def find_period(self, now_s: int) -> PeriodTerms:
        """Return the period that ``now_s`` is in."""
        starts_at_s, ends_at_s = _find_bounds(self, now_s)
        is_over = self.period is Period.ONCE and starts_at_s > 0
        base_units = 0 if is_over else self.base_units
        return PeriodTerms(starts_at_s, ends_at_s, base_units, self.units, self.reserved)


def _find_bounds(quota: Quota, now_s: int) -> tuple[int, int]:
    if quota.period is Period.ONCE:
        ends_at_s = FOR_EVER_S if quota.resets_at_s is None else quota.resets_at_s
        # Afterwards there is none.
        return (0, ends_at_s) if now_s < ends_at_s else (ends_at_s, FOR_EVER_S)
    if quota.period is Period.DAYS:
        length_s = quota.days * SECONDS_PER_DAY
        starts_at_s = now_s - (now_s - (quota.resets_at_s or 0)) % length_s
        return starts_at_s, starts_at_s + length_s
    local = datetime.fromtimestamp(now_s, quota.zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    day = quota.reset_day
    if quota.resets_at_s is not None:
        stated = datetime.fromtimestamp(quota.resets_at_s, quota.zone)
        midnight = midnight.replace(hour=stated.hour, minute=stated.minute, second=stated.second)
        day = stated.day
    if quota.period is Period.DAY:
        starts = midnight if midnight <= local else midnight - timedelta(days=1)
        ends = (starts + timedelta(days=1)).replace(tzinfo=quota.zone)
        return int(starts.timestamp()), int(ends.timestamp())
    this = _reset_in(midnight, day)
    if this <= local:
        starts, ends = this, _reset_in(_first_of_next(midnight), day)
    else:
        starts, ends = _reset_in(_first_of_last(midnight), day), this
    return int(starts.timestamp()), int(ends.timestamp())


def _reset_in(month: datetime, day: int) -> datetime:
    return month.replace(day=min(day, monthrange(month.year, month.month)[1]))


def _first_of_next(month: datetime) -> datetime:
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)


def _first_of_last(month: datetime) -> datetime:
    return (month.replace(day=1) - timedelta(days=1)).replace(day=1)
