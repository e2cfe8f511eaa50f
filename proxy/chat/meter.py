"""The meter as the request path sees it: reserve, post, void, renew.

Every write is a function of ``ledger/``; here is only what is asked of it, and what becomes of a
reservation whose caller has gone.
"""

import time
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from contracts.errors import CurrentError
from ledger.database.on_loop import LoopLedger
from ledger.errors import AllowanceFacts, RefusalReason, ReserveRefused
from ledger.spending.admission import AdmissionRules
from ledger.spending.demand import note_demand
from ledger.spending.keys import forget_nonces
from ledger.spending.leases import sweep_leases
from ledger.spending.metering import Post, Posted, Renew, Reserve, Void, preview
from ledger.spending.reservation import Reservation
from serving.models.prices import Price, Tokens, fit_max_tokens, get_ceiling_usdc

log = structlog.get_logger("proxy")

T = TypeVar("T")


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
    ceiling_usdc: int
    """With ``max_tokens``; 1e-6 USDC."""
    generation: int | None = None
    """Of a child key."""

    def get_ceiling_usdc(self, max_tokens: int) -> int:
        """Return the most that the request can cost with this output limit."""
        if max_tokens == self.max_tokens:
            return self.ceiling_usdc
        return get_ceiling_usdc(
            prompt_bound=self.prompt_bound,
            max_tokens=max_tokens,
            choices=self.choices,
            price=self.price,
        )


class Meter:
    """Reserves, posts and voids for the request path."""

    def __init__(self, ledger: LoopLedger, rules: AdmissionRules) -> None:
        self._ledger = ledger
        self._rules = rules
        self.read = ledger.read
        self.write = ledger.write

    @property
    def max_staleness_s(self) -> int:
        """The oldest mirror that still admits requests, in seconds."""
        return self._rules.max_staleness_s

    async def reserve(self, want: Want) -> Reserved:
        """Reserve the ceiling, or with ``fit`` what the hold affords.

        Raises ``ReserveRefused`` and ``LedgerUnavailable``. Where the hold is what lacks, the
        keeper is told.
        """
        lowered: list[int] = []
        try:
            left_usdc = await self._ledger.write(
                self._build_reserve(want, lowered),
                # It must not stand until its lease runs out.
                on_abandoned=lambda _: self._void_abandoned(want.request_id),
            )
        except ReserveRefused as refusal:
            if refusal.reason is RefusalReason.HOLD_PENDING and refusal.facts is not None:
                self.note_demand(want.token_id, refusal.facts.required_usdc)
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

    def _void_abandoned(self, request_id: str) -> None:
        self._ledger.submit_and_forget(Void(request_id, "abandoned", int(time.time())))

    async def post(self, request_id: str, tokens: Tokens, *, cost_usdc: int) -> Posted:
        """Charge a reservation. Tried several times; raises ``CurrentError`` where it failed."""
        now_s = int(time.time())
        return await self._ledger.persist(
            Post(request_id, cost_usdc, tokens.prompt, tokens.completion, now_s, tokens.cached)
        )

    async def void(self, request_id: str, reason: str) -> bool:
        """Give a reservation back; tell whether it was written. If not, its lease runs out."""
        try:
            await self._ledger.persist(Void(request_id, reason, int(time.time())))
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
        self._ledger.submit_and_forget(
            lambda connection: note_demand(
                connection, token_id=token_id, required_usdc=required_usdc, now_s=now_s
            )
        )


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
