"""Hears of revocations at once, where the ledger announces them (PostgreSQL)."""

import asyncio
import threading
from typing import Final

import structlog
from sqlalchemy import Engine

from contracts.errors import Retryable
from ledger.database.engine import is_postgres
from ledger.database.notify import Listener
from proxy.chat.streaming import RevocationWatch

log = structlog.get_logger("proxy")

WAIT_S: Final = 0.5
"""How long one wait lasts, and so how long stopping may take."""


class RevocationListener:
    """A thread that has the watch look as soon as a position with a live stream is announced.

    It only makes the watch quicker: that one looks by itself, too, whatever is heard here.
    """

    def __init__(self, engine: Engine, watch: RevocationWatch) -> None:
        self._engine = engine
        self._watch = watch
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="revocation-listener", daemon=True)

    def start(self) -> None:
        """Begin to listen, in the running event loop. On SQLite nobody announces anything."""
        self._loop = asyncio.get_running_loop()
        if is_postgres(self._engine):
            self._thread.start()

    def close(self) -> None:
        """Stop listening. Blocks for a moment."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        with Listener(self._engine) as listener:
            while not self._stopping.is_set():
                changes = listener.wait(WAIT_S)
                if changes.token_ids and not self._stopping.is_set():
                    asyncio.run_coroutine_threadsafe(self._look(changes.token_ids), self._loop)

    async def _look(self, token_ids: frozenset[int]) -> None:
        if not self._watch.concerns(token_ids):
            return
        try:
            await self._watch.look()
        except Retryable as error:
            log.warning("revocations_unknown", error=str(error))
