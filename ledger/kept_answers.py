"""Requests that name themselves by an idempotency key: each is charged once, however often it
comes.

A row of ``kept_answer`` names the request that its key stands for. What has become of that
request is what counts, by the rows that reserve and charge for it (``FindWork``): while something
is reserved the request runs, once all is given back the key is free again, and once it is charged
nothing runs under the key any more. So a row is written in the transaction that reserves. The
answer is sealed before it comes here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from sqlalchemy import ColumnElement, Connection, Table, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from ledger.database.engine import is_postgres
from ledger.errors import RequestRepeated
from ledger.tables import KeptAnswer, table_of

KEPT_S: Final = 86_400
"""How long a key stands for its request, and an answer is kept, in seconds."""

FORGOTTEN_MAX: Final = 1_000
"""Rows that are forgotten in one transaction."""

ROW_BYTES: Final = 4_096
"""The least that a row counts for, however short its answer: so many rows fit into no bound."""

_kept = table_of(KeptAnswer)


class NamedRequest(Protocol):
    """A request as its idempotency key names it. Both texts are keyed hashes."""

    @property
    def lookup_id(self) -> str: ...
    @property
    def body_digest(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Work:
    """The state of a request that was reserved for."""

    is_running: bool
    """Whether it is not charged yet."""
    charged_at_s: int | None = None
    cost_usdc: int | None = None
    """The charge in 1e-6 USDC; None before the request is charged."""


FindWork = Callable[[Connection, str], Work | None]
"""Returns what has become of a request, by its id; None where nothing is reserved or charged."""


def find_work_in(table: Table) -> FindWork:
    """Return what finds the work of requests in a table with a row for each attempt.

    A request whose attempts were all given back has none.
    """

    def find(connection: Connection, request_id: str) -> Work | None:
        attempts = connection.execute(
            select(table.c.state, table.c.cost_usdc, table.c.resolved_at_s).where(
                table.c.request_id == request_id, table.c.state != "voided"
            )
        ).all()
        for attempt in attempts:
            if attempt.state == "posted":
                return Work(False, attempt.resolved_at_s, attempt.cost_usdc)
        return Work(is_running=True) if attempts else None

    return find


@dataclass(frozen=True, slots=True)
class EarlierRequest:
    """A request that runs, or was charged, under the same key."""

    request_id: str
    body_digest: str
    work: Work
    sealed: bytes | None
    is_dropped: bool
    """Whether there was no room to keep its answer."""


def find_earlier(
    connection: Connection, lookup_id: str, *, find_work: FindWork, now_s: int
) -> EarlierRequest | None:
    """Return the request that the key stands for, or None where it stands for none."""
    row = _load(connection, lookup_id, find_work, lock=False)
    return None if row is None or row[0] <= now_s else row[1]


def _load(
    connection: Connection, lookup_id: str, find_work: FindWork, *, lock: bool
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
    work = find_work(connection, row["request_id"])
    if work is None and row["state"] != "open":
        # It was answered, and nothing was to be charged for it.
        work = Work(is_running=False, cost_usdc=0)
    if work is None:
        return row["expires_at_s"], None
    return row["expires_at_s"], EarlierRequest(
        request_id=row["request_id"],
        body_digest=row["body_digest"],
        work=work,
        sealed=row["sealed"],
        is_dropped=row["state"] == "dropped",
    )


def take_key(
    connection: Connection,
    claim: NamedRequest,
    *,
    request_id: str,
    owner: str,
    find_work: FindWork,
    now_s: int,
) -> None:
    """Let a key stand for this request. The same request may take it again.

    ``owner`` is whose answers are counted together. Raises ``RequestRepeated`` where the key
    stands for another request; then nothing was written. Whoever takes a key must reserve in the
    same transaction, or take all of it back.
    """
    values = {
        "body_digest": claim.body_digest,
        "request_id": request_id,
        "owner": owner,
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
            return
        # None: the row was swept since, so the key is new.
        row = _load(connection, claim.lookup_id, find_work, lock=True)
    ends_at_s, found = row
    earlier = None if ends_at_s <= now_s else found
    if earlier is not None and earlier.request_id != request_id:
        raise RequestRepeated(f"the key stands for request {earlier.request_id}")
    connection.execute(update(_kept).where(_kept.c.lookup_id == claim.lookup_id).values(**values))


def keep_answer(
    connection: Connection,
    claim: NamedRequest,
    request_id: str,
    sealed: bytes | None,
    *,
    find_work: FindWork,
    bytes_max: int,
    now_s: int,
) -> None:
    """Keep the answer of a request that was charged; None: it is too large. Idempotent.

    It is dropped where its owner would keep more than ``bytes_max`` with it: else whoever has an
    API key could fill the disk. Does nothing where the request was not charged, or the key stands
    for another one by now.
    """
    work = find_work(connection, request_id)
    if work is None or work.is_running:
        return
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
    """Return how many bytes are kept of the other answers of a row's owner."""
    own = select(_kept.c.owner, _kept.c.sealed_bytes).where(_kept.c.lookup_id == lookup_id)
    row = connection.execute(own).one_or_none()
    if row is None:
        return 0
    total = select(func.coalesce(func.sum(_kept.c.sealed_bytes), 0)).where(
        _kept.c.owner == row.owner
    )
    return int(connection.execute(total).scalar_one()) - int(row.sealed_bytes)


def drop_request(connection: Connection, claim: NamedRequest, request_id: str) -> None:
    """Delete the row of a request whose answer there was no room for."""
    connection.execute(
        delete(_kept).where(
            _kept.c.lookup_id == claim.lookup_id,
            _kept.c.request_id == request_id,
            _kept.c.state == "dropped",
        )
    )


def count_kept_bytes(connection: Connection) -> int:
    """Return how many bytes are kept of everybody's answers. Looks at every row."""
    total = select(func.coalesce(func.sum(_kept.c.sealed_bytes), 0))
    return int(connection.execute(total).scalar_one())


def count_bytes_of(connection: Connection, group: str) -> int:
    """Return how much room the owners of a group take: each row its answer, at least ``ROW_BYTES``.

    An owner is named by its group and a name in it, with a space between.
    """
    size = case((_kept.c.sealed_bytes > ROW_BYTES, _kept.c.sealed_bytes), else_=ROW_BYTES)
    total = select(func.coalesce(func.sum(size), 0)).where(_is_of(group))
    return int(connection.execute(total).scalar_one())


def drop_oldest_of(connection: Connection, group: str, *, bytes_max: int) -> int:
    """Delete the oldest rows of a group until ``bytes_max`` holds the others; return how many.

    Only for answers of requests that were charged nothing: without its row a request is served
    again. Rows go until an eighth of the room is free, so that not every new one looks at all.
    """
    if count_bytes_of(connection, group) <= bytes_max:
        return 0
    rows = connection.execute(
        select(_kept.c.lookup_id, _kept.c.sealed_bytes)
        .where(_is_of(group))
        # Of one second, the ids of requests tell which came later.
        .order_by(_kept.c.expires_at_s.desc(), _kept.c.request_id.desc())
    ).all()
    left, dropped = bytes_max - bytes_max // 8, []
    for row in rows:
        left -= max(int(row.sealed_bytes), ROW_BYTES)
        if left < 0:
            dropped.append(row.lookup_id)
    for start in range(0, len(dropped), FORGOTTEN_MAX):
        part = dropped[start : start + FORGOTTEN_MAX]
        connection.execute(delete(_kept).where(_kept.c.lookup_id.in_(part)))
    return len(dropped)


def _is_of(group: str) -> ColumnElement[bool]:
    # As a range, which the index of owners finds: '!' is the character after the space.
    return (_kept.c.owner >= f"{group} ") & (_kept.c.owner < f"{group}!")


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
