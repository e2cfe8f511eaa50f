"""The kept answers of one server, as its event loop sees them."""

from collections.abc import Callable

from sqlalchemy import Connection

from ledger.database.on_loop import LoopLedger
from ledger.kept_answers import (
    FORGOTTEN_MAX,
    EarlierRequest,
    FindWork,
    NamedRequest,
    count_kept_bytes,
    find_earlier,
    forget_answers,
    keep_answer,
)


class KeptAnswers:
    """Finds, keeps and forgets answers under idempotency keys."""

    def __init__(self, ledger: LoopLedger, *, find_work: FindWork, bytes_max: int) -> None:
        """``find_work`` tells what has become of a request of this server; ``bytes_max`` is the
        most that is kept of one owner's answers, in bytes."""
        self.bytes_max = bytes_max
        self.now_s = ledger.now_s
        self._ledger = ledger
        self._find_work = find_work

    async def find_earlier(self, lookup_id: str, *, now_s: int) -> EarlierRequest | None:
        """Return the request that an idempotency key was used for, or None.

        Raises ``LedgerUnavailable``.
        """
        return await self._ledger.read(
            lambda connection: find_earlier(
                connection, lookup_id, find_work=self._find_work, now_s=now_s
            )
        )

    async def keep_answer(self, claim: NamedRequest, request_id: str, sealed: bytes | None) -> None:
        """Keep the answer of a request that was charged; None: it is too long.

        Raises ``CurrentError``.
        """
        await self._ledger.persist(self.build_keep(claim, request_id, sealed))

    def build_keep(
        self, claim: NamedRequest, request_id: str, sealed: bytes | None
    ) -> Callable[[Connection], object]:
        """Return what keeps an answer, for the transaction that charges for it."""
        now_s = self.now_s()
        return lambda connection: keep_answer(
            connection,
            claim,
            request_id,
            sealed,
            find_work=self._find_work,
            bytes_max=self.bytes_max,
            now_s=now_s,
        )

    async def forget(self) -> None:
        """Delete the answers whose day is over. Raises ``LedgerUnavailable``."""
        now_s = self.now_s()
        forgotten = FORGOTTEN_MAX
        while forgotten >= FORGOTTEN_MAX:
            forgotten = await self._ledger.write(lambda c: forget_answers(c, now_s=now_s))

    async def count_bytes(self) -> int:
        """Return how much is kept of everybody's answers, in bytes.

        Raises ``LedgerUnavailable``.
        """
        return await self._ledger.read(count_kept_bytes)
