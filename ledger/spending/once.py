"""Completions that are charged once for their idempotency key (``ledger.kept_answers``)."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, select

from contracts.errors import CurrentError
from ledger.kept_answers import NamedRequest, Work, keep_answer, take_key
from ledger.spending.metering import Post, Posted, Reserve, Reserved
from ledger.tables import KeptAnswer, Usage, table_of

_kept = table_of(KeptAnswer)
_usage = table_of(Usage)


def find_completion(connection: Connection, request_id: str) -> Work | None:
    """Return what has become of a completion; None where its reservation was given back."""
    usage = connection.execute(
        select(_usage.c.state, _usage.c.cost_usdc, _usage.c.resolved_at_s).where(
            _usage.c.request_id == request_id
        )
    ).one_or_none()
    if usage is None or usage.state == "voided":
        return None
    return Work(usage.state == "reserved", usage.resolved_at_s, usage.cost_usdc)


@dataclass(frozen=True)
class ReserveOnce:
    """Reserve, unless the claim's key stands for another request already.

    Raises what ``Reserve`` raises, and ``RequestRepeated``.
    """

    reserve: Reserve
    claim: NamedRequest

    def __call__(self, connection: Connection) -> Reserved:
        request_id = self.reserve.request_id
        take_key(
            connection,
            self.claim,
            request_id=request_id,
            owner=f"position {self.reserve.reservation.token_id}",
            find_work=find_completion,
            now_s=self.reserve.now_s,
        )
        try:
            return self.reserve(connection)
        except (CurrentError, ValueError):
            # Nothing runs under the key: who has other calls in this transaction keeps them.
            connection.execute(
                delete(_kept).where(
                    _kept.c.lookup_id == self.claim.lookup_id, _kept.c.request_id == request_id
                )
            )
            raise


@dataclass(frozen=True)
class PostAndKeep:
    """Post, and keep the answer in the same transaction. Raises what ``Post`` raises."""

    post: Post
    claim: NamedRequest
    seal: Callable[[Posted], bytes | None]
    """Returns the sealed answer, or None where it is too large. Pure."""
    bytes_max: int
    """Most that is kept of a position's answers, in all."""

    def __call__(self, connection: Connection) -> Posted:
        posted = self.post(connection)
        keep_answer(
            connection,
            self.claim,
            self.post.request_id,
            self.seal(posted),
            find_work=find_completion,
            bytes_max=self.bytes_max,
            now_s=self.post.now_s,
        )
        return posted
