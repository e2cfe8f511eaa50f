"""Steps of API calls that run as one set among others, as those of sales do.

Each is a value that runs alone as ``step(connection)``, by the functions of ``call_booking``, or
among others in ``run_calls``: their rows are locked and read together, each step decides in memory
on what the ones before it have left, and what they decided is written together. A step that fails
has decided nothing, so it takes nothing back. What is decided is what ``call_booking`` decides.

A step that does something beside (``also``) runs alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Connection

from contracts.errors import CurrentError
from ledger.database.writer import GroupRunner
from ledger.resale.call_booking import check_call_sum, post_call, reserve_call, void_call
from ledger.resale.call_books import CallBooks, StoredCall
from ledger.resale.call_records import (
    NO_TRACE,
    CallFigures,
    CallResolved,
    CallTrace,
    NewCall,
    PeriodTerms,
    PeriodUse,
)
from ledger.resale.call_storage import CALL_FIGURES, CALL_TERMS, load_call_books, save_call_books

_terms_row: Final = attrgetter(*CALL_TERMS)
_figures_row: Final = attrgetter(*CALL_FIGURES)


class CallStep(ABC):
    """One step of one call."""

    call_id: str

    @property
    def run_group(self) -> GroupRunner | None:
        """``run_calls``; None for a step that runs alone."""
        return run_calls if self.is_plain else None

    @property
    @abstractmethod
    def is_plain(self) -> bool:
        """Whether it does nothing beside."""

    @property
    def new_call(self) -> NewCall | None:
        """The call, where the step begins it."""
        return None

    @abstractmethod
    def __call__(self, connection: Connection) -> PeriodUse | None:
        """Run alone."""

    @abstractmethod
    def decide(self, books: CallBooks) -> PeriodUse | None:
        """Note in ``books`` what is to be written, so that the next step finds it done.

        Notes nothing where it raises.
        """


def run_calls(
    connection: Connection, steps: Sequence[CallStep]
) -> list[tuple[Any, Exception | None]]:
    """Run plain steps in their order; return each one's result, or why it failed.

    Only the database's own failures are raised, and leave nothing of any step behind.
    """
    books = load_call_books(
        connection,
        call_ids=list(dict.fromkeys(step.call_id for step in steps)),
        begun=[step.new_call for step in steps if step.new_call is not None],
    )
    outcomes: list[tuple[Any, Exception | None]] = []
    for step in steps:
        try:
            outcomes.append((step.decide(books), None))
        except (CurrentError, ValueError) as error:
            outcomes.append((None, error))
    save_call_books(connection, books)
    return outcomes


@dataclass(frozen=True, slots=True)
class ReserveCall(CallStep):
    """``reserve_call``. ``also`` is written in the same transaction."""

    call: NewCall
    now_s: int
    lease_expires_at_s: int
    holder_id: str | None = None
    also: Callable[[Connection, NewCall], object] | None = None

    @property
    def call_id(self) -> str:  # type: ignore[override]
        return self.call.call_id

    @property
    def is_plain(self) -> bool:
        return self.also is None

    @property
    def new_call(self) -> NewCall:
        return self.call

    def __call__(self, connection: Connection) -> PeriodUse:
        use = reserve_call(
            connection,
            self.call,
            now_s=self.now_s,
            lease_expires_at_s=self.lease_expires_at_s,
            holder_id=self.holder_id,
        )
        if self.also is not None:
            self.also(connection, self.call)
        return use

    def decide(self, books: CallBooks) -> PeriodUse:
        call, call_id = self.call, self.call_id
        assert call.ceiling_usdc >= 0
        assert call.units_max >= 0
        if call_id in books.calls:
            raise CallResolved(f"call {call_id} is there already")
        use = books.reserve(call, now_s=self.now_s)
        lease = (self.now_s, self.lease_expires_at_s, self.holder_id)
        starts_at_s = call.period.starts_at_s
        books.reserved.append((call_id, *_terms_row(call), starts_at_s, False, *lease))
        books.calls[call_id] = StoredCall(
            call.account_id,
            (call.connection_id, starts_at_s),
            call.ceiling_usdc,
            call.units_max,
            "reserved",
            (),
        )
        return use


@dataclass(frozen=True, slots=True)
class PostCall(CallStep):
    """``post_call``. ``also`` is done in the same transaction, also where it was posted before."""

    call_id: str
    figures: CallFigures
    period: PeriodTerms
    trace: CallTrace
    now_s: int
    own_units: int = 0
    also: Callable[[Connection], object] | None = None

    @property
    def is_plain(self) -> bool:
        return self.also is None

    def __call__(self, connection: Connection) -> PeriodUse | None:
        use = post_call(
            connection,
            self.call_id,
            self.figures,
            period=self.period,
            trace=self.trace,
            own_units=self.own_units,
            now_s=self.now_s,
        )
        if self.also is not None:
            self.also(connection)
        return use

    def decide(self, books: CallBooks) -> PeriodUse | None:
        check_call_sum(self.figures)
        call, row = books.calls.get(self.call_id), _figures_row(self.figures)
        if call is None:
            raise CallResolved(f"call {self.call_id} is unknown")
        if call.state != "reserved":
            if call.state != "posted" or call.figures != row:
                raise CallResolved(f"call {self.call_id} is {call.state}")
            return None
        call.state, call.figures = "posted", row
        trace = self.trace
        seen = (trace.status, trace.api_ms, trace.whole_ms, self.now_s)
        books.posted.append((self.call_id, *row, *seen))
        return books.resolve(
            call,
            self.period,
            trace,
            cost_usdc=self.figures.cost_usdc,
            sold_units=self.figures.units,
            own_units=self.own_units,
            now_s=self.now_s,
        )


@dataclass(frozen=True, slots=True)
class VoidCall(CallStep):
    """``void_call``."""

    call_id: str
    reason: str
    is_api_failure: bool
    period: PeriodTerms
    now_s: int
    lost_units: int = 0
    own_units: int = 0
    trace: CallTrace = NO_TRACE

    @property
    def is_plain(self) -> bool:
        return True

    def __call__(self, connection: Connection) -> PeriodUse | None:
        return void_call(
            connection,
            self.call_id,
            reason=self.reason,
            is_api_failure=self.is_api_failure,
            period=self.period,
            lost_units=self.lost_units,
            own_units=self.own_units,
            trace=self.trace,
            now_s=self.now_s,
        )

    def decide(self, books: CallBooks) -> PeriodUse | None:
        call = books.calls.get(self.call_id)
        if call is None or call.state not in ("reserved", "voided"):
            raise CallResolved(
                f"call {self.call_id} is {'unknown' if call is None else call.state}"
            )
        if call.state == "voided":
            return None
        call.state = "voided"
        trace = self.trace
        seen = (trace.status, trace.api_ms, trace.whole_ms, self.now_s)
        books.voided.append((self.call_id, self.reason, self.is_api_failure, *seen))
        return books.resolve(
            call,
            self.period,
            trace,
            cost_usdc=0,
            lost_units=self.lost_units,
            own_units=self.own_units,
            now_s=self.now_s,
        )
