"""The two-phase meter: reserve a ceiling, then post the cost or void it.

Each call is a value (``Reserve``, ``Post``, ``Void``, ``Renew``) that runs alone as
``call(connection)``, or among others in ``run_calls``: their rows are read and locked together,
each call decides in memory on what the ones before it have left, and what they decided is written
together. A call that fails has decided nothing, so it takes nothing back.

Every function takes the connection of an open write transaction and leaves it consistent, also
where it raises: a caller may run many of them in one transaction (``ledger.database.writer``).
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Table, bindparam, case, select, update
from sqlalchemy.dialects import postgresql, sqlite

from contracts.errors import CurrentError
from ledger.chain.positions import build_state, get_allowance, next_utc_day_s
from ledger.database.engine import is_postgres
from ledger.database.locks import lock_positions
from ledger.errors import (
    AllowanceFacts,
    LimitFacts,
    RefusalReason,
    RequestIdConflict,
    ReserveRefused,
    UnknownUsage,
    UsageResolved,
)
from ledger.spending.books import (
    Account,
    Books,
    StoredUsage,
    load_books,
    load_children,
    save_books,
    save_children,
)
from ledger.spending.children import Child
from ledger.tables import Demand, Position, Usage, table_of

T = TypeVar("T")

_position = table_of(Position)
_usage = table_of(Usage)
_demand = table_of(Demand)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved before upstream is called. Amounts in 1e-6 USDC, prices per 1e6 tokens."""

    request_id: str
    token_id: int
    key_epoch: int
    key_id: str
    model: str
    ceiling_usdc: int
    input_usdc_per_mtok: int
    output_usdc_per_mtok: int
    cached_input_usdc_per_mtok: int | None = None
    """Of prompt tokens that the provider had cached; None = as any other. The ceiling, which is
    reserved before anybody knows, never counts on it."""

    def as_row(self) -> tuple[Any, ...]:
        """Return the values in the order of ``RESERVATION_COLUMNS``."""
        return (
            self.request_id,
            self.token_id,
            self.key_epoch,
            self.key_id,
            self.model,
            self.ceiling_usdc,
            self.input_usdc_per_mtok,
            self.output_usdc_per_mtok,
            self.cached_input_usdc_per_mtok,
        )


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """What else must hold for a reservation to be admitted. All in seconds."""

    hold_margin_s: int
    """The hold must outlive now by this much, so that the keeper can settle before it lapses."""
    max_staleness_s: int
    """The mirror must have been at the head within this time, by either clock."""
    lease_s: int
    """How long the reservation stands without being renewed."""


@dataclass(frozen=True, slots=True)
class Posted:
    """What a post left behind, in 1e-6 USDC."""

    cost_usdc: int
    hold_left_usdc: int
    """The hold less everything drawn on it, after this post."""


def insert_or_ignore(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert one row unless its primary key is taken; tell whether it was inserted."""
    dialect = postgresql if is_postgres(connection) else sqlite
    statement = dialect.insert(table).values(values).on_conflict_do_nothing()
    # SQLAlchemy keeps the count of an INSERT only where it is asked to.
    inserted = connection.execute(statement, execution_options={"preserve_rowcount": True})
    return inserted.rowcount == 1


class MeterCall(ABC, Generic[T]):
    """One step of one request. Run again, it does nothing and answers as before."""

    request_id: str

    def __call__(self, connection: Connection) -> T:
        """Run alone. Raises what ``decide`` raises."""
        ((result, failure),) = run_calls(connection, [self])
        if failure is not None:
            raise failure
        answer: T = result
        return answer

    @property
    def token_id(self) -> int | None:
        """The position, where the call names it; else it is the stored usage's."""
        return None

    @property
    def key_id(self) -> str | None:
        """The key, where the call names it; else it is the stored usage's."""
        return None

    @abstractmethod
    def decide(self, books: Books) -> T:
        """Note in ``books`` what is to be written, so that the next call finds it done.

        Notes nothing where it raises.
        """


def run_calls(
    connection: Connection, calls: Sequence[MeterCall[Any]]
) -> list[tuple[Any, Exception | None]]:
    """Run calls in their order; return each one's result, or why it failed.

    Only the database's own failures are raised, and leave nothing of any call behind.
    """
    books = load_books(
        connection,
        request_ids=list(dict.fromkeys(call.request_id for call in calls)),
        token_ids=[call.token_id for call in calls if call.token_id is not None],
        key_ids=[call.key_id for call in calls if call.key_id is not None],
    )
    outcomes: list[tuple[Any, Exception | None]] = []
    for call in calls:
        try:
            outcomes.append((call.decide(books), None))
        except (CurrentError, ValueError) as error:
            outcomes.append((None, error))
    save_books(connection, books)
    return outcomes


def preview(connection: Connection, call: "Reserve") -> int:
    """Return what a reservation would leave of the hold (1e-6 USDC), or raise as it would.

    Writes and locks nothing: a moment later it may be otherwise.
    """
    books = load_books(
        connection,
        request_ids=[call.request_id],
        token_ids=[call.token_id],
        key_ids=[call.key_id],
        lock=False,
    )
    return call.decide(books)


@dataclass(frozen=True)
class Reserve(MeterCall[int]):
    """Reserve a ceiling against a position's hold; returns what is left of the hold (1e-6 USDC).

    ``now_s`` is the wall clock. Calling it again with the same reservation is harmless. Raises
    ``ReserveRefused`` with the first reason that applies, ``RequestIdConflict`` where the request
    id stands for another request, ``UsageResolved`` where that request already ended.
    """

    reservation: Reservation
    rules: AdmissionRules
    now_s: int
    fit: Callable[[Reservation, AllowanceFacts | None], Reservation] | None = None
    """Lowers the ceiling to what the position, and a child key's limits, afford just then: what
    is held less what is drawn. It must be pure."""
    generation: int | None = None
    """Of a child key, which generation asks; None for a root key, which has no limits."""

    @property
    def request_id(self) -> str:  # type: ignore[override]
        return self.reservation.request_id

    @property
    def token_id(self) -> int:
        return self.reservation.token_id

    @property
    def key_id(self) -> str:
        return self.reservation.key_id

    def decide(self, books: Books) -> int:
        account = books.accounts.get(self.token_id)
        child = None if self.generation is None else books.children.get(self.key_id)
        reservation = self.reservation
        if self.fit is not None:
            reservation = self.fit(reservation, self._describe(account, child))
        row = reservation.as_row()
        stored = books.usage.get(self.request_id)
        if stored is not None:
            return _repeat_reserve(row, stored, account)
        ceiling_usdc = reservation.ceiling_usdc
        problem = None
        if self.generation is not None:
            problem = self._examine(child, ceiling_usdc, generation=self.generation)
        if (
            account is None
            or problem is not None
            or not _is_admitted(account, reservation, books.mirror, self.rules, now_s=self.now_s)
        ):
            raise _explain_refusal(
                account, reservation, books.mirror, self.rules, now_s=self.now_s, problem=problem
            )
        account.change_usdc += ceiling_usdc
        reserved_at_s = self.now_s
        if child is not None:
            reserved_at_s = books.take(child, ceiling_usdc, now_s=self.now_s)
        expires_at_s = self.now_s + self.rules.lease_s
        books.reserve(row, reserved_at_s=reserved_at_s, lease_expires_at_s=expires_at_s)
        return account.free_usdc

    def _describe(self, account: Account | None, child: Child | None) -> AllowanceFacts | None:
        """Return the position's facts, the hold no larger than what a child key may still use."""
        if account is None:
            return None
        facts = build_facts(account.describe(), required_usdc=0, now_s=self.now_s)
        room_usdc = None if child is None else child.get_room_usdc(now_s=self.now_s)
        if room_usdc is None:
            return facts
        return replace(facts, held_usdc=min(facts.held_usdc, facts.drawn_usdc + room_usdc))

    def _examine(
        self, child: Child | None, ceiling_usdc: int, *, generation: int
    ) -> RefusalReason | LimitFacts | None:
        """Return why a child key may not be used for this, or None."""
        if child is None:
            return RefusalReason.KEY_REVOKED
        model = self.reservation.model
        problem = child.find_problem(generation=generation, model=model, now_s=self.now_s)
        if problem is not None:
            return problem
        return child.find_limit(ceiling_usdc, now_s=self.now_s)


@dataclass(frozen=True)
class Post(MeterCall[Posted]):
    """Turn a reservation into a charge of ``cost_usdc`` (1e-6 USDC), freeing the rest of it.

    The same post again is harmless. Raises ``UnknownUsage``, ``UsageResolved`` where the
    reservation was voided or posted otherwise, ``ValueError`` for a cost above the ceiling.
    """

    request_id: str
    cost_usdc: int
    prompt_tokens: int
    completion_tokens: int
    now_s: int
    cached_tokens: int = 0
    """Those of ``prompt_tokens`` that are charged at the price of cached ones."""

    def decide(self, books: Books) -> Posted:
        usage = _get_usage(books, self.request_id)
        figures = (self.cost_usdc, self.prompt_tokens, self.completion_tokens, self.cached_tokens)
        account = books.accounts.get(usage.token_id)
        if usage.state in ("posted", "settling", "settled"):
            if usage.figures != figures:
                raise UsageResolved(self.request_id, usage.state)
            return Posted(self.cost_usdc, _get_left_usdc(account))
        if not 0 <= self.cost_usdc <= usage.ceiling_usdc:
            raise ValueError(f"cost {self.cost_usdc} is above the ceiling {usage.ceiling_usdc}")
        _check_reserved(self.request_id, usage)
        books.post(self.request_id, figures, now_s=self.now_s)
        freed_usdc = usage.ceiling_usdc - self.cost_usdc
        _draw_less(account, freed_usdc)
        books.resolve(usage, freed_usdc)
        return Posted(self.cost_usdc, _get_left_usdc(account))


@dataclass(frozen=True)
class Void(MeterCall[None]):
    """Give a whole reservation back. Again is harmless.

    Raises ``UnknownUsage``, and ``UsageResolved`` where the usage was posted.
    """

    request_id: str
    reason: str
    now_s: int

    def decide(self, books: Books) -> None:
        usage = _get_usage(books, self.request_id)
        if usage.state == "voided":
            return
        _check_reserved(self.request_id, usage)
        books.void(self.request_id, self.reason, now_s=self.now_s)
        _draw_less(books.accounts.get(usage.token_id), usage.ceiling_usdc)
        books.resolve(usage, usage.ceiling_usdc)


@dataclass(frozen=True)
class Renew(MeterCall[None]):
    """Extend a live reservation's lease. Raises ``UsageResolved`` where it is no longer live."""

    request_id: str
    lease_expires_at_s: int

    def decide(self, books: Books) -> None:
        _check_reserved(self.request_id, _get_usage(books, self.request_id))
        books.renewed[self.request_id] = self.lease_expires_at_s


def _is_admitted(
    account: Account,
    reservation: Reservation,
    mirror: tuple[int, int] | None,
    rules: AdmissionRules,
    *,
    now_s: int,
) -> bool:
    return _is_fresh(mirror, rules, now_s=now_s) and _is_held(
        account, reservation, mirror, rules, now_s=now_s
    )


def _is_fresh(mirror: tuple[int, int] | None, rules: AdmissionRules, *, now_s: int) -> bool:
    # One that was seen in the future is as old as nobody knows: a clock was set back.
    return mirror is not None and abs(now_s - mirror[1]) <= rules.max_staleness_s


def _is_held(
    account: Account,
    reservation: Reservation,
    mirror: tuple[int, int] | None,
    rules: AdmissionRules,
    *,
    now_s: int,
) -> bool:
    # The chain's own clock decides when a hold lapses; ours only where it is ahead.
    latest_s = now_s if mirror is None else max(now_s, mirror[0])
    return (
        account.key_epoch == reservation.key_epoch
        and not account.is_release_requested
        and account.hold_expires_at_s > latest_s + rules.hold_margin_s
        and account.free_usdc >= reservation.ceiling_usdc
    )


def _repeat_reserve(row: tuple[Any, ...], stored: StoredUsage, account: Account | None) -> int:
    request_id = row[0]
    if tuple(stored.reservation) != row:
        raise RequestIdConflict(f"request {request_id} has another content")
    _check_reserved(request_id, stored)
    return _get_left_usdc(account)


def _explain_refusal(
    account: Account | None,
    reservation: Reservation,
    mirror: tuple[int, int] | None,
    rules: AdmissionRules,
    *,
    now_s: int,
    problem: RefusalReason | LimitFacts | None,
) -> ReserveRefused:
    """Return why a reservation does not fit; the first reason of ``RefusalReason`` that applies.

    ``problem`` is what a child key has against it, if anything.
    """
    if account is None:
        return ReserveRefused(RefusalReason.POSITION_NOT_FOUND)
    chain_now_s = now_s if mirror is None else max(now_s, mirror[0])
    row = account.describe()
    facts = build_facts(row, required_usdc=reservation.ceiling_usdc, now_s=chain_now_s)
    reason = _decide_reason(row, reservation, now_s=chain_now_s)
    if isinstance(problem, RefusalReason) and reason is not RefusalReason.KEY_REVOKED:
        return ReserveRefused(problem, facts)
    is_held = _is_held(account, reservation, mirror, rules, now_s=now_s)
    if is_held and isinstance(problem, LimitFacts):
        return ReserveRefused(RefusalReason.KEY_LIMIT_REACHED, facts, problem)
    if reason is RefusalReason.HOLD_PENDING and not _is_fresh(mirror, rules, now_s=now_s):
        reason = RefusalReason.CHAIN_STATE_STALE
    return ReserveRefused(reason, facts)


def _decide_reason(
    row: Mapping[Any, Any], reservation: Reservation, *, now_s: int
) -> RefusalReason:
    if row["key_epoch"] != reservation.key_epoch:
        return RefusalReason.KEY_REVOKED
    if row["credited_usdc"] == 0:
        return RefusalReason.NEVER_HARVESTED
    allowance = get_allowance(build_state(row), now_s=now_s)
    required_usdc = row["drawn_usdc"] + reservation.ceiling_usdc
    if required_usdc > allowance.unspent_usdc:
        return RefusalReason.ALLOWANCE_SPENT
    if required_usdc > allowance.day_cap_usdc - allowance.day_spent_usdc:
        # Tomorrow's cap would admit it: the unspent credit is there.
        return RefusalReason.DAILY_CAP_REACHED
    return RefusalReason.HOLD_PENDING


def build_facts(row: Mapping[Any, Any], *, required_usdc: int, now_s: int) -> AllowanceFacts:
    """Return the numbers that a refusal or a status shows, from a position's row."""
    allowance = get_allowance(build_state(row), now_s=now_s)
    today_usdc = min(allowance.unspent_usdc, allowance.day_cap_usdc - allowance.day_spent_usdc)
    return AllowanceFacts(
        required_usdc=required_usdc,
        available_usdc=max(0, today_usdc - row["drawn_usdc"]),
        held_usdc=max(0, allowance.held_usdc - row["hold_unconfirmed_usdc"]),
        drawn_usdc=row["drawn_usdc"],
        resets_at_s=next_utc_day_s(now_s),
        next_harvest_at_s=row["last_harvest_at_s"] + row["harvest_interval_s"],
    )


def _get_usage(books: Books, request_id: str) -> StoredUsage:
    usage = books.usage.get(request_id)
    if usage is None:
        raise UnknownUsage(f"no request {request_id}")
    return usage


def _check_reserved(request_id: str, usage: StoredUsage) -> None:
    if usage.state != "reserved":
        raise UsageResolved(request_id, usage.state)


def _draw_less(account: Account | None, amount_usdc: int) -> None:
    # A position whose mint a reorg took away has no row; the one that may come back starts from
    # what its usage adds up to.
    if account is not None:
        account.change_usdc -= amount_usdc


def _get_left_usdc(account: Account | None) -> int:
    return 0 if account is None else max(0, account.free_usdc)


def reserve(
    connection: Connection, reservation: Reservation, rules: AdmissionRules, *, now_s: int
) -> int:
    """Run one ``Reserve``."""
    return Reserve(reservation, rules, now_s)(connection)


def post(
    connection: Connection,
    request_id: str,
    *,
    cost_usdc: int,
    prompt_tokens: int,
    completion_tokens: int,
    now_s: int,
    cached_tokens: int = 0,
) -> Posted:
    """Run one ``Post``."""
    call = Post(request_id, cost_usdc, prompt_tokens, completion_tokens, now_s, cached_tokens)
    return call(connection)


def void(connection: Connection, request_id: str, *, reason: str, now_s: int) -> None:
    """Run one ``Void``."""
    Void(request_id, reason, now_s)(connection)


def renew(connection: Connection, request_id: str, *, lease_expires_at_s: int) -> None:
    """Run one ``Renew``."""
    Renew(request_id, lease_expires_at_s)(connection)


def sweep_leases(connection: Connection, *, now_s: int, limit: int = 1_000) -> int:
    """Void at most ``limit`` reservations whose lease ran out; return how many.

    Their process is dead: a live one renews its lease or resolves within it. One that is renewed
    or resolved meanwhile is left alone.
    """
    is_expired = (_usage.c.state == "reserved") & (_usage.c.lease_expires_at_s <= now_s)
    found = connection.execute(
        select(_usage.c.request_id, _usage.c.token_id)
        .where(is_expired)
        .order_by(_usage.c.lease_expires_at_s)
        .limit(limit)
    ).all()
    if not found:
        return 0
    lock_positions(connection, [token_id for _, token_id in found])
    voided = connection.execute(
        update(_usage)
        .where(_usage.c.request_id.in_([request_id for request_id, _ in found]), is_expired)
        .values(state="voided", resolved_at_s=now_s, void_reason="lease_expired")
        .returning(
            _usage.c.token_id, _usage.c.ceiling_usdc, _usage.c.key_id, _usage.c.reserved_at_s
        )
    ).all()
    freed_usdc: dict[int, int] = defaultdict(int)
    children = load_children(connection, [key_id for _, _, key_id, _ in voided])
    for token_id, ceiling_usdc, key_id, reserved_at_s in voided:
        freed_usdc[token_id] += ceiling_usdc
        if key_id in children:
            children[key_id].resolve(ceiling_usdc, reserved_at_s=reserved_at_s)
    change_drawn(connection, {token_id: -amount for token_id, amount in freed_usdc.items()})
    save_children(connection, children.values())
    return len(voided)


def change_drawn(connection: Connection, changes_usdc: Mapping[int, int]) -> None:
    """Add to the ``drawn_usdc`` of positions that the caller has locked (1e-6 USDC)."""
    if not changes_usdc:
        return
    connection.execute(
        update(_position)
        .where(_position.c.token_id == bindparam("token"))
        .values(drawn_usdc=_position.c.drawn_usdc + bindparam("change")),
        [{"token": token, "change": change} for token, change in sorted(changes_usdc.items())],
    )


def note_demand(connection: Connection, *, token_id: int, required_usdc: int, now_s: int) -> None:
    """Tell the keeper that a position wants a hold of at least ``required_usdc`` (1e-6 USDC)."""
    dialect = postgresql if is_postgres(connection) else sqlite
    statement = dialect.insert(_demand).values(
        token_id=token_id, required_usdc=required_usdc, wanted_at_s=now_s
    )
    # In one statement, so that a demand that is dropped meanwhile is noted anew.
    larger_usdc = case(
        (_demand.c.required_usdc < required_usdc, required_usdc), else_=_demand.c.required_usdc
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[_demand.c.token_id],
            set_={"required_usdc": larger_usdc, "wanted_at_s": now_s},
        )
    )
