"""Requests with an idempotency key, in the market's part of the ledger.

A request that is paid for by itself (x402) has none: its payment serves one request, and no other.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import structlog
from sqlalchemy import Connection

from contracts.errors import CurrentError
from ledger.errors import RequestRepeated
from ledger.kept_on_loop import KeptAnswers
from ledger.selling.once import find_sold, keep_free_answer, take_request
from ledger.selling.sale_records import NewSale
from market.errors import invalid_key
from market.metrics import Metrics
from market.records.database import Database
from market.records.store import KeyHolder, is_key_live, load_buyer_sales
from market.routing.attempts import Order
from serving.http.answers import Answer, StreamAnswer
from serving.http.repeat_keys import RepeatKey
from serving.http.repeated import RepeatRules, Repeats
from serving.stream.live import OK
from serving.stream.transcript import SentEvents

log = structlog.get_logger("market")


class RepeatedSales:
    """Sales with an idempotency key, and their answers."""

    def __init__(
        self,
        database: Database,
        metrics: Metrics,
        rules: RepeatRules,
        *,
        account_bytes_max: int,
        free_bytes_max: int,
    ) -> None:
        """``account_bytes_max``: the most that is kept of one account's answers, in bytes;
        ``free_bytes_max``: of everybody's answers of own providers.
        """
        self._kept = KeptAnswers(database, find_work=find_sold, bytes_max=account_bytes_max)
        self.repeats = Repeats(self._kept, rules, id_header="x-market-request-id")
        self._database = database
        self._metrics = metrics
        self._free_bytes_max = free_bytes_max

    async def answer_once(
        self,
        key: RepeatKey,
        order: Order,
        serve: Callable[[Order], Awaitable[Answer | StreamAnswer]],
    ) -> Answer | StreamAnswer:
        """Serve an order, or return what another request with the same key was answered.

        Raises what ``serve`` raises, and 409.
        """
        buyer = order.buyer
        while True:
            answer = await self.repeats.find(key, lambda: self._check_live(buyer))
            if answer is not None:
                self._metrics.replayed.inc()
                return answer
            with suppress(RequestRepeated):  # another one was faster
                return await serve(replace(order, also=self._take(key)))
            order = replace(order, attempts_before=await self._count_attempts(order))

    async def _count_attempts(self, order: Order) -> int:
        account_id, request_id = order.buyer.owner, order.request_id
        sales = await self._database.read(
            lambda connection: load_buyer_sales(connection, account_id, request_id=request_id)
        )
        return len(sales)

    async def _check_live(self, buyer: KeyHolder) -> None:
        """Raise 401 where the buyer's API key was revoked since it was last seen."""
        key_id, now_s = buyer.key_id, self._database.now_s()
        if not await self._database.read(lambda c: is_key_live(c, key_id, now_s=now_s)):
            raise invalid_key()

    def _take(self, key: RepeatKey) -> Callable[[Connection, NewSale], object]:
        """Return what is written with each reservation. It raises ``RequestRepeated``."""
        now_s = self._database.now_s()

        def write(connection: Connection, sale: NewSale) -> None:
            take_request(
                connection,
                key,
                request_id=sale.request_id,
                account_id=sale.account_id,
                now_s=now_s,
            )

        return write

    def keep_whole(
        self, key: RepeatKey, order: Order, answer: Answer
    ) -> Callable[[Connection], object]:
        """Return what keeps an answer, for the transaction that charges for it."""
        return self._kept.build_keep(key, order.request_id, self.repeats.seal(key, answer))

    async def run_sold(
        self,
        run: Awaitable[str],
        key: RepeatKey,
        order: Order,
        headers: dict[str, str],
        transcript: SentEvents,
    ) -> str:
        """Run a seller's stream to its end, and keep it. Return the outcome."""
        return await self.repeats.run_and_keep(run, key, order.request_id, headers, transcript)

    # -------------------------------------------------------------------- the buyer's own provider

    async def keep_free(self, key: RepeatKey, order: Order, answer: Answer) -> None:
        """Keep the answer of a buyer's own provider. Where that fails, a repeat asks it again."""
        await self._keep_free(key, order, self.repeats.seal(key, answer))

    async def run_own(
        self,
        run: Awaitable[str],
        key: RepeatKey,
        order: Order,
        headers: dict[str, str],
        transcript: SentEvents,
    ) -> str:
        """Run an own provider's stream to its end; keep it where it went well."""
        outcome = await run
        if outcome == OK:
            await self._keep_free(key, order, self.repeats.seal_stream(key, headers, transcript))
        return outcome

    async def _keep_free(self, key: RepeatKey, order: Order, sealed: bytes | None) -> None:
        if sealed is None:
            return  # a repeat asks the provider again
        now_s, bytes_max = self._database.now_s(), self._kept.bytes_max
        try:
            await self._database.persist(
                lambda connection: keep_free_answer(
                    connection,
                    key,
                    request_id=order.request_id,
                    account_id=order.buyer.owner,
                    sealed=sealed,
                    bytes_max=bytes_max,
                    total_bytes_max=self._free_bytes_max,
                    now_s=now_s,
                )
            )
        except RequestRepeated:
            pass  # another request has the key by now: repeats get its answer
        except CurrentError as error:
            log.error("answer_not_kept", request_id=order.request_id, error=str(error))

    async def forget(self) -> None:
        """Delete the answers whose day is over, and measure the others.

        Raises ``LedgerUnavailable``.
        """
        await self._kept.forget()
        self.repeats.note_kept(await self._kept.count_bytes())
