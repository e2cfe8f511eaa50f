"""Requests that come again under one idempotency key: answered from what was charged once.

The ledger decides which request a key stands for (``ledger.spending.kept_answers``). Here the
others wait for it, and get its answer.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from contracts.errors import CurrentError
from ledger.spending.kept_answers import EarlierRequest, NamedRequest, find_earlier
from proxy.chat.meter import Meter
from proxy.chat.repeat_keys import (
    AnswerSealBroken,
    RepeatKey,
    WholeAnswer,
    answer_not_kept,
    idempotency_key_reused,
    request_in_progress,
)
from proxy.keys.authentication import check_standing
from proxy.keys.tokens import KeyClaims
from serving.http.answers import Answer, StreamAnswer

log = structlog.get_logger("proxy")

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
    """What is kept of answers, and how long a repeated request waits."""

    answer_bytes_max: int
    """Longer answers are not kept."""
    wait_s: float
    """How long a repeated request waits for the first one, in seconds."""


class Repeats:
    """Finds, waits for and keeps the answers of requests with an idempotency key."""

    def __init__(self, meter: Meter, rules: RepeatRules) -> None:
        self._meter = meter
        self.rules = rules
        self._waiting: Counter[str] = Counter()

    async def find(self, key: RepeatKey, claims: KeyClaims) -> Answer | StreamAnswer | None:
        """Return what was answered under the key; None where nothing was charged under it.

        Waits for a request that still runs. Raises 409 where it runs for too long, others wait for
        it already, it had another body, or left no answer; and what ``check_standing`` raises: a
        kept answer is no way around a revocation.
        """
        self._waiting[key.lookup_id] += 1
        try:
            return await self._find(key, claims)
        finally:
            self._waiting[key.lookup_id] -= 1
            if not self._waiting[key.lookup_id]:
                del self._waiting[key.lookup_id]

    async def _find(self, key: RepeatKey, claims: KeyClaims) -> Answer | StreamAnswer | None:
        until_s, pause_s = time.monotonic() + self.rules.wait_s, LOOK_S
        while True:
            now_s = self._meter.now_s()
            look = partial(find_earlier, lookup_id=key.lookup_id, now_s=now_s)
            earlier = await self._meter.read(look)
            if earlier is None:
                return None
            await check_standing(claims, self._meter)
            answer = _read_answer(key, earlier, now_s=now_s)
            if answer is not None:
                return answer
            if time.monotonic() >= until_s or self._waiting[key.lookup_id] > WAITING_MAX:
                raise request_in_progress(earlier.request_id)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LOOK_S_MAX)

    def seal(self, key: RepeatKey, answer: WholeAnswer) -> bytes | None:
        """Return an answer as it is kept; None where it is too long."""
        return key.seal(answer) if len(answer.body) <= self.rules.answer_bytes_max else None

    async def keep_stream(
        self, key: RepeatKey, request_id: str, headers: dict[str, str], events: bytes | None
    ) -> None:
        """Keep a stream that was charged; ``events`` are None where they were too long.

        Where that cannot be written the stream is charged all the same, and a repeated request is
        told so.
        """
        sealed = None if events is None else self.seal(key, WholeAnswer(True, headers, events))
        try:
            await self._meter.keep_answer(claim_of(key), request_id, sealed)
        except CurrentError as error:
            log.error("answer_not_kept", request_id=request_id, error=str(error))


def claim_of(key: RepeatKey) -> NamedRequest:
    """Return the key as the ledger has it."""
    return NamedRequest(key.lookup_id, key.body_digest)


def _read_answer(
    key: RepeatKey, earlier: EarlierRequest, *, now_s: int
) -> Answer | StreamAnswer | None:
    """Return what an earlier request was answered; None where that is still to come. Raises 409."""
    if earlier.body_digest != key.body_digest:
        raise idempotency_key_reused()
    if earlier.is_running:
        return None
    cost_usdc = earlier.cost_usdc or 0
    if earlier.sealed is None:
        is_lost = now_s - (earlier.posted_at_s or 0) > LOST_AFTER_S
        if earlier.is_dropped or is_lost:
            raise answer_not_kept(earlier.request_id, cost_usdc=cost_usdc)
        return None
    try:
        kept = key.open(earlier.sealed)
    except AnswerSealBroken:
        log.error("kept_answer_broken", request_id=earlier.request_id)
        raise answer_not_kept(earlier.request_id, cost_usdc=cost_usdc) from None
    headers = {**kept.headers, **REPLAYED, "x-current-request-id": earlier.request_id}
    if kept.is_stream:
        return StreamAnswer(headers, _Replay(kept.body))
    return Answer(200, headers, kept.body)


class _Replay:
    """A stream that is over already."""

    def __init__(self, events: bytes) -> None:
        self._events = events

    async def events(self) -> AsyncIterator[bytes]:
        """Yield all of it."""
        yield self._events

    def leave(self) -> None:
        """Nothing runs that could be left."""
