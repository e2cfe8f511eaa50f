"""Suppliers' offers as a set of sales is decided on them: what ``ceilings`` counts.

In memory only; ``supply_storage`` reads and writes it.
"""

from dataclasses import dataclass

from contracts.units import utc_day
from ledger.selling.sale_records import NewSale, SaleDenial, SaleFigures, SaleRefused
from ledger.selling.windows import note_request

DayKey = tuple[str, int, int]
"""A supplier's offer, the UTC day and the bid: what a row of ``supply_day`` is of."""


@dataclass(slots=True)
class SuppliedOffer:
    """A supplier's offer, locked: its ceilings, and what these calls have left of them so far."""

    supply_offer_id: str
    supplier_id: str
    status: str
    recent: str
    rate_limit_rpm: int | None
    quota_tokens: int | None
    used_tokens: int
    reserved_tokens: int
    is_approved: bool = False
    """Whether its supplier is; false where nothing of the offer is to be reserved."""
    may_end: bool = False
    """Whether all of its listings are locked, so that it may become exhausted."""
    ended_at_s: int | None = None
    """When one of these calls has exhausted it."""
    is_changed: bool = False

    def use(self, sale: NewSale, *, now_s: int) -> None:
        """Count a sale's tokens and request. Raises ``SaleRefused``, and then counts nothing."""
        if self.status != "active" or not self.is_approved:
            raise SaleRefused(SaleDenial.OFFER_CHANGED)
        taken_tokens = self.used_tokens + self.reserved_tokens + sale.bound_tokens
        if self.quota_tokens is not None and taken_tokens > self.quota_tokens:
            raise SaleRefused(SaleDenial.TOKENS_SPENT)
        if self.rate_limit_rpm is not None:
            recent = note_request(self.recent, now_s=now_s, limit=self.rate_limit_rpm)
            if recent is None:
                raise SaleRefused(SaleDenial.RATE_LIMITED)
            self.recent = recent
        self.reserved_tokens += sale.bound_tokens
        self.is_changed = True

    def consume(self, paid_tokens: int, *, bound_tokens: int, now_s: int) -> None:
        """Turn a sale's reserved tokens into used ones; what it did not come to is free."""
        self.reserved_tokens -= bound_tokens
        self.used_tokens += paid_tokens
        is_spent = self.quota_tokens is not None and self.used_tokens >= self.quota_tokens
        if self.may_end and self.status == "active" and is_spent:
            self.status, self.ended_at_s = "exhausted", now_s
        self.is_changed = True

    def free(self, bound_tokens: int) -> None:
        """Give a sale's reserved tokens back. Its request stays counted."""
        self.reserved_tokens -= bound_tokens
        self.is_changed = True


@dataclass(slots=True)
class DaySums:
    """What some posted sales of one offer at one bid add to a day."""

    supplier_id: str
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    paid_tokens: int = 0

    def add(self, figures: SaleFigures, paid_tokens: int) -> None:
        """Add a sale."""
        self.requests += 1
        self.input_tokens += figures.prompt_tokens
        self.output_tokens += figures.completion_tokens
        self.paid_tokens += paid_tokens


def get_paid_tokens(figures: SaleFigures, bound_tokens: int) -> int:
    """Return the tokens that a supplier is paid for: never more than were reserved."""
    return min(figures.prompt_tokens + figures.completion_tokens, bound_tokens)


def build_day_key(supply_offer_id: str, figures: SaleFigures, *, now_s: int) -> DayKey:
    """Return what a sale that is posted at ``now_s`` counts for, unless that day is settled."""
    return supply_offer_id, utc_day(now_s), figures.input_usdc_per_mtok
