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
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

from sqlalchemy import Connection

from contracts.errors import CurrentError
from ledger.database.writer import GroupRunner
from ledger.errors import (
    LimitFacts,
    RefusalReason,
    RequestIdConflict,
    UnknownUsage,
    UsageResolved,
)
from ledger.spending.admission import AdmissionRules, build_facts, explain_refusal, is_admitted
from ledger.spending.book_storage import load_books, save_books
from ledger.spending.books import Account, Books, Row, StoredUsage
from ledger.spending.children import Child
from ledger.tables.usage import (
    CHARGE_COLUMNS,
    PRICE_COLUMNS,
    RESERVATION_COLUMNS,
    Charge,
    PriceUsed,
    Reservation,
)

T = TypeVar("T")

_reservation_row: Final = attrgetter(*RESERVATION_COLUMNS)
_charge_row: Final = attrgetter(*CHARGE_COLUMNS)
_price_row: Final = attrgetter(*PRICE_COLUMNS)


@dataclass(frozen=True, slots=True)
class Reserved:
    """An admitted reservation, in 1e-6 USDC."""

    ceiling_usdc: int
    hold_left_usdc: int
    """The hold less everything drawn on it, this reservation included."""


@dataclass(frozen=True, slots=True)
class Posted:
    """The state after a post, in 1e-6 USDC."""

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


def preview(connection: Connection, call: "Reserve") -> Reserved:
    """Return what a reservation would settle on, or raise what it would raise.

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
class Reserve(MeterCall[Reserved]):
    """Reserve a ceiling against a position's hold.

    ``now_s`` is the wall clock. The same call again is harmless. Raises ``ReserveRefused`` with the
    first reason that applies, ``RequestIdConflict`` where the request id stands for another
    request, ``UsageResolved`` where that request already ended.
    """

    reservation: Reservation
    rules: AdmissionRules
    now_s: int
    fit: Callable[[int], int] | None = None
    """Returns the ceiling to reserve, given what the position and a child key's limits afford just
    then (both in 1e-6 USDC). Pure. None: the reservation's own ceiling."""
    generation: int | None = None
    """The generation of the child key that asks; None for a root key, which has no limits."""
    holder_id: str | None = None
    """The process that reserves; None: nothing but time ends the lease."""

    @property
    def request_id(self) -> str:  # type: ignore[override]
        return self.reservation.request_id

    @property
    def token_id(self) -> int:
        return self.reservation.token_id

    @property
    def key_id(self) -> str:
        return self.reservation.key_id

    def decide(self, books: Books) -> Reserved:
        account = books.accounts.get(self.token_id)
        child = None if self.generation is None else books.children.get(self.key_id)
        reservation = self.reservation
        if self.fit is not None:
            ceiling_usdc = self.fit(self._get_affordable_usdc(account, child))
            reservation = replace(reservation, ceiling_usdc=ceiling_usdc)
        row = _reservation_row(reservation)
        stored = books.usage.get(self.request_id)
        if stored is not None:
            return _repeat_reserve(reservation, row, stored, account)
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
        books.reserve(
            row,
            reserved_at_s=reserved_at_s,
            lease_expires_at_s=expires_at_s,
            holder_id=self.holder_id,
        )
        return Reserved(ceiling_usdc, account.free_usdc)

    def _get_affordable_usdc(self, account: Account | None, child: Child | None) -> int:
        """Return what is held and not drawn, at most what a child key may still use."""
        if account is None:
            return 0
        facts = build_facts(account.describe(), required_usdc=0, now_s=self.now_s)
        free_usdc = max(0, facts.held_usdc - facts.drawn_usdc)
        room_usdc = None if child is None else child.get_room_usdc(now_s=self.now_s)
        return free_usdc if room_usdc is None else min(free_usdc, room_usdc)

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
    """Turn a reservation into a charge, freeing the rest of it.

    The same post again is harmless. Raises ``UnknownUsage``, ``UsageResolved`` where the
    reservation was voided or posted otherwise, ``ValueError`` for a cost above the ceiling.
    """

    request_id: str
    charge: Charge
    now_s: int
    price: PriceUsed | None = None
    """The price of the tokens that were used; None = as reserved."""

    def decide(self, books: Books) -> Posted:
        usage = _get_usage(books, self.request_id)
        row, cost_usdc = _charge_row(self.charge), self.charge.cost_usdc
        account = books.accounts.get(usage.token_id)
        if usage.state in ("posted", "settling", "settled"):
            if usage.charge != row:
                raise UsageResolved(self.request_id, usage.state)
            return Posted(cost_usdc, _get_left_usdc(account))
        if not 0 <= cost_usdc <= usage.ceiling_usdc:
            raise ValueError(f"cost {cost_usdc} is not within the ceiling {usage.ceiling_usdc}")
        _check_reserved(self.request_id, usage)
        if self.price is not None:
            books.reprice(self.request_id, _price_row(self.price))
        books.post(self.request_id, row, now_s=self.now_s)
        freed_usdc = usage.ceiling_usdc - cost_usdc
        _draw_less(account, freed_usdc)
        books.resolve(usage, freed_usdc)
        return Posted(cost_usdc, _get_left_usdc(account))


@dataclass(frozen=True)
class Void(MeterCall[None]):
    """Give a whole reservation back. Idempotent.

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


def _repeat_reserve(
    reservation: Reservation, row: Row, stored: StoredUsage, account: Account | None
) -> Reserved:
    request_id = reservation.request_id
    if tuple(stored.reservation) != row:
        raise RequestIdConflict(f"request {request_id} has another content")
    _check_reserved(request_id, stored)
    return Reserved(reservation.ceiling_usdc, _get_left_usdc(account))


def _get_usage(books: Books, request_id: str) -> StoredUsage:
    usage = books.usage.get(request_id)
    if usage is None:
        raise UnknownUsage(f"no request {request_id}")
    return usage


def _check_reserved(request_id: str, usage: StoredUsage) -> None:
    if usage.state != "reserved":
        raise UsageResolved(request_id, usage.state)


def _draw_less(account: Account | None, amount_usdc: int) -> None:
    # A position whose mint a reorg took away has no row; if it is minted again, its new row starts
    # from the sum of its usage.
    if account is not None:
        account.change_usdc -= amount_usdc


def _get_left_usdc(account: Account | None) -> int:
    return 0 if account is None else max(0, account.free_usdc)
