"""The ledger as the market's event loop sees it."""

import asyncio

from ledger.database.engine import is_postgres
from ledger.database.on_loop import LoopLedger


class Database(LoopLedger):
    """Runs ledger functions and queries for the request path."""

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
