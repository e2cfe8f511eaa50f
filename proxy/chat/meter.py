"""The meter as the request path sees it: reserve, post, void, renew.

Every write is a function of ``ledger/``; here is only what is asked of it, and what becomes of a
reservation whose caller has gone.
"""

from collections.abc import Callable, Sequence

import structlog

from contracts.errors import CurrentError
from ledger.chain.harvest_outlook import PrincipalStep
from ledger.chain.harvests import load_principal_steps
from ledger.database.on_loop import LoopLedger
from ledger.errors import RefusalReason, ReserveRefused
from ledger.kept_answers import NamedRequest
from ledger.kept_on_loop import KeptAnswers
from ledger.spending.admission import AdmissionRules
from ledger.spending.demand import note_demand
from ledger.spending.keys import forget_nonces
from ledger.spending.leases import sweep_leases
from ledger.spending.metering import Post, Posted, Renew, Reserve, Reserved, Void, preview
from ledger.spending.once import PostAndKeep, ReserveOnce
from ledger.spending.wallet_sessions import forget_sessions
from ledger.tables.usage import Charge, PriceUsed, Reservation
from serving.models.prices import Price, Tokens

log = structlog.get_logger("proxy")


class Meter:
    """Reserves, posts and voids for the request path."""

    def __init__(self, ledger: LoopLedger, rules: AdmissionRules, kept: KeptAnswers) -> None:
        self._ledger = ledger
        self._rules = rules
        self._kept = kept
        self.read = ledger.read
        self.write = ledger.write
        self.clock = ledger.clock
        self.now_s = ledger.now_s
        self._holder_id = ledger.holder_id

    @property
    def max_staleness_s(self) -> int:
        """The oldest mirror that still admits requests, in seconds."""
        return self._rules.max_staleness_s

    async def read_principal(self, token_id: int) -> Sequence[PrincipalStep]:
        """Return a position's newest principals, oldest first. Raises ``LedgerUnavailable``."""
        return await self.read(lambda connection: load_principal_steps(connection, token_id))

    async def reserve(
        self,
        reservation: Reservation,
        *,
        fit: Callable[[int], int] | None = None,
        generation: int | None = None,
        claim: NamedRequest | None = None,
    ) -> Reserved:
        """Reserve the ceiling, or with ``fit`` what it makes of what the hold affords.

        Raises ``ReserveRefused`` and ``LedgerUnavailable``, and with ``claim`` ``RequestRepeated``.
        Where the hold is what lacks, the keeper is told.
        """
        self.clock.check_known()
        call = Reserve(reservation, self._rules, self.now_s(), fit, generation, self._holder_id)
        try:
            reserved = await self._ledger.write(
                call if claim is None else ReserveOnce(call, claim),
                # It must not stand until its lease runs out.
                on_abandoned=lambda _: self._void_abandoned(reservation.request_id),
            )
        except ReserveRefused as refusal:
            if refusal.reason is RefusalReason.HOLD_PENDING and refusal.facts is not None:
                self.note_demand(reservation.token_id, refusal.facts.required_usdc)
            raise
        if reserved.ceiling_usdc < reservation.ceiling_usdc:
            # Lowered to fit: the allowance may have more than the hold.
            self.note_demand(reservation.token_id, reservation.ceiling_usdc)
        return reserved

    async def preview(
        self,
        reservation: Reservation,
        *,
        fit: Callable[[int], int] | None = None,
        generation: int | None = None,
    ) -> Reserved:
        """Return what ``reserve`` would, or raise what it would. Writes nothing."""
        call = Reserve(reservation, self._rules, self.now_s(), fit, generation, self._holder_id)
        return await self.read(lambda connection: preview(connection, call))

    def _void_abandoned(self, request_id: str) -> None:
        self._ledger.submit_and_forget(Void(request_id, "abandoned", self.now_s()))

    async def post(
        self,
        request_id: str,
        tokens: Tokens,
        *,
        price: Price,
        cost_usdc: int,
        keep: tuple[NamedRequest, Callable[[Posted], bytes | None]] | None = None,
        served: str | None = None,
    ) -> Posted:
        """Charge a reservation at ``price``, and with ``keep`` keep the sealed answer with it.

        ``served`` says who served it: see ``ledger.spending.receipts.ServedNote``.

        Tried several times; raises ``CurrentError`` where it failed.
        """
        charge = Charge(cost_usdc, tokens.prompt, tokens.completion, tokens.cached, served)
        used = PriceUsed(
            price.input_usdc_per_mtok,
            price.output_usdc_per_mtok,
            price.cached_input_usdc_per_mtok,
            price.per_request_usdc,
        )
        call = Post(request_id, charge, self.now_s(), used)
        if keep is None:
            return await self._ledger.persist(call)
        return await self._ledger.persist(PostAndKeep(call, *keep, self._kept.bytes_max))

    async def void(self, request_id: str, reason: str) -> bool:
        """Give a reservation back; tell whether it was written. If not, its lease runs out."""
        try:
            await self._ledger.persist(Void(request_id, reason, self.now_s()))
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
        await self.write(Renew(request_id, self.now_s() + self._rules.lease_s))

    async def sweep(self) -> int:
        """Void what dead processes left; return how many. Forgets old nonces and answers too.

        Does nothing while this host's clock is far off.
        """
        if not self.clock.may_sweep:
            return 0
        now_s = self.now_s()
        swept = await self.write(lambda connection: sweep_leases(connection, now_s=now_s))
        await self.write(lambda connection: forget_nonces(connection, now_s=now_s))
        await self.write(lambda connection: forget_sessions(connection, now_s=now_s))
        await self._kept.forget()
        return swept

    async def count_kept_bytes(self) -> int:
        """Return how much is kept of everybody's answers, in bytes."""
        return await self._kept.count_bytes()

    def note_demand(self, token_id: int, required_usdc: int) -> None:
        """Tell the keeper that a position wants a hold. Nothing waits for it."""
        now_s = self.now_s()
        self._ledger.submit_and_forget(
            lambda connection: note_demand(
                connection, token_id=token_id, required_usdc=required_usdc, now_s=now_s
            )
        )
