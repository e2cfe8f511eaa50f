"""Calls with an idempotency key: one charge and one answer for a day."""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from sqlalchemy import Connection

from ledger.errors import RequestRepeated
from ledger.kept_answers import take_key
from ledger.kept_on_loop import KeptAnswers
from ledger.resale.call_booking import find_called
from ledger.resale.call_records import NewCall
from market.metrics import Metrics
from market.records.database import Database
from serving.http.answers import Answer, StreamAnswer
from serving.http.repeat_keys import RepeatKey
from serving.http.repeated import RepeatRules, Repeats

Take = Callable[[Connection, NewCall], object]
Keep = Callable[[Answer], Callable[[Connection], object]]


class RepeatedCalls:
    """Finds, takes and keeps what idempotency keys of calls stand for."""

    def __init__(
        self, database: Database, metrics: Metrics, rules: RepeatRules, *, account_bytes_max: int
    ) -> None:
        self._kept = KeptAnswers(database, find_work=find_called, bytes_max=account_bytes_max)
        self._repeats = Repeats(self._kept, rules, id_header="x-market-request-id")
        self._database = database
        self._metrics = metrics

    async def answer_once(
        self,
        key: RepeatKey,
        serve: Callable[[Take, Keep], Awaitable[Answer | StreamAnswer]],
        *,
        request_id: str,
        check: Callable[[], Awaitable[object]],
    ) -> Answer | StreamAnswer:
        """Serve a call, or return what another one with the same key was answered.

        ``check`` raises where the caller may not see a kept answer. Raises as ``serve``, and 409.
        """
        while True:
            answer = await self._repeats.find(key, check)
            if answer is not None:
                self._metrics.replayed.inc()
                return answer
            with suppress(RequestRepeated):  # another one was faster
                return await serve(self._take(key), self._keep(key, request_id))

    def _take(self, key: RepeatKey) -> Take:
        now_s = self._database.now_s()

        def write(connection: Connection, call: NewCall) -> None:
            take_key(
                connection,
                key,
                request_id=call.request_id,
                owner=f"account {call.account_id}",
                find_work=find_called,
                now_s=now_s,
            )

        return write

    def _keep(self, key: RepeatKey, request_id: str) -> Keep:
        return lambda answer: self._kept.build_keep(
            key, request_id, self._repeats.seal(key, answer)
        )
