"""What a call does to the ledger: **reserve** quota and money, then **post** or **void**."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

import structlog
from sqlalchemy import Connection

from contracts.errors import CurrentError
from ledger.resale.call_booking import sweep_calls
from ledger.resale.call_records import CallFigures, CallTrace, NewCall
from ledger.resale.call_sets import PostCall, ReserveCall, VoidCall
from ledger.resale.periods import open_period, settle_period
from market.metrics import Metrics
from market.records.database import Database
from market.records.store import KeyHolder
from market.resale.api_client import ApiAnswer
from market.resale.api_shelf import ApiShelf, SoldConnection
from market.resale.candidates import Candidate, IncomingCall
from market.resale.counted_units import read_units
from market.resale.economics import split_call
from serving.http.answers import Answer
from serving.http.errors import settlement_failed
from serving.models.failures import Cause, UpstreamFailure

log = structlog.get_logger("market")

T = TypeVar("T")

NO_STORE: Final = {"cache-control": "no-store"}
COST_HEADER: Final = "x-market-cost-usdc"


@dataclass(frozen=True, slots=True)
class CallRules:
    """How calls are served."""

    fee_bps: int
    attempts_max: int
    lease_s: int


class CallCharging:
    """Reserves, posts and gives back calls of the connections on a shelf."""

    def __init__(
        self, database: Database, shelf: ApiShelf, metrics: Metrics, rules: CallRules
    ) -> None:
        self.rules = rules
        self._database = database
        self._shelf = shelf
        self._metrics = metrics
        self._opened: set[tuple[str, int]] = set()

    def build(
        self,
        holder: KeyHolder,
        call: IncomingCall,
        one: Candidate,
        attempt: int,
        cached: ApiAnswer | None,
    ) -> NewCall:
        connection, operation, price = one.connection, one.operation, one.price
        price_usdc, is_flat, units_max = price.usdc, price.is_flat, price.units_max
        if cached is not None:
            asked = operation.cached_price_usdc
            # Never more than the answer cost, or would cost now, when it was fetched.
            full = price.get_cost_usdc(read_units(operation, cached))
            price_usdc, is_flat, units_max = (full if asked is None else min(asked, full)), True, 0
        if one.is_own:
            units_max = 0
        ceiling_usdc = price_usdc if is_flat else price_usdc * units_max
        return NewCall(
            request_id=call.request_id,
            attempt=attempt,
            account_id=holder.owner,
            key_id=holder.key_id,
            connection_id=connection.connection_id,
            version=connection.version,
            owner=connection.owner,
            payout_address=connection.payout_address,
            operation=operation.name,
            period=connection.find_period(self._database.now_s()),
            units_max=units_max,
            price_usdc=price_usdc,
            is_flat=is_flat,
            transaction_fee_usdc=holder.flat_fee_usdc,
            ceiling_usdc=ceiling_usdc + holder.flat_fee_usdc,
            fee_bps=self.rules.fee_bps,
            count_on=",".join(operation.count_on),
        )

    async def reserve(self, new: NewCall, call: IncomingCall) -> None:
        self._database.clock.check_known()
        now_s = self._database.now_s()
        lease_expires_at_s = now_s + self.rules.lease_s
        reserve = ReserveCall(new, now_s, lease_expires_at_s, self._database.holder_id, call.also)
        self._shelf.note_use(await self._database.write(reserve))

    async def post(
        self,
        new: NewCall,
        call: IncomingCall,
        one: Candidate,
        answer: ApiAnswer,
        started_s: float,
        *,
        is_cached: bool = False,
    ) -> Answer:
        units = 0 if is_cached else read_units(one.operation, answer)
        price_usdc = new.price_usdc if new.is_flat else new.price_usdc * units
        split = split_call(
            price_usdc,
            transaction_fee_usdc=new.transaction_fee_usdc,
            fee_bps=self.rules.fee_bps,
        )
        own_units = units if one.is_own else 0
        figures = CallFigures(
            units - own_units, split.cost_usdc, split.earning_usdc, split.fee_usdc
        )
        built = build_answer(answer, one, cost_usdc=split.cost_usdc, units=units)
        also = None if call.keep is None else call.keep(built)
        trace = _trace(answer, started_s, with_remaining=not is_cached)
        now_s = self._database.now_s()
        post = PostCall(new.call_id, figures, new.period, trace, now_s, own_units, also)
        try:
            posted = asyncio.ensure_future(self._database.persist(post))
            self._shelf.note_use(await asyncio.shield(posted))
        except CurrentError as error:
            log.error("settlement_failed", call_id=new.call_id, error=str(error))
            raise settlement_failed() from error
        self._metrics.observe_call("cached" if is_cached else "ok")
        log.info(
            "call_posted",
            call_id=new.call_id,
            connection_id=new.connection_id,
            operation=new.operation,
            status=answer.status,
            units=units,
            cost_usdc=split.cost_usdc,
        )
        return built

    async def void(
        self,
        new: NewCall,
        one: Candidate,
        reason: str,
        *,
        started_s: float,
        is_api_failure: bool = False,
        failure: UpstreamFailure | None = None,
        answer: ApiAnswer | None = None,
    ) -> None:
        """Give a reservation back. Where that cannot be written, its lease runs out."""
        was_reached = failure is None or failure.cause is not Cause.UNREACHABLE
        counts = one.connection.terms.failures_count and was_reached
        counted_units = one.operation.units if counts else 0
        trace = (
            CallTrace(
                status=None if failure is None else failure.status,
                whole_ms=elapsed_ms(started_s),
            )
            if answer is None
            else _trace(answer, started_s)
        )
        now_s = self._database.now_s()
        void = VoidCall(
            new.call_id,
            reason,
            is_api_failure,
            new.period,
            now_s,
            lost_units=0 if one.is_own else counted_units,
            own_units=counted_units if one.is_own else 0,
            trace=trace,
        )
        self._shelf.note_use(await self.persist(void))

    async def learn(self, connection: SoldConnection, remaining: int | None) -> None:
        """Note what the API has said that remains of the quota; None: it has not."""
        if remaining is None:
            return
        now_s = self._database.now_s()
        id_, period = connection.connection_id, connection.find_period(now_s)
        self._shelf.note_use(
            await self.persist(
                lambda c: settle_period(c, id_, period, remaining_units=remaining, now_s=now_s)
            )
        )

    async def persist(self, write: Callable[[Connection], T]) -> T | None:
        """Return what was written, None where it could not be."""
        try:
            return await self._database.persist(write)
        except CurrentError as error:
            log.error("void_failed", error=str(error))
            return None

    async def open_periods(self) -> None:
        """Open the present period of each connection on sale: what nobody buys of it lapses too."""
        now_s = self._database.now_s()
        present = {
            (one.connection_id, period.starts_at_s): period
            for one in self._shelf.list_open()
            if (period := one.find_period(now_s)).base_units
        }
        new = {key: period for key, period in present.items() if key not in self._opened}
        if new:
            await self._database.write(
                lambda c: [open_period(c, id_, period) for (id_, _), period in new.items()]
            )
        self._opened = set(present)

    async def sweep(self) -> int:
        """Void what dead processes left; return how many.

        Does nothing while this host's clock is far off.
        """
        if not self._database.clock.may_sweep:
            return 0
        now_s = self._database.now_s()
        swept = await self._database.write(lambda connection: sweep_calls(connection, now_s=now_s))
        if swept:
            self._metrics.swept.inc(swept)
            log.warning("leases_swept", reservations=swept)
        return swept


def build_answer(answer: ApiAnswer, one: Candidate, *, cost_usdc: int, units: int) -> Answer:
    """Return an API's answer as its consumer sees it."""
    headers = build_headers(answer.headers, one, cost_usdc=cost_usdc, units=units)
    return Answer(answer.status, headers, answer.body)


def build_headers(
    passed: Mapping[str, str], one: Candidate, *, cost_usdc: int, units: int
) -> dict[str, str]:
    """Return the headers of an answer: those that the API's may have, and what it came to."""
    return {
        "content-type": "application/octet-stream",
        **passed,
        **NO_STORE,
        "x-content-type-options": "nosniff",
        "x-market-api": one.connection.sold_under,
        "x-market-units": str(units),
        COST_HEADER: str(cost_usdc),
    }


def elapsed_ms(started_s: float) -> int:
    """Return the time since ``started_s``, of the steady clock."""
    return int((time.monotonic() - started_s) * 1_000)


def _trace(answer: ApiAnswer, started_s: float, *, with_remaining: bool = True) -> CallTrace:
    remaining = answer.remaining_units if with_remaining else None
    return CallTrace(answer.status, answer.api_ms, elapsed_ms(started_s), remaining)
