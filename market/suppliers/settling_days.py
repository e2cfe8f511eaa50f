"""Days and amounts of settlement, as settings, commands and documents spell them. Pure.

A day is a UTC day, counted from 1970. It has no leap second, as Unix time has none.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Final

from contracts.units import SECONDS_PER_DAY, parse_usdc
from market.suppliers.payout_addresses import Network

EPOCH: Final = date(1970, 1, 1)


def find_last_day(now_s: int, *, settle_at_s: int) -> int:
    """Return the last day that is to be settled: yesterday once ``settle_at_s`` of today is over,
    before that the day before."""
    return (now_s - settle_at_s) // SECONDS_PER_DAY - 1


def get_lateness_s(oldest_open_day: int | None, now_s: int, *, settle_at_s: int) -> int:
    """Return for how many seconds a day has been waiting that should be settled; 0: none is."""
    if oldest_open_day is None:
        return 0
    due_s = (oldest_open_day + 1) * SECONDS_PER_DAY + settle_at_s
    return max(0, now_s - due_s)


def parse_day(text: str) -> int:
    """Return the day of an ISO date. Raises ``ValueError``."""
    return (date.fromisoformat(text) - EPOCH).days


def show_day(day: int) -> str:
    """Return a day as an ISO date."""
    return (EPOCH + timedelta(days=day)).isoformat()


def show_time(at_s: int | None) -> str | None:
    """Return a moment as ISO text in UTC, to the second."""
    if at_s is None:
        return None
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_clock(text: str) -> int:
    """Return the seconds after midnight of ``HH:MM``. Raises ``ValueError``."""
    hours, colon, minutes = text.partition(":")
    is_known = colon and len(hours) == len(minutes) == 2 and (hours + minutes).isdecimal()
    if not is_known or int(hours) > 23 or int(minutes) > 59:
        raise ValueError("must be a time of day in UTC, HH:MM")
    return int(hours) * 3_600 + int(minutes) * 60


def parse_minimums(text: str) -> Mapping[Network, int]:
    """Return the least payout of each network (1e-6 USD) of ``network=amount`` with commas between.

    Raises ``ValueError``.
    """
    minimums = dict.fromkeys(Network, 1)
    for part in text.replace(",", " ").split():
        name, equals, amount = part.partition("=")
        if not equals or name not in set(Network):
            raise ValueError(f"{name!r} is not one of {', '.join(Network)}, with its amount")
        minimums[Network(name)] = max(1, parse_usdc(amount))
    return minimums
