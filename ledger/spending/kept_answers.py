"""Requests that name themselves by an idempotency key: each is charged once, however often it
comes.

A row of ``kept_answer`` is written in the transaction that reserves, so it exists exactly where
its request's usage does, and what has become of that usage is what counts: while it is reserved
the request runs, once it is voided the key is free again, and once it is posted nothing runs under
the key any more. The answer is sealed before it comes here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from contracts.errors import CurrentError
from ledger.database.engine import is_postgres
from ledger.errors import RequestRepeated
from ledger.spending.metering import Post, Posted, Reserve, Reserved
from ledger.tables import KeptAnswer, Usage, table_of

KEPT_S: Final = 86_400
"""How long a key stands for its request, and an answer is kept, in seconds."""

FORGOTTEN_MAX: Final = 1_000
"""Rows that are forgotten in one transaction."""

_kept = table_of(KeptAnswer)
_usage = table_of(Usage)


@dataclass(frozen=True, slots=True)
class NamedRequest:
    """A request as its idempotency key names it. Both texts are keyed hashes."""

    lookup_id: str
    body_digest: str


@dataclass(frozen=True, slots=True)
class EarlierRequest:
    """A request that runs, or was charged, under the same key."""

    request_id: str
    body_digest: str
    is_running: bool
    """Whether it is not charged yet."""
    posted_at_s: int | None
    cost_usdc: int | None
    """In 1e-6 USDC; None before it is charged."""
    sealed: bytes | None
    is_dropped: bool
    """Whether there was no room to keep its answer."""


def find_earlier(connection: Connection, lookup_id: str, *, now_s: int) -> EarlierRequest | None:
    """Return the request that the key stands for, or None where it stands for none."""
    row = _load(connection, lookup_id, lock=False)
    return None if row is None or row[0] <= now_s else row[1]


def _load(
    connection: Connection, lookup_id: str, *, lock: bool
) -> tuple[int, EarlierRequest | None] | None:
    """Return when the row ends and what it stands for, None where there is no row.

    ``lock`` keeps the row as it is until the caller's transaction ends.
    """
    statement = select(_kept).where(_kept.c.lookup_id == lookup_id)
    if lock and is_postgres(connection):
        statement = statement.with_for_update()
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        return None
    usage = connection.execute(
        select(_usage.c.state, _usage.c.cost_usdc, _usage.c.resolved_at_s).where(
            _usage.c.request_id == row["request_id"]
        )
    ).one_or_none()
    if usage is None or usage.state == "voided":
        return row["expires_at_s"], None
    return row["expires_at_s"], EarlierRequest(
        request_id=row["request_id"],
        body_digest=row["body_digest"],
        is_running=usage.state == "reserved",
        posted_at_s=usage.resolved_at_s,
        cost_usdc=usage.cost_usdc,
        sealed=row["sealed"],
        is_dropped=row["state"] == "dropped",
    )


@dataclass(frozen=True)
class ReserveOnce:
    """Reserve, unless the claim's key stands for another request already.

    Raises what ``Reserve`` raises, and ``RequestRepeated``.
    """

    reserve: Reserve
    claim: NamedRequest

    def __call__(self, connection: Connection) -> Reserved:
        claim, request_id, now_s = self.claim, self.reserve.request_id, self.reserve.now_s
        values = {
            "body_digest": claim.body_digest,
            "request_id": request_id,
            "token_id": self.reserve.reservation.token_id,
            "state": "open",
            "sealed": None,
            "sealed_bytes": 0,
            "expires_at_s": now_s + KEPT_S,
        }
        dialect = postgresql if is_postgres(connection) else sqlite
        # Whoever inserts first has the row locked; the others wait here for what becomes of it.
        insert = (
            dialect.insert(_kept)
            .values(lookup_id=claim.lookup_id, **values)
            .on_conflict_do_nothing(index_elements=[_kept.c.lookup_id])
            .returning(_kept.c.lookup_id)
        )
        row = None
        while row is None:
            if connection.execute(insert).one_or_none() is not None:
                try:
                    return self.reserve(connection)
                except (CurrentError, ValueError):
                    connection.execute(delete(_kept).where(_kept.c.lookup_id == claim.lookup_id))
                    raise
            # None: the row was swept since, so the key is new.
            row = _load(connection, claim.lookup_id, lock=True)
        ends_at_s, found = row
        earlier = None if ends_at_s <= now_s else found
        if earlier is not None and earlier.request_id != request_id:
            raise RequestRepeated(f"the key stands for request {earlier.request_id}")
        reserved = self.reserve(connection)
        connection.execute(
            update(_kept).where(_kept.c.lookup_id == claim.lookup_id).values(**values)
        )
        return reserved


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
            bytes_max=self.bytes_max,
            now_s=self.post.now_s,
        )
        return posted


def keep_answer(
    connection: Connection,
    claim: NamedRequest,
    request_id: str,
    sealed: bytes | None,
    *,
    bytes_max: int,
    now_s: int,
) -> None:
    """Keep a charged request's answer; None: it is too large. Again is harmless.

    It is dropped where its position would keep more than ``bytes_max`` with it: else whoever has a
    key could fill the disk. Does nothing where the key stands for another request by now.
    """
    if sealed is not None:
        kept_bytes = _count_others(connection, claim.lookup_id)
        sealed = sealed if kept_bytes + len(sealed) <= bytes_max else None
    connection.execute(
        update(_kept)
        .where(_kept.c.lookup_id == claim.lookup_id, _kept.c.request_id == request_id)
        .values(
            state="dropped" if sealed is None else "kept",
            sealed=sealed,
            sealed_bytes=len(sealed or b""),
            expires_at_s=now_s + KEPT_S,
        )
    )


def _count_others(connection: Connection, lookup_id: str) -> int:
    """Return how many bytes are kept of the other answers of a row's position."""
    own = select(_kept.c.token_id, _kept.c.sealed_bytes).where(_kept.c.lookup_id == lookup_id)
    row = connection.execute(own).one_or_none()
    if row is None:
        return 0
    total = select(func.coalesce(func.sum(_kept.c.sealed_bytes), 0)).where(
        _kept.c.token_id == row.token_id
    )
    return int(connection.execute(total).scalar_one()) - int(row.sealed_bytes)


def forget_answers(connection: Connection, *, now_s: int, limit: int = FORGOTTEN_MAX) -> int:
    """Delete at most ``limit`` rows whose time is over; return how many."""
    expired = (
        select(_kept.c.lookup_id)
        .where(_kept.c.expires_at_s <= now_s)
        .order_by(_kept.c.expires_at_s)
        .limit(limit)
    )
    return connection.execute(
        delete(_kept).where(_kept.c.lookup_id.in_(expired), _kept.c.expires_at_s <= now_s)
    ).rowcount
