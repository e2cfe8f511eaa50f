"""The two-phase meter: reserve a ceiling, then post the cost or void it.

Each call is a value (``Reserve``, ``Post``, ``Void``, ``Renew``) that runs alone as
``call(connection)``, or among others in ``run_calls``: their rows are read and locked together,
each call decides in memory on what the ones before it have left, and what they decided is written
together. A call that fails has decided nothing, so it takes nothing back.

Every function takes the connection of an open write transaction and leaves it consistent, also
where it raises: a caller may run many of them in one transaction (``ledger.database.writer``).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection

from contracts.errors import CurrentError
from ledger.database.writer import GroupRunner
from ledger.errors import (
    AllowanceFacts,
    LimitFacts,
    RefusalReason,
    RequestIdConflict,
    UnknownUsage,
    UsageResolved,
)
from ledger.spending.admission import AdmissionRules, build_facts, explain_refusal, is_admitted
from ledger.spending.book_storage import load_books, save_books
from ledger.spending.books import Account, Books, StoredUsage
from ledger.spending.children import Child
from ledger.spending.reservation import Reservation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Posted:
    """What a post left behind, in 1e-6 USDC."""

    cost_usdc: int
    hold_left_usdc: int
    """The hold less everything drawn on it, after this post."""


class MeterCall(ABC, Generic[T]):
    """One step of one request. Run again, it does nothing and answers as before."""

    request_id: str

    @property
    def run_group(self) -> GroupRunner:
        """``run_calls``: neighbours in a writer's group are decided and written as one set."""
        return run_calls

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
            or not is_admitted(account, reservation, books.mirror, self.rules, now_s=self.now_s)
        ):
            raise explain_refusal(
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


def _repeat_reserve(row: tuple[Any, ...], stored: StoredUsage, account: Account | None) -> int:
    request_id = row[0]
    if tuple(stored.reservation) != row:
        raise RequestIdConflict(f"request {request_id} has another content")
    _check_reserved(request_id, stored)
    return _get_left_usdc(account)


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
