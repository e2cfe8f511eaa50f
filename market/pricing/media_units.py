"""What media are sold by. Pure.

An offer's price is kept for a million of its unit's *base* quantity, beside the tokens' own: a
thousand characters for 0.015 US dollars are 15 dollars for a million characters. So media go
through the same sums, to the same unit, as text does. Prices for a minute become prices for a
million seconds rounded down, in the buyer's favour, by less than 1e-6 USDC for a million seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contracts.units import USDC_ONE
from serving.models.price_file import PricesInvalid
from serving.models.prices import Price
from serving.models.terms import Terms, Tiers, find_tier_price

MILLION: Final = 1_000_000


class Base(StrEnum):
    """The base that a price counts. Offers of one model in different bases compare by cost only."""

    TOKEN = "token"
    IMAGE = "image"
    PIXEL = "pixel"
    CHARACTER = "character"
    SECOND = "second"
    CLIP = "clip"
    TRACK = "track"


@dataclass(frozen=True, slots=True)
class Unit:
    """What a price is stated for: ``quantity`` of a base."""

    base: Base
    quantity: int

    def to_price(self, per_unit_usdc: int) -> Price:
        """Return the price of a million of the base, for a price of the unit (1e-6 USDC)."""
        return Price(per_unit_usdc * MILLION // self.quantity, 0)

    def to_per_unit_usdc(self, price: Price) -> int:
        """Return the price of the unit again (1e-6 USDC), as it was stated."""
        return -(-price.input_usdc_per_mtok * self.quantity // MILLION)


UNITS: Final[Mapping[str, Unit]] = {
    "image": Unit(Base.IMAGE, 1),
    "megapixel": Unit(Base.PIXEL, 1_000_000),
    "1k_characters": Unit(Base.CHARACTER, 1_000),
    "second": Unit(Base.SECOND, 1),
    "minute": Unit(Base.SECOND, 60),
    "video": Unit(Base.CLIP, 1),
    "track": Unit(Base.TRACK, 1),
}
"""By the name that a seller writes."""

USD_PER_UNIT_MAX: Final = 10_000
"""Above it a ceiling might not fit the ledger's integers; surely it is a slip."""


def check_unit_prices(operator: Mapping[str, Terms]) -> None:
    """Raise ``PricesInvalid`` where the operator's file prices media by unknown or equal units."""
    for model, terms in operator.items():
        for unit, usdc in terms.usdc_per_unit.items():
            if unit not in UNITS:
                raise PricesInvalid(f"{model}: {unit!r} is not one of {', '.join(UNITS)}")
            if usdc > USD_PER_UNIT_MAX * USDC_ONE:
                raise PricesInvalid(f"{model}: more than {USD_PER_UNIT_MAX} US dollars per {unit}")
        if len({UNITS[unit].base for unit in terms.usdc_per_unit}) < len(terms.usdc_per_unit):
            raise PricesInvalid(f"{model}: two units of one kind")


def find_price(terms: Terms | None, base: Base, *, prompt_tokens: int = 0) -> Price | None:
    """Return the price of what is counted in ``base``, where it is stated.

    The price of tokens is that of a prompt with ``prompt_tokens``.
    """
    tiers = list_tiers(terms, base)
    return find_tier_price(tiers, prompt_tokens) if tiers else None


def list_tiers(terms: Terms | None, base: Base) -> Tiers:
    """Return the prices of ``base``, by the prompt's length where it is tokens."""
    if terms is None:
        return ()
    if base is Base.TOKEN:
        return terms.tiers
    price = get_media_prices(terms).get(base)
    return () if price is None else ((0, price),)


def get_media_prices(terms: Terms) -> Mapping[Base, Price]:
    """Return the prices for a million of each base that media are counted in."""
    return {
        UNITS[unit].base: UNITS[unit].to_price(usdc) for unit, usdc in terms.usdc_per_unit.items()
    }


def get_base(unit: str | None) -> Base:
    """Return what an offer counts; without a unit, tokens."""
    return Base.TOKEN if unit is None else UNITS[unit].base
