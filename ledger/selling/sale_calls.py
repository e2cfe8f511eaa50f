"""Calls of sales that run as one set among others, as the meter's calls do.

Each is a value that runs alone as ``call(connection)``, by the functions of ``sales``, or among
others in ``run_sales``: their rows are locked and read together, each call decides in memory on
what the ones before it have left, and what they decided is written together. A call that fails has
decided nothing, so it takes nothing back. What is decided is what ``sales`` decides.

What suppliers' ceilings leave is decided with the rest. A call that does something beside
(``also``) runs alone: what it does is not known here, so it could not be taken back by itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Connection

from contracts.errors import CurrentError
from contracts.units import utc_day
from ledger.database.writer import GroupRunner
from ledger.selling.sale_books import SaleBooks, StoredSale
from ledger.selling.sale_records import (
    NewSale,
    SaleDenial,
    SaleFigures,
    SaleRefused,
    SaleResolved,
    Used,
)
from ledger.selling.sale_statements import FIGURES, PAID_KEY_ID, TERMS
from ledger.selling.sale_storage import load_sale_books, save_sale_books
from ledger.selling.sales import check_sum, post_sale, reserve_sale, void_sale

_terms_row: Final = attrgetter(*TERMS)
_figures_row: Final = attrgetter(*FIGURES)


class SaleCall(ABC):
    """One step of one sale."""

    sale_id: str

    @property
    def run_group(self) -> GroupRunner | None:
        """``run_sales``; None for a call that runs alone."""
        return run_sales if self.is_plain else None

    @property
    @abstractmethod
    def is_plain(self) -> bool:
        """Whether it does nothing beside."""

    @property
    def new_sale(self) -> NewSale | None:
        """The sale, where the call begins it."""
        return None

    @abstractmethod
    def __call__(self, connection: Connection) -> Used | None:
        """Run alone."""

    @abstractmethod
    def decide(self, books: SaleBooks) -> Used | None:
        """Note in ``books`` what is to be written, so that the next call finds it done.

        Notes nothing where it raises.
        """


def run_sales(
    connection: Connection, calls: Sequence[SaleCall]
) -> list[tuple[Any, Exception | None]]:
    """Run plain calls in their order; return each one's result, or why it failed.

    Only the database's own failures are raised, and leave nothing of any call behind.
    """
    begun = [call.new_sale for call in calls if call.new_sale is not None]
    books = load_sale_books(
        connection,
        sale_ids=list(dict.fromkeys(call.sale_id for call in calls)),
        account_ids=[sale.account_id for sale in begun],
        offer_ids=[sale.offer_id for sale in begun],
        key_ids=[sale.key_id for sale in begun],
        begun_supply={sale.sale_id: sale.supply_offer_id for sale in begun},
        posted_ids={call.sale_id for call in calls if isinstance(call, PostSale)},
    )
    outcomes: list[tuple[Any, Exception | None]] = []
    for call in calls:
        try:
            outcomes.append((call.decide(books), None))
        except (CurrentError, ValueError) as error:
            outcomes.append((None, error))
    save_sale_books(connection, books)
    return outcomes


@dataclass(frozen=True, slots=True)
class ReserveSale(SaleCall):
    """``reserve_sale``. ``also`` is written in the same transaction."""

    sale: NewSale
    now_s: int
    lease_expires_at_s: int
    holder_id: str | None = None
    also: Callable[[Connection, NewSale], object] | None = None

    @property
    def sale_id(self) -> str:  # type: ignore[override]
        return self.sale.sale_id

    @property
    def is_plain(self) -> bool:
        return self.also is None

    @property
    def new_sale(self) -> NewSale:
        return self.sale

    def __call__(self, connection: Connection) -> Used:
        used = reserve_sale(
            connection,
            self.sale,
            now_s=self.now_s,
            lease_expires_at_s=self.lease_expires_at_s,
            holder_id=self.holder_id,
        )
        if self.also is not None:
            self.also(connection, self.sale)
        return used

    def decide(self, books: SaleBooks) -> Used:
        sale, sale_id, day = self.sale, self.sale_id, utc_day(self.now_s)
        assert sale.ceiling_usdc >= 0
        if sale_id in books.sales:
            raise SaleResolved(f"sale {sale_id} is there already")
        credit = books.credits.get(sale.account_id)
        is_live = sale.key_id == PAID_KEY_ID or books.is_key_live(sale, now_s=self.now_s)
        if credit is None or not is_live:
            raise SaleRefused(SaleDenial.KEY_REVOKED)
        if credit.free_usdc < sale.ceiling_usdc:
            raise SaleRefused(SaleDenial.CREDIT_SPENT, credit.free_usdc)
        books.use_offer(sale, now_s=self.now_s, today=day)
        credit.reserve(sale.ceiling_usdc)
        is_supply = sale.supply_offer_id is not None
        supplied = (sale.supply_offer_id, sale.bound_tokens if is_supply else None)
        lease = (self.now_s, self.lease_expires_at_s, self.holder_id)
        books.reserved.append((*_terms_row(sale), *supplied, False, day, *lease))
        stored = StoredSale(
            sale.account_id, sale.offer_id, day, sale.ceiling_usdc, "reserved", *supplied, ()
        )
        books.sales[sale_id] = stored
        return books.describe(stored)


@dataclass(frozen=True, slots=True)
class PostSale(SaleCall):
    """``post_sale``. ``also`` is done in the same transaction, also where it was posted before."""

    sale_id: str
    figures: SaleFigures
    now_s: int
    also: Callable[[Connection], object] | None = None

    @property
    def is_plain(self) -> bool:
        return self.also is None

    def __call__(self, connection: Connection) -> Used:
        used = post_sale(connection, self.sale_id, self.figures, now_s=self.now_s)
        if self.also is not None:
            self.also(connection)
        return used

    def decide(self, books: SaleBooks) -> Used:
        check_sum(self.figures)
        sale, row = books.sales.get(self.sale_id), _figures_row(self.figures)
        if sale is None:
            raise SaleResolved(f"no sale {self.sale_id}")
        if sale.state != "reserved":
            if sale.state != "posted" or sale.figures != row:
                raise SaleResolved(f"sale {self.sale_id} is already {sale.state}")
            return books.describe(sale)
        if self.figures.cost_usdc > sale.ceiling_usdc:
            raise ValueError(f"cost {self.figures.cost_usdc} is above {sale.ceiling_usdc}")
        sale.state, sale.figures = "posted", row
        written = (self.sale_id, *row, self.now_s)
        if sale.supply_offer_id is None:
            books.posted.append(written)
        else:
            books.consume(sale, self.figures, row=written, now_s=self.now_s)
        return books.resolve(sale, cost_usdc=self.figures.cost_usdc)


@dataclass(frozen=True, slots=True)
class VoidSale(SaleCall):
    """``void_sale``."""

    sale_id: str
    reason: str
    is_seller_failure: bool
    now_s: int

    @property
    def is_plain(self) -> bool:
        return True

    def __call__(self, connection: Connection) -> Used | None:
        return void_sale(
            connection,
            self.sale_id,
            reason=self.reason,
            is_seller_failure=self.is_seller_failure,
            now_s=self.now_s,
        )

    def decide(self, books: SaleBooks) -> Used | None:
        sale = books.sales.get(self.sale_id)
        if sale is None or sale.state not in ("reserved", "voided"):
            state = "unknown" if sale is None else sale.state
            raise SaleResolved(f"sale {self.sale_id} is {state}")
        if sale.state == "voided":
            return None
        sale.state = "voided"
        row = (self.sale_id, self.reason, self.is_seller_failure, self.now_s)
        books.voided.append(row)
        if sale.supply_offer_id is not None:
            assert sale.bound_tokens is not None
            books.supplied[sale.supply_offer_id].free(sale.bound_tokens)
        return books.resolve(sale, cost_usdc=0)
