"""What offers cost now: their own prices or a multiple of the reference, fallen as far as they are.

Prices change by themselves: a reference by the hour or the date, a falling price step by step. All
of it is a function of the offer's row, the reference and the time, and snapshots of it go into each
reservation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from market.pricing.falling import Fall, find_earliest, scale_tiers
from market.pricing.media_units import Base, get_base, list_tiers
from market.pricing.offer_prices import read_tiers
from serving.models.prices import scale_price
from serving.models.references import References
from serving.models.terms import Terms, Tiers


@dataclass(frozen=True, slots=True)
class PriceBasis:
    """What an offer's row says of its prices."""

    model: str
    base: Base
    tiers: Tiers
    """Its own prices; empty where it has a multiplier."""
    multiplier_ppm: int | None = None
    """The multiplier of the reference price, for an offer that is priced by it."""
    fall: Fall | None = None

    @property
    def changes(self) -> bool:
        """Whether its price may change by itself."""
        return self.multiplier_ppm is not None or self.fall is not None


@dataclass(frozen=True, slots=True)
class PricedNow:
    """An offer's prices at an instant: what a request is reserved at, and what lists state."""

    tiers: Tiers
    """Empty where there is no reference to multiply."""
    stated: Tiers
    """The most that it costs within the next seconds: mostly the same."""
    valid_until_s: int | None
    """Until when ``stated`` holds; None: until the seller changes it."""


def read_basis(row: Mapping[Any, Any]) -> PriceBasis:
    """Return what an offer's row says of its prices."""
    multiplier_ppm, floor_pct = row["cost_multiplier_ppm"], row["floor_pct"]
    fall = None
    if floor_pct is not None:
        fall = Fall(int(row["falls_from_s"]), int(row["quota_resets_at_s"]), int(floor_pct))
    return PriceBasis(
        model=str(row["model"]),
        base=get_base(row["unit"]),
        tiers=read_tiers(row) if multiplier_ppm is None else (),
        multiplier_ppm=None if multiplier_ppm is None else int(multiplier_ppm),
        fall=fall,
    )


class OfferPricing:
    """Prices offers, and knows when a price that it told changes by itself."""

    def __init__(self, references: References, now_s: Callable[[], int]) -> None:
        self.references = references
        self._now_s = now_s
        self._falls_at_s: int | None = None
        """When the next falling price changes, or what lists state of it, Unix seconds."""
        self._references_change_at_s: int | None = None

    def find_reference(self, model: str) -> Terms | None:
        """Return what a model costs at its own provider now, or None where that is unknown."""
        return self.references.find_reference(model, now_s=self._now_s())

    def price(self, basis: PriceBasis) -> PricedNow:
        """Return what an offer costs now."""
        tiers, until_s = basis.tiers, None
        if basis.multiplier_ppm is not None:
            reference = self.find_reference(basis.model)
            until_s = None if reference is None else reference.valid_until_s
            self._references_change_at_s = find_earliest((self._references_change_at_s, until_s))
            tiers = tuple(
                (above, scale_price(direct, basis.multiplier_ppm))
                for above, direct in list_tiers(reference, basis.base)
            )
        if basis.fall is None:
            return PricedNow(tiers, tiers, until_s)
        now_s = self._now_s()
        ppm, held_until_s = basis.fall.find_ppm(now_s)
        stated_ppm, stated_until_s = basis.fall.find_stated_ppm(now_s)
        self._falls_at_s = find_earliest((self._falls_at_s, held_until_s, stated_until_s))
        stated = scale_tiers(tiers, stated_ppm)
        return PricedNow(scale_tiers(tiers, ppm), stated, find_earliest((until_s, stated_until_s)))

    def take_changes(self) -> tuple[bool, bool]:
        """Tell whether prices have changed by themselves since they were told: falling ones, and
        references. What has changed is to be priced again."""
        now_s = self._now_s()
        have_fallen = self._falls_at_s is not None and now_s >= self._falls_at_s
        at_s = self._references_change_at_s
        have_references = at_s is not None and now_s >= at_s
        if have_fallen:
            self._falls_at_s = None
        if have_references:
            self._references_change_at_s = None
        return have_fallen, have_references
