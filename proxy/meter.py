"""The ledger as the event loop sees it: writes through the grouping writer, reads in threads.

Every write is a function of ``ledger/``; here is only how long to wait for it, how often to try
again, and what becomes of a write whose caller has gone.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

import structlog
from sqlalchemy import Connection, Engine

from contracts.errors import CurrentError
from ledger.engine import read
from ledger.errors import AllowanceFacts, LedgerUnavailable, RefusalReason, ReserveRefused
from ledger.keys import forget_nonces
from ledger.metering import (
    AdmissionRules,
    Post,
    Posted,
    Renew,
    Reservation,
    Reserve,
    Void,
    note_demand,
    preview,
    sweep_leases,
)
from ledger.writer import GroupWriter
from proxy.pricing import Price, Tokens, fit_max_tokens, get_ceiling_usdc

log = structlog.get_logger("proxy")

T = TypeVar("T")

RETRY_DELAYS_S: Final = (0.1, 0.5, 2.0)
"""Pauses between the tries to write a post or a void: both can be repeated without harm."""


@dataclass(frozen=True, slots=True)
class Reserved:
    """What a reservation settled on. Amounts in 1e-6 USDC."""

    ceiling_usdc: int
    max_tokens: int
    hold_left_usdc: int


@dataclass(frozen=True, slots=True)
class Want:
    """What a request wants to reserve: everything that the ceiling follows from."""

    request_id: str
    token_id: int
    key_epoch: int
    key_id: str
    model: str
    price: Price
    prompt_bound: int
    max_tokens: int
    choices: int
    fit: bool
    generation: int | None = None
    """Of a child key."""

    def get_ceiling_usdc(self, max_tokens: int) -> int:
        """Return the most that the request can cost with this output limit."""
        return get_ceiling_usdc(
            prompt_bound=self.prompt_bound,
            max_tokens=max_tokens,
            choices=self.choices,
            price=self.price,
        )


class Meter:
    """Reserves, posts and voids for the request path."""

    def __init__(
        self, engine: Engine, writer: GroupWriter, rules: AdmissionRules, *, timeout_s: float
    ) -> None:
        self._engine = engine
        self._writer = writer
        self._rules = rules
        self._timeout_s = timeout_s

    @property
    def max_staleness_s(self) -> int:
        """The oldest mirror that still admits requests, in seconds."""
        return self._rules.max_staleness_s

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run ``query`` on a read-only snapshot in a thread. Raises ``LedgerUnavailable``."""

        def run() -> T:
            with read(self._engine) as connection:
                return query(connection)

        async with _limited(self._timeout_s):
            return await asyncio.to_thread(run)

    async def write(self, call: Callable[[Connection], T]) -> T:
        """Run ``call`` in the writer's next group. Raises ``LedgerUnavailable``, and its own."""
        return await self._await(self._writer.submit(call))

    async def reserve(self, want: Want) -> Reserved:
        """Reserve the ceiling, or with ``fit`` what the hold affords.

        Raises ``ReserveRefused`` and ``LedgerUnavailable``. Where the hold is what lacks, the
        keeper is told.
        """
        lowered: list[int] = []
        future = self._writer.submit(self._build_reserve(want, lowered))
        try:
            left_usdc = await self._await(future)
        except ReserveRefused as refusal:
            if refusal.reason is RefusalReason.HOLD_PENDING and refusal.facts is not None:
                self.note_demand(want.token_id, refusal.facts.required_usdc)
            raise
        except (LedgerUnavailable, asyncio.CancelledError):
            # Nobody waits any more. If it is written after all, it must not stand until its
            # lease runs out.
            future.add_done_callback(lambda done: self._void_abandoned(done, want.request_id))
            raise
        max_tokens = lowered[-1] if lowered else want.max_tokens
        if max_tokens < want.max_tokens:
            # Lowered to fit: the allowance may have more than the hold.
            self.note_demand(want.token_id, want.get_ceiling_usdc(want.max_tokens))
        return Reserved(want.get_ceiling_usdc(max_tokens), max_tokens, left_usdc)

    async def preview(self, want: Want) -> Reserved:
        """Return what ``reserve`` would, or raise what it would. Writes nothing."""
        lowered: list[int] = []
        call = self._build_reserve(want, lowered)
        left_usdc = await self.read(lambda connection: preview(connection, call))
        max_tokens = lowered[-1] if lowered else want.max_tokens
        return Reserved(want.get_ceiling_usdc(max_tokens), max_tokens, left_usdc)

    def _build_reserve(self, want: Want, lowered: list[int]) -> Reserve:
        fit = partial(_fit, want, lowered) if want.fit else None
        reservation = _build_reservation(want, want.max_tokens)
        return Reserve(reservation, self._rules, int(time.time()), fit, want.generation)

    def _void_abandoned(self, done: "Future[int]", request_id: str) -> None:
        if not done.cancelled() and done.exception() is None:
            self._submit_and_forget(Void(request_id, "abandoned", int(time.time())))

    async def post(self, request_id: str, tokens: Tokens, *, cost_usdc: int) -> Posted:
        """Charge a reservation. Tried several times; raises ``CurrentError`` where it failed."""
        now_s = int(time.time())
        return await self._persist(
            Post(request_id, cost_usdc, tokens.prompt, tokens.completion, now_s, tokens.cached)
        )

    async def void(self, request_id: str, reason: str) -> bool:
        """Give a reservation back; tell whether it was written. If not, its lease runs out."""
        try:
            await self._persist(Void(request_id, reason, int(time.time())))
        except CurrentError as error:
            log.error("void_failed", request_id=request_id, error=str(error))
            return False
        return True

    @property
    def lease_s(self) -> int:
        """How long a reservation stands without being renewed, in seconds."""
        return self._rules.lease_s

    async def renew(self, request_id: str) -> None:
        """Prolong a reservation by a whole lease. Raises ``UsageResolved`` where it has ended."""
        await self.write(Renew(request_id, int(time.time()) + self._rules.lease_s))

    async def sweep(self) -> int:
        """Void what dead processes left; return how many. Forgets expired nonces besides."""
        now_s = int(time.time())
        swept = await self.write(lambda connection: sweep_leases(connection, now_s=now_s))
        await self.write(lambda connection: forget_nonces(connection, now_s=now_s))
        return swept

    def note_demand(self, token_id: int, required_usdc: int) -> None:
        """Tell the keeper that a position wants a hold. Nothing waits for it."""
        now_s = int(time.time())
        self._submit_and_forget(
            lambda connection: note_demand(
                connection, token_id=token_id, required_usdc=required_usdc, now_s=now_s
            )
        )

    def _submit_and_forget(self, call: Callable[[Connection], None]) -> None:
        try:
            future = self._writer.submit(call)
        except LedgerUnavailable as error:
            log.warning("ledger_write_lost", error=str(error))
            return
        future.add_done_callback(_log_loss)

    async def _persist(self, call: Callable[[Connection], T]) -> T:
        for delay_s in RETRY_DELAYS_S:
            try:
                return await self.write(call)
            except LedgerUnavailable as error:
                log.warning("ledger_write_retried", error=str(error), delay_s=delay_s)
            await asyncio.sleep(delay_s)
        return await self.write(call)

    async def _await(self, future: "Future[T]") -> T:
        async with _limited(self._timeout_s):
            return await asyncio.wrap_future(future)


def _build_reservation(want: Want, max_tokens: int) -> Reservation:
    return Reservation(
        request_id=want.request_id,
        token_id=want.token_id,
        key_epoch=want.key_epoch,
        key_id=want.key_id,
        model=want.model,
        ceiling_usdc=want.get_ceiling_usdc(max_tokens),
        input_usdc_per_mtok=want.price.input_usdc_per_mtok,
        output_usdc_per_mtok=want.price.output_usdc_per_mtok,
        cached_input_usdc_per_mtok=want.price.cached_input_usdc_per_mtok,
    )


def _fit(
    want: Want, lowered: list[int], _: Reservation, facts: AllowanceFacts | None
) -> Reservation:
    """Lower the output limit to what the hold affords, and note it in ``lowered``."""
    affordable_usdc = 0 if facts is None else max(0, facts.held_usdc - facts.drawn_usdc)
    max_tokens = fit_max_tokens(
        affordable_usdc=affordable_usdc,
        prompt_bound=want.prompt_bound,
        max_tokens=want.max_tokens,
        choices=want.choices,
        price=want.price,
    )
    lowered.append(max_tokens)
    return _build_reservation(want, max_tokens)


def _log_loss(done: "Future[None]") -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.warning("ledger_write_lost", error=str(error))


@asynccontextmanager
async def _limited(timeout_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise LedgerUnavailable(f"no answer within {timeout_s} s") from None
