"""Serving calls: find the operation, price, **reserve**, call, **post** or **void**, answer.

Several connections that are sold under one name and have the operation are one product: the
cheapest healthy one is called first, the next one where it fails before its answer was used.
"""

import asyncio
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import structlog

from ledger.resale.call_records import CallDenial, CallRefused, NewCall
from ledger.resale.connections import save_flag, suspend_connection
from ledger.selling.sale_statements import PAID_KEY_ID
from market.endpoints.sealing import KmsUnavailable
from market.errors import credit_spent, invalid_key
from market.metrics import Metrics
from market.records.database import Database
from market.records.store import KeyHolder
from market.resale.answer_cache import AnswerCache
from market.resale.api_client import ApiAnswer, ApiClient
from market.resale.api_shelf import ApiShelf
from market.resale.api_streams import ApiStream, CredentialLeaked
from market.resale.call_charging import (
    CallCharging,
    CallRules,
    build_answer,
    build_headers,
    elapsed_ms,
)
from market.resale.call_limits import CallLimiter, CallPlace
from market.resale.call_refusals import all_failed, not_on_sale, quota_sold
from market.resale.call_streams import CallStream
from market.resale.candidates import (
    Candidate,
    Candidates,
    IncomingCall,
    prepare_call,
)
from market.resale.connection_terms import CallLimits
from market.resale.consumer_watch import ConsumerWatch, slow_down
from market.resale.counted_units import list_reads, read_units
from serving.http.answers import Answer, StreamAnswer
from serving.http.errors import ApiError, RequestRejected, overloaded
from serving.models.failures import UpstreamFailure
from serving.process.aes_gcm import SealBroken
from serving.process.turns import NoPlace

log = structlog.get_logger("market")


NO_LIMITS: Final = CallLimits(at_once=1_000_000, consumer_per_minute=0)
"""What an owner's own calls are held to."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a call, with the place that it holds."""

    candidate: Candidate
    call: IncomingCall
    number: int
    started_s: float
    place: CallPlace
    held: ExitStack


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
        self.candidates = Candidates(database, shelf)
        self.charging = CallCharging(database, shelf, metrics, rules)
        self._database = database
        self._metrics = metrics

    async def serve(self, holder: KeyHolder, call: IncomingCall) -> Answer | StreamAnswer:
        """Answer one call. Raises ``ApiError``, ``RequestRepeated``, ``LedgerUnavailable``."""
        started_s = time.monotonic()
        candidates = self.candidates.find_fitting(call, wallet=holder.wallet)
        refusal: ApiError | None = None
        attempts = failures = 0
        for one in self.candidates.choose(candidates):
            if attempts >= self.rules.attempts_max:
                break
            try:
                limits = self._find_limits(one, holder.owner)
                id_ = one.connection.connection_id
                with ExitStack() as held:
                    place = held.enter_context(self.limiter.hold(id_, limits, holder.owner))
                    attempt, attempts = attempts, attempts + 1
                    tried = Attempt(one, call, attempt, started_s, place, held)
                    return await self._attempt(holder, tried)
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
        if one.is_own:
            return NO_LIMITS
        id_, now_s = one.connection.connection_id, time.monotonic()
        if not self.watch.is_flagged(id_, consumer, now_s=now_s):
            return limits
        return replace(limits, consumer_per_minute=slow_down(limits.consumer_per_minute))

    def _watch(self, new: NewCall, call: IncomingCall, one: Candidate, status: int) -> None:
        """Note how a consumer uses a connection; write down what its owner should know."""
        if one.is_own:
            return
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

    async def _attempt(self, holder: KeyHolder, tried: Attempt) -> Answer | StreamAnswer:
        """Make one attempt. Whatever goes wrong gives its reservation back, and is raised."""
        one, call, started_s = tried.candidate, tried.call, tried.started_s
        connection, operation = one.connection, one.operation
        outgoing = prepare_call(one, call)
        access = await self.shelf.open_access(connection)
        cached = self.cache.find(connection, operation, outgoing)
        new = self.charging.build(holder, call, one, tried.number, cached)
        await self.charging.reserve(new, call)
        if cached is not None:
            return await self.charging.post(new, call, one, cached, started_s, is_cached=True)
        self.shelf.begin(connection.connection_id)
        tried.place.is_sent = True
        try:
            answer = await self.client.open(
                access,
                connection.terms.credential,
                outgoing,
                reads=list_reads(operation),
                remaining_header=connection.terms.remaining_header,
                streams=call.may_stream(operation),
            )
        except UpstreamFailure as failure:
            await asyncio.shield(self._take_failure(new, one, failure, started_s))
            raise
        except BaseException as error:
            self.shelf.give_up(connection.connection_id)
            await asyncio.shield(
                self.charging.void(new, one, type(error).__name__, started_s=started_s)
            )
            raise
        self._watch(new, call, one, answer.status)
        if isinstance(answer, ApiStream):
            return self._stream(new, tried, answer)
        self.shelf.succeed(connection.connection_id, answer.api_ms)
        if not operation.counts(answer.status):
            self._metrics.observe_call("not_counted")
            await asyncio.shield(
                self.charging.void(
                    new, one, f"status_{answer.status}", answer=answer, started_s=started_s
                )
            )
            return build_answer(answer, one, cost_usdc=0, units=0)
        self.cache.keep(connection, operation, outgoing, answer)
        return await self.charging.post(new, call, one, answer, started_s)

    def _stream(self, new: NewCall, tried: Attempt, stream: ApiStream) -> StreamAnswer:
        """Return an answer that goes on in the background; its place is held until it has ended."""
        one, began_s, held = tried.candidate, time.monotonic(), tried.held.pop_all()

        async def end(failure: BaseException | None) -> None:
            try:
                await self._end_stream(new, tried, stream, failure, elapsed_ms(began_s))
            finally:
                held.close()

        begun = ApiAnswer(200, stream.headers, b"", 0, None, stream.stated)
        units = read_units(one.operation, begun)
        price_usdc = new.price_usdc if new.is_flat else new.price_usdc * units
        headers = build_headers(
            stream.headers, one, cost_usdc=price_usdc + new.transaction_fee_usdc, units=units
        )
        piped = CallStream(stream, end)
        assert tried.call.background is not None
        tried.call.background(piped.run())
        return StreamAnswer(headers, piped)

    async def _end_stream(
        self,
        new: NewCall,
        tried: Attempt,
        stream: ApiStream,
        failure: BaseException | None,
        api_ms: int,
    ) -> None:
        one, started_s = tried.candidate, tried.started_s
        if isinstance(failure, UpstreamFailure):
            await self._take_failure(new, one, failure, started_s)
        elif failure is not None:
            self.shelf.give_up(new.connection_id)
            await self.charging.void(new, one, type(failure).__name__, started_s=started_s)
        else:
            self.shelf.succeed(new.connection_id, api_ms)
            whole = ApiAnswer(
                200, stream.headers, b"", api_ms, stream.remaining_units, stream.stated
            )
            with suppress(ApiError):  # it is logged, and its lease runs out
                await self.charging.post(new, tried.call, one, whole, started_s)

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
        await self.charging.void(
            new, one, reason, is_api_failure=True, failure=failure, started_s=started_s
        )

    async def take_leak(self, connection_id: str, operation: str) -> None:
        """Take a connection off sale whose API answers with its credential, and say so."""
        self._metrics.leaks.inc()
        log.error("credential_leaked", connection_id=connection_id, operation=operation)
        now_s = self._database.now_s()
        text = "An answer of the API had the credential in it. It was withheld."
        await self.charging.persist(
            lambda connection: suspend_connection(
                connection, connection_id, reason=text, now_s=now_s
            )
        )
        await self.shelf.refresh()
