"""Units that media are sold by, and the prices of a million of their base."""

import pytest

from market.pricing.media_units import (
    UNITS,
    USD_PER_UNIT_MAX,
    Base,
    check_unit_prices,
    find_price,
    get_base,
    get_media_prices,
)
from serving.models.price_file import PricesInvalid
from serving.models.prices import Price
from serving.models.terms import Terms


def make_terms(**usdc_per_unit: int) -> Terms:
    return Terms(((0, Price(1, 2)), (1_000, Price(3, 4))), "operator", usdc_per_unit=usdc_per_unit)


@pytest.mark.parametrize(
    ("unit", "per_unit_usdc", "price"),
    [
        ("image", 40_000, Price(40_000_000_000, 0)),
        ("1k_characters", 15_000, Price(15_000_000, 0)),
        # 1 / 60 of a minute's price, rounded down.
        ("minute", 6_000, Price(100_000_000, 0)),
        ("minute", 1, Price(16_666, 0)),
    ],
)
def test_unit__price_of_a_million__and_back_as_it_was_stated(
    unit: str, per_unit_usdc: int, price: Price
) -> None:
    assert UNITS[unit].to_price(per_unit_usdc) == price
    assert UNITS[unit].to_per_unit_usdc(price) == per_unit_usdc


def test_find_price__tokens_by_length_media_by_base__none_where_not_stated() -> None:
    terms = make_terms(image=2)

    assert find_price(terms, Base.TOKEN) == Price(1, 2)
    assert find_price(terms, Base.TOKEN, prompt_tokens=1_001) == Price(3, 4)
    assert find_price(terms, Base.IMAGE) == Price(2_000_000, 0)
    assert find_price(terms, Base.SECOND) is None
    assert find_price(None, Base.TOKEN) is None
    assert get_media_prices(terms) == {Base.IMAGE: Price(2_000_000, 0)}


def test_get_base__of_an_offer__its_units_or_tokens() -> None:
    assert get_base(None) is Base.TOKEN
    assert get_base("minute") is Base.SECOND


@pytest.mark.parametrize(
    ("usdc_per_unit", "words"),
    [
        ({"dozen": 1}, "not one of image"),
        ({"image": USD_PER_UNIT_MAX * 1_000_000 + 1}, "more than 10000 US dollars"),
        ({"minute": 60, "second": 1}, "two units of one kind"),
    ],
)
def test_check_unit_prices__operators_slip__said(usdc_per_unit: dict[str, int], words: str) -> None:
    with pytest.raises(PricesInvalid, match=f"m: .*{words}"):
        check_unit_prices({"m": make_terms(**usdc_per_unit)})


def test_check_unit_prices__sound_file__passes() -> None:
    check_unit_prices({"m": make_terms(image=USD_PER_UNIT_MAX * 1_000_000, second=1)})
