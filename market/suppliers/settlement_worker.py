"""Settling suppliers' days: every day at a time of day, or by hand for a date.

Whatever was not settled is, oldest day first, by whichever process comes first. Nothing is settled
while this host's clock is far off, and no day that is not over.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from sqlalchemy import Connection

from contracts.errors import Rejected
from contracts.units import utc_day
from ledger.suppliers.settlement import (
    SettledChunk,
    SettlementTerms,
    find_oldest_open_day,
    settle_chunk,
)
from market.suppliers.settling_days import find_last_day, get_lateness_s, show_day

log = structlog.get_logger("market")

T = TypeVar("T")
Write = Callable[[Callable[[Connection], SettledChunk]], Awaitable[SettledChunk]]
Read = Callable[[Callable[[Connection], int | None]], Awaitable[int | None]]


class DayNotOver(Rejected):
    """The day to be settled is not over yet."""


@dataclass(frozen=True, slots=True)
class DaysSettled:
    """What one run of settlement did. Amounts in 1e-6 USD."""

    payouts: int = 0
    carried: int = 0
    net_usdc: int = 0

    def add(self, chunk: SettledChunk) -> "DaysSettled":
        """Return both together."""
        return DaysSettled(
            self.payouts + chunk.payouts,
            self.carried + chunk.carried,
            self.net_usdc + chunk.net_usdc,
        )


class SettlementWorker:
    """Settles days."""

    def __init__(
        self, read: Read, write: Write, terms: SettlementTerms, *, settle_at_s: int
    ) -> None:
        """``settle_at_s``: when a day is settled, in seconds after the next day's midnight."""
        self._read = read
        self._write = write
        self._terms = terms
        self._settle_at_s = settle_at_s
        self._looked_through: int | None = None
        self.late_s = 0
        """For how long a day has been waiting that should be settled, as of the last look."""

    async def settle_due(self, now_s: int) -> DaysSettled:
        """Settle all days that are due and are not settled yet."""
        last_day = find_last_day(now_s, settle_at_s=self._settle_at_s)
        oldest = await self._read(
            lambda connection: find_oldest_open_day(connection, through_day=last_day)
        )
        self.late_s = get_lateness_s(oldest, now_s, settle_at_s=self._settle_at_s)
        if oldest is None and self._looked_through == last_day:
            return DaysSettled()
        done = await self._settle(oldest, last_day, now_s)
        self._looked_through, self.late_s = last_day, 0
        if done.payouts:
            log.info(
                "days_settled",
                through=show_day(last_day),
                payouts=done.payouts,
                carried=done.carried,
                net_usdc=done.net_usdc,
            )
        return done

    async def settle_through(self, day: int, now_s: int) -> DaysSettled:
        """Settle a day, and those before it that are not settled. Raises ``DayNotOver``."""
        if day >= utc_day(now_s):
            raise DayNotOver(f"{show_day(day)} is not over yet in UTC")
        oldest = await self._read(
            lambda connection: find_oldest_open_day(connection, through_day=day)
        )
        return await self._settle(oldest, day, now_s)

    async def _settle(self, oldest: int | None, last_day: int, now_s: int) -> DaysSettled:
        done = DaysSettled()
        for day in range(last_day if oldest is None else min(oldest, last_day), last_day + 1):
            while True:
                chunk = await self._write(
                    lambda connection, day=day: settle_chunk(  # type: ignore[misc]
                        connection, day=day, terms=self._terms, now_s=now_s
                    )
                )
                if chunk.suppliers == 0:
                    break
                done = done.add(chunk)
        return done
