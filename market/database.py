"""The ledger as the event loop sees it: writes through the grouping writer, reads in threads."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import structlog
from sqlalchemy import Connection, Engine

from ledger.engine import is_postgres, read
from ledger.errors import LedgerUnavailable
from ledger.writer import GroupWriter

log = structlog.get_logger("market")

T = TypeVar("T")

RETRY_DELAYS_S: Final = (0.1, 0.5, 2.0)
"""Pauses between the tries to write what can be repeated without harm."""


class Database:
    """Runs ledger functions and queries for the request path."""

    def __init__(self, engine: Engine, writer: GroupWriter, *, timeout_s: float) -> None:
        self._engine = engine
        self._writer = writer
        self._timeout_s = timeout_s

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run ``query`` on a read-only snapshot in a thread. Raises ``LedgerUnavailable``."""

        def run() -> T:
            with read(self._engine) as connection:
                return query(connection)

        async with _limited(self._timeout_s):
            return await asyncio.to_thread(run)

    async def write(self, call: Callable[[Connection], T]) -> T:
        """Run ``call`` in the writer's next group. Raises ``LedgerUnavailable``, and its own."""
        async with _limited(self._timeout_s):
            return await asyncio.wrap_future(self._writer.submit(call))

    async def persist(self, call: Callable[[Connection], T]) -> T:
        """Run what can be repeated, several times where the ledger is unavailable."""
        for delay_s in RETRY_DELAYS_S:
            try:
                return await self.write(call)
            except LedgerUnavailable as error:
                log.warning("ledger_write_retried", error=str(error), delay_s=delay_s)
            await asyncio.sleep(delay_s)
        return await self.write(call)

    async def scrub(self) -> None:
        """Empty SQLite's write-ahead log, where erased bytes would stay for a while.

        As far as other readers let it: what they still need is emptied by a later one.
        """
        if is_postgres(self._engine):
            return

        def run() -> None:
            connection = self._engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()

        await asyncio.to_thread(run)


@asynccontextmanager
async def _limited(timeout_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise LedgerUnavailable(f"no answer within {timeout_s} s") from None
