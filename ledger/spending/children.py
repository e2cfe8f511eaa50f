"""A child key as the meter sees it: its limits, what is used of them, why one refuses. Pure.

A child key spends from its position within limits of its own. What it used is counted beside it:
a request counts with its ceiling from the moment it is reserved, with its cost once it is posted,
and not at all once it is voided; always on the UTC day and in the UTC month of its reservation.
Days never run backwards: where a clock is behind the newest day that counted, that day counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import orjson

from contracts.units import SECONDS_PER_DAY, utc_day
from ledger.errors import LimitFacts, RefusalReason

CHILD_ID_DIGITS: Final = 12
"""Hex digits of a child key's id. A root key's has 16, so that the two never meet."""

_EPOCH_ORDINAL: Final = date(1970, 1, 1).toordinal()
_SECONDS_PER_MINUTE: Final = 60

LIMITS: Final = (
    "request_usdc_max",
    "day_usdc_max",
    "month_usdc_max",
    "lifetime_usdc_max",
    "requests_per_minute_max",
    "concurrency_max",
)
COUNTERS: Final = (
    "day",
    "day_used_usdc",
    "month_used_usdc",
    "used_usdc",
    "minute",
    "minute_requests",
    "open_requests",
)
CHILD_COLUMNS: Final = (
    "key_id",
    "token_id",
    "models",
    "generation",
    "grace_until_s",
    "expires_at_s",
    "revoked_at_s",
    *LIMITS,
    *COUNTERS,
)


def is_child_id(key_id: str) -> bool:
    """Tell a child key's id from a root key's."""
    return len(key_id) == CHILD_ID_DIGITS


def get_month(day: int) -> int:
    """Return the UTC month of a UTC day (days since 1970), as years * 12 + months - 1."""
    at = date.fromordinal(_EPOCH_ORDINAL + day)
    return at.year * 12 + at.month - 1


def get_month_start_s(month: int) -> int:
    """Return when a month begins, in Unix seconds."""
    first = date(month // 12, month % 12 + 1, 1)
    return (first.toordinal() - _EPOCH_ORDINAL) * SECONDS_PER_DAY


@dataclass(slots=True)
class Child:
    """One child key's row, locked with its position. Amounts in 1e-6 USDC; None = no limit."""

    key_id: str
    token_id: int
    models: str | None
    """The models that it may use, as a JSON list; None = any."""
    generation: int
    """How often it was rotated; a key says of which generation it is."""
    grace_until_s: int
    """Until this time a key of the generation before is valid too."""
    expires_at_s: int | None
    revoked_at_s: int | None
    request_usdc_max: int | None
    day_usdc_max: int | None
    month_usdc_max: int | None
    lifetime_usdc_max: int | None
    requests_per_minute_max: int | None
    concurrency_max: int | None
    day: int
    """The UTC day of ``day_used_usdc``, and of the month of ``month_used_usdc``."""
    day_used_usdc: int
    month_used_usdc: int
    used_usdc: int
    minute: int
    """The minute (since 1970) of ``minute_requests``."""
    minute_requests: int
    open_requests: int

    @property
    def counters(self) -> tuple[Any, ...]:
        """The columns that requests change, in the order of ``COUNTERS``."""
        return tuple(getattr(self, name) for name in COUNTERS)

    def find_problem(
        self, *, generation: int, model: str | None, now_s: int
    ) -> RefusalReason | None:
        """Return why the key may not be used at all, or not for this model if one is named."""
        if self.revoked_at_s is not None:
            return RefusalReason.KEY_REVOKED
        if self.expires_at_s is not None and now_s >= self.expires_at_s:
            return RefusalReason.KEY_EXPIRED
        in_grace = generation == self.generation - 1 and now_s < self.grace_until_s
        if generation != self.generation and not in_grace:
            return RefusalReason.KEY_ROTATED
        if model is not None and not self.allows(model):
            return RefusalReason.MODEL_NOT_ALLOWED
        return None

    def allows(self, model: str) -> bool:
        """Tell whether the key may use a model."""
        return self.models is None or model in orjson.loads(self.models)

    def find_limit(self, ceiling_usdc: int, *, now_s: int) -> LimitFacts | None:
        """Return the limit that a reservation would pass, or None.

        What lasts longest comes first: waiting for the others would not help.
        """
        self._turn(now_s)
        next_day_s = (self.day + 1) * SECONDS_PER_DAY
        next_month_s = get_month_start_s(get_month(self.day) + 1)
        amounts = (
            ("request", self.request_usdc_max, 0, None),
            ("lifetime", self.lifetime_usdc_max, self.used_usdc, None),
            ("month", self.month_usdc_max, self.month_used_usdc, next_month_s),
            ("day", self.day_usdc_max, self.day_used_usdc, next_day_s),
        )
        for name, most_usdc, used_usdc, resets_at_s in amounts:
            if most_usdc is not None and used_usdc + ceiling_usdc > most_usdc:
                return LimitFacts(name, most_usdc, used_usdc, resets_at_s)
        most = self.concurrency_max
        if most is not None and self.open_requests >= most:
            return LimitFacts("concurrency", most, self.open_requests, None)
        most = self.requests_per_minute_max
        if most is not None and self.minute_requests >= most:
            next_minute_s = (self.minute + 1) * _SECONDS_PER_MINUTE
            return LimitFacts("requests_per_minute", most, self.minute_requests, next_minute_s)
        return None

    def get_room_usdc(self, *, now_s: int) -> int | None:
        """Return the largest ceiling that the limits let pass now; None = any."""
        self._turn(now_s)
        amounts = (
            (self.request_usdc_max, 0),
            (self.lifetime_usdc_max, self.used_usdc),
            (self.month_usdc_max, self.month_used_usdc),
            (self.day_usdc_max, self.day_used_usdc),
        )
        rooms = [most - used for most, used in amounts if most is not None]
        return max(0, min(rooms)) if rooms else None

    def take(self, ceiling_usdc: int, *, now_s: int) -> int:
        """Count a reservation; return the time (Unix seconds) that it counts as reserved at."""
        self._turn(now_s)
        self._count(ceiling_usdc, day=self.day)
        self.open_requests += 1
        self.minute_requests += 1
        return max(now_s, self.day * SECONDS_PER_DAY)

    def resolve(self, freed_usdc: int, *, reserved_at_s: int) -> None:
        """Give back what a resolved reservation did not cost, where it was counted."""
        self._count(-freed_usdc, day=utc_day(reserved_at_s))
        self.open_requests -= 1

    def _count(self, change_usdc: int, *, day: int) -> None:
        if day == self.day:
            self.day_used_usdc += change_usdc
        if get_month(day) == get_month(self.day):
            self.month_used_usdc += change_usdc
        self.used_usdc += change_usdc

    def _turn(self, now_s: int) -> None:
        """Begin the day, the month and the minute of ``now_s``, if they are newer."""
        today = utc_day(now_s)
        if today > self.day:
            self.day_used_usdc = 0
            if get_month(today) != get_month(self.day):
                self.month_used_usdc = 0
            self.day = today
        minute = now_s // _SECONDS_PER_MINUTE
        if minute > self.minute:
            self.minute, self.minute_requests = minute, 0


def build_child(row: Sequence[Any]) -> Child:
    """Return the child key of a row in the order of ``CHILD_COLUMNS``."""
    return Child(*row)
