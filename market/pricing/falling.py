"""Prices of capacity that expires: they fall to a floor until the instant at which it does. Pure.

What is not sold by then is worth nothing. A price falls in steps, each of which holds until a
stated instant, so whoever asks for a price knows until when it stands: ::

    full ─┐
          └─┐
            └─┐              ┌─ full
              └─ floor ──────┘
          starts            ends

The price at an instant is a function of that instant and of what the seller has said alone: any
number of processes tell the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from contracts.units import SECONDS_PER_DAY, mul_div_up
from serving.models.prices import PPM_ONE, Price
from serving.models.terms import Tiers

STEPS_OF_DAYS_S: Final = 3_600
STEPS_S: Final = 60
NOTICE_S: Final = 5
"""So long before a price rises, lists state the higher one: who reserves by a list never lags."""
_TIME_MAX: Final = 2**40


@dataclass(frozen=True, slots=True)
class PriceStep:
    """How far a price has fallen: ``passed`` of ``steps``, until ``until_s``."""

    passed: int
    steps: int
    until_s: int

    def get_price(self, start: int, floor: int) -> int:
        """Return what is left of a price, rounded up: never below the floor."""
        return floor + mul_div_up(start - floor, self.steps - self.passed, self.steps)


def find_step(*, starts_at_s: int, ends_at_s: int, now_s: int) -> PriceStep:
    """Return the step that ``now_s`` is in: of an hour each where there are days, else a minute."""
    length_s = ends_at_s - starts_at_s
    step_s = STEPS_OF_DAYS_S if length_s >= SECONDS_PER_DAY else STEPS_S
    steps = max(1, length_s // step_s)
    passed = min(max(0, now_s - starts_at_s) // step_s, steps)
    return PriceStep(passed, steps, min(starts_at_s + (passed + 1) * step_s, ends_at_s))


@dataclass(frozen=True, slots=True)
class Fall:
    """How an offer's prices fall: to ``floor_pct`` per cent of them, between two instants."""

    starts_at_s: int
    ends_at_s: int
    floor_pct: int

    def find_ppm(self, now_s: int) -> tuple[int, int | None]:
        """Return what of the full price is asked for, in 1e-6, and until when (None: for good)."""
        if now_s >= self.ends_at_s:
            return PPM_ONE, None
        step = find_step(starts_at_s=self.starts_at_s, ends_at_s=self.ends_at_s, now_s=now_s)
        return step.get_price(PPM_ONE, self.floor_pct * PPM_ONE // 100), step.until_s

    def find_stated_ppm(self, now_s: int) -> tuple[int, int | None]:
        """Return the same as lists state it: the most within ``NOTICE_S``, and until when."""
        if now_s >= self.ends_at_s - NOTICE_S:
            return PPM_ONE, None
        ppm, until_s = self.find_ppm(now_s)
        return ppm, None if until_s is None else min(until_s, self.ends_at_s - NOTICE_S)


def scale_tiers(tiers: Tiers, ppm: int) -> Tiers:
    """Return a part (1e-6) of prices, each rounded up."""
    if ppm == PPM_ONE:
        return tiers
    return tuple((above, _scale(price, ppm)) for above, price in tiers)


def _scale(price: Price, ppm: int) -> Price:
    cached = price.cached_input_usdc_per_mtok
    return Price(
        mul_div_up(price.input_usdc_per_mtok, ppm, PPM_ONE),
        mul_div_up(price.output_usdc_per_mtok, ppm, PPM_ONE),
        None if cached is None else mul_div_up(cached, ppm, PPM_ONE),
        mul_div_up(price.per_request_usdc, ppm, PPM_ONE),
    )


def find_earliest(instants: Sequence[int | None]) -> int | None:
    """Return the first of several instants; None where there is none."""
    return min((at_s for at_s in instants if at_s is not None), default=None)


def parse_instant(value: Any) -> int:
    """Return an instant in Unix seconds: such a number, or ISO 8601. Raises ``ValueError``."""
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            value = int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        value = None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < _TIME_MAX:
        raise ValueError("must be an instant: Unix seconds or ISO 8601")
    return value
