"""Ends live streams whose key is revoked, as soon as the ledger shows it."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

import structlog
from sqlalchemy import Engine

from contracts.errors import Retryable
from ledger.database.engine import is_postgres
from ledger.database.notify import Changes, Listener
from proxy.chat.streams import end_with
from proxy.keys.tokens import KeyClaims
from serving.http.errors import ApiError
from serving.stream.live import LiveStream

log = structlog.get_logger("proxy")

WAIT_S: Final = 0.5
"""How long one wait lasts, and so how long stopping may take."""


class RevocationWatch:
    """Ends live streams whose key is revoked: looks at their keys again and again.

    A look is one read for all streams; without streams nothing is read.
    """

    def __init__(
        self,
        find_revoked: Callable[[set[KeyClaims]], Awaitable[Mapping[KeyClaims, ApiError]]],
    ) -> None:
        self._find_revoked = find_revoked
        self._streams: dict[LiveStream, KeyClaims] = {}
        self.has_streams = threading.Event()
        """Set while a stream is watched."""

    def add(self, stream: LiveStream, claims: KeyClaims) -> None:
        """Watch a stream until ``remove``."""
        self._streams[stream] = claims
        self.has_streams.set()

    def remove(self, stream: LiveStream) -> None:
        """Watch a stream no longer."""
        self._streams.pop(stream, None)
        if not self._streams:
            self.has_streams.clear()

    async def look(self) -> None:
        """Cut the streams whose key is invalid by now. Raises ``LedgerUnavailable``."""
        if not self._streams:
            return
        revoked = await self._find_revoked(set(self._streams.values()))
        for stream, claims in list(self._streams.items()):
            problem = revoked.get(claims)
            if problem is not None:
                stream.cut(end_with(problem))

    def concerns(self, token_ids: Collection[int]) -> bool:
        """Tell whether a live stream is paid by one of these positions."""
        return any(claims.token_id in token_ids for claims in self._streams.values())


class RevocationListener:
    """A thread that has the watch look as soon as a position with a live stream may have changed.

    The listener only makes the watch quicker: the watch also looks by itself.
    """

    def __init__(self, engine: Engine, watch: RevocationWatch) -> None:
        self._engine = engine
        self._hears = is_postgres(engine)
        self._watch = watch
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="revocation-listener", daemon=True)

    def start(self) -> None:
        """Begin to listen, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def close(self) -> None:
        """Stop listening. Blocks for a moment."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        with Listener(self._engine) as listener:
            while not self._stopping.is_set():
                # A file is only looked at while somebody waits for what it says.
                if not self._hears and not self._watch.has_streams.wait(WAIT_S):
                    continue
                changes = listener.wait(WAIT_S)
                if (changes.token_ids or changes.may_have_missed) and not self._stopping.is_set():
                    asyncio.run_coroutine_threadsafe(self._look(changes), self._loop)

    async def _look(self, changes: Changes) -> None:
        if not changes.may_have_missed and not self._watch.concerns(changes.token_ids):
            return
        try:
            await self._watch.look()
        except Retryable as error:
            log.warning("revocations_unknown", error=str(error))
