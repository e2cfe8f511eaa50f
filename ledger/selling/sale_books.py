"""The books that a set of sales is decided on: what was read of them, and what is to be written.

In memory only; ``sale_storage`` reads them and writes them. Amounts are in 1e-6 USDC.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ledger.selling.sale_records import NewSale, SaleDenial, SaleRefused, Used

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
    is_changed: bool = False

    def use(self, sale: NewSale, *, today: int) -> None:
        """Count a ceiling for the day. Raises ``SaleRefused``, and then counts nothing."""
        # A clock that runs behind another process's must not open an earlier day's cap again.
        if self.version != sale.offer_version or self.status != "active" or self.day > today:
            raise SaleRefused(SaleDenial.OFFER_CHANGED)
        day_usdc = (self.day_used_usdc if self.day == today else 0) + sale.ceiling_usdc
        total_usdc = self.total_used_usdc + sale.ceiling_usdc
        if self.cap_daily_usdc is not None and self.cap_daily_usdc < day_usdc:
            raise SaleRefused(SaleDenial.CAP_REACHED)
        if self.quota_total_usdc is not None and self.quota_total_usdc < total_usdc:
            raise SaleRefused(SaleDenial.QUOTA_SPENT)
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
    reserved: list[Row] = field(default_factory=list)
    posted: list[Row] = field(default_factory=list)
    voided: list[Row] = field(default_factory=list)

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

    def resolve(self, sale: StoredSale, *, cost_usdc: int) -> Used:
        """Give back what a reserved sale did not cost; return what is used then."""
        self.credits[sale.account_id].resolve(sale.ceiling_usdc, cost_usdc=cost_usdc)
        self.offers[sale.offer_id].free(sale.ceiling_usdc - cost_usdc, day=sale.day)
        return self.describe(sale)
