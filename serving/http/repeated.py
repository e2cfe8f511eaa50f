"""Requests that come again under one idempotency key: answered from what was charged once.

The ledger decides which request a key names. Here its repetitions wait for it, and get its answer.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from contracts.errors import CurrentError
from serving.http.answers import Answer, StreamAnswer
from serving.http.errors import charge_follows
from serving.http.repeat_keys import (
    RepeatKey,
    WholeAnswer,
    answer_not_kept,
    idempotency_key_reused,
    request_in_progress,
)
from serving.process.aes_gcm import SealBroken
from serving.stream.transcript import SentEvents

log = structlog.get_logger("serving")

LOOK_S: Final = 0.02
"""The first pause between two looks at a request that runs; each is longer than the one before."""
LOOK_S_MAX: Final = 0.5
LOST_AFTER_S: Final = 60
"""A charged request whose answer is not there by then has lost it: its server was stopped."""
WAITING_MAX: Final = 8
"""How many repeats of one request wait at a time: each takes a place among the open requests, and
has reserved nothing."""
REPLAYED: Final = {"idempotent-replayed": "true"}


@dataclass(frozen=True, slots=True)
class RepeatRules:
    """How much is kept of answers, and how long a repeated request waits."""

    answer_bytes_max: int
    """Longer answers are not kept."""
    wait_s: float
    """How long a repeated request waits for the first one, in seconds."""
    total_bytes_max: int
    """Once this much is kept of everybody's answers, further ones are not kept."""


class FoundWork(Protocol):
    """What has become of a request."""

    @property
    def is_running(self) -> bool: ...
    @property
    def charged_at_s(self) -> int | None: ...
    @property
    def cost_usdc(self) -> int | None: ...


class FoundRequest(Protocol):
    """The request that a key names (``ledger.kept_answers``)."""

    @property
    def request_id(self) -> str: ...
    @property
    def body_digest(self) -> str: ...
    @property
    def work(self) -> FoundWork: ...
    @property
    def sealed(self) -> bytes | None: ...
    @property
    def is_dropped(self) -> bool: ...


class RepeatStore(Protocol):
    """The ledger, as far as requests that come again are concerned."""

    def now_s(self) -> int:
        """Return the ledger's time, in seconds."""
        ...

    async def find_earlier(self, lookup_id: str, *, now_s: int) -> FoundRequest | None:
        """Return the request that a key names, or None. Raises ``LedgerUnavailable``."""
        ...

    async def keep_answer(self, key: RepeatKey, request_id: str, sealed: bytes | None) -> None:
        """Keep the answer of a request that was charged; None: it is too long.

        Raises ``CurrentError``.
        """
        ...


class Repeats:
    """Finds, waits for and keeps the answers of requests with an idempotency key."""

    def __init__(self, store: RepeatStore, rules: RepeatRules, *, id_header: str) -> None:
        """``id_header`` is how a repeated answer names the request that was charged."""
        self._store = store
        self.rules = rules
        self._id_header = id_header
        self._waiting: Counter[str] = Counter()
        self._kept_bytes = 0
        """What is kept in all: as it was measured last, and what was sealed here since."""

    def note_kept(self, kept_bytes: int) -> None:
        """Note what the ledger keeps of everybody's answers, in bytes."""
        self._kept_bytes = kept_bytes

    async def find(
        self, key: RepeatKey, check: Callable[[], Awaitable[object]]
    ) -> Answer | StreamAnswer | None:
        """Return what was answered under the key; None where nothing was charged under it.

        Waits for a request that still runs. Raises 409 where it runs for too long, others wait for
        it already, it had another body, or left no answer; and what ``check`` raises of the API
        key: a kept answer is no way around a revocation.
        """
        self._waiting[key.lookup_id] += 1
        try:
            return await self._find(key, check)
        finally:
            self._waiting[key.lookup_id] -= 1
            if not self._waiting[key.lookup_id]:
                del self._waiting[key.lookup_id]

    async def _find(
        self, key: RepeatKey, check: Callable[[], Awaitable[object]]
    ) -> Answer | StreamAnswer | None:
        until_s, pause_s = time.monotonic() + self.rules.wait_s, LOOK_S
        while True:
            now_s = self._store.now_s()
            earlier = await self._store.find_earlier(key.lookup_id, now_s=now_s)
            if earlier is None:
                return None
            await check()
            answer = self._read_answer(key, earlier, now_s=now_s)
            if answer is not None:
                return answer
            if time.monotonic() >= until_s or self._waiting[key.lookup_id] > WAITING_MAX:
                raise request_in_progress(earlier.request_id)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LOOK_S_MAX)

    def _read_answer(
        self, key: RepeatKey, earlier: FoundRequest, *, now_s: int
    ) -> Answer | StreamAnswer | None:
        """Return what an earlier request was answered; None where that is still to come.

        Raises 409.
        """
        if earlier.body_digest != key.body_digest:
            raise idempotency_key_reused()
        work = earlier.work
        if work.is_running:
            return None
        lost = answer_not_kept(earlier.request_id, cost_usdc=work.cost_usdc or 0)
        if earlier.sealed is None:
            is_lost = now_s - (work.charged_at_s or 0) > LOST_AFTER_S
            if earlier.is_dropped or is_lost:
                raise lost
            return None
        try:
            kept = key.open(earlier.sealed)
        except SealBroken:
            log.error("kept_answer_broken", request_id=earlier.request_id)
            raise lost from None
        headers = {**kept.headers, **REPLAYED, self._id_header: earlier.request_id}
        if kept.is_stream:
            return StreamAnswer(headers, _Replay(kept.body))
        return Answer(kept.status, headers, kept.body)

    def seal(self, key: RepeatKey, answer: Answer) -> bytes | None:
        """Return a whole answer as it is kept; None where it is too long, or no room is left."""
        return self._seal(key, WholeAnswer(False, dict(answer.headers), answer.body, answer.status))

    def _seal(self, key: RepeatKey, answer: WholeAnswer) -> bytes | None:
        if len(answer.body) > self.rules.answer_bytes_max:
            return None
        sealed = key.seal(answer)
        if self._kept_bytes + len(sealed) > self.rules.total_bytes_max:
            return None
        # Counted although it may not be written after all: the next measurement says it exactly.
        self._kept_bytes += len(sealed)
        return sealed

    def seal_stream(
        self, key: RepeatKey, headers: dict[str, str], transcript: SentEvents
    ) -> bytes | None:
        """Return a stream as it is kept; None where it was too long, or no room is left."""
        events = transcript.get()
        return None if events is None else self._seal(key, WholeAnswer(True, headers, events))

    def open_transcript(self) -> SentEvents:
        """Return what takes down a stream that is to be kept."""
        return SentEvents(self.rules.answer_bytes_max)

    async def run_and_keep(
        self,
        run: Awaitable[str],
        key: RepeatKey,
        request_id: str,
        headers: dict[str, str],
        transcript: SentEvents,
    ) -> str:
        """Run a stream to its end, and keep what its client was told. Return the outcome.

        Where that cannot be written the stream is charged all the same, and a repeated request is
        told so.
        """
        outcome = await run
        if outcome == charge_follows().code:  # that client was told of no charge
            return outcome
        sealed = self.seal_stream(key, headers, transcript)
        try:
            await self._store.keep_answer(key, request_id, sealed)
        except CurrentError as error:
            log.error("answer_not_kept", request_id=request_id, error=str(error))
        return outcome


class _Replay:
    """A stream that is over already."""

    def __init__(self, events: bytes) -> None:
        self._events = events

    async def events(self) -> AsyncIterator[bytes]:
        """Yield all of it."""
        yield self._events

    def leave(self) -> None:
        """Nothing runs that could be left."""
