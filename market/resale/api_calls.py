"""Serving calls: find the operation, price, **reserve**, call, **post** or **void**, answer.

Several connections that are sold under one name and have the operation are one product: the
cheapest healthy one is called first, the next one where it fails before its answer was used.
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import orjson
import structlog
from sqlalchemy import Connection

from contracts.errors import CurrentError
from ledger.resale.call_booking import post_call, reserve_call, sweep_calls, void_call
from ledger.resale.call_records import (
    CallDenial,
    CallFigures,
    CallRefused,
    CallTrace,
    NewCall,
    PeriodUse,
)
from ledger.resale.connections import save_flag, suspend_connection
from ledger.resale.periods import settle_period
from ledger.selling.sale_statements import PAID_KEY_ID
from market.endpoints.health import Standing
from market.endpoints.sealing import KmsUnavailable
from market.errors import credit_spent, invalid_key
from market.metrics import Metrics
from market.records.database import Database
from market.records.store import KeyHolder
from market.resale.answer_cache import AnswerCache
from market.resale.api_client import ApiAnswer, ApiClient, CredentialLeaked, OutgoingCall
from market.resale.api_shelf import ApiShelf, SoldConnection
from market.resale.call_limits import CallLimiter, CallPlace
from market.resale.call_prices import CallPrice
from market.resale.call_refusals import all_failed, not_on_sale, quota_sold, resting
from market.resale.call_wishes import (
    CallWish,
    check_body,
    check_query,
    unknown_api,
    unknown_operation,
    write_target,
)
from market.resale.connection_terms import CallLimits
from market.resale.consumer_watch import ConsumerWatch, slow_down
from market.resale.economics import split_call
from market.resale.operations import Operation, find_operation, list_methods
from market.resale.passed_headers import HeaderRefused, choose_outgoing
from serving.http.answers import Answer
from serving.http.errors import (
    ApiError,
    RequestRejected,
    bad_request,
    method_not_allowed,
    overloaded,
    settlement_failed,
)
from serving.models.failures import Cause, UpstreamFailure
from serving.process.aes_gcm import SealBroken
from serving.process.turns import NoPlace

log = structlog.get_logger("market")

STRICT_RESTS: Final = frozenset({Cause.AUTH, Cause.FUNDS, Cause.RATE})
"""A connection that rests for one of these is not asked, even where no other is left."""
NO_STORE: Final = {"cache-control": "no-store"}
COST_HEADER: Final = "x-market-cost-usdc"


@dataclass(frozen=True, slots=True)
class CallRules:
    """How calls are served."""

    fee_bps: int
    attempts_max: int
    lease_s: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A connection that sells an operation, with what a call costs there now."""

    connection: SoldConnection
    operation: Operation
    parameters: Mapping[str, str]
    price: CallPrice


@dataclass(frozen=True, slots=True)
class IncomingCall:
    """A consumer's call."""

    wish: CallWish
    body: bytes
    find_header: Callable[[str], str | None]
    request_id: str
    address: str = ""
    """Where the consumer is, as limits count addresses."""
    also: Callable[[Connection, NewCall], object] | None = None
    """Written with each reservation; its refusals end the call."""
    keep: Callable[[Answer], Callable[[Connection], object]] | None = None
    """Returns what keeps the answer, in the transaction that charges for it."""


class ApiCalls:
    """Serves calls of the connections on a shelf."""

    def __init__(
        self,
        database: Database,
        shelf: ApiShelf,
        client: ApiClient,
        metrics: Metrics,
        rules: CallRules,
    ) -> None:
        self.shelf = shelf
        self.client = client
        self.rules = rules
        self.limiter = CallLimiter()
        self.cache = AnswerCache()
        self.watch = ConsumerWatch()
        self._database = database
        self._metrics = metrics

    # ------------------------------------------------------------------------- what may be called

    def find_candidates(self, wish: CallWish) -> list[Candidate]:
        """Return who sells a call, cheapest first. Raises 404, 405."""
        connections = self.shelf.list_sold(wish.sold_under)
        if not connections:
            raise unknown_api(wish.sold_under)
        now_s = self._database.now_s()
        found: list[Candidate] = []
        for connection in connections:
            match = find_operation(connection.terms.operations, wish.method, wish.segments)
            if match is not None:
                price = connection.find_price(match[0], now_s)
                found.append(Candidate(connection, *match, price))
        if not found:
            methods = {
                method
                for one in connections
                for method in list_methods(one.terms.operations, wish.segments)
            }
            if methods:
                raise method_not_allowed(wish.method, ", ".join(sorted(methods)))
            raise unknown_operation(wish)
        return sorted(found, key=lambda one: (one.price.ceiling_usdc, one.connection.connection_id))

    def choose(self, candidates: list[Candidate]) -> list[Candidate]:
        """Return whom to ask, in order: the healthy, else those whose rest may be cut short.

        Raises 503 where all rest, or have sold all that there is.
        """
        now_s = self._database.now_s()
        left = [
            one
            for one in candidates
            if self.shelf.has_left(one.connection, one.operation.units_max, now_s)
        ]
        if not left:
            ends_at_s = min(one.connection.find_period(now_s).ends_at_s for one in candidates)
            raise quota_sold(ends_at_s - now_s)
        ready, waiting, strict = [], [], []
        for one in left:
            id_ = one.connection.connection_id
            standing = self.shelf.get_standing(id_)
            if standing in (Standing.HEALTHY, Standing.ON_TRIAL):
                ready.append(one)
            elif self.shelf.get_health(id_).cause in STRICT_RESTS:
                strict.append(one)
            else:
                waiting.append(one)
        if ready:
            return ready
        if waiting:
            return sorted(
                waiting, key=lambda one: self.shelf.get_rest_s(one.connection.connection_id)
            )
        raise resting(min(self.shelf.get_rest_s(one.connection.connection_id) for one in strict))

    def find_fitting(self, call: IncomingCall) -> list[Candidate]:
        """Return who sells a call and takes it as it is, cheapest first.

        What one owner does not take (a parameter, a body) another one may. Raises 404, 405, and
        400 or 415 where nobody takes it.
        """
        fitting, refusal = [], None
        for one in self.find_candidates(call.wish):
            try:
                self.prepare(one, call)
            except RequestRejected as error:
                refusal = refusal or error
            else:
                fitting.append(one)
        if not fitting and refusal is not None:
            raise refusal
        return fitting

    def quote(self, call: IncomingCall, *, transaction_fee_usdc: int) -> int:
        """Return what a call may cost at most (1e-6 USDC) where it is cheapest. Raises as above."""
        chosen = self.choose(self.find_fitting(call))
        return max(1, chosen[0].price.ceiling_usdc + transaction_fee_usdc)

    # ------------------------------------------------------------------------------------ serving

    async def serve(self, holder: KeyHolder, call: IncomingCall) -> Answer:
        """Answer one call. Raises ``ApiError``, ``RequestRepeated``, ``LedgerUnavailable``."""
        started_s = time.monotonic()
        candidates = self.find_fitting(call)
        refusal: ApiError | None = None
        attempts = failures = 0
        for one in self.choose(candidates):
            if attempts >= self.rules.attempts_max:
                break
            try:
                limits = self._find_limits(one, holder.owner)
                id_ = one.connection.connection_id
                with self.limiter.hold(id_, limits, holder.owner) as place:
                    attempt, attempts = attempts, attempts + 1
                    return await self._attempt(holder, call, one, attempt, started_s, place)
            except CallRefused as denied:
                refusal = await self._read_denial(denied, one)
            except RequestRejected as error:
                if error.status != 429:
                    raise
                refusal = error
            except NoPlace:
                refusal = overloaded()
            except (SealBroken, KmsUnavailable) as error:
                log.error(
                    "credential_not_opened",
                    connection_id=one.connection.connection_id,
                    error=str(error),
                )
                failures += 1
            except UpstreamFailure:
                failures += 1
        # What the others refuse is no fault of the consumer's once one has failed.
        if refusal is not None and not failures:
            raise refusal
        raise all_failed(failures)

    def _find_limits(self, one: Candidate, consumer: str) -> CallLimits:
        """Return a connection's limits, lower for a consumer that misuses it."""
        limits = one.connection.terms.limits
        id_, now_s = one.connection.connection_id, time.monotonic()
        if not self.watch.is_flagged(id_, consumer, now_s=now_s):
            return limits
        return replace(limits, consumer_per_minute=slow_down(limits.consumer_per_minute))

    def _watch(self, new: NewCall, call: IncomingCall, one: Candidate, status: int) -> None:
        """Note how a consumer uses a connection; write down what its owner should know."""
        flags = self.watch.note(
            new.connection_id,
            new.account_id,
            operation=new.operation,
            values=(tuple(one.parameters.items()), call.wish.query, call.body),
            address="" if new.key_id == PAID_KEY_ID else call.address,
            is_error=status >= 400,
            now_s=time.monotonic(),
        )
        now_s = self._database.now_s()
        for reason, detail in flags.items():
            log.warning("consumer_flagged", connection_id=new.connection_id, reason=reason)
            self._metrics.flags.labels(reason).inc()
            self._database.submit_and_forget(
                partial(
                    save_flag,
                    connection_id=new.connection_id,
                    account_id=new.account_id,
                    reason=reason,
                    detail=detail,
                    now_s=now_s,
                )
            )

    def prepare(self, one: Candidate, call: IncomingCall) -> OutgoingCall:
        """Return the call as it goes out. Raises 400, 415."""
        credential = one.connection.terms.credential
        operation = one.operation
        named = credential.name if credential.kind == "query" else None
        query = check_query(call.wish, operation, credential=named)
        check_body(operation, call.body, call.find_header("content-type"))
        try:
            headers = choose_outgoing(
                call.find_header,
                operation.headers,
                credential=credential.name if credential.kind == "header" else "authorization",
            )
        except HeaderRefused as error:
            raise bad_request("header_refused", f"{str(error).capitalize()}.") from None
        path = write_target(operation.template, one.parameters.__getitem__)
        return OutgoingCall(operation.method, path, query, headers, call.body)

    async def _attempt(
        self,
        holder: KeyHolder,
        call: IncomingCall,
        one: Candidate,
        attempt: int,
        started_s: float,
        place: CallPlace,
    ) -> Answer:
        """Make one attempt. Whatever goes wrong gives its reservation back, and is raised."""
        connection, operation = one.connection, one.operation
        outgoing = self.prepare(one, call)
        access = await self.shelf.open_access(connection)
        cached = self.cache.find(connection, operation, outgoing)
        new = self._build(holder, call, one, attempt, cached)
        await self._reserve(new, call)
        if cached is not None:
            return await self._post(new, call, one, cached, started_s, is_cached=True)
        self.shelf.begin(connection.connection_id)
        place.is_sent = True
        try:
            answer = await self.client.call(
                access,
                connection.terms.credential,
                outgoing,
                reads=_list_reads(operation),
                remaining_header=connection.terms.remaining_header,
            )
        except UpstreamFailure as failure:
            await asyncio.shield(self._take_failure(new, one, failure, started_s))
            raise
        except BaseException as error:
            self.shelf.give_up(connection.connection_id)
            await asyncio.shield(self._void(new, one, type(error).__name__, started_s=started_s))
            raise
        self.shelf.succeed(connection.connection_id, answer.api_ms)
        self._watch(new, call, one, answer.status)
        if not operation.counts(answer.status):
            self._metrics.observe_call("not_counted")
            await asyncio.shield(
                self._void(new, one, f"status_{answer.status}", answer=answer, started_s=started_s)
            )
            return self._build_answer(answer, one, cost_usdc=0, units=0)
        self.cache.keep(connection, operation, outgoing, answer)
        return await self._post(new, call, one, answer, started_s)

    def _build(
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

    async def _reserve(self, new: NewCall, call: IncomingCall) -> None:
        self._database.clock.check_known()
        now_s = self._database.now_s()

        def write(connection: Connection) -> PeriodUse:
            use = reserve_call(
                connection,
                new,
                now_s=now_s,
                lease_expires_at_s=now_s + self.rules.lease_s,
                holder_id=self._database.holder_id,
            )
            if call.also is not None:
                call.also(connection, new)
            return use

        self.shelf.note_use(await self._database.write(write))

    async def _read_denial(self, denied: CallRefused, one: Candidate) -> ApiError:
        """Return what the ledger's refusal means for the consumer."""
        if denied.reason is CallDenial.KEY_REVOKED:
            raise invalid_key() from denied
        if denied.reason is CallDenial.CREDIT_SPENT:
            return credit_spent(
                required_usdc=one.price.ceiling_usdc, available_usdc=denied.available_usdc or 0
            )
        # What this process believed is out of date.
        await self.shelf.refresh()
        if denied.reason is CallDenial.QUOTA_SOLD:
            now_s = self._database.now_s()
            return quota_sold(one.connection.find_period(now_s).ends_at_s - now_s)
        return not_on_sale()

    # ------------------------------------------------------------------------------ how it ended

    async def _post(
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
        figures = CallFigures(units, split.cost_usdc, split.earning_usdc, split.fee_usdc)
        built = self._build_answer(answer, one, cost_usdc=split.cost_usdc, units=units)
        also = None if call.keep is None else call.keep(built)
        trace = _trace(answer, started_s, with_remaining=not is_cached)
        now_s = self._database.now_s()

        def write(connection: Connection) -> PeriodUse | None:
            use = post_call(
                connection, new.call_id, figures, period=new.period, trace=trace, now_s=now_s
            )
            if also is not None:
                also(connection)
            return use

        try:
            posted = asyncio.ensure_future(self._database.persist(write))
            self.shelf.note_use(await asyncio.shield(posted))
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

    async def _take_failure(
        self, new: NewCall, one: Candidate, failure: UpstreamFailure, started_s: float
    ) -> None:
        id_ = new.connection_id
        self.shelf.fail(id_, failure.cause, failure.retry_after_s)
        self._metrics.observe_call(str(failure.cause))
        reason = str(failure.cause)
        if isinstance(failure, CredentialLeaked):
            reason = "credential_leaked"
            await self.take_leak(id_, new.operation)
        await self._void(
            new, one, reason, is_api_failure=True, failure=failure, started_s=started_s
        )

    async def take_leak(self, connection_id: str, operation: str) -> None:
        """Take a connection off sale whose API answers with its credential, and say so."""
        self._metrics.leaks.inc()
        log.error("credential_leaked", connection_id=connection_id, operation=operation)
        now_s = self._database.now_s()
        text = "An answer of the API had the credential in it. It was withheld."
        await self._persist(
            lambda connection: suspend_connection(
                connection, connection_id, reason=text, now_s=now_s
            )
        )
        await self.shelf.refresh()

    async def learn(self, connection: SoldConnection, answer: ApiAnswer) -> None:
        """Note what an answer to the owner's own call says that remains of the quota."""
        now_s, remaining = self._database.now_s(), answer.remaining_units
        if remaining is None:
            return
        id_, period = connection.connection_id, connection.find_period(now_s)
        await self._persist(
            lambda c: self.shelf.note_use(
                settle_period(c, id_, period, remaining_units=remaining, now_s=now_s)
            )
        )

    async def _void(
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
        trace = (
            CallTrace(
                status=None if failure is None else failure.status,
                whole_ms=_elapsed_ms(started_s),
            )
            if answer is None
            else _trace(answer, started_s)
        )
        now_s = self._database.now_s()
        await self._persist(
            lambda connection: self.shelf.note_use(
                void_call(
                    connection,
                    new.call_id,
                    reason=reason,
                    is_api_failure=is_api_failure,
                    period=new.period,
                    lost_units=one.operation.units if counts else 0,
                    trace=trace,
                    now_s=now_s,
                )
            )
        )

    async def _persist(self, write: Callable[[Connection], object]) -> None:
        try:
            await self._database.persist(write)
        except CurrentError as error:
            log.error("void_failed", error=str(error))

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

    def _build_answer(
        self, answer: ApiAnswer, one: Candidate, *, cost_usdc: int, units: int
    ) -> Answer:
        headers = {
            "content-type": "application/octet-stream",
            **answer.headers,
            **NO_STORE,
            "x-content-type-options": "nosniff",
            "x-market-api": one.connection.sold_under,
            "x-market-units": str(units),
            COST_HEADER: str(cost_usdc),
        }
        return Answer(answer.status, headers, answer.body)


def read_units(operation: Operation, answer: ApiAnswer) -> int:
    """Return what a call took of the quota, within the operation's bound."""
    stated: Any = None
    kind, _, where = (operation.units_from or "").partition(": ")
    if kind == "header":
        text = answer.stated.get(where.lower(), "").strip()
        stated = int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else None
    elif kind == "json":
        try:
            stated = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            stated = None
        for part in where.split("."):
            stated = stated.get(part) if isinstance(stated, dict) else None
    if isinstance(stated, float) and math.isfinite(stated):
        stated = math.ceil(stated)
    if isinstance(stated, bool) or not isinstance(stated, int) or stated < 0:
        stated = operation.units
    return int(min(stated, operation.units_max))


def _list_reads(operation: Operation) -> tuple[str, ...]:
    kind, _, where = (operation.units_from or "").partition(": ")
    return (where.lower(),) if kind == "header" else ()


def _elapsed_ms(started_s: float) -> int:
    return int((time.monotonic() - started_s) * 1_000)


def _trace(answer: ApiAnswer, started_s: float, *, with_remaining: bool = True) -> CallTrace:
    remaining = answer.remaining_units if with_remaining else None
    return CallTrace(answer.status, answer.api_ms, _elapsed_ms(started_s), remaining)
