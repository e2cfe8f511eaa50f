"""The books that a set of sales is decided on: what was read of them, and what is to be written.

In memory only; ``sale_storage`` reads them and writes them. Amounts are in 1e-6 USDC.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ledger.selling.sale_records import NewSale, SaleDenial, SaleFigures, SaleRefused, Used
from ledger.selling.supply_books import (
    DayKey,
    DaySums,
    SuppliedOffer,
    build_day_key,
    get_paid_tokens,
)

Row = Sequence[Any]


@dataclass(slots=True)
class Credit:
    """A buyer's account, locked."""

    free_usdc: int
    """What is neither spent nor reserved, as these calls have left it so far."""
    reserved_change_usdc: int = 0
    """What these calls have added to ``reserved_usdc`` so far."""
    spent_change_usdc: int = 0

    def reserve(self, ceiling_usdc: int) -> None:
        """Take a ceiling out of what is free."""
        self.free_usdc -= ceiling_usdc
        self.reserved_change_usdc += ceiling_usdc

    def resolve(self, ceiling_usdc: int, *, cost_usdc: int) -> None:
        """Give a ceiling back, less what was spent of it."""
        self.free_usdc += ceiling_usdc - cost_usdc
        self.reserved_change_usdc -= ceiling_usdc
        self.spent_change_usdc += cost_usdc


@dataclass(slots=True)
class ListedOffer:
    """A seller's offer, locked: its limits, and what these calls have left of them so far."""

    offer_id: str
    version: int
    status: str
    cap_daily_usdc: int | None
    quota_total_usdc: int | None
    day: int
    day_used_usdc: int
    total_used_usdc: int
    supply_offer_id: str | None = None
    """The supplier's offer that lists it; None: a seller's own."""
    is_changed: bool = False

    def check(self, sale: NewSale, *, today: int) -> tuple[int, int]:
        """Return what is used of the day and of the quota with a ceiling more.

        Raises ``SaleRefused``.
        """
        # A clock that runs behind another process's must not open an earlier day's cap again.
        if self.version != sale.offer_version or self.status != "active" or self.day > today:
            raise SaleRefused(SaleDenial.OFFER_CHANGED)
        day_usdc = (self.day_used_usdc if self.day == today else 0) + sale.ceiling_usdc
        total_usdc = self.total_used_usdc + sale.ceiling_usdc
        if self.cap_daily_usdc is not None and self.cap_daily_usdc < day_usdc:
            raise SaleRefused(SaleDenial.CAP_REACHED)
        if self.quota_total_usdc is not None and self.quota_total_usdc < total_usdc:
            raise SaleRefused(SaleDenial.QUOTA_SPENT)
        return day_usdc, total_usdc

    def use(self, day_usdc: int, total_usdc: int, *, today: int) -> None:
        """Count what ``check`` has returned."""
        self.day, self.day_used_usdc, self.total_used_usdc = today, day_usdc, total_usdc
        self.is_changed = True

    def free(self, amount_usdc: int, *, day: int) -> None:
        """Give back what a reservation of ``day`` did not cost."""
        # A reservation of an earlier day counts against no cap any more.
        if self.day == day:
            self.day_used_usdc -= amount_usdc
        self.total_used_usdc -= amount_usdc
        self.is_changed = True


@dataclass(slots=True)
class StoredSale:
    """A sale, locked, as far as the calls ask for it."""

    account_id: str
    offer_id: str
    day: int
    ceiling_usdc: int
    state: str
    supply_offer_id: str | None
    bound_tokens: int | None
    """What is reserved of the supplier's quota; None: the sale is of a seller's own offer."""
    figures: Row
    """What a post wrote, in the order of ``FIGURES``; of no meaning before it."""


@dataclass(slots=True)
class SaleBooks:
    """What some calls read, under lock, and what they have decided to write."""

    sales: dict[str, StoredSale]
    credits: dict[str, Credit]
    offers: dict[str, ListedOffer]
    keys: dict[str, tuple[str, int | None]]
    """The owner of each key that was not revoked, and when it expires."""
    supplied: dict[str, SuppliedOffer] = field(default_factory=dict)
    reserved: list[Row] = field(default_factory=list)
    posted: list[Row] = field(default_factory=list)
    posted_supplied: list[tuple[DayKey, Row]] = field(default_factory=list)
    """Posted sales of suppliers, each with the day that it counts for unless that is settled."""
    voided: list[Row] = field(default_factory=list)
    day_sums: dict[DayKey, DaySums] = field(default_factory=dict)

    def is_key_live(self, sale: NewSale, *, now_s: int) -> bool:
        """Tell whether the buyer's key still is the account's and good."""
        owner, expires_at_s = self.keys.get(sale.key_id, (None, None))
        return owner == sale.account_id and (expires_at_s is None or expires_at_s > now_s)

    def describe(self, sale: StoredSale) -> Used:
        """Return what is used of a sale's offer now, and the free credit of its buyer."""
        offer, credit = self.offers[sale.offer_id], self.credits[sale.account_id]
        return Used(
            offer.offer_id, offer.day, offer.day_used_usdc, offer.total_used_usdc, credit.free_usdc
        )

    def use_offer(self, sale: NewSale, *, now_s: int, today: int) -> None:
        """Count a sale against its offer and, if it is a supplier's, against that one's ceilings.

        Raises ``SaleRefused``, and then counts nothing.
        """
        offer = self.offers.get(sale.offer_id)
        if offer is None:
            raise SaleRefused(SaleDenial.OFFER_CHANGED)
        used = offer.check(sale, today=today)
        if sale.supply_offer_id is not None:
            supplied = self.supplied.get(sale.supply_offer_id)
            if supplied is None:
                raise SaleRefused(SaleDenial.OFFER_CHANGED)
            supplied.use(sale, now_s=now_s)
        offer.use(*used, today=today)

    def consume(self, sale: StoredSale, figures: SaleFigures, *, row: Row, now_s: int) -> None:
        """Count a posted sale of a supplier: its tokens of the quota, and the day's sums."""
        assert sale.supply_offer_id is not None
        assert sale.bound_tokens is not None
        supplied = self.supplied[sale.supply_offer_id]
        paid_tokens = get_paid_tokens(figures, sale.bound_tokens)
        supplied.consume(paid_tokens, bound_tokens=sale.bound_tokens, now_s=now_s)
        if supplied.ended_at_s is not None:
            self._pause(supplied.supply_offer_id)
        key = build_day_key(supplied.supply_offer_id, figures, now_s=now_s)
        self.day_sums.setdefault(key, DaySums(supplied.supplier_id)).add(figures, paid_tokens)
        self.posted_supplied.append((key, row))

    def _pause(self, supply_offer_id: str) -> None:
        for offer in self.offers.values():
            if offer.supply_offer_id == supply_offer_id and offer.status != "deleted":
                offer.status = "paused"

    def resolve(self, sale: StoredSale, *, cost_usdc: int) -> Used:
        """Give back what a reserved sale did not cost; return what is used then."""
        self.credits[sale.account_id].resolve(sale.ceiling_usdc, cost_usdc=cost_usdc)
        self.offers[sale.offer_id].free(sale.ceiling_usdc - cost_usdc, day=sale.day)
        return self.describe(sale)
