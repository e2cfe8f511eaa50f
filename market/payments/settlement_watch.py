"""Waiting for payments to settle: one query for all who wait."""

import asyncio
from collections import defaultdict
from typing import Final

import structlog

from ledger.errors import LedgerUnavailable
from ledger.payments.claims import load_payments
from ledger.payments.records import PaymentRecord
from market.records.database import Database
from serving.http.errors import unavailable

log = structlog.get_logger("market")

POLL_S: Final = 0.2
WAITING_MAX: Final = 1_000
"""Requests that wait at a time; more are told to come again."""


class SettlementWatch:
    """Watches the payments that requests wait for."""

    def __init__(self, database: Database, *, poll_s: float = POLL_S) -> None:
        self._database = database
        self._poll_s = poll_s
        self._waiting: dict[str, list[asyncio.Future[PaymentRecord]]] = defaultdict(list)
        self._task: asyncio.Task[None] | None = None

    async def wait(self, payment_id: str, *, timeout_s: float) -> PaymentRecord | None:
        """Return a payment when its credit is there, it is over, or it fails; None for neither.

        Raises 503 where too many wait.
        """
        if sum(map(len, self._waiting.values())) >= WAITING_MAX:
            raise unavailable("overloaded", "Too many payments are waited for. Try again soon.")
        future: asyncio.Future[PaymentRecord] = asyncio.get_running_loop().create_future()
        self._waiting[payment_id].append(future)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            return None
        finally:
            left = self._waiting[payment_id]
            if future in left:
                left.remove(future)
            if not left:
                del self._waiting[payment_id]

    async def _poll(self) -> None:
        while self._waiting:
            wanted = list(self._waiting)
            try:
                found = await self._database.read(
                    lambda connection, wanted=wanted: load_payments(connection, wanted)  # type: ignore[misc]
                )
            except LedgerUnavailable as error:
                log.warning("payments_not_read", error=str(error))
                found = []
            for record in found:
                if record.credited_usdc or record.is_over or record.error is not None:
                    for future in self._waiting.get(record.payment_id, ()):
                        if not future.done():
                            future.set_result(record)
            await asyncio.sleep(self._poll_s)
